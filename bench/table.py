"""Rows as Markdown: printed while they are measured, and put between two marks of docs/results/benchmarks.md.

`write` keeps the rows in docs/results/benchmarks.json, section by section, each row with the record of its machine, of
what was computed in, of versions and day, and makes the tables from that file alone: the same file gives the same text.
What was not measured this time stays as it was, and so do figures of another processor: they are never replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bench.suite import Column, Row, Section, Suite, number
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


@lru_cache
def measured_on(suite: Suite, dtype: str) -> dict[str, Any]:
    """Machine, what was computed in, versions and day, for the record; one for all rows of a run."""
    machine = hardware("cpu")
    return {
        "date": date.today().isoformat(),
        "commit": git_commit(),
        "processor": machine["processor"],
        "cores": machine["cores"],
        "threads": torch.get_num_threads(),
        "memory_mb": machine["memory_mb"],
        "dtype": dtype,
        "versions": versions() | {"trl": version("trl") if find_spec("trl") else "absent"},
        "full": suite.full,
        "steps": suite.steps,
        "size": suite.size,
    }


def place(record: Mapping[str, Any], timed: bool) -> str:
    """A record in words; `timed`: its rows are medians of steps."""
    packages = ", ".join(f"{name} {record['versions'][name]}" for name in SHOWN)
    said = [f"{record['processor']}, {record['cores']} cores, {record['threads']} threads"]
    said += [f"computed in {record['dtype']}"] * bool(record["dtype"])
    said += [f"medians of {record['steps']} timed steps"] * timed
    return f"{', '.join(said)}; {packages}; {record['date']}."


def write(
    found: Mapping[str, list[Row]], sections: Sequence[Section], suite: Suite, folder: Path, keep: bool = False
) -> dict[str, Any]:
    """Put the rows into `benchmarks.json` and the tables into `benchmarks.md`. Returns all results, old ones too.

    A section's rows of another processor, or computed in something else, stay as they were. `keep`: its other cells of
    this one do too, in their places.
    """
    file = folder / "benchmarks.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for section in sections:
        if rows := found.get(section.name):
            old = results.get(section.name, {"measured": [], "rows": []})
            record = measured_on(suite, section.computes)
            results[section.name] = {"note": section.note} | _together(old, rows, record, keep)
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = folder / "benchmarks.md"
    page.write_text(replaced(page.read_text(encoding="utf-8"), tables(results, sections)), encoding="utf-8")
    return results


def _together(old: Mapping[str, Any], rows: list[Row], record: dict[str, Any], keep: bool) -> dict[str, Any]:
    """`measured`, the records of old and new rows, and `rows`, each with the place of its record among these."""
    new = [(record, row) for row in rows]
    kept = [(old["measured"][row["measured"]], row) for row in old["rows"]]
    kept = [(one, row) for one, row in kept if keep or _machine(one) != _machine(record)]
    fresh = {_cell_of(*pair) for pair in new}
    order = dict.fromkeys(_cell_of(*pair) for pair in [*kept, *new])
    pairs = [pair for cell in order for pair in (new if cell in fresh else kept) if _cell_of(*pair) == cell]
    records: list[dict[str, Any]] = []
    for one, _ in pairs:
        if one not in records:
            records.append(one)
    return {"measured": records, "rows": [row | {"measured": records.index(one)} for one, row in pairs]}


def _machine(record: Mapping[str, Any]) -> tuple[str, str]:
    """What figures must share to stand in for each other."""
    return record["processor"], record["dtype"]


def _cell_of(record: Mapping[str, Any], row: Row) -> tuple[object, ...]:
    return row["cell"], *_machine(record)


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
        note, records, rows = (results[section.name][key] for key in ("note", "measured", "rows"))
        timed = bool(section.drawn) and any(number(row, "ms") for row in rows)
        places = " ".join(dict.fromkeys(place(record, timed) for record in records))
        if any(names := apart(records)):
            section = replace(section, columns=(*section.columns, Column("on", "measured on")))
            rows = [row | {"on": names[row["measured"]]} for row in rows]
        table = "\n".join([head(section), *(line(section, row) for row in rows)])
        parts.append(f"### {section.title}\n\n{note} {places}\n\n{table}\n")
    return "\n".join(parts)


def apart(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells each of the records from the others: nothing where there is one."""
    told = [
        [record["processor"], record["dtype"], f"{record['threads']} threads", record["date"]] for record in records
    ]
    differ = [len(set(values)) > 1 for values in zip(*told, strict=True)]
    return [", ".join(value for value, tells in zip(values, differ, strict=True) if tells) for values in told]
