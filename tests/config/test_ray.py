"""A sweep through Ray, `hydra/launcher=ray`: the table of the basic launcher. Its extra is not part of `dev`."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("ray") is None or find_spec("hydra_plugins.hydra_ray_launcher") is None,
        reason="Ray is not installed: pip install 'docvlm[ray]'",
    ),
]
LIMIT = 580  # seconds of a command
RANKS = (
    "model=qwen2vl", "lora.r=4,8", "scale=tiny", "data.limit_train=12", "data.limit_val=4", "data.limit_test=6",
    "data.batch_size=2", "data.max_new_tokens=4", "trainer.max_epochs=1", "-m",
)  # fmt: skip
QUEUE = ("hydra/launcher=ray",)
OF_THE_MACHINE = {"run", "minutes", "peak_memory_mb"}
KILLED = """
import os, signal, time
from docvlm.config import Job, TrainConfig, verb
from docvlm.reporting.sweeps.sweep import summarise_sweep

def work(cfg: TrainConfig, job: Job) -> float:
    if cfg.seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(20)
    (job.folder / "ended").touch()
    return 0.0

verb("train", TrainConfig, after_sweep=summarise_sweep)(work)()
"""


def run(place: Path, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of Python, with a home of its own: Ray writes into it. On a busy machine its daemons take a minute."""
    place.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(root), "HOME": str(place), "RAY_raylet_start_wait_time_s": "300"}
    return subprocess.run(
        [sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True, timeout=LIMIT
    )


def table(place: Path) -> list[dict[str, str]]:
    (file,) = place.glob("multirun/*/sweep.csv")
    with file.open(newline="") as rows:
        return [{key: value for key, value in row.items() if key not in OF_THE_MACHINE} for row in csv.DictReader(rows)]


def test_an_ablation_through_ray_has_the_table_it_has_without(tmp_path: Path, root: Path) -> None:
    ray, basic = tmp_path / "ray", tmp_path / "basic"
    for place, words in ((ray, QUEUE), (basic, ("jobs=1",))):
        done = run(place, root, "-m", "docvlm.train", *words, *RANKS)
        assert done.returncode == 0, done.stderr[-3000:]
    assert table(ray) == table(basic)
    assert [row["settings"] for row in table(ray)] == ["lora.r=4", "lora.r=8"]


def test_a_cell_that_is_killed_is_a_row_once_the_others_have_ended(tmp_path: Path, root: Path) -> None:
    place = tmp_path / "here"
    done = run(place, root, "-c", KILLED, "seed=3,4", "scale=tiny", *QUEUE, "-m")
    assert done.returncode == 1, done.stderr[-3000:]
    assert "error: RayLauncher: " in done.stderr and "Traceback" not in done.stderr
    assert [row["status"] for row in table(place)] == ["stopped", "stopped"], "neither left a result"
    assert list(place.glob("multirun/*/1/ended"))
