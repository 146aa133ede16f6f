"""Many questions: answered document by document, handed out in the order in which they were asked, and counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from docvlm.serving.answers import Answer
    from docvlm.serving.reader import Reader
    from docvlm.serving.sources import Task


class Batch:
    """The answers to `tasks` as an iterator of (task, answer), and what to say about them afterwards.

    Tasks about the same pages share one reading of them, wherever in the list they stand; an answer waits until those
    asked before it are out. `progress` is a terminal that wants to see how far it is.
    """

    def __init__(
        self, reader: Reader, tasks: Sequence[Task], max_new_tokens: int | None, progress: TextIO | None = None
    ) -> None:
        self.reader, self.tasks, self.max_new_tokens, self.progress = reader, tasks, max_new_tokens, progress
        self._documents: dict[object, list[int]] = {}
        for number, task in enumerate(tasks):
            self._documents.setdefault(task.pages, []).append(number)
        self._cut = 0
        self._seconds = 0.0

    def __iter__(self) -> Iterator[tuple[Task, Answer]]:
        waiting: dict[int, Answer] = {}
        out = 0
        for document, numbers in enumerate(self._documents.values(), 1):
            waiting |= self._answer(numbers)
            while out in waiting:
                yield self.tasks[out], waiting.pop(out)
                out += 1
            if self.progress is not None:
                end = "\n" if document == len(self._documents) else ""
                print(f"\rdocument {document} of {len(self._documents)}", end=end, file=self.progress, flush=True)

    def _answer(self, numbers: Sequence[int]) -> dict[int, Answer]:
        asked = [self.tasks[number].question for number in numbers]
        began = time.perf_counter()
        found = self.reader.ask(self.tasks[numbers[0]].pages, asked, max_new_tokens=self.max_new_tokens)
        self._seconds += time.perf_counter() - began
        self._cut += sum(answer.truncated for answer in found)
        return dict(zip(numbers, found, strict=True))

    def summary(self) -> list[str]:
        """Lines on how long it took, and how many answers were cut."""
        count, device = len(self.tasks), self.reader.vlm.device.type
        line = f"latency {self._seconds / count:.3f} s on {device}"
        if count > 1:
            documents = f"{len(self._documents)} document{'s' * (len(self._documents) > 1)}"
            line = f"{line}, a mean over {count} questions about {documents}, {self._seconds:.3f} s in all"
        if not self._cut:
            return [line]
        what = "the answer was" if count == 1 else f"{self._cut} of {count} answers were"
        return [line, f"{what} cut by --max-new-tokens; give more"]
