"""Many questions: answered document by document, handed out in the order in which they were asked, and counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from docvlm.serving.reader import TOGETHER

if TYPE_CHECKING:
    from docvlm.serving.answers import Answer
    from docvlm.serving.kept import Kept
    from docvlm.serving.reader import Reader
    from docvlm.serving.sources import Task


class Batch:
    """The answers to `tasks` as an iterator of (task, answer), and what to say about them afterwards.

    Tasks about the same pages share one reading of them, wherever in the list they stand, in groups of at most
    `TOGETHER`; an answer waits until those asked before it are out. `progress` is a terminal that wants to see how far
    it is. With `kept` set, a group that is answered there is not asked again, and every other is put there.
    """

    def __init__(
        self, reader: Reader, tasks: Sequence[Task], max_new_tokens: int | None, progress: TextIO | None = None
    ) -> None:
        self.reader, self.tasks, self.max_new_tokens, self.progress = reader, tasks, max_new_tokens, progress
        self.kept: Kept | None = None
        documents: dict[object, list[int]] = {}
        for number, task in enumerate(tasks):
            documents.setdefault(task.pages, []).append(number)
        self._places = [
            numbers[start : start + TOGETHER]
            for numbers in documents.values()
            for start in range(0, len(numbers), TOGETHER)
        ]
        self._cut = self._asked = 0
        self._page: int | None = None  # that the last answer was read from, where it was one
        self._documents: set[object] = set()  # that were read
        self._seconds = 0.0

    @property
    def groups(self) -> list[list[Task]]:
        """The tasks that are read together, in the order in which they are."""
        return [[self.tasks[number] for number in numbers] for numbers in self._places]

    def __iter__(self) -> Iterator[tuple[Task, Answer]]:
        waiting: dict[int, Answer] = {}
        out = 0
        for place, numbers in enumerate(self._places):
            waiting |= zip(numbers, self._answers(place, numbers), strict=True)
            while out in waiting:
                yield self.tasks[out], waiting.pop(out)
                out += 1
            if self.progress is not None:
                end = "\n" if out == len(self.tasks) else ""
                print(f"\r{out} of {len(self.tasks)} questions", end=end, file=self.progress, flush=True)

    def _answers(self, place: int, numbers: Sequence[int]) -> list[Answer]:
        known = None if self.kept is None or place not in self.kept.known else self.kept.known[place]
        found = self._ask(numbers) if known is None else known
        if self.kept is not None and known is None:
            self.kept.add(place, found)
        self._page = found[-1].page
        self._cut += sum(answer.truncated for answer in found)
        return found

    def _ask(self, numbers: Sequence[int]) -> list[Answer]:
        pages = self.tasks[numbers[0]].pages
        began = time.perf_counter()
        found = self.reader.ask(
            pages, [self.tasks[number].question for number in numbers], max_new_tokens=self.max_new_tokens
        )
        self._seconds += time.perf_counter() - began
        self._asked += len(found)
        self._documents.add(pages)
        return found

    def summary(self) -> list[str]:
        """Lines on the page of a lone answer, how long it took, and how many answers were cut."""
        return [*self._where(), self._latency(), *self._shortened()]

    def _where(self) -> list[str]:
        if self._page is None or len(self.tasks) > 1 or len(self.tasks[0].pages) == 1:
            return []
        return [
            f"read from page {self._page} of {len(self.tasks[0].pages)}: {self.tasks[0].pages[self._page - 1].name}"
        ]

    def _latency(self) -> str:
        if not self._asked:
            return "nothing was left to ask"
        line = f"latency {self._seconds / self._asked:.3f} s on {self.reader.vlm.device.type}"
        if self._asked == 1:
            return line
        documents = f"{len(self._documents)} document{'s' * (len(self._documents) > 1)}"
        return f"{line}, a mean over {self._asked} questions about {documents}, {self._seconds:.3f} s in all"

    def _shortened(self) -> list[str]:
        if not self._cut:
            return []
        what = "the answer was" if len(self.tasks) == 1 else f"{self._cut} of {len(self.tasks)} answers were"
        return [f"{what} cut by --max-new-tokens; give more"]
