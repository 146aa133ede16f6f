"""The final exam: the best weights, as they were saved, on the test split; and what the whole run came to.

The weights are read back from `best/`, the way `docvlm.evaluate` reads them, so the number in `result.json` is the
number of the artefact and not of something that was in memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from docvlm import tables
from docvlm.answering.answer import answer, content
from docvlm.errors import DocvlmError, Unwritable
from docvlm.files import shown
from docvlm.metrics import METRICS
from docvlm.runs.interrupt import Interrupted
from docvlm.scoring import predictions as answers
from docvlm.training import feature_choice, ranks
from docvlm.training.epochs import table
from docvlm.training.evaluation import Evaluation, judge
from docvlm.training.fit import Learned, answering
from docvlm.training.run import Run, base_checkpoint
from docvlm.vlms import saved
from docvlm.vlms.base import VLM
from docvlm.writing import full


def test(run: Run, learned: Learned) -> Evaluation:
    """Answer the test split with the best weights; `predictions.jsonl` grows batch by batch and survives a kill."""
    run.stop.check()
    with _training_is_kept(run):
        return _answered(run, learned)


def _answered(run: Run, learned: Learned) -> Evaluation:
    cfg = run.cfg
    run.console.print(
        f"best epoch {learned.best.epoch}, by val {cfg.select}: answering {len(run.data.test)} test questions",
        highlight=False,
    )
    vlm = saved.load(
        run.folder.best,
        checkpoint=base_checkpoint(cfg),
        dtype=getattr(torch, cfg.model.dtype),
        attn=cfg.model.attn,
        offline=cfg.offline,
    )
    feature_choice.share(run, vlm)
    if learned.trainer.world_size > 1:
        return _with_all_devices(run, learned, vlm)
    if run.resuming:
        _forget_others(run)
    began = time.perf_counter()
    vlm.to(learned.trainer.strategy.root_device)
    predictions = answer(vlm, run.data, run.data.test, run.folder.predictions, lambda done, all: run.stop.check())
    feature_choice.flush(vlm.codec)
    seconds = time.perf_counter() - began
    return Evaluation(tuple(predictions), *judge(predictions, run.data.metrics), None, seconds)


def _forget_others(run: Run) -> None:
    """Questions that were changed or left out since they were answered are asked again; the answers to others stay."""
    unchanged = {(example.benchmark, example.question_id): content(example) for example in run.data.test}
    kept, gone = answers.keep(run.folder.predictions, unchanged)
    if gone:
        line = f"{kept} answers to questions that are as they were are kept, {gone} to others are not"
        run.console.print(line, highlight=False)


@contextmanager
def _training_is_kept(run: Run) -> Iterator[None]:
    """Say with every error that hours of training are not lost, and the two ways on from here."""
    again = f"mend it and give the same command again, or python -m docvlm.evaluate run={shown(run.folder.root)}"
    said = False
    try:
        yield
        said = True
    except (Interrupted, Unwritable):  # which say themselves how to go on
        said = True
        raise
    except DocvlmError as error:
        said = True
        raise DocvlmError(f"{error}; training has ended and is kept: {again}") from error
    finally:
        if not (said or full(sys.exc_info()[1])):  # an error of docvlm itself: its traceback follows
            print(f"training has ended and is kept: {again}", file=sys.stderr, flush=True)


def _with_all_devices(run: Run, learned: Learned, vlm: VLM) -> Evaluation:
    """Every device answers its share. Unlike the answers of one device, these are written at the end only."""
    module = answering(run, vlm, run.stop)
    learned.trainer.test(module, datamodule=run.data, verbose=False)
    feature_choice.flush(vlm.codec)
    assert module.evaluation is not None
    if ranks.is_main():
        run.folder.predictions.unlink(missing_ok=True)
        answers.append(run.folder.predictions, module.evaluation.predictions)
    return module.evaluation


def report(run: Run, learned: Learned, tested: Evaluation) -> None:
    """Put the result together and print it."""
    run.summary = summarise(run, learned, tested)
    rows = learned.epochs.rows
    title = f"{run.data.label}, val split, {rows[0]['val_questions']} questions"
    tables.show(table(rows, title, best=learned.best.epoch), console=run.console)
    cost, trainable = run.summary["cost"], run.trainable
    run.console.print(
        f"{run.data.label} test: {tested.metric} {tested.interval} on {tested.interval.n} questions of"
        f" {tested.interval.clusters} documents; {trainable['parameters'] / 1e6:.3f} M learned"
        f" ({trainable['percent']:.2f} %), {cost['seconds']:.0f} s, peak {cost['peak_memory_mb']:.0f} MB",
        highlight=False,
        soft_wrap=True,
    )
    run.console.print(f"in {shown(run.folder.root)}", highlight=False, soft_wrap=True)


def summarise(run: Run, learned: Learned, tested: Evaluation) -> dict[str, Any]:
    """The fields of a finished `result.json`. Scores are in [0, 1]; `zero_shot` and `best` are rows of `epochs.csv`."""
    rows = learned.epochs.rows
    best = next(row for row in rows if row["epoch"] == learned.best.epoch)
    interval = tested.interval
    return {
        "headline": {
            "metric": tested.metric,
            "split": "test",
            "value": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "questions": interval.n,
            "documents": interval.clusters,
        },
        "secondary": {name: tested.mean(name) for name in METRICS},
        "benchmarks": {label: score.as_dict() for label, score in tested.scores.items()},
        "examples": {"scored": interval.n, "expected": len(run.data.test)},
        "selection": {
            "metric": best["metric"],
            "split": "val",
            "by": learned.best.select,
            "value": best["score"],
            "epoch": best["epoch"],
            "questions": best["val_questions"],
            "val_changed": learned.val_changed,
        },
        "zero_shot": rows[0],
        "best": best,
        "trainable": run.trainable,
        "cost": {
            "seconds": learned.epochs.seconds,
            "train_seconds": sum(float(row["train_seconds"] or 0.0) for row in rows),
            "peak_memory_mb": max(float(row["peak_memory_mb"] or 0.0) for row in rows),
            "epochs": rows[-1]["epoch"],
            "steps": rows[-1]["step"],
        },
    }
