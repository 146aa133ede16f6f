"""Answers of a command that may break off: kept beside its output as they come, and found by the same command again.

`<output>.part` is JSON lines, a line an answer, with the columns of `--format jsonl` and `asked`, which stands for what
gave the answer: the model, and the pages and questions that were read together. So answers of another model, to other
questions, or about a page that has been replaced are never taken for those of this command, and the same command asks
only what is missing. The output is written from here once nothing is: it is whole, or that of an earlier command. What
a killed process left of a last line is cut off.
"""

from __future__ import annotations

import fcntl
import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm import locks
from docvlm.data.lines import contents, dumps, objects
from docvlm.data.page_ids import STORED
from docvlm.data.pages import digest
from docvlm.data.pdf import PdfPage
from docvlm.data.rows import Values
from docvlm.errors import DocvlmError
from docvlm.files import GrowingFile
from docvlm.serving.answers import Answer
from docvlm.serving.writers import asked, row
from docvlm.version import __version__
from docvlm.writing import discard

if TYPE_CHECKING:
    from docvlm.data.example import Page
    from docvlm.serving.reader import Reader
    from docvlm.serving.sources import Task

ASKED = "asked"


class Kept:
    """The answers there are, in `path`, and those that come.

    `groups` are the tasks that are read together, `known` the answers to those of them that are all there, by the
    group's place among them; `count` is how many tasks of the command are answered.
    """

    def __init__(self, path: Path, model: str, groups: Sequence[Sequence[Task]]) -> None:
        self.path, self.model, self.groups = path, model, groups
        self.known: dict[int, list[Answer]] = {}
        self.count = 0
        self._mine = False
        locks.check(path.parent)
        self._file = GrowingFile(path)
        self._files: dict[str, str] = {}  # path of a PDF → its content

    def open(self) -> None:
        """Take the file and find what it knows.

        Raises `DocvlmError` where another process has it, or it holds answers of another command only.
        """
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DocvlmError(f"{self.path}: another process is answering into it; wait for it, or end it") from error
        self._mine = True
        lines = self._read()
        questions = {_question(line) for part in lines.values() for line in part}
        for place, group in enumerate(self.groups):
            if _question(asked(group[0])) in questions:  # of others no page is read
                found = lines.get(self._name(group), [])[: len(group)]
                if [line["question"] for line in found] == [task.question for task in group]:
                    self.known[place] = [_answer(*pair) for pair in zip(group, found, strict=True)]
                    self.count += len(group)
        if lines and not self.known:
            models = {name.partition("-")[0] for name in lines}
            whose = "to other questions or about other pages" if self.model in models else "of another model"
            raise DocvlmError(
                f"{self.path}: {sum(map(len, lines.values()))} answers {whose}, of a command that did not end; give"
                " that command again, delete the file, or give another --output"
            )

    def add(self, place: int, answers: Sequence[Answer]) -> None:
        """Put the answers to the group at a place on the disk."""
        group = self.groups[place]
        name = {ASKED: self._name(group)}
        lines = [{**row(task, answer), **name} for task, answer in zip(group, answers, strict=True)]
        self._file.append("".join(dumps(line) + "\n" for line in lines))
        self.count += len(lines)

    def close(self, *, done: bool) -> None:
        """Let go of the file, which goes where its answers are in the output, or where it has none."""
        if self._mine and (done or not self._file.size()):
            discard(self.path)
        self._file.close()

    def _read(self) -> dict[str, list[Values]]:
        found: dict[str, list[Values]] = {}
        for line in objects(contents(self.path), str(self.path), ":"):
            if line.torn:
                self._file.cut(line.torn)
                return found
            if line.fault or ASKED not in line.values:
                raise DocvlmError(f"{line.where}: {line.fault or f'no {ASKED!r} in it'}; delete the file, or mend it")
            found.setdefault(str(line.values[ASKED]), []).append(line.values)
        if found and not self.path.read_bytes().endswith(b"\n"):
            self._file.append("\n")
        return found

    def _name(self, group: Sequence[Task]) -> str:
        pages = [(page.name, self._content(page)) for page in group[0].pages]
        said = repr((pages, [task.question for task in group]))
        return f"{self.model}-{hashlib.blake2b(said.encode(), digest_size=12).hexdigest()}"

    def _content(self, page: Page) -> str:
        """A hash of a page as it is stored, or of its pixels where it is not."""
        if isinstance(page, PdfPage):
            if page.path not in self._files:
                with page.stream() as stream:
                    self._files[page.path] = _hash(stream.read())
            return self._files[page.path]
        return digest(page) if isinstance(page, STORED) else _hash(page.open().tobytes())


@contextmanager
def kept(output: Path, model: str, groups: Sequence[Sequence[Task]]) -> Iterator[Kept]:
    """The answers of a command that writes `output`; how many are there is said at the start, and where it breaks off.

    `model` stands for what answers (`name_of`).
    """
    found = Kept(output.with_name(f"{output.name}.part"), model, groups)
    total, done, said = sum(map(len, groups)), False, False
    try:
        found.open()
        if found.known:
            print(f"{found.count} of {total} answers are there already, in {found.path}", file=sys.stderr)
        yield found
        done = True
    except DocvlmError as error:
        said = True
        if not found.count:
            raise
        raise DocvlmError(f"{error}; {_left(found, total)}") from error
    finally:
        if found.count and not (done or said):  # Ctrl-C, or an error of docvlm itself: either way they are not lost
            print(_left(found, total), file=sys.stderr)
        found.close(done=done)


def name_of(reader: Reader, weights: Path | None, max_new_tokens: int | None) -> str:
    """8 hex digits of all that decides an answer but page and question; `weights`: the folder of what was learned."""
    from docvlm.evaluation.subjects import contents as weights_in
    from docvlm.vlms.checkpoint import fingerprint

    vlm, phrase = reader.vlm, reader.benchmark
    longest = phrase.max_new_tokens if max_new_tokens is None else max_new_tokens
    how: tuple[object, ...] = (vlm.family, vlm.codec.budget, str(vlm.dtype), vlm.quant, vlm.codec.prompt)
    how += (phrase.instruction, longest, reader.reading)
    found = hashlib.sha256(repr((__version__, how, fingerprint(vlm.checkpoint))).encode())
    if weights is not None:
        for chunk in weights_in(weights):
            found.update(chunk)
    return found.hexdigest()[:8]


def _left(found: Kept, total: int) -> str:
    return f"{found.count} of {total} answers are kept in {found.path}, and the same command goes on from there"


def _question(line: Values) -> str:
    return dumps([line["image"], line["question"]]) if {"image", "question"} <= line.keys() else ""


def _answer(task: Task, line: Values) -> Answer:
    return Answer(
        str(line["prediction"]),
        task.question,
        tuple(page.name for page in task.pages),
        float(line["confidence"]),
        int(line["tokens"]),
        line["truncated"] is True,
        float(line["latency_s"]),
        int(line["page"]) if "page" in line else None,
    )


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
