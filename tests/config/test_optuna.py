"""Optuna as the sweeper: the score on val reaches it, the best cell comes first, the same command continues."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from docvlm.config import Job, TrainConfig, verb
from docvlm.config.compose import rehearse
from docvlm.errors import DocvlmError
from docvlm.train import main
from docvlm.training.module import AnswerModule
from tests.support import runs
from tests.support.runs import kill

INSTALLED = importlib.util.find_spec("optuna") is not None
needs_optuna = pytest.mark.skipif(not INSTALLED, reason="needs the extra: pip install 'docvlm[optuna]'")


@pytest.mark.parametrize("word", ["hydra/sweeper=optuna", "experiment=search"])
def test_without_the_extra_the_line_names_it(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Plugins.instance()  # the sweeper, where it is installed, is in Hydra's store now, once for the process
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["sweeper"], "optuna.yaml", raising=False)
    with pytest.raises(SystemExit):
        main([word, "scale=tiny", "-m"])
    line = "error: hydra/sweeper=optuna: Optuna's sweeper is not installed; pip install 'docvlm[optuna]'\n"
    assert capsys.readouterr().err == line


@needs_optuna
def test_a_search_for_the_worst_run_is_refused() -> None:
    words = ["scale=tiny", "hydra/sweeper=optuna", "optim.lr=interval(1e-4,1e-2)"]
    with pytest.raises(DocvlmError, match=r"hydra\.sweeper\.direction=minimize: .*direction=maximize"):
        rehearse("train", TrainConfig, words, sweep=True)
    rehearse("train", TrainConfig, [*words, "hydra.sweeper.direction=maximize"], sweep=True)


@needs_optuna
def test_seeds_of_a_search_are_refused() -> None:
    with pytest.raises(DocvlmError, match=r"^seeds=2: Optuna chooses a cell by .*; search without seeds, then train"):
        rehearse("train", TrainConfig, ["scale=tiny", "experiment=search", "seeds=2"], sweep=True)


@needs_optuna
def test_what_the_command_returns_is_the_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: dict[float, float] = {}

    def train(cfg: TrainConfig, job: Job) -> float:
        if job.number == 1:
            raise DocvlmError("one cell fails, and the search goes on")
        tried[cfg.optim.lr] = -abs(cfg.optim.lr - 2e-3)
        assert job.wait, "Optuna needs the score before it can go on"
        return tried[cfg.optim.lr]

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        verb("train", TrainConfig)(train)(["scale=tiny", "experiment=search", "hydra.sweeper.n_trials=8"])
    assert ended.value.code == 1 and len(tried) == 7
    (folder,) = folders()
    found = OmegaConf.load(folder / "optimization_results.yaml")
    assert found.best_value == max(tried.values()) == tried[found.best_params["optim.lr"]]


@needs_optuna
@pytest.mark.slow
def test_a_search_ends_with_its_table_and_the_same_command_continues_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints that read: with others every score would be 0."""
    monkeypatch.chdir(tmp_path)
    small = [word for word in runs.SMALL if not word.startswith(("lora.r=", "data.limit_val=", "data.max_new"))]
    command = [*small, "data.limit_val=16", "trainer.max_epochs=1", "experiment=search"]
    command += ["optim.lr=4e-3", "lora.r=choice(2,4,-1)", "hydra.sweeper.n_trials=6"]
    with pytest.raises(SystemExit) as ended:  # one of the ranks is impossible
        main(command)
    assert ended.value.code == 1
    out, (first,) = capsys.readouterr().out, folders()
    rows = json.loads((first / "sweep.json").read_text())
    scores = [row["selection"] for row in rows if row["status"] == "finished"]
    assert len(rows) == 6 and 0 < len(scores) < 6 and scores == sorted(scores, reverse=True) and scores[0] > 0
    assert OmegaConf.load(first / "optimization_results.yaml").best_value == scores[0]
    assert rows[-1]["reason"].startswith("lora.r=-1") and "lora.r=-1: failed" in out

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(AnswerModule, "training_step", kill)
        main(command)
    assert f"of 6 cells: {len(scores)} reused" in capsys.readouterr().out
    again = json.loads((folders()[1] / "sweep.json").read_text())
    assert [(row["settings"], row["selection"]) for row in again] == [
        (row["settings"], row["selection"]) for row in rows
    ]


def folders() -> list[Path]:
    """The sweeps, oldest first."""
    return sorted(path for path in Path("multirun").iterdir() if path.is_dir())
