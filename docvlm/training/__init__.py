"""3. Lightning: one run from a typed config to the files of a run folder."""

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
