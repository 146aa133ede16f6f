"""Answers as text, JSON lines or CSV: to standard output as they come, or to a file once all of them are there.

JSON lines and CSV have the columns that `docvlm.evaluate predictions=FILE` reads (`prediction`, and `answers` where the
questions came with them), so what was answered here can be scored there.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from docvlm.data.lines import cell, dumps
from docvlm.errors import DocvlmError
from docvlm.files import write_whole
from docvlm.serving.answers import Answer
from docvlm.serving.sources import Task

FORMATS = ("text", "jsonl", "csv")
_OF_SUFFIX = {".jsonl": "jsonl", ".csv": "csv", ".txt": "text"}

Answered = tuple[Task, Answer]


def form(named: str | None, output: Path | None) -> str:
    """The format to write: the one named, else the output's suffix, else text. Raises `DocvlmError` if unclear."""
    if named is not None or output is None:
        return named or "text"
    if output.suffix not in _OF_SUFFIX:
        raise DocvlmError(f"--output {output}: end it in {', '.join(_OF_SUFFIX)}, or say --format")
    return _OF_SUFFIX[output.suffix]


def check_output(output: Path, inputs: Sequence[str]) -> None:
    """Refuse a place that cannot be written, before anything is answered."""
    if output.is_dir():
        raise DocvlmError(f"--output {output}: a folder; give a file in it")
    if output.exists() and not output.is_file():  # /dev/stdout, say, which a rename would take away from everybody
        raise DocvlmError(f"--output {output}: not a file; leave --output out to write to standard output")
    if not output.parent.is_dir():
        raise DocvlmError(f"--output {output}: there is no folder {output.parent}; make it first")
    if any(output.resolve() == Path(name).resolve() for name in inputs):
        raise DocvlmError(f"--output {output}: that is the input; give another file")


def write(answered: Iterable[Answered], tasks: Sequence[Task], form: str, stream: TextIO) -> None:
    """Write answers in the order in which they come, each flushed; `tasks` are all that will be answered."""
    if form == "text":
        _text(answered, tasks, stream)
    elif form == "jsonl":
        for task, answer in answered:
            print(_encodable(dumps(row(task, answer)), stream), file=stream, flush=True)
    else:
        _csv(answered, tasks, stream)


def write_file(answered: Iterable[Answered], tasks: Sequence[Task], form: str, output: Path) -> None:
    """As `write`, to a file that takes its place once all answers are in it (till then see `docvlm.serving.kept`)."""
    write_whole(output, lambda stream: write(answered, tasks, form, stream))


def row(task: Task, answer: Answer) -> dict[str, Any]:
    """Columns of an answer: those of its line in the input, then what was answered."""
    return {**asked(task), "prediction": answer.text, **answer.measured}


def asked(task: Task) -> dict[str, Any]:
    """The columns that say what was asked."""
    names = [page.name for page in task.pages]
    return {"image": names if len(names) > 1 else names[0], "question": task.question, **task.columns}


GIVEN = ("prediction", "confidence", "tokens", "truncated", "latency_s", "page")


def _encodable(text: str, stream: TextIO) -> str:
    """JSON with its own escapes for what the stream's encoding lacks: a stream's `\\U0001f600` is none of JSON's."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return re.sub(r"[^\x00-\x7f]", lambda letter: json.dumps(letter[0])[1:-1], text)
    return text


def _text(answered: Iterable[Answered], tasks: Sequence[Task], stream: TextIO) -> None:
    """One question: its answer. Several: pages, question and answer a line, with tabs between them."""
    for task, answer in answered:
        names = ", ".join(answer.pages)
        cells = (answer.text,) if len(tasks) == 1 else (names, task.question, answer.text)
        print("\t".join(" ".join(cell.split()) for cell in cells), file=stream, flush=True)


def _csv(answered: Iterable[Answered], tasks: Sequence[Task], stream: TextIO) -> None:
    columns = dict.fromkeys(name for task in tasks for name in asked(task)) | dict.fromkeys(GIVEN)
    table = csv.DictWriter(stream, fieldnames=list(columns), restval="", lineterminator="\n")
    quoted = csv.DictWriter(stream, list(columns), restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
    table.writeheader()
    for task, answer in answered:
        cells = {name: cell(name, value) for name, value in row(task, answer).items()}
        returns = any("\r" in each for each in cells.values())  # ends a record unless it is quoted, which csv forgets
        (quoted if returns else table).writerow(cells)
        stream.flush()
