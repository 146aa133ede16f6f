"""The folder of a run: its files, who is writing them, and which folder a command belongs to.

The same command again finds its own earlier work by fingerprint. A run that is not finished and that nobody writes
(the operating system drops the lock of a killed process) continues in its folder; in a sweep a finished cell is reused.
The folder Hydra made for the new command then holds only `reused.json`, which names the folder to read instead.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from filelock import FileLock, Timeout

from docvlm.config import Job
from docvlm.errors import DocvlmError
from docvlm.training.files import read_json, write_json

POINTER = "reused.json"
_BEFORE_A_RUN = {".hydra", "quarantine.jsonl"}  # what a folder holds before it is decided whose run it is


class Action(Enum):
    """What a command does in the folder it belongs to."""

    START = "start"
    CONTINUE = "continue"
    REUSE = "reuse"


@dataclass(frozen=True)
class RunFolder:
    """Where each file of a run lies (`docs`: the design's "what a run leaves")."""

    root: Path

    @property
    def manifest(self) -> Path:
        """Everything that decided the run."""
        return self.root / "manifest.json"

    @property
    def result(self) -> Path:
        """Status, headline and cost."""
        return self.root / "result.json"

    @property
    def epochs(self) -> Path:
        """One row an epoch, row 0 before training."""
        return self.root / "epochs.csv"

    @property
    def predictions(self) -> Path:
        """One line a question of the test split."""
        return self.root / "predictions.jsonl"

    @property
    def last(self) -> Path:
        """The checkpoint a killed run continues from."""
        return self.root / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The weights the run reports, in PEFT or Transformers format."""
        return self.root / "checkpoints" / "best"

    def lock(self) -> FileLock:
        """Take the folder for this process. Raises `filelock.Timeout` while another live process holds it."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / ".lock", timeout=0)
        lock.acquire()
        return lock

    def clear(self) -> None:
        """Forget an earlier run in this folder; Hydra's record of the command stays."""
        for path in (self.manifest, self.result, self.epochs, self.predictions):
            path.unlink(missing_ok=True)
        for folder in ("checkpoints", "logs"):
            if (self.root / folder).exists():
                shutil.rmtree(self.root / folder)


@dataclass(frozen=True)
class Claim:
    """The folder a command works in, what it does there, and the lock that says so (none where it only reads)."""

    folder: RunFolder
    action: Action
    lock: FileLock | None

    def release(self) -> None:
        """Let others have the folder."""
        if self.lock is not None:
            self.lock.release()


def claim(job: Job, fingerprint: str, *, rerun: bool) -> Claim:
    """Find the folder a command belongs to and take it.

    `rerun` trains anew in the job's own folder whatever is already there. Without it a folder of one's own that holds
    another or a finished run is refused: only an explicit `hydra.run.dir` can lead there.
    """
    own = RunFolder(job.folder)
    if rerun:
        taken = _take(own)
        own.clear()
        return Claim(own, Action.START, taken)
    if own.result.exists():
        return _claim_given(own, fingerprint, job)
    for folder in _same(job, fingerprint):
        if _status(folder) == "finished":
            if job.sweep is not None:
                return Claim(folder, Action.REUSE, None)
            continue
        try:
            lock = folder.lock()
        except Timeout:
            print(f"another process is training this very run in {folder.root}; starting beside it", flush=True)
            continue
        return Claim(folder, Action.CONTINUE, lock)
    return Claim(own, Action.START, _take(own))


def point(job: Job, folder: RunFolder) -> None:
    """Leave word in the job's own folder that its run lies in `folder`; a single run's empty folder just goes."""
    if folder.root.resolve() == job.folder.resolve():
        return
    if job.sweep is not None:
        write_json(job.folder / POINTER, {"run": os.path.relpath(folder.root, job.folder)})
    elif all(path.name in _BEFORE_A_RUN or path.suffix == ".log" for path in job.folder.iterdir()):
        shutil.rmtree(job.folder)


def follow(folder: Path) -> RunFolder:
    """The run a cell's folder stands for: itself, or the one its pointer names."""
    pointer = folder / POINTER
    return RunFolder((folder / read_json(pointer)["run"]).resolve() if pointer.exists() else folder)


def _claim_given(own: RunFolder, fingerprint: str, job: Job) -> Claim:
    found = read_json(own.result)
    if found.get("fingerprint") != fingerprint:
        raise DocvlmError(f"{own.root}: holds a run with other settings; give another hydra.run.dir, or rerun=true")
    if found["status"] != "finished":
        return Claim(own, Action.CONTINUE, _take(own))
    if job.sweep is not None:
        return Claim(own, Action.REUSE, None)
    raise DocvlmError(f"{own.root}: this run is finished; give another hydra.run.dir, or rerun=true")


def _take(folder: RunFolder) -> FileLock:
    try:
        return folder.lock()
    except Timeout as error:
        raise DocvlmError(f"{folder.root}: another process is training there; wait for it or stop it") from error


def _same(job: Job, fingerprint: str) -> Iterator[RunFolder]:
    """Runs beside this one (for a sweep: cells of every sweep beside it) with its fingerprint; finished ones first."""
    beside = job.folder.parent.glob("*/result.json") if job.sweep is None else job.sweep.parent.glob("*/*/result.json")
    same = [RunFolder(path.parent) for path in sorted(beside, reverse=True) if _fingerprint(path) == fingerprint]
    yield from sorted(same, key=lambda folder: _status(folder) != "finished")


def _fingerprint(result: Path) -> str | None:
    try:
        found = json.loads(result.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        print(f"warning: {result}: not JSON, so no run to continue; passed over", flush=True)
        return None
    return found.get("fingerprint") if isinstance(found, dict) else None


def _status(folder: RunFolder) -> str:
    status: str = read_json(folder.result)["status"]
    return status
