"""Two processes are one run: the loss of one process at the same global batch, and every question answered once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from docvlm.scoring import predictions
from tests.support import runs
from tests.support.audit_pages import Folder, drawn
from tests.support.devices import TORCHRUN, command, run

# What srun does with two tasks on one node: the same command in both, told apart by the environment.
SRUN = [
    sys.executable,
    "-c",
    """
import os, subprocess, sys
job = {"SLURM_JOB_ID": str(10000 + os.getpid() % 9000), "SLURM_JOB_NAME": "docvlm", "SLURM_NTASKS": "2"}
job |= {"SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1"}
job["MASTER_ADDR"] = "127.0.0.1"
tasks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"]
words = [sys.executable, *sys.argv[1:]]
begun = [subprocess.Popen(words, env={**os.environ, **job, **task}) for task in tasks]
sys.exit(max(one.wait() for one in begun))
""",
]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[sys.executable], TORCHRUN, SRUN], ids=["lightning", "torchrun", "srun"])
def test_two_processes_learn_what_one_does_and_answer_each_question_once(
    launcher: list[str], tmp_path: Path, root: Path
) -> None:
    command(tmp_path / "one", root, [sys.executable], "data.batch_size=2", "trainer.accumulate_grad_batches=2")
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=2")
    out = command(tmp_path / "two", root, launcher, *two, "trainer.accumulate_grad_batches=1")
    assert out.count("proof: ") == out.count("scale=tiny") == 1
    (one,), (both,) = ((tmp_path / name / "outputs").iterdir() for name in ("one", "two"))
    for name in ("train_loss", "val_loss", "score"):
        first, second = ([float(row[name]) for row in runs.rows(run)[1:]] for run in (one, both))
        assert second == pytest.approx(first, rel=1e-3), name
    start = runs.rows(one)[0]["val_loss"]
    assert float(runs.rows(both)[0]["val_loss"]) == pytest.approx(float(start), rel=1e-5)
    for name, weight in runs.weights(one).items():
        torch.testing.assert_close(runs.weights(both)[name], weight, rtol=1e-2, atol=1e-4)
    ids = [[p.question_id for p in predictions.read(run / "predictions.jsonl")] for run in (one, both)]
    assert sorted(ids[0]) == sorted(ids[1])
    assert len(set(ids[1])) == len(ids[1]) == runs.result(both)["headline"]["questions"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[sys.executable], TORCHRUN, SRUN], ids=["lightning", "torchrun", "srun"])
def test_two_processes_stop_together_at_an_overlap_and_drop_the_same(
    launcher: list[str], tmp_path: Path, root: Path
) -> None:
    pages = Folder(tmp_path / "pages").fill()
    pages.add("train", "a.png", drawn(50))
    pages.add("test", "b.png", drawn(50))
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=1", *pages.words)
    stopped = run(tmp_path / "stop", root, launcher, *two)
    assert stopped.returncode == 1 and stopped.stderr.count("error: audit=stop: 1 documents of train") == 1
    assert len(list((tmp_path / "stop").rglob("audit.html"))) == 1
    dropped = run(tmp_path / "drop", root, launcher, *two, "audit=drop")
    assert dropped.returncode == 0, dropped.stderr[-3000:]
    assert (
        dropped.stdout.count("audit=drop: 1 documents of train") == 1 and "2 train / 2 val / 3 test" in dropped.stdout
    )
    (result,) = (runs.result(file.parent) for file in (tmp_path / "drop").rglob("result.json"))
    assert result["status"] == "finished" and result["audit"]["dropped"] == {"documents": 1, "questions": 1}
