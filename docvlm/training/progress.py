"""What a person sees while a run works: a bar with throughput and time left, and one line for every evaluation.

Where the output is no terminal (a log file, CI) only the lines are written.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from docvlm.data.loading.packing import questions
from docvlm.training.epochs import EpochTable
from docvlm.training.module import AnswerModule


class ProgressLines(Callback):
    """A bar over the questions of an epoch or of an evaluation; then a line with what it came to."""

    def __init__(self, epochs: EpochTable, console: Console) -> None:
        self.epochs = epochs
        self.console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance; a resumed epoch starts where it was left."""
        assert isinstance(module, AnswerModule)
        total = int(trainer.num_training_batches)
        text = f"epoch {module.at_epoch}/{trainer.max_epochs}  loss {module.train_loss:.3f}"
        self._show(trainer, text, total, batch_idx + 1, questions=questions(batch) * trainer.world_size)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance."""
        self._evaluated(trainer, module, "val", trainer.num_val_batches, batch, batch_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance."""
        self._evaluated(trainer, module, "test", trainer.num_test_batches, batch, batch_idx)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """The bar of the epoch gives way to the bar of the evaluation."""
        self._close()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Say what the epoch came to."""
        self._close()
        if not trainer.is_global_zero:
            return
        row = self.epochs.rows[-1]
        parts = [
            f"epoch {row['epoch']}/{trainer.max_epochs}",
            f"{row['metric']} {row['score']:.3f}",
            f"val loss {row['val_loss']:.3f}",
            f"on {row['val_questions']} val questions in {row['eval_seconds']:.0f} s",
        ]
        if row["questions_per_second"] is not None:
            parts.insert(1, f"{row['questions_per_second']:.1f} questions/s, train loss {row['train_loss']:.3f}")
        self.console.print("  ".join(parts), highlight=False)

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Remove the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._close()

    def _evaluated(
        self, trainer: Trainer, module: LightningModule, split: str, batches: Any, batch: Any, index: int
    ) -> None:
        assert isinstance(module, AnswerModule)
        total = int(batches[0] if isinstance(batches, list) else batches)
        text = f"answering {split}  score {module.running_score:.3f}"
        self._show(trainer, text, total, index + 1, questions=len(batch.examples) * trainer.world_size)

    def _show(self, trainer: Trainer, text: str, total: int, done: int, *, questions: int) -> None:
        if not (trainer.is_global_zero and self.console.is_terminal):
            return
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
            )  # fmt: skip
            self._bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=4)
            self._task = self._bar.add_task(text, total=total, completed=done - 1, rate="", questions=0)
            self._bar.start()
        assert self._task is not None
        task = self._bar.tasks[0]
        seen = task.fields["questions"] + questions
        rate = f"{seen / task.elapsed:.1f} questions/s" if task.elapsed else ""
        self._bar.update(self._task, description=text, completed=done, questions=seen, rate=rate)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
