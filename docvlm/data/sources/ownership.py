"""Whose rows these are: benchmarks known by columns that nothing else has, so that none is scored as another.

Some benchmarks share the columns that are read (`questionId`, `question`, `answers`), and their scores are not
comparable. Rows that bear no benchmark's mark (one's own export in a benchmark's columns) are taken for what the
command says, and so are rows with the mark of the named benchmark beside that of another.
"""

from __future__ import annotations

from collections.abc import Iterable

from docvlm.data.benchmark import BENCHMARKS
from docvlm.errors import DocvlmError


class OtherRows(DocvlmError):
    """A source without rows of the benchmark that was asked for."""


def owners(columns: Iterable[str]) -> dict[str, str]:
    """The benchmarks whose marks are among `columns`, each with the columns that say so."""
    have = frozenset(columns)
    found = {}
    for name, benchmark in BENCHMARKS.items():
        marks = [mark for mark in benchmark.marks if mark <= have]
        if marks or (benchmark.only and benchmark.only == have):
            found[name] = ", ".join(sorted(marks[0] if marks else have))
    return found


def foreign(columns: Iterable[str], benchmark: str) -> bool:
    """Whether rows with these columns are another benchmark's than `benchmark`."""
    found = owners(columns)
    return bool(found) and benchmark not in found


def refuse(columns: Iterable[str], benchmark: str, where: str) -> None:
    """Raise `OtherRows` for rows of another benchmark, naming it, what it is known by, and what to give."""
    found = owners(columns)
    if found and benchmark not in found:
        other, mark = next(iter(found.items()))
        raise OtherRows(f"{where}: the rows of {other} (columns {mark}), not of {benchmark}; give data={other} with it")
