"""Questions to answers, for people and programs: what `docvlm-predict` and `from docvlm import load` are made of."""

BENCHMARKS = ("docvqa", "chartqa", "infovqa", "folder")
"""Whose wording a question can have."""
