"""Sections → `index.html` and `report.md`. The page is one file: styles, script, figures and pictures are inside it.

Jinja escapes everything by default: questions, answers and predictions are other people's text. Only the figures, which
this program has drawn, are put in as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm import tables
from docvlm.files import write_whole
from docvlm.reporting.blocks import Card, Gallery, Section
from docvlm.reporting.page.findings import Answer
from docvlm.reporting.page.highlights import Highlight
from docvlm.tables import Table
from docvlm.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = "templates"


@dataclass(frozen=True)
class Report:
    """A report before it is written. `drawn` says that all scores are on pages drawn by docvlm."""

    answers: Sequence[Answer]
    highlights: Sequence[Highlight]
    sections: Sequence[Section]
    drawn: bool

    def tables(self) -> list[Table]:
        """Every table of the report, in reading order."""
        return [table for section in self.sections for table in section.tables()]

    def sources(self) -> list[str]:
        """Every run folder and file that a number on the page comes from, in reading order."""
        said = [one.source for one in self.answers] + [one.source for one in self.highlights]
        rows = [(table, row) for table in self.tables() for row in table.rows]
        said += [row[column.key] for table, row in rows for column in table.columns if column.kind == "run"]
        return list(dict.fromkeys(filter(None, said + [card.run for card in self._cards()])))

    def number(self, source: str) -> int:
        """The number a source is referred to by, from 1."""
        return self._numbers[source]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {source: number for number, source in enumerate(self.sources(), 1)}

    def _cards(self) -> list[Card]:
        return [
            c
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Gallery)
            for c in block.cards
        ]


def write(folder: Path, report: Report) -> list[Path]:
    """`index.html`, `report.md`, and `tables/` with CSV and LaTeX."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for table in report.tables():
        tables.write(folder / "tables", table)
    made_by = environment()
    made = []
    for template, name in (("index.html.j2", "index.html"), ("report.md.j2", "report.md")):
        text = made_by.get_template(template).render(
            report=report,
            version=__version__,
            style=_read("page.css"),
            script=_read("page.js"),
        )
        write_whole(folder / name, lambda file, text=text: file.write(text))  # type: ignore[misc]
        made.append(folder / name)
    return made


def environment() -> Environment:
    """Templates of this package: HTML escapes everything, Markdown what goes through `entities`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("docvlm.reporting", TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["markdown_table"] = tables.to_markdown
    found.filters["entities"] = tables.entities
    found.filters["code"] = _code
    found.globals["zip"] = zip
    found.filters["kind"] = lambda block: type(block).__name__
    return found


def _code(text: str) -> Markup:
    """Escaped text in which `words` between backticks are set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _read(name: str) -> str:
    return (files("docvlm.reporting") / TEMPLATES / name).read_text(encoding="utf-8")
