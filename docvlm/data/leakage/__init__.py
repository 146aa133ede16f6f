"""Pages that stand in two splits: found, shown, taken out of train."""

REVISION = 3
"""Goes up when a page gets another hash, or a pair of pages another agreement: what is cached is of one revision."""
