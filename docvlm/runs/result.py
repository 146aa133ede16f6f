"""`result.json`: how a run stands, written at its start and at every end.

`running` with nobody holding the folder's lock means killed. Fields: `status`, `reason` (why it failed), `fingerprint`
(of settings, data and checkpoint), `training` (the same without the rows of val and test), `splits` (a fingerprint of
each), `code` (the version of docvlm's modules), `started`, `ended` and what the caller adds: on finishing the headline
with its interval (test split), the selection score (val split; `by` says whether score or loss chose the epoch,
`val_changed` that rows of val are others since),
the zero-shot row (val split, before training) and the cost. `audit` is there from the start: what
`docvlm.training.leakage.guard` recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from docvlm.config import Job
from docvlm.errors import DocvlmError, Unwritable
from docvlm.files import read_json, write_json
from docvlm.metrics.registry import current_names
from docvlm.runs.identity import Identity
from docvlm.runs.interrupt import Interrupted


class ResultFile:
    """A context that keeps `result.json` true: `running` inside, and afterwards however the block was left.

    An exception is recorded and goes on: nothing is swallowed.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.path = path
        self.head = dict(head)
        self._finished: dict[str, Any] | None = None

    def __enter__(self) -> ResultFile:
        self.head = _running(self.path, self.head)
        return self

    def finish(self, fields: Mapping[str, Any]) -> None:
        """What to write when the block ends without an exception."""
        self._finished = dict(fields)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._finished is not None:
            self._write("finished", None, self._finished)
            return
        stopped = isinstance(error, Interrupted | KeyboardInterrupt | SystemExit)  # the last: Lightning's for Ctrl-C
        status = "interrupted" if stopped else "failed"
        by = str(error) if isinstance(error, Interrupted) and str(error) else "stopped by the user"
        reason = f"{by}; the same command continues" if stopped else describe(error)
        # A full disk that ended the run takes no word of it either: `running` without a lock is continued just so.
        with suppress(Unwritable):
            self._write(status, reason, {})

    def _write(self, status: str, reason: str | None, fields: Mapping[str, Any]) -> None:
        write_json(self.path, {**self.head, **fields, "status": status, "reason": reason, "ended": _now()})


def read(path: Path) -> dict[str, Any]:
    """A `result.json`, with the metrics of older versions under today's names. Raises `DocvlmError` as `read_json`."""
    found = read_json(path)
    found |= {key: current_names(found[key]) for key in ("secondary", "zero_shot", "best") if key in found}
    if "selection" in found:
        found["selection"] = {"by": "score"} | found["selection"]  # older versions knew no other way
    if "benchmarks" in found:
        found["benchmarks"] = {label: current_names(score) for label, score in found["benchmarks"].items()}
    return found


def describe(error: BaseException | None) -> str:
    """One line that says why a run failed."""
    if error is None:
        return "left before it finished"
    text = " ".join(str(error).split())
    return text if isinstance(error, DocvlmError) else f"{type(error).__name__}: {text}"


def announce(path: Path, identity: Identity) -> None:
    """Say at once which run a folder is going to hold, so that no other process begins the same one."""
    _running(path, identity.known)


def _running(path: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """What is written while a run goes on; it began when it was begun first."""
    earlier = read_json(path)["started"] if path.exists() else None
    said = {"status": "running", "reason": None, **head, "started": earlier or _now(), "ended": None}
    write_json(path, said)
    return said


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def record_failure(job: Job, reason: str) -> None:
    """Leave a `result.json` for a job that failed before it had one: its cell of a sweep then says why."""
    path = job.folder / "result.json"
    if job.folder.is_dir() and not path.exists() and not (job.folder / "reused.json").exists():
        now = _now()
        with suppress(Unwritable):  # the reason itself may be a full disk, and it has been printed
            write_json(path, {"status": "failed", "reason": reason, "fingerprint": None, "started": now, "ended": now})
