"""`predictions.jsonl`: one line a question, appended while a model answers and read by everything that scores.

The file can be resumed: a process killed in the middle of a line leaves a torn last line, which reading skips (with a
warning) and appending cuts off. Any other damage of docvlm's own file is an error with file and line. Predictions of
other tools are read too (`given`): `answer` beside `answers`, an `image` in place of a document id (with or without the
folders of whatever system wrote it), ids that are numbers, CSV. Their bad lines are quarantined by the rules of own
pages, and a line that stands there again is counted once; both are said.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path, PureWindowsPath

from docvlm.data.benchmarks import BENCHMARKS
from docvlm.data.lines import Line, contents, objects, shown
from docvlm.data.lines import records as csv_records
from docvlm.data.rows import BadRow, Values, characters, missing, page_numbers
from docvlm.data.sources.quarantine import Quarantine, Rejected
from docvlm.errors import DocvlmError
from docvlm.files import GrowingFile, write_whole
from docvlm.writing import escaped, written

log = logging.getLogger(__name__)

Key = tuple[str, str]
LONGEST_NAME = 1024  # characters


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered to one question, with what is needed to score it and to group the scores.

    `latency_s` is the wall time of its batch divided by the questions in it, None where it was not measured.
    `truncated` says that `max_new_tokens` cut the answer. `confidence` is the mean probability of its tokens, not
    calibrated, None where nobody says. `n_pages` is how many pages the document has, 0 where that is
    not known; `answer_pages` are those that hold the answer, `shown` those that were shown where they were not all, and
    `page` is the one it was read from; all counted from 1, empty or None where nobody says. `language` is that of the
    question (ISO 639-1). `content` stands for question, answers and pages as they were when it was asked, "" where
    that is not known.
    """

    question_id: str
    document: str
    benchmark: str
    document_type: str
    question_types: tuple[str, ...]
    question: str
    prediction: str
    answers: tuple[str, ...]
    scores: dict[str, float] = field(default_factory=dict)
    latency_s: float | None = None
    truncated: bool = False
    confidence: float | None = None
    n_pages: int = 0
    answer_pages: tuple[int, ...] = ()
    page: int | None = None
    shown: tuple[int, ...] = ()
    language: str = ""
    content: str = ""

    @property
    def key(self) -> Key:
        """What identifies a question: ids of two benchmarks may collide."""
        return (self.benchmark, self.question_id)


def read(path: Path) -> list[Prediction]:
    """All predictions of a file that docvlm wrote, in its order.

    Raises `DocvlmError` naming file and line for text that is not UTF-8 or not JSON, a missing column, a value that is
    no text, an empty list of answers, or a question that occurs twice. A torn last line is skipped with a warning.
    """
    records, torn = _parse(path)
    if torn:
        log.warning("%s: the last line is torn (a writer was interrupted) and was skipped", path)
    if not records:
        raise DocvlmError(f"{path}: holds no predictions; is it the right file?")
    return records


def given(path: Path) -> tuple[list[Prediction], Quarantine]:
    """The predictions of anybody's file, JSON lines or CSV, and what became of its other lines.

    Lines that are equal in page, question, accepted answers and prediction are one, except under the name of a public
    benchmark: the test split of one asks ten questions twice. Raises `DocvlmError` if more lines are bad than good, and
    for one question with two predictions, since nobody can tell which is meant.
    """
    quarantine = Quarantine()
    seen: dict[object, tuple[str, Prediction]] = {}
    records: list[Prediction] = []
    bad: list[Rejected] = []
    merged: list[str] = []
    unnamed: Counter[str] = Counter()
    for line in rows(path):
        try:
            record = _record(line, unnamed)
        except BadRow as reason:
            bad.append(Rejected(line.where, _id(line.values), str(reason), reason.kind))
            continue
        names = (record.key,) if _published(record.benchmark) else (record.key, _content(record, line.values))
        where, earlier = next((seen[one] for one in names if one in seen), ("", None))
        if earlier is None:
            records.append(record)
            seen |= dict.fromkeys(names, (line.where, record))
        elif _said(record) == _said(earlier):
            merged.append(f"{line.where} repeats {where}")
        else:
            raise DocvlmError(
                f"{line.where}: the question of {where} again, with another prediction or other answers; a question"
                " counts once: remove one of the two lines"
            )
    quarantine.settle(len(records), bad, str(path), merged)
    return records, quarantine


@lru_cache
def _published(benchmark: str) -> bool:
    """Whether a publisher numbers its questions."""
    return benchmark in BENCHMARKS and BENCHMARKS[benchmark].published


class PredictionLog:
    """An open `predictions.jsonl` to append to: knows what is already answered, writes each question once.

    Use as a context manager. Opening cuts off a torn last line. `write` ends on the disk, so that a killed run
    loses at most the batch in work.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        records, torn = _parse(path) if path.exists() else ([], 0)
        if torn:
            log.warning("%s: cut off a torn last line of %d bytes; its question is asked again", path, torn)
            with written(path):
                os.truncate(path, path.stat().st_size - torn)
        self.records = records
        self._done = {record.key for record in records}
        self._file = GrowingFile(path)
        if records and not torn and not path.read_bytes().endswith(b"\n"):
            self._file.append("\n")

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __contains__(self, key: Key) -> bool:
        return key in self._done

    def write(self, records: Iterable[Prediction]) -> int:
        """Append the records whose question is not in the file yet; how many that were."""
        new: dict[Key, Prediction] = {}
        for record in records:
            if record.key not in self._done:
                new.setdefault(record.key, record)
        self._file.append("".join(map(_line, new.values())))
        self._done.update(new)
        self.records.extend(new.values())
        return len(new)


def append(path: Path, records: Iterable[Prediction]) -> int:
    """Append to a file in one go, see `PredictionLog`; how many records were new."""
    with PredictionLog(path) as file:
        return file.write(records)


def keep(path: Path, contents: Mapping[Key, str]) -> tuple[int, int]:
    """Leave only the answers to questions that still are what `contents` says; how many stay, and how many went."""
    if not path.exists():
        return 0, 0
    records, torn = _parse(path)
    kept = [record for record in records if record.key in contents and contents[record.key] == record.content]
    if len(kept) < len(records) or torn:
        text = "".join(_line(record) for record in kept)
        write_whole(path, lambda file: file.write(text))
    return len(kept), len(records) - len(kept)


def _line(record: Prediction) -> str:
    return json.dumps(asdict(record), ensure_ascii=False) + "\n"


def document_of(image: str) -> str:
    """A page's name without the folders of the system that wrote it: `data\\x\\p_1.png` and `p_1.png` are one page.

    An image that stands in the line itself is called after its content.
    """
    if image[:5].lower() == "data:" or len(image) > LONGEST_NAME:
        return hashlib.blake2b(image.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return PureWindowsPath(image).name  # a Windows path also splits at "/"


def rows(path: Path) -> Iterator[Line]:
    """The lines of a predictions file, each with its place as "file:line"."""
    raw = contents(path)
    return csv_records(raw, path) if path.suffix.lower() == ".csv" else objects(raw, str(path), ":")


def _parse(path: Path) -> tuple[list[Prediction], int]:
    """The predictions, and the size in bytes of a torn last line (0 if there is none)."""
    records: list[Prediction] = []
    places: dict[Key, str] = {}
    unnamed: Counter[str] = Counter()
    for line in rows(path):
        if line.torn:
            return records, line.torn
        try:
            record = _record(line, unnamed, whole=False)
        except BadRow as reason:
            raise DocvlmError(f"{line.where}: {reason}; mend or remove the line") from reason
        if record.key in places:
            raise DocvlmError(
                f"{line.where}: question_id {record.question_id!r} is also at {places[record.key]}; "
                "a question counts once: remove one of the two lines"
            )
        places[record.key] = line.where
        records.append(record)
    return records, 0


def _record(line: Line, unnamed: Counter[str], *, whole: bool = True) -> Prediction:
    """A line as a prediction. Raises `BadRow`. `whole`: documents may not be named by half a surrogate pair."""
    if line.fault:
        raise BadRow(line.fault, line.fault.split(":")[0].split(" (")[0])
    row = line.values
    images = _images(row)
    question = _text(row, "question") or ""
    document = _text(row, "document", "doc_id", "docId", whole=whole) or (document_of(images[0]) if images else "")
    question_id = _text(row, "question_id", "questionId", whole=whole) or ""
    if question_id in ("", "-1"):  # some published annotations have -1 everywhere
        question_id = _derived_id(document, question, unnamed)
    answers = _texts(row, "answers", "answer")
    if not answers:
        raise BadRow("no 'answers' or 'answer'; a question needs at least one accepted answer", "no answers")
    if not all(answer.strip() for answer in answers):
        raise BadRow("'answers' holds an empty answer; a question's accepted answers are texts", "an empty answer")
    prediction = _text(row, "prediction")
    if prediction is None:
        why = "is null" if "prediction" in row else f"is no column; it has {', '.join(map(repr, row))}"
        raise BadRow(f"'prediction' {why}", "no prediction")
    return Prediction(
        question_id=question_id,
        document=document or question_id,
        benchmark=_text(row, "benchmark") or "",
        document_type=", ".join(_texts(row, "document_type", "doc_type")),
        question_types=_texts(row, "question_types", "type"),
        question=question,
        prediction=prediction,
        answers=answers,
        scores=_scores(row),
        latency_s=_number(row, "latency_s"),
        truncated=(_text(row, "truncated") or "").lower() == "true",
        confidence=_number(row, "confidence"),
        n_pages=_whole(row, "n_pages") or len(images),
        answer_pages=tuple(page_numbers(row["answer_pages"])) if "answer_pages" in row else (),
        page=_whole(row, "page", least=1),
        shown=page_numbers(row["shown"], "shown") if "shown" in row else (),
        language=_text(row, "language") or "",
        content=_text(row, "content") or "",
    )


def _text(row: Values, *names: str, whole: bool = True) -> str | None:
    """A value's characters, outer white space included; None where no column has one."""
    for name in names:
        if name in row and not missing(row[name]):
            return characters(name, row[name], whole=whole)
    return None


def _texts(row: Values, *names: str) -> tuple[str, ...]:
    """A list of texts, or one text standing for a list of one; empty where no column has any."""
    name = next((name for name in names if name in row and not missing(row[name])), None)
    if name is None:
        return ()
    items = row[name] if isinstance(row[name], list) else [row[name]]
    return tuple(characters(name, item) for item in items)


def _images(row: Values) -> tuple[str, ...]:
    """Names of pages, with an escape for what no encoding has: a file's name need not be UTF-8."""
    given = row["image"] if "image" in row and not missing(row["image"]) else ()
    items = given if isinstance(given, list | tuple) else [given]
    return tuple(escaped(str(item)) for item in items)


def _number(row: Values, name: str) -> float | None:
    found = _text(row, name)
    if not found:
        return None
    try:
        value = float(found)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadRow(f"{shown(name)[1:-1]} is {shown(found)}, expected a number", f"{name} is no number")
    return value


def _whole(row: Values, name: str, least: int = 0) -> int | None:
    """A number of pages, or of a page. Raises `BadRow` for anything else."""
    found = _number(row, name)
    if found is None:
        return None
    if found < least or found % 1:
        wanted = f"a whole number from {least} on"
        raise BadRow(f"{name} is {shown(row[name])}, expected {wanted}", f"{name} is no whole number")
    return int(found)


def _derived_id(document: str, question: str, unnamed: Counter[str]) -> str:
    """Page and question stand for a missing id; the same question asked twice of a page is numbered."""
    if not (document and question):
        raise BadRow("no 'question_id', and no 'image' with 'question' to stand for it; add one", "no question_id")
    name = f"{document}: {question}"
    unnamed[name] += 1
    return name if unnamed[name] == 1 else f"{name} #{unnamed[name]}"


def _scores(row: Values) -> dict[str, float]:
    scores = row["scores"] if "scores" in row and row["scores"] is not None else {}
    if not isinstance(scores, dict):
        raise BadRow(f"scores is {shown(scores)}, expected an object of numbers", "scores is no object")
    return {name: value for name in scores if (value := _number(scores, name)) is not None}


def _id(row: Values) -> str:
    found = next((row[name] for name in ("question_id", "questionId") if name in row), "")
    return str(found)


def _content(record: Prediction, row: Values) -> object:
    """What makes two lines one question: page, question and accepted answers; the id where those are not there."""
    images = _images(row) or (record.document,)
    return (record.benchmark, images, record.question, record.answers) if record.question else record.key


def _said(record: Prediction) -> tuple[object, ...]:
    """What a line says of its question."""
    return record.question, record.answers, record.prediction
