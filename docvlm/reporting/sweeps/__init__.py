"""A sweep's table, its seeds and comparisons."""
