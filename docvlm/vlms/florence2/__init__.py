"""Florence-2."""

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
