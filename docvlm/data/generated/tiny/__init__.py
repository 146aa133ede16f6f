"""The `tiny` preset: pages of 280 x 168 pixels on a character grid, which the embedded checkpoints can read."""
