"""Bad rows: named, counted and written to a report; never dropped silently, never fatal one by one.

More bad rows than good ones mean a wrong file rather than a bad row, so that is an error. The report is one JSON
object a line: `where`, `question_id`, `reason`; it is written in one piece, only if there is something to report.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from docvlm.data.example import Example, Page
from docvlm.data.pages import ArrowPage, FilePage, StoredPage, check
from docvlm.data.rows import BadRow, Row
from docvlm.errors import DocvlmError, Unwritable
from docvlm.writing import ESCAPED, discard, why

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that was left out, and why."""

    where: str
    question_id: str
    reason: str


class Quarantine:
    """Collects rejected rows of one data set, over all its splits. `report` is the JSONL file to write, if any."""

    def __init__(self, report: Path | None = None) -> None:
        self.report = report
        self.rejected: list[Rejected] = []

    def examples(self, rows: Iterable[Row], read: Callable[[Row], Example], source: str) -> list[Example]:
        """Good rows as examples, in order; bad ones are collected and reported.

        A row is bad if `read` raises `BadRow`, its page is missing or broken, or its question id was used before.
        Pages with one name become one object. Raises `DocvlmError` if nothing is left or more rows are bad than good.
        """
        good: list[Example] = []
        bad: list[Rejected] = []
        ids: dict[str, str] = {}
        pages = _Pages()
        for row in rows:
            question_id = str(row.values.get("question_id", row.values.get("questionId", "")))
            try:
                if row.fault:
                    raise BadRow(row.fault)
                example = read(row)
                question_id = example.question_id
                if question_id in ids:
                    raise BadRow(f"question id {question_id!r} was used before, in {ids[question_id]}")
                good.append(replace(example, pages=tuple(pages.checked(page) for page in example.pages)))
                ids[question_id] = row.where
            except BadRow as reason:
                bad.append(Rejected(row.where, question_id, str(reason)))
        self._settle(good, bad, source)
        return good

    def _settle(self, good: list[Example], bad: list[Rejected], source: str) -> None:
        if not good and not bad:
            raise DocvlmError(f"{source}: no questions in it; check that it is the file you mean")
        if bad:
            self.rejected.extend(entry for entry in bad if entry not in self.rejected)
            self._write()
            first = f"first: {bad[0].where}: {bad[0].reason}"
            listed = f" (all in {self.report})" if self.report else ""
            if len(bad) > len(good):
                raise DocvlmError(f"{source}: {len(bad)} of {len(good) + len(bad)} rows are bad; {first}{listed}")
            log.warning("quarantined %d of %d rows of %s; %s%s", len(bad), len(good) + len(bad), source, first, listed)

    def _write(self) -> None:
        """Replace the report in one step, so that a reader or a second process never sees half of it."""
        if self.report is None:
            return
        part = self.report.with_name(f"{self.report.name}.{os.getpid()}.part")
        try:
            self.report.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in self.rejected)
            part.write_text("".join(lines), encoding="utf-8", errors=ESCAPED)
            part.replace(self.report)
        except OSError as error:
            raise Unwritable(f"cannot write the quarantine report {self.report} {why(error)}") from error
        finally:
            discard(part)


class _Pages:
    """Each page checked once; afterwards it knows its size, or why it is bad."""

    def __init__(self) -> None:
        self.known: dict[str, StoredPage | str] = {}

    def checked(self, page: Page) -> StoredPage:
        if not isinstance(page, (FilePage, ArrowPage)):
            raise TypeError(f"only stored pages can be checked, not {type(page).__name__}")
        if page.name not in self.known:
            try:
                self.known[page.name] = replace(page, size=check(page))
            except DocvlmError as error:
                self.known[page.name] = str(error)
        known = self.known[page.name]
        if isinstance(known, str):
            raise BadRow(known)
        return known
