"""Every run under `outputs/` and `multirun/`, and which of them a command belongs to.

No list is kept: the `result.json` of all runs is read when a command asks. The same command finds its earlier work by
fingerprint and code version. A run that is not finished and that nobody writes (the operating system drops the lock of
a killed process) continues in its folder, whether it was begun alone or in a sweep; in a sweep a finished one is
reused. One run never has two writers: a cell that another live process is training is left to it (`TrainedElsewhere`),
and the sweep comes back to it at its end. Sweeps beside each other decide one after the other, so that two begun at
once share their cells. Where only rows of val or test are others than a run was trained beside, its training stands
(`_taken_over`): hours of it are worth more than one mended row. Reading a thousand results takes about 0.1 s a cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from docvlm import locks
from docvlm.config import Job
from docvlm.errors import DocvlmError, TrainedElsewhere
from docvlm.files import read_json, shown
from docvlm.runs import code_version
from docvlm.runs.folder import Action, Claim, RunFolder
from docvlm.runs.identity import Identity
from docvlm.runs.result import announce
from docvlm.vlms import embedded

LOCK = ".lock"


@dataclass(frozen=True)
class Entry:
    """A run as its `result.json` tells it. `changed`: splits whose rows are others now, where only rows are."""

    folder: RunFolder
    finished: bool
    code: str | None
    started: str
    changed: tuple[str, ...] = ()


def claim(job: Job, identity: Identity, *, rerun: bool) -> Claim:
    """Find the folder a command belongs to and take it; a new run is announced in its `result.json` at once.

    `rerun` trains anew in the job's own folder whatever is already there. Without it a folder of one's own that holds
    another or a finished run is refused: only an explicit `hydra.run.dir` can lead there. Raises `TrainedElsewhere` in
    a sweep where another process is at this very run; with `job.wait` it waits for that process instead.
    """
    while True:
        try:
            with _alone(job):
                return _anew(job, identity) if rerun else _decided(job, identity)
        except TrainedElsewhere as elsewhere:
            if not job.wait:
                raise
            print(f"waiting for the process that is training {shown(elsewhere.folder)}", flush=True)
            RunFolder(elsewhere.folder).wait()


def entries(job: Job, identity: Identity) -> list[Entry]:
    """Runs of this identity, or of its training, beside this job, under `outputs/`, `multirun/`; the newest first."""
    runs = [job.runs, None if job.sweep else job.folder.parent]
    sweeps = [job.sweeps, job.sweep.parent if job.sweep else None]
    globs = [(place, "*") for place in runs] + [(place, "*/*") for place in sweeps]
    files = {path for place, depth in globs if place for path in place.resolve().glob(f"{depth}/result.json")}
    found = (_entry(path, identity) for path in sorted(files, reverse=True))
    return sorted(filter(None, found), key=lambda entry: entry.started, reverse=True)


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """One cell at a time decides among the sweeps of a folder. Single runs need not: each may start beside another."""
    if job.sweep is None:
        yield
        return
    with locks.lock(job.sweep.parent / LOCK):
        yield


def _decided(job: Job, identity: Identity) -> Claim:
    own = RunFolder(job.folder)
    if own.result.exists():
        return _given(own, identity, job)
    known = entries(job, identity)
    found = [entry for entry in known if not entry.changed]
    same = [entry for entry in found if entry.code == identity.code]
    unfinished = [entry.folder for entry in same if not entry.finished]
    if job.sweep is not None:
        for entry in same:
            if entry.finished:
                return Claim(entry.folder, Action.REUSE, None)
    for folder in unfinished:
        if folder.held():
            if job.sweep is not None:
                raise TrainedElsewhere(folder.root)
            print(f"another process is training this very run in {shown(folder.root)}; starting beside it", flush=True)
    for folder in unfinished:
        try:
            return Claim(folder, Action.CONTINUE, folder.lock())
        except Timeout:  # alive, and this is a single run
            continue
    others = [entry for entry in known if entry.changed and entry.code == identity.code]
    if (taken := _taken_over(job, identity, others)) is not None:
        return taken
    _tell_other_code([entry for entry in found if job.sweep is not None or not entry.finished], identity)
    return _anew(job, identity)


def _taken_over(job: Job, identity: Identity, others: Sequence[Entry]) -> Claim | None:
    """A training that stands although rows of val or test are others now.

    An unfinished run goes on in its folder. A finished one keeps its result: a cell gets a copy of its training. Where
    the training itself has not ended, val still selects the epoch, so its rows must be the same.
    """
    for entry in others:
        trained = entry.folder.trained(identity.training)
        if entry.finished:
            if trained and job.sweep is not None:
                return _copied(job, identity, entry)
            if trained:
                advice = f"python -m docvlm.evaluate run={shown(entry.folder.root)} only evaluates it"
                print(f"{_told(entry)}; {advice}, this command trains anew", flush=True)
                return None
        elif trained or "val" not in entry.changed:
            try:
                lock = entry.folder.lock()
            except Timeout:  # alive, with the rows of before
                continue
            announce(entry.folder.result, identity)
            return Claim(entry.folder, Action.CONTINUE, lock, entry.changed)
    return None


def _copied(job: Job, identity: Identity, entry: Entry) -> Claim:
    """A folder of one's own with what another run learned and answered; it is announced once it is whole."""
    own = RunFolder(job.folder)
    lock = _take(own, job)
    own.clear()
    own.take_over(entry.folder)
    announce(own.result, identity)
    return Claim(own, Action.EXAMINE, lock, entry.changed, entry.folder)


def _told(entry: Entry) -> str:
    rows = " and ".join(entry.changed)
    return f"{shown(entry.folder.root)} has learned from the same rows of train, and only rows of {rows} are others now"


def _anew(job: Job, identity: Identity) -> Claim:
    own = RunFolder(job.folder)
    lock = _take(own, job)
    own.clear()
    announce(own.result, identity)
    return Claim(own, Action.START, lock)


def _given(own: RunFolder, identity: Identity, job: Job) -> Claim:
    """A folder that was named on the command line and holds a run."""
    found = read_json(own.result)
    run = found["fingerprint"] if "fingerprint" in found else ""
    if run is None:  # it failed before it was known which run it was
        return _anew(job, identity)
    entry = _entry(own.result, identity)
    if entry is not None and entry.changed and entry.code == identity.code:
        if not entry.finished and (taken := _taken_over(job, identity, [entry])) is not None:
            return taken
        rows = " and ".join(entry.changed)
        raise DocvlmError(
            f"{own.root}: holds this run with other rows of {rows}; give another hydra.run.dir (hydra.sweep.dir in a"
            " sweep), or rerun=true"
        )
    if run != identity.run:
        raise DocvlmError(f"{own.root}: holds a run {_other(own, identity)}; give another hydra.run.dir, or rerun=true")
    assert entry is not None
    if entry.code != identity.code:
        by = f"made by another version of the code ({code_version.changed(entry.code, identity.versions)})"
        raise DocvlmError(f"{own.root}: holds this run, {by}; give another hydra.run.dir, or rerun=true")
    if not entry.finished:
        return Claim(own, Action.CONTINUE, _take(own, job))
    if job.sweep is not None:
        return Claim(own, Action.REUSE, None)
    raise DocvlmError(f"{own.root}: this run is finished; give another hydra.run.dir, or rerun=true")


def _other(folder: RunFolder, identity: Identity) -> str:
    """What tells the run in `folder` from the one that is asked for: its base where that is recorded, else settings."""
    recorded = read_json(folder.manifest) if folder.manifest.exists() else {}
    base = recorded["checkpoint"] if "checkpoint" in recorded else None
    if base is None or base["name"] != "embedded" or base["fingerprint"] == identity.checkpoint:
        return "with other settings"
    return f"that began from {embedded.named(recorded['family'], base['fingerprint'])}, which are others now"


def _take(folder: RunFolder, job: Job) -> FileLock:
    try:
        return folder.lock()
    except Timeout as error:
        if job.sweep is not None:
            raise TrainedElsewhere(folder.root) from error
        raise DocvlmError(f"{folder.root}: another process is training there; wait for it or stop it") from error


def _entry(result: Path, identity: Identity) -> Entry | None:
    try:
        found = json.loads(result.read_text(encoding="utf-8"))
    except FileNotFoundError:  # gone since it was listed
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        print(f"warning: {result}: not JSON, so no run to continue; passed over", flush=True)
        return None
    if not isinstance(found, dict) or "fingerprint" not in found:
        return None
    changed: tuple[str, ...] = ()
    if found["fingerprint"] != identity.run:
        if "training" not in found or found["training"] is None or found["training"] != identity.training:
            return None
        changed = tuple(role for role, rows in identity.splits.items() if found["splits"][role] != rows)
    version = code_version.recorded(found["code"] if "code" in found else None, identity.versions)
    return Entry(RunFolder(result.parent), found["status"] == "finished", version, found["started"], changed)


def _tell_other_code(found: Sequence[Entry], identity: Identity) -> None:
    """Why a run that seems to be there is not taken up."""
    for entry in found[:1]:
        line = f"made by another version of the code ({code_version.changed(entry.code, identity.versions)})"
        print(f"{shown(entry.folder.root)} is this run, {line}; training it anew", flush=True)
