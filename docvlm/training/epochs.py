"""`epochs.csv`: one row an epoch, row 0 before any training, and the same rows as a table at the end of a run.

Rows live in the checkpoint too, so a resumed run rewrites the file from what it continues from: a row of an epoch that
was measured but not saved is measured again, never kept twice. Times add up over interruptions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from docvlm.data.loading.packing import questions
from docvlm.files import write_csv
from docvlm.machine import peak_memory_mb
from docvlm.metrics import METRICS
from docvlm.metrics.registry import current_names, shown_for
from docvlm.tables import Column, Table
from docvlm.training.evaluation import Evaluation
from docvlm.training.module import AnswerModule

Row = dict[str, float | int | str | None]
_FIRST = (Column("epoch", "epoch", 0), Column("score", "score"))
_LAST = (
    Column("val_loss", "val loss"), Column("train_loss", "train loss"),
    Column("questions_per_second", "questions/s", 1), Column("peak_memory_mb", "peak MB", 0),
)  # fmt: skip


def columns(*headlines: str) -> tuple[Column, ...]:
    """What is printed and logged of a row whose headline is one of these metrics."""
    return (*_FIRST, *(Column(metric.name, metric.column) for metric in shown_for(*headlines)), *_LAST)


class EpochTable(Callback):
    """Measures epochs and keeps their rows.

    Throughput counts questions learned from (all devices) over the wall time of the training part of an epoch. The
    learning rates are those of its last optimizer step. Peak memory is since the start of the run or of its resumption.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self._earlier = 0.0  # seconds of the sessions before this one
        self._began = time.perf_counter()
        self._questions = 0
        self._training = 0.0  # seconds
        self._since: float | None = None
        self._loss = 0.0
        self._steps = 0
        self._rates: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Wall time of the run up to now, interruptions left out."""
        return self._earlier + time.perf_counter() - self._began

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock of the training part, also where an epoch is resumed."""
        if self._since is None:
            self._since = time.perf_counter()

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        """Note the rates this step uses; the schedule has moved on by the end of the batch."""
        self._rates = {group["name"]: group["lr"] for group in optimizer.param_groups}

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count."""
        assert isinstance(module, AnswerModule)
        self._questions += questions(batch) * trainer.world_size
        if module.step_ended:
            self._loss += module.train_loss
            self._steps += 1

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop the clock of the training part."""
        self._pause()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Close the epoch's row."""
        assert isinstance(module, AnswerModule) and module.evaluation is not None
        self.rows.append(self._row(module.at_epoch, trainer.global_step, module.evaluation, module.device.type))
        self._questions, self._training, self._loss, self._steps = 0, 0.0, 0.0, 0
        if trainer.is_global_zero:
            write_csv(self.path, self.rows)
            row = self.rows[-1].items()
            shown = {column.key for column in columns(module.evaluation.metric)}
            numbers = {f"val/{name}": value for name, value in row if name in shown and isinstance(value, (int, float))}
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Rows, and the part of the open epoch that is done."""
        if self._since is not None:
            self._pause()
            self._since = time.perf_counter()
        open_epoch = {
            "questions": self._questions,
            "training": self._training,
            "loss": self._loss,
            "steps": self._steps,
            "rates": self._rates,
        }
        return {"rows": self.rows, "seconds": self.seconds, "open": open_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the table."""
        self.rows = [dict.fromkeys(METRICS) | current_names(row) for row in state_dict["rows"]]
        self._earlier += state_dict["seconds"]
        done = state_dict["open"]
        self._questions, self._training = done["questions"], done["training"]
        self._loss, self._steps = done["loss"], done["steps"]
        self._rates = done.get("rates", {})  # checkpoints of older versions were never of an evaluation

    def _pause(self) -> None:
        if self._since is not None:
            self._training += time.perf_counter() - self._since
            self._since = None

    def _row(self, epoch: int, step: int, found: Evaluation, accelerator: str) -> Row:
        return {
            "epoch": epoch,
            "step": step,
            "metric": found.metric,
            "score": found.interval.mean,
            **{name: found.mean(name) for name in METRICS},
            "val_loss": found.loss,
            "train_loss": self._loss / self._steps if self._steps else None,
            "lr_language": self._rates.get("language"),
            "lr_vision": self._rates.get("vision"),
            "questions_per_second": self._questions / self._training if self._training else None,
            "train_seconds": self._training,
            "eval_seconds": found.seconds,
            "peak_memory_mb": peak_memory_mb(accelerator),
            "val_questions": found.interval.n,
        }


def table(rows: Sequence[Mapping[str, Any]], title: str, *, best: int | None) -> Table:
    """What a reader wants of the rows; the epoch that was kept, `best`, in bold."""
    strong = {place for place, row in enumerate(rows) if row["epoch"] == best}
    headlines = {str(row["metric"]) for row in rows}
    return Table("epochs", title, columns(*headlines), rows, strong=strong)
