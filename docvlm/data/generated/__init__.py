"""Pages drawn by the project itself, in the schema of the public benchmarks: no download, any number, known answers."""

from __future__ import annotations

from docvlm.data.generated.page import DrawnPage, documents, page_of

__all__ = ["DrawnPage", "documents", "page_of"]

REVISION = 1
"""Goes up with every change of this room that gives other numbers (`docvlm.runs.code_version`)."""
