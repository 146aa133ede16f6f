"""Pages that stand in two splits: found, shown, taken out of train."""

REVISION = 2
"""Goes up when a page gets another hash, or a pair of pages another agreement: what is cached is of one revision."""
