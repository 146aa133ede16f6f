"""Pages nobody here drew, through the real commands: training on receipts, answers on charts, reports and documents of
several pages. What the embedded checkpoints say about them is worth little; that every page is read is the point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here: real pages are not part of the repository"),
]


def docvlm(folder: Path, verb: str, *overrides: object) -> subprocess.CompletedProcess[str]:
    """A verb at tiny scale, in `folder`."""
    command = [sys.executable, "-m", f"docvlm.{verb}", "scale=tiny", *map(str, overrides)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def loaded(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on receipts."""
    folder = tmp_path_factory.mktemp("receipts")
    limits = ("data.limit_train=48", "data.limit_val=12", "data.limit_test=12", "trainer.max_epochs=2")
    words = ("model=qwen2vl", "data=folder", f"data.source={REAL / 'receipts'}", *limits, "hydra.run.dir=run")
    done = docvlm(folder, "train", *words)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_receipts_train_and_score_by_question_type(trained: Path) -> None:
    result = loaded(trained / "result.json")
    assert result["status"] == "finished"
    epochs = (trained / "epochs.csv").read_text().splitlines()
    losses = [float(row.split(",")[epochs[0].split(",").index("val_loss")]) for row in epochs[1:]]
    assert len(losses) == 3 and losses[-1] < losses[0], "two epochs teach it what a receipt is asked"
    answers = [json.loads(line) for line in (trained / "predictions.jsonl").read_text().splitlines()]
    assert {kind for answer in answers for kind in answer["question_types"]} == {"company", "date", "address", "total"}


@pytest.mark.parametrize("pages", ["charts", "reports", "contracts", "reports/qa_multipage.jsonl"])
def test_other_pages_are_answered(trained: Path, pages: str) -> None:
    words = ("benchmarks=[folder]", f"data.folder.source={REAL / pages}", "data.folder.test_fraction=1.0")
    more = ("data.folder.val_fraction=0.0", "limit=6", "baseline=false", "data.folder.max_new_tokens=8")
    output = trained.parent / "eval" / pages.replace("/", "-")
    done = docvlm(trained.parent, "evaluate", f"run={trained}", *words, *more, f"output={output}")
    assert done.returncode == 0, done.stderr
    (row,) = loaded(output / "table.json")["rows"]
    assert 1 <= row["ours"]["n_questions"] <= 6


def test_florence2_reads_one_page_and_says_so(tmp_path: Path) -> None:
    source = f"data.folder.source={REAL / 'reports' / 'qa_multipage.jsonl'}"
    words = ("model=florence2", "benchmarks=[folder]", source, "data.folder.test_fraction=1.0", "limit=4")
    done = docvlm(tmp_path, "evaluate", *words, "data.folder.val_fraction=0.0")
    assert done.returncode == 1
    assert "Florence-2 reads exactly one" in done.stderr and "Traceback" not in done.stderr
