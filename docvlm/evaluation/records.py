"""`predictions.jsonl`: one line a question, appended while a model answers and read by everything that scores.

The file can be resumed: a process killed in the middle of a line leaves a torn last line, which reading skips (with a
warning) and appending cuts off. Any other damage is an error with file and line, because a dropped line would change a
score without a word. Predictions of other tools are read too: `answer` beside `answers`, an `image` in place of a
document id (with or without the folders of whatever system wrote it), numeric ids.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PureWindowsPath

from docvlm.errors import DocvlmError
from docvlm.evaluation.rows import Row, TornLine, identifier, number, rows, text, texts
from docvlm.training.files import GrowingFile, write_whole
from docvlm.writing import written

log = logging.getLogger(__name__)

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered to one question, with what is needed to score it and to group the scores.

    `latency_s` is the wall time of its batch divided by the questions in it, None where it was not measured.
    `truncated` says that `max_new_tokens` cut the answer. `content` stands for question, answers and pages as they were
    when it was asked, "" where that is not known.
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
    content: str = ""

    @property
    def key(self) -> Key:
        """What identifies a question: ids of two benchmarks may collide."""
        return (self.benchmark, self.question_id)


def read(path: Path) -> list[Prediction]:
    """All predictions of a file, in its order.

    Raises `DocvlmError` naming file and line for text that is not UTF-8 or not JSON, NaN, a missing column, a
    wrong type, an empty list of answers, or a question that occurs twice. A torn last line is skipped with a warning.
    """
    records, torn = _parse(path)
    if torn:
        log.warning("%s: the last line is torn (a writer was interrupted) and was skipped", path)
    if not records:
        raise DocvlmError(f"{path}: holds no predictions; is it the right file?")
    return records


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
    """A page's name without the folders of the system that wrote it: `data\\x\\p_1.png` and `p_1.png` are one page."""
    return PureWindowsPath(image).name  # a Windows path also splits at "/"


def _parse(path: Path) -> tuple[list[Prediction], int]:
    """The predictions, and the size in bytes of a torn last line (0 if there is none)."""
    records: list[Prediction] = []
    places: dict[Key, str] = {}
    unnamed: Counter[str] = Counter()
    try:
        for where, row in rows(path):
            record = _record(row, where, unnamed)
            if record.key in places:
                raise DocvlmError(
                    f"{where}: question_id {record.question_id!r} is also at {places[record.key]}; "
                    "a question counts once: remove one of the two lines"
                )
            places[record.key] = where
            records.append(record)
    except TornLine as torn:
        return records, torn.size
    return records, 0


def _record(row: Row, where: str, unnamed: Counter[str]) -> Prediction:
    question = text(row, ("question",), where, default="")
    images = texts(row, ("image",), where, default=())
    document = identifier(row, ("document", "doc_id", "docId"), where) or (document_of(images[0]) if images else "")
    question_id = identifier(row, ("question_id", "questionId"), where)
    if question_id in ("", "-1"):  # ChartQA's published annotations have -1 everywhere
        question_id = _derived_id(document, question, where, unnamed)
    answers = texts(row, ("answers", "answer"), where)
    if not answers:
        raise DocvlmError(f"{where}: 'answers' is empty; a question needs at least one accepted answer")
    return Prediction(
        question_id=question_id,
        document=document or question_id,
        benchmark=text(row, ("benchmark",), where, default=""),
        document_type=text(row, ("document_type", "doc_type"), where, default=""),
        question_types=texts(row, ("question_types", "type"), where, default=()),
        question=question,
        prediction=text(row, ("prediction",), where),
        answers=answers,
        scores=_scores(row, where),
        latency_s=number(row, "latency_s", where),
        truncated=row["truncated"] is True if "truncated" in row else False,
        content=text(row, ("content",), where, default=""),
    )


def _derived_id(document: str, question: str, where: str, unnamed: Counter[str]) -> str:
    """Page and question stand for a missing id; the same question asked twice of a page is numbered."""
    if not (document and question):
        raise DocvlmError(f"{where}: no 'question_id', and no 'image' with 'question' to stand for it; add one")
    name = f"{document}: {question}"
    unnamed[name] += 1
    return name if unnamed[name] == 1 else f"{name} #{unnamed[name]}"


def _scores(row: Row, where: str) -> dict[str, float]:
    scores = row["scores"] if "scores" in row else {}
    if not isinstance(scores, dict):
        raise DocvlmError(f"{where}: 'scores' is {scores!r}, expected an object of numbers")
    return {name: value for name in scores if (value := number(scores, name, where)) is not None}
