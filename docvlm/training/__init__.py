"""3. Lightning: one run from a typed config to the files of a run folder."""
