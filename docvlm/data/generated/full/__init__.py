"""The `full` preset: pages of about 1 200 x 1 600 pixels that look like documents, for real checkpoints."""
