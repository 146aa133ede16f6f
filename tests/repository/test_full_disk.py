"""A disk that is full at any write of a run: one line with the file, and the same command ends like one undisturbed.

From the write in question on, no file of the process may grow beyond a few bytes (RLIMIT_FSIZE): every library meets
what it would meet on a full disk, half a file included, and the run's own last words find no room either.
"""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from docvlm import files
from docvlm.data.leakage import page
from docvlm.data.leakage.hash_cache import HashCache
from docvlm.data.sources.quarantine import Quarantine
from docvlm.runs.folder import RunFolder
from docvlm.vlms import saved
from docvlm.vlms.feature_store import FeatureStore
from tests.support import own, runs

ROOM = 16  # bytes
TIMES = {"train_seconds", "eval_seconds", "questions_per_second", "peak_memory_mb"}


@contextmanager
def full_at(owner: Any, name: str, call: int, file: str, patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """No room from the given call of `owner.name` on; with `file`, calls for files of that name count."""
    inner, calls = getattr(owner, name), [0]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @wraps(inner)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += not file or file in {getattr(args[0], "name", ""), getattr(args[0], "path", Path()).name}
        if calls[0] == call:
            resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
        return inner(*args, **kwargs)

    patch.setattr(owner, name, wrapped)
    try:
        yield calls
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WHOLE = (files, "write_whole")
STAGES: dict[str, list[tuple[Any, str, int, str, str]]] = {
    "before the weights": [
        (Quarantine, "_write", 1, "", "quarantine.jsonl"),
        (HashCache, "save", 1, "", "hashes-"),
        (page, "write", 1, "", "audit.html"),
        (RunFolder, "lock", 1, "", "result.json"),
        (*WHOLE, 2, "result.json", "result.json"),
        (FeatureStore, "flush", 1, "", "features_folder: .features"),
        (*WHOLE, 1, "encoding.json", "encoding.json"),
        (*WHOLE, 1, "manifest.json", "manifest.json"),
    ],
    "from then on": [
        (*WHOLE, 2, "manifest.json", "manifest.json"),
        (*WHOLE, 1, "epochs.csv", "epochs.csv"),
        (saved, "save", 1, "", "checkpoints/best"),
        (Trainer, "save_checkpoint", 1, "", "checkpoints/last.ckpt"),
        (Trainer, "save_checkpoint", 2, "", "checkpoints/last.ckpt"),
        (CSVLogger, "save", 1, "", "outputs/"),
        (files.GrowingFile, "append", 1, "", "predictions.jsonl"),
        (files.GrowingFile, "append", 2, "", "predictions.jsonl"),
        (*WHOLE, 2, "result.json", "result.json"),
    ],
}


def command() -> None:
    own.train(
        "audit=drop",
        "features=auto",
        "data.batch_size=1",
        "trainer.accumulate_grad_batches=1",
        "trainer.log_every_n_steps=1",
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of a command that nothing disturbed: a row is bad, a page of train is in test too."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        own.pages()
        own.change("train3", image="absent.png")
        shutil.copy("pages/test0.png", "pages/train2.png")
        command()
    return place


LATER = "from then on"  # half a minute


@pytest.mark.parametrize("stage", [pytest.param(one, marks=[pytest.mark.slow] * (one == LATER)) for one in STAGES])
def test_every_write_that_fails_is_a_line_and_the_same_command_goes_on(
    stage: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole / "pages", "pages")
    for owner, name, call, file, said in STAGES[stage]:
        with monkeypatch.context() as patch, full_at(owner, name, call, file, patch) as calls:
            code = ended(command)
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if not line.startswith(("[", "quarantined"))]
        assert (code, calls[0] >= call, len(lines)) == (1, True, 1), (said, error)
        assert lines[0].startswith("error: ") and said in lines[0], error
        assert "File too large" in lines[0] and "same command" in lines[0], error
        assert not list(Path().rglob(".*.part")) + list(Path().rglob("*.partial")), said
    command()
    assert_same(whole, tmp_path)


def ended(run: Callable[[], None]) -> int | str | None:
    with pytest.raises(SystemExit) as exit_:
        run()
    return exit_.value.code


def assert_same(whole: Path, again: Path) -> None:
    """The same weights, rows and score in the one run that is finished."""
    one, other = (finished(place) for place in (whole, again))
    weights = runs.weights(other)
    assert all(torch.equal(weight, weights[name]) for name, weight in runs.weights(one).items())
    last = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (one, other)]
    assert all(torch.equal(weight, last[1][name]) for name, weight in last[0].items())
    kept = [[{k: v for k, v in row.items() if k not in TIMES} for row in runs.rows(run)] for run in (one, other)]
    assert kept[0] == kept[1]
    assert runs.result(one)["headline"] == runs.result(other)["headline"]


def finished(place: Path) -> Path:
    (folder,) = (
        path.parent for path in place.glob("outputs/*/result.json") if runs.result(path.parent)["status"] == "finished"
    )
    return folder
