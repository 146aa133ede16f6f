"""Where rows come from: hub, snapshots, original downloads, folders of one's own; bad rows set aside."""
