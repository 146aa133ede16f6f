"""Predictions to scores, intervals, comparisons and failures: strings and numbers, no torch."""

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
