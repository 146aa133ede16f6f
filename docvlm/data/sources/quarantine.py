"""Bad rows: named, counted and written to a report; never dropped silently, never fatal one by one.

A row is bad if it has no text where text must be, its page is missing or broken, or the model that is to be asked
cannot take it. More bad rows than good ones mean a wrong file rather than a bad row, so that is an error. The report is
one JSON object a line: `where`, `question_id`, `reason`, `kind`; it is written in one piece, only if there is something
to report.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from docvlm.data.example import Example, Page
from docvlm.data.lines import dumps, shown
from docvlm.data.page_ids import STORED
from docvlm.data.pages import FilePage, StoredPage, check
from docvlm.data.rows import BadRow, Row
from docvlm.data.sources.remembered import Remembered
from docvlm.errors import DocvlmError, Unwritable
from docvlm.writing import discard, why

log = logging.getLogger(__name__)

Refusal = Callable[[Example], BadRow | None]
KINDS = 4  # kinds of reasons that a line names


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that was left out, and why. `kind` is the reason without what is of this row only."""

    where: str
    question_id: str
    reason: str
    kind: str = ""


class Quarantine:
    """Collects rejected rows of one data set, over all its splits. `report` is the JSONL file to write, if any.

    `refusal` is what the model that will be asked says of an example before anything of it is opened. `read` counts
    rows, `merged` those that repeat another. `warn`: bad rows are logged, a line a source; else the caller says them.
    Pages in files that are `remembered` are not looked at.
    """

    def __init__(self, report: Path | None = None, *, warn: bool = True, remembered: Remembered | None = None) -> None:
        self.report = report
        self.remembered = remembered
        self.warn = warn
        self.refusal: Refusal | None = None
        self.merged = 0
        self._good = 0
        self._rejected: dict[Rejected, None] = {}

    @property
    def rejected(self) -> list[Rejected]:
        return list(self._rejected)

    @property
    def read(self) -> int:
        return self._good + self.merged + len(self._rejected)

    def examples(
        self, rows: Iterable[Row], read: Callable[[Row], Example], source: str, *, once: bool = False
    ) -> list[Example]:
        """Good rows as examples, in order; bad ones are collected and reported.

        A row is bad if `read` raises `BadRow`, its page is missing or broken, the model refuses it, or its question id
        was used before. With `once`, rows equal in page, question and accepted answers are one question. Pages with one
        name become one object. Raises `DocvlmError` if nothing is left or more rows are bad than good.
        """
        good: list[Example] = []
        bad: list[Rejected] = []
        ids: dict[str, str] = {}
        repeats: dict[object, str] = {}
        merged: list[str] = []
        pages = _Pages(self.remembered)
        for row in rows:
            question_id = _id(row)
            try:
                if row.fault:
                    raise BadRow(row.fault, row.kind)
                example = read(row)
                question_id = example.question_id
                content = _content(example)
                if once and content in repeats:
                    merged.append(f"{row.where} repeats {repeats[content]}")
                    continue
                if question_id in ids:
                    raise BadRow(
                        f"question id {shown(question_id)} was used before, in {ids[question_id]}", "question id used"
                    )
                example = replace(example, pages=tuple(map(pages.checked, example.pages)), where=row.where)
                if self.refusal is not None and (refused := self.refusal(example)) is not None:
                    raise refused
                good.append(example)
                ids[question_id] = repeats[content] = row.where
            except BadRow as reason:
                bad.append(Rejected(row.where, question_id, str(reason), reason.kind))
        self.settle(len(good), bad, source, merged)
        return good

    def reject(self, rows: Sequence[Row], of: int, source: str) -> None:
        """Rows whose split nobody knows, out of `of` in all. Raises `DocvlmError` if they are more than half."""
        bad = [Rejected(row.where, _id(row), row.fault, row.kind) for row in rows]
        self._judge(of - len(rows), bad, source)

    def leave_out(self, examples: Sequence[Example], reasons: Mapping[str, str], source: str) -> list[Example]:
        """The examples whose pages (by name) have no reason to be left out; the others are rejected."""
        kept, bad = [], []
        for example in examples:
            reason = next((reasons[page.name] for page in example.pages if page.name in reasons), None)
            if reason is None:
                kept.append(example)
            else:
                bad.append(Rejected(example.where, example.question_id, reason, "page cannot be decoded"))
        self.leave(bad, len(kept), source)
        return kept

    def leave(self, bad: Sequence[Rejected], kept: int, source: str) -> None:
        """Reject rows that had been counted as good; `kept` of their source are. Raises `DocvlmError` as `settle`."""
        self._good -= len(bad)
        self._judge(kept, bad, source)

    def __str__(self) -> str:
        """How many rows there were, and what became of those that are not asked."""
        kinds = Counter(entry.kind for entry in self._rejected).most_common()
        named = ", ".join(f"{count} {kind}" for kind, count in kinds[:KINDS])
        more = f", {sum(count for _, count in kinds[KINDS:])} for other reasons" if len(kinds) > KINDS else ""
        left = f"{len(self._rejected)} left out ({named}{more})" if kinds else "none left out"
        repeated = f"{self.merged} merged as repeats" if self.merged else "none repeated"
        listed = f"; all in {self.report}" if kinds and self.report else ""
        return f"rows: {self.read} read, {left}, {repeated}{listed}"

    def settle(self, good: int, bad: Sequence[Rejected], source: str, merged: Sequence[str] = ()) -> None:
        """Count the rows of a source; `merged` says of each that repeats another which one it repeats.

        Writes the report. Raises `DocvlmError` if there are no rows, or more are bad than good.
        """
        if not good and not bad:
            raise DocvlmError(f"{source}: no questions in it; check that it is the file you mean")
        self._good += good
        if merged:
            self.merged += len(merged)
            log.warning("%s: %d rows repeat another and are counted once; first: %s", source, len(merged), merged[0])
        self._judge(good, bad, source)

    def _judge(self, good: int, bad: Sequence[Rejected], source: str) -> None:
        if not bad:
            return
        self._rejected.update(dict.fromkeys(bad))
        self._write()
        first = f"first: {bad[0].where}: {bad[0].reason}"
        listed = f" (all in {self.report})" if self.report else ""
        if len(bad) > good:
            raise DocvlmError(f"{source}: {len(bad)} of {good + len(bad)} rows are bad; {first}{listed}")
        if self.warn:
            log.warning("quarantined %d of %d rows of %s; %s%s", len(bad), good + len(bad), source, first, listed)

    def _write(self) -> None:
        """Replace the report in one step, so that a reader or a second process never sees half of it."""
        if self.report is None:
            return
        part = self.report.with_name(f"{self.report.name}.{os.getpid()}.part")
        try:
            self.report.parent.mkdir(parents=True, exist_ok=True)
            part.write_text("".join(dumps(asdict(entry)) + "\n" for entry in self._rejected), encoding="utf-8")
            part.replace(self.report)
        except OSError as error:
            raise Unwritable(f"cannot write the quarantine report {self.report} {why(error)}") from error
        finally:
            discard(part)


def _id(row: Row) -> str:
    """What a row that may be bad says its id is."""
    for name in ("question_id", "questionId", "id"):
        if name in row.values and row.values[name] is not None:
            return str(row.values[name])
    return ""


def _content(example: Example) -> tuple[object, ...]:
    """What makes two rows one question: page, question, accepted answers. A copy of a page's file is another page."""
    return (*(page.name for page in example.pages), example.question, example.answers)


class _Pages:
    """Each page checked once; afterwards it knows its size, or why it is bad."""

    def __init__(self, remembered: Remembered | None) -> None:
        self.known: dict[str, StoredPage | str] = {}
        self.remembered = remembered

    def checked(self, page: Page) -> StoredPage:
        if not isinstance(page, STORED):
            raise TypeError(f"only stored pages can be checked, not {type(page).__name__}")
        if page.name not in self.known:
            try:
                self.known[page.name] = page if page.size is not None else replace(page, size=self._size(page))
            except DocvlmError as error:
                self.known[page.name] = str(error)
        known = self.known[page.name]
        if isinstance(known, str):
            raise BadRow(known, "page cannot be read")
        return known

    def _size(self, page: StoredPage) -> tuple[int, int]:
        if self.remembered is None or not isinstance(page, FilePage) or page.number:
            return check(page)
        (found,) = self.remembered.pages(Path(page.path), None, _checked)
        assert found.size is not None
        return found.size


def _checked(path: Path, _: Sequence[int] | None) -> tuple[StoredPage, ...]:
    page = FilePage(str(path))
    return (replace(page, size=check(page)),)
