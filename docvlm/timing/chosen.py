"""What `docvlm.benchmark` measures, chosen by the words of `docvlm.evaluate`, on whose pages, and where results go."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from docvlm import build
from docvlm.config.data import check_data
from docvlm.data.benchmarks import DEFAULT
from docvlm.evaluation import comparison, subjects
from docvlm.runs import finished
from docvlm.runs.folder import RunFolder
from docvlm.vlms.checkpoint import fingerprint

if TYPE_CHECKING:
    from docvlm.config import BenchmarkConfig, ExportConfig, Job
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.evaluation.subjects import Subject
    from docvlm.runs.finished import Run
    from docvlm.vlms.base import VLM

CHECKPOINTS = Path("outputs") / "benchmark"


def chosen(cfg: BenchmarkConfig, job: Job) -> Iterator[tuple[Subject, str]]:
    """Each subject with the name of the benchmark it is measured on. Raises `DocvlmError` if there is none."""
    if cfg.run is not None or cfg.best:
        subjects.keep_budget(job)
    if cfg.run is not None:
        run = finished.read(Path(cfg.run).expanduser())
        comparison.same_scale(run, cfg.scale.name, job)
        yield _of_run(cfg, run)
    elif cfg.best:
        names = tuple(cfg.data) if cfg.benchmark is None else (cfg.benchmark,)
        for run in comparison.best_runs(cfg.scale.name, names).values():
            yield _of_run(cfg, run)
            gc.collect()  # the weights of the one before go before the next are read
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    else:
        yield subjects.configured(cfg, job, None), cfg.benchmark or DEFAULT.name


def data(cfg: BenchmarkConfig | ExportConfig, name: str) -> DocumentDataModule:
    """The benchmark's splits, with `limit` in place of the limit of the split that is measured."""
    conf = cfg.data[name]
    check_data(conf, f"data.{name}")
    test = cfg.split == "test"
    return build.datamodule(replace(conf, limit_test=cfg.limit) if test else replace(conf, limit_val=cfg.limit))


def base(cfg: BenchmarkConfig, subject: Subject, vlm: VLM) -> Path:
    """The folder that holds one for each benchmark and machine."""
    if subject.described["run"] is not None:
        home = Path(subject.described["run"])
        if cfg.output is not None:
            return Path(cfg.output).expanduser() / f"{subject.family}-{home.name}"
        # what is exported may be published as it stands: nothing goes into it
        return home / "benchmark" if RunFolder(home).manifest.exists() else home.parent / "benchmark" / home.name
    word = f"{subject.family}-{fingerprint(vlm.checkpoint, vlm.revision)[:8]}"
    return (CHECKPOINTS if cfg.output is None else Path(cfg.output).expanduser()) / word


def _of_run(cfg: BenchmarkConfig, run: Run) -> tuple[Subject, str]:
    return subjects.of_run(run, None, cfg.offline), cfg.benchmark or learned(run)


def learned(run: Run) -> str:
    """The benchmark a run learned from; for a mixture the one whose pages are taken where nobody says otherwise."""
    name = str(run.manifest["config"]["data"]["name"])
    return DEFAULT.name if name == comparison.MIXTURE else name
