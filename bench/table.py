"""Rows as Markdown: printed while they are measured, and put between two marks of docs/results/benchmarks.md.

`write` keeps the rows in docs/results/benchmarks.json, section by section with the machine, versions and day each was
measured on, and makes the tables from that file alone: the same file gives the same text. A section that was not
measured this time stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bench.suite import Row, Section, Suite, number
from docvlm.machine import git_commit, hardware, versions

BEGIN = "<!-- `python -m bench --write` writes from here -->"
END = "<!-- to here -->"
SHOWN = ("torch", "transformers", "peft", "trl")


def head(section: Section) -> str:
    """The two first lines of a table."""
    return f"| {' | '.join(column.head for column in section.columns)} |\n|{'---|' * len(section.columns)}"


def line(section: Section, row: Row) -> str:
    """One row; what it lacks is a dash."""
    return f"| {' | '.join(_cell(row.get(column.key), column.form) for column in section.columns)} |"


def _cell(value: float | str | None, form: str) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else format(value, form)


def measured_on(suite: Suite) -> dict[str, Any]:
    """Machine, versions and day, for the record."""
    machine = hardware("cpu")
    return {
        "date": date.today().isoformat(),
        "commit": git_commit(),
        "processor": machine["processor"],
        "cores": machine["cores"],
        "threads": torch.get_num_threads(),
        "memory_mb": machine["memory_mb"],
        "versions": versions() | {"trl": version("trl") if find_spec("trl") else "absent"},
        "full": suite.full,
        "steps": suite.steps,
        "size": suite.size,
    }


def write(
    found: Mapping[str, list[Row]], sections: Sequence[Section], suite: Suite, folder: Path, keep: bool = False
) -> dict[str, Any]:
    """Put the rows into `benchmarks.json` and the tables into `benchmarks.md`. Returns all results, old ones too.

    `keep`: a section's other cells stay as they were, in their places.
    """
    file = folder / "benchmarks.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    on = measured_on(suite)
    if keep:
        found = {name: _together(results.get(name, {"rows": []})["rows"], rows) for name, rows in found.items()}
    notes = {section.name: section.note for section in sections}
    results |= {name: {"measured": on, "note": notes[name], "rows": rows} for name, rows in found.items() if rows}
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = folder / "benchmarks.md"
    page.write_text(replaced(page.read_text(encoding="utf-8"), tables(results, sections)), encoding="utf-8")
    return results


def _together(old: list[Row], new: list[Row]) -> list[Row]:
    """The cells of both, a new one in the place of its old one."""
    order = dict.fromkeys(row["cell"] for row in [*old, *new])
    fresh = {row["cell"] for row in new}
    return [row for cell in order for row in (new if cell in fresh else old) if row["cell"] == cell]


def replaced(page: str, text: str) -> str:
    """`page` with `text` between the marks. Raises `ValueError` where it does not hold both."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/results/benchmarks.md: the marks {BEGIN} and {END} are not both there")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def tables(results: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """Every section that has rows."""
    parts = ["![times faster](benchmarks.svg)\n"]
    for section in sections:
        if section.name not in results:
            continue
        on, note, rows = (results[section.name][key] for key in ("measured", "note", "rows"))
        packages = ", ".join(f"{name} {on['versions'][name]}" for name in SHOWN)
        where = f"{on['processor']}, {on['cores']} cores, {on['threads']} threads; {packages}; {on['date']}"
        steps = f"Medians of {on['steps']} timed steps. " if any(number(row, "ms") for row in rows) else ""
        table = "\n".join([head(section), *(line(section, row) for row in rows)])
        parts.append(f"### {section.title}\n\n{note} {steps}{where}.\n\n{table}\n")
    return "\n".join(parts)
