"""The folder of a run: its files, who is writing them, and what a command does there.

Which folder a command belongs to is decided in `claim.py`. Where it is an earlier one, the folder Hydra made for the
new command holds only `reused.json`, which names the folder to read instead.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from pickle import UnpicklingError

from filelock import FileLock, Timeout

from docvlm import locks
from docvlm.config import Job
from docvlm.config.marks import GLANCE
from docvlm.files import read_json, write_json
from docvlm.writing import written

POINTER = "reused.json"
LOCK = ".lock"
STATE = "state.pt"
"""Of a checkpoint that is a folder: the file with all that is no tensor."""
UNREADABLE = (RuntimeError, EOFError, KeyError, ValueError, UnpicklingError)
"""What torch raises for files that are no checkpoints, and what comes of one that docvlm did not write."""
POLL = 0.5  # seconds between two looks at a lock
# what a folder holds before it is decided whose run it is
_BEFORE_A_RUN = {".hydra", "quarantine.jsonl", "audit.html", "audit.json"}


class Action(Enum):
    """What a command does in the folder it belongs to."""

    START = "start"
    CONTINUE = "continue"
    REUSE = "reuse"
    EXAMINE = "examine"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class RunFolder:
    """Where each file of a run lies (docs/reference/run-folder.md)."""

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
        """The checkpoint a killed run continues from: a file, or a folder that several devices wrote."""
        return self.root / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The weights the run reports, in PEFT or Transformers format."""
        return self.root / "checkpoints" / "best"

    def lock(self) -> FileLock:
        """Take the folder for this process. Raises `filelock.Timeout` while another live process holds it.

        One that only asks whether it is held has it for a moment, which is waited for.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        taken = locks.lock(self.root / LOCK, timeout=GLANCE)
        taken.acquire()
        return taken

    def held(self) -> bool:
        """Whether another live process has the folder."""
        try:
            with locks.lock(self.root / LOCK, timeout=0):
                return False
        except Timeout:
            return True

    def wait(self) -> None:
        """Come back when nobody has the folder any more."""
        while self.held():
            time.sleep(POLL)

    def trained(self, training: str | None) -> bool:
        """Whether `last.ckpt` is of this training and it has ended. Reads what it says of itself, and no weight."""
        if not self.last.exists():
            return False
        import torch  # 2 s, which a process that only looks for its folder need not take

        try:
            said = torch.load(state_of(self.last), map_location="cpu", weights_only=True, mmap=True)["docvlm"]
            return bool(said["done"] and said["training"] == training)
        except UNREADABLE:  # what cannot be taken over is trained; whoever continues it says why it cannot be read
            return False

    def clear(self) -> None:
        """Forget an earlier run in this folder; Hydra's record of the command stays."""
        for path in (self.manifest, self.result, self.epochs, self.predictions, self.root / POINTER):
            path.unlink(missing_ok=True)
        for folder in ("checkpoints", "logs"):
            if (self.root / folder).exists():
                shutil.rmtree(self.root / folder)

    def take_over(self, other: RunFolder) -> None:
        """Have what another run learned and answered. Weights are linked where that can be: nobody writes into them."""
        whole = other.best.parent

        def unfinished(folder: str, names: list[str]) -> list[str]:
            return [name for name in names if name.startswith(".") and Path(folder) == whole]

        with written(self.root):
            for path in (other.manifest, other.epochs, other.predictions):
                if path.exists():
                    shutil.copy2(path, self.root / path.name)
            shutil.copytree(whole, self.best.parent, ignore=unfinished, copy_function=_linked)


def state_of(checkpoint: Path) -> Path:
    """The file that says whose checkpoint this is and where it stands; weights may be in others."""
    return checkpoint / STATE if checkpoint.is_dir() else checkpoint


def _linked(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, place)


@dataclass(frozen=True)
class Claim:
    """The folder a command works in, what it does there, and the lock that says so (none where it only reads).

    `changed`: the splits whose rows are not those the training there was begun with. `trained_in`: the run whose
    training has been taken over into a folder of its own.
    """

    folder: RunFolder
    action: Action
    lock: FileLock | None
    changed: tuple[str, ...] = ()
    trained_in: RunFolder | None = None

    def release(self) -> None:
        """Let others have the folder."""
        if self.lock is not None:
            self.lock.release()


def point(job: Job, claimed: Claim) -> None:
    """Leave word in a cell's own folder where its run lies and what was done; a single run's empty folder just goes."""
    folder = claimed.folder.root
    if job.sweep is not None:
        if claimed.action is not Action.START:
            where = os.path.relpath(folder.resolve(), job.folder.resolve())
            write_json(job.folder / POINTER, {"run": where, "action": claimed.action.value})
    elif folder.resolve() != job.folder.resolve() and all(
        path.name in _BEFORE_A_RUN or path.suffix == ".log" for path in job.folder.iterdir()
    ):
        shutil.rmtree(job.folder)


def put_off(job: Job, folder: Path) -> None:
    """Leave word in a cell's own folder that another process is training it in `folder`."""
    where = os.path.relpath(folder.resolve(), job.folder.resolve())
    write_json(job.folder / POINTER, {"run": where, "action": Action.ELSEWHERE.value})


def follow(folder: Path) -> RunFolder:
    """The run a cell's folder stands for: itself, or the one its pointer names."""
    pointer = folder / POINTER
    return RunFolder((folder / read_json(pointer)["run"]).resolve() if pointer.exists() else folder)


def done_in(folder: Path) -> Action:
    """What the last command of a sweep did for the cell in `folder`."""
    pointer = folder / POINTER
    return Action(read_json(pointer)["action"]) if pointer.exists() else Action.START
