"""Whose rows these are: benchmarks known by columns that nothing else has, so that none is scored as another.

DocVQA and InfographicVQA share the columns that are read (`questionId`, `question`, `answers`); their scores are not
comparable. Rows that bear no benchmark's mark (one's own export in a benchmark's columns) are taken for what the
command says, and so are rows with the mark of the named benchmark beside that of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from docvlm.errors import DocvlmError

MARKS: Mapping[str, tuple[frozenset[str], ...]] = {
    "docvqa": (frozenset({"ucsf_document_id"}), frozenset({"docId", "question_types"})),
    "infovqa": (
        frozenset({"operation/reasoning"}),
        frozenset({"image_local_name"}),
        frozenset({"answer_type", "image_url"}),
    ),
    "chartqa": (frozenset({"human_or_machine"}), frozenset({"imgname", "query"})),
}
"""Columns by benchmark, in all its published forms; all columns of one of the sets are enough."""
_LMMS_CHARTQA = frozenset({"type", "question", "answer", "image"})  # each is a common word: only if there is no other


class OtherRows(DocvlmError):
    """A source without rows of the benchmark that was asked for."""


def owners(columns: Iterable[str]) -> dict[str, str]:
    """The benchmarks whose marks are among `columns`, each with the columns that say so."""
    have = frozenset(columns)
    found = {name: ", ".join(sorted(mark)) for name, marks in MARKS.items() for mark in reversed(marks) if mark <= have}
    return {**found, "chartqa": ", ".join(sorted(have))} if have == _LMMS_CHARTQA else found


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
