"""1. Documents to batches. Importing any part of it registers docvlm's own benchmarks."""

from docvlm.data import benchmarks as benchmarks

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
