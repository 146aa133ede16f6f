"""What an evaluation compares: each run with the checkpoint it came from, on the same questions.

One set of weights is in memory at a time; it answers all benchmarks before the next is loaded.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from docvlm import build
from docvlm.answering import answer
from docvlm.config import EvaluateConfig, Job
from docvlm.errors import DocvlmError
from docvlm.evaluation import controls, robustness, subjects
from docvlm.evaluation import outcome as outcomes
from docvlm.evaluation.outcome import Outcome
from docvlm.evaluation.questions import prepare
from docvlm.evaluation.subjects import Subject
from docvlm.evaluation.tables import Row
from docvlm.runs import finished
from docvlm.runs.finished import Run
from docvlm.vlms import FAMILIES

if TYPE_CHECKING:
    from docvlm.answering.elsewhere import Elsewhere
    from docvlm.data.benchmark import Role
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.vlms.base import VLM

MIXTURE = "mix"


@dataclass(frozen=True)
class Pair:
    """A subject, and what it is measured against (None: nothing)."""

    ours: Subject
    baseline: Subject | None


def chosen(cfg: EvaluateConfig, job: Job) -> list[Pair]:
    """What the config asks for: one run, the best of each family, a served model, or a checkpoint as it comes."""
    output = None if cfg.output is None else Path(cfg.output).expanduser()
    if cfg.run is not None or cfg.best:
        subjects.keep_budget(job)
    if cfg.run is not None:
        run = finished.read(Path(cfg.run).expanduser())
        same_scale(run, cfg.scale.name, job)
        return [_pair(run, cfg, output)]
    if cfg.best:
        return [_pair(run, cfg, output) for run in best_runs(cfg.scale.name, cfg.benchmarks).values()]
    if cfg.endpoint is not None:
        return [Pair(subjects.served(cfg, output), None)]
    return [Pair(subjects.configured(cfg, job, output), None)]


def rows(cfg: EvaluateConfig, pair: Pair) -> list[Row]:
    """Both sides of a pair on every benchmark, in the order they were named."""
    data = {name: _data(cfg, name) for name in cfg.benchmarks}
    prepare(pair.ours, data.values(), cast("Role", cfg.split), lambda line: print(line, flush=True))
    before = _outcomes(cfg, pair.baseline, data) if pair.baseline is not None else {}
    ours = _outcomes(cfg, pair.ours, data)
    return [Row(ours[name], before[name] if before else None) for name in cfg.benchmarks]


def _pair(run: Run, cfg: EvaluateConfig, output: Path | None) -> Pair:
    baseline = subjects.base_of(run, output, cfg.offline) if cfg.baseline else None
    return Pair(subjects.of_run(run, output, cfg.offline), baseline)


def same_scale(run: Run, scale: str, job: Job) -> None:
    """A tiny model on full-size pages reads nothing: that is a mistake unless the scale was said."""
    said = any(override.startswith("scale=") for override in job.overrides)
    if run.scale != scale and not said:
        raise DocvlmError(
            f"run={run.folder.root}: trained at scale={run.scale}, but the pages here would be of scale={scale}; "
            f"add scale={run.scale}"
        )


def best_runs(scale: str, benchmarks: Sequence[str]) -> dict[str, Run]:
    """Of each model the run that stands for its best setting at this scale, trained on one of the benchmarks."""
    wanted = (*benchmarks, MIXTURE)
    fitting = [
        run for run in finished.finished() if run.scale == scale and run.manifest["config"]["data"]["name"] in wanted
    ]
    for run in fitting:
        if run.unknown:
            print(f"left out: {run.unknown}", flush=True)
    best = finished.best([run for run in fitting if not run.unknown])
    if not best:
        raise DocvlmError(
            f"no finished run at scale={scale} on {', '.join(wanted)} under outputs/ or multirun/; "
            f"train one first: python -m docvlm.train model={next(iter(FAMILIES))}"
        )
    for chosen in best.values():
        print(chosen, flush=True)
    for family in FAMILIES:
        if family not in best and not FAMILIES[family].takes_any:
            print(f"{family}: no finished run; python -m docvlm.train model={family} makes one", flush=True)
    return {family: chosen.run for family, chosen in best.items()}


def _data(cfg: EvaluateConfig, name: str) -> DocumentDataModule:
    """A benchmark's splits; `limit` replaces the limit of the split that is evaluated."""
    conf = cfg.data[name]
    if cfg.limit is not None:
        conf = replace(conf, limit_test=cfg.limit) if cfg.split == "test" else replace(conf, limit_val=cfg.limit)
    module = build.datamodule(conf)
    module.selection = cfg.selection
    return module


def _outcomes(cfg: EvaluateConfig, subject: Subject, data: dict[str, DocumentDataModule]) -> dict[str, Outcome]:
    model = subject.ready()
    found = {}
    for name, module in data.items():
        with _progress(f"{subject.family} {subject.title} on {name}") as progress:
            found[name] = outcomes.evaluate(
                subject,
                model,
                module,
                cast("Role", cfg.split),
                metric=cfg.metric,
                rerun=cfg.rerun,
                progress=progress,
            )
        one = found[name]
        line = f"{subject.family} {subject.title} on {one.label} {one.split}: {one.score.metric} {one.score.interval}"
        number = f"on {one.score.n_questions} questions of {one.score.n_documents} documents"
        kept = f" ({one.kept} of them from before; rerun=true asks again)" if one.kept else ""
        print(f"{line} {number}, answers in {one.folder}{kept}", flush=True)
        found[name] = _beyond(cfg, model, module, one)
        module.codec = None
    del model
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return found


def _beyond(cfg: EvaluateConfig, model: VLM | Elsewhere, data: DocumentDataModule, outcome: Outcome) -> Outcome:
    """The outcome with the answers to replaced and corrupted pages that the config asks for."""
    about = f"{outcome.subject.family} {outcome.subject.title} on {outcome.label}"
    if cfg.controls:
        with _progress(f"{about}, controls") as progress:
            outcome = replace(outcome, controls=controls.answer(model, data, outcome, progress))
    if cfg.robustness:
        asked = robustness.questions(cfg, data, outcome)
        print(robustness.cost(cfg, outcome, asked), flush=True)
        with _progress(f"{about}, corrupted") as progress:
            answers = robustness.answer(model, data, outcome, asked, robustness.cells(cfg), progress)
        outcome = replace(outcome, corrupted=answers)
    return outcome


@contextmanager
def _progress(text: str) -> Iterator[answer.Progress | None]:
    """A bar over questions with the time left; nothing where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
