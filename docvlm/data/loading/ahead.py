"""Row groups of streamed pages, fetched before training needs them: a step does not wait for the network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from types import TracebackType

from docvlm.data.streaming.page import StreamedPage
from docvlm.errors import DocvlmError

log = logging.getLogger(__name__)
Need = tuple[int, StreamedPage]
"""A step, and a page of a row group that is needed in it for the first time."""


class Ahead(threading.Thread):
    """Fetches the row groups of `needs` in their order, at most `limit` bytes of them before their step is reached.

    What it cannot fetch it leaves to the step that needs it, which says what is wrong.
    """

    def __init__(self, needs: Sequence[Need], limit: int) -> None:
        super().__init__(name="docvlm-ahead", daemon=True)
        self._needs, self._limit = list(needs), limit
        self._step = self._done = 0  # the step that is reached; how many of the row groups are dealt with
        self._changed = threading.Condition()
        self._stopped = False

    def __enter__(self) -> Ahead:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def reach(self, step: int) -> None:
        """Say which step comes next."""
        with self._changed:
            self._step = step
            self._changed.notify_all()

    def run(self) -> None:
        """Fetch until all are here, something fails, or the epoch ends."""
        for step, page in self._needs:
            with self._changed:
                self._changed.wait_for(lambda page=page: self._stopped or self._may(page))  # type: ignore[misc]
                if self._stopped:
                    return
            try:
                if step >= self._step:
                    page.shard.ensure(page.group)
            except DocvlmError as error:
                log.warning("%s (while reading ahead)", error)
                return
            self._done += 1

    def _may(self, page: StreamedPage) -> bool:
        ahead = (one for step, one in self._needs[: self._done] if step > self._step)
        held = sum(one.shard.sizes[one.group] for one in ahead)
        return not held or held + page.shard.sizes[page.group] <= self._limit
