"""Answers of a model, local or served, to the questions of a split."""

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
