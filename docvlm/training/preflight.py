"""What the batches will be, and whether the largest fits, before the first step.

The lengths of all examples are known without opening a page, so the batches of an epoch are too: how long rows are, how
much of a batch is padding, which one is largest. Its memory is predicted from what one of its documents saves for the
backward pass, in proportion to tokens, and then measured by one forward and backward pass, whose gradients are dropped.
Where a GPU runs out of memory in that pass the token budget is halved, once, with twice the batches a step. The
decision is in `manifest.json`, and a resumed run takes it from there. Cost: two passes, of which one is small.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from docvlm import machine
from docvlm.data.loading.batching import Lengths, documents, page_groups
from docvlm.errors import DocvlmError
from docvlm.files import read_json, write_json
from docvlm.training import ranks
from docvlm.training.module import AnswerModule
from docvlm.training.run import Run
from docvlm.vlms import sharded

BARS = "▁▂▃▄▅▆▇█"
_MB = 1 << 20


@dataclass(frozen=True)
class Batches:
    """One epoch's batches of this device, by length: each a list of documents, which are indices of examples."""

    lengths: Lengths
    batches: list[list[np.ndarray]]

    @property
    def rows(self) -> list[int]:
        """Tokens of every row that is computed."""
        unpadded = []
        for document in (document for batch in self.batches for document in batch):
            rows = [document] if self.lengths.shared else np.split(document, len(document))
            unpadded += [self.lengths.useful([row]) for row in rows]
        return unpadded

    @property
    def tokens(self) -> list[int]:
        """Tokens of every batch, padding included."""
        return [self.lengths.padded(batch) for batch in self.batches]

    @property
    def padding(self) -> float:
        """Share of all computed tokens that is padding."""
        return 1 - sum(self.lengths.useful(batch) for batch in self.batches) / sum(self.tokens)

    def __str__(self) -> str:
        rows, tokens = self.rows, self.tokens
        return (
            f"tokens: rows of {min(rows)} to {max(rows)}, median {statistics.median(rows):g} {histogram(rows)};"
            f" {len(tokens)} batches of up to {max(tokens)}, {100 * self.padding:.0f} % padding"
        )


def histogram(values: list[int], bars: int = 12) -> str:
    """How often values occur from the least to the greatest, a character an equal part of that range."""
    if min(values) == max(values):
        return BARS[-1]
    counts, _ = np.histogram(values, bars)
    return "".join(BARS[int(np.ceil(count / counts.max() * (len(BARS) - 1)))] for count in counts)


def out_of_memory(where: str) -> DocvlmError:
    """What to do about it."""
    return DocvlmError(
        f"out of memory: {where}; lower data.batch_tokens or data.batch_size (data.eval_batch_size in an evaluation) or"
        " the budget, or set trainer.gradient_checkpointing=true"
    )


def batches_of(run: Run) -> Batches:
    """The batches of the first epoch."""
    data = run.data
    examples, codec = data.learned(), data.codec
    assert codec is not None
    lengths = codec.lengths(examples)
    lengths = replace(lengths, shared=lengths.shared and data.packing)
    groups = np.array(page_groups(examples))
    indices = [np.array(batch) for batch in data.train_batches(examples)]  # type: ignore[arg-type]  # only counted
    return Batches(lengths, [documents(batch, groups) for batch in indices])


class Preflight(Callback):
    """Prints and records what the batches will be, and halves a token budget that does not fit."""

    def __init__(self, run: Run) -> None:
        self.run: Run | None = run

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """A resumed run has been here before."""
        manifest = self.run.folder.manifest if self.run is not None else None
        decided = read_json(manifest).get("preflight") if manifest is not None and manifest.exists() else None
        if self.run is not None and decided is not None:
            if decided["halved"]:
                _halve(self.run, trainer)
            self.run = None

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Before epoch 0."""
        self._check(trainer, module)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Before a resumed run goes on that was killed before it came here."""
        self._check(trainer, module)

    def _check(self, trainer: Trainer, module: LightningModule) -> None:
        run, self.run = self.run, None
        if run is None:
            return
        assert isinstance(module, AnswerModule)
        evaluating = not module.vlm.training
        module.vlm.train()
        self._decide(run, trainer, module)
        module.vlm.train(not evaluating)  # or epoch 0 would be judged with dropout on

    def _decide(self, run: Run, trainer: Trainer, module: AnswerModule) -> None:
        found, halved = self._measure(run, trainer, module), False
        if found["measured_mb"] is None and run.data.batch_tokens is not None and trainer.state.fn == "validate":
            _halve(run, trainer)
            halved = True
            torch.cuda.empty_cache()
            found = self._measure(run, trainer, module)
        if found["measured_mb"] is None:
            raise out_of_memory(f"the largest batch has {found['largest']} tokens")
        if ranks.is_main():
            manifest = run.folder.manifest
            write_json(manifest, read_json(manifest) | {"preflight": found | {"halved": halved}})

    def _measure(self, run: Run, trainer: Trainer, module: AnswerModule) -> dict[str, Any]:
        """Numbers of the batches, and the memory of the largest in MiB: None where it did not fit."""
        found = batches_of(run)
        run.console.print(str(found), highlight=False)
        tokens = found.tokens
        large, kind = found.batches[int(np.argmax(tokens))], module.device.type
        small = [min(large, key=lambda document: found.lengths.useful([document]))]
        saved = _saved(trainer, module, _encoded(run, module, small)) / found.lengths.padded(small)
        trainable = module.vlm.trainable
        assert trainable is not None
        beside = 4 * trainable.count  # gradients
        if sharded.is_sharded(module.vlm):
            shares = sharded.memory(module.vlm, trainer.world_size)
            beside = shares.gradients + shares.gathered
        predicted = machine.memory_mb(kind) + (saved * max(tokens) + beside) / _MB
        measured = _peak(trainer, module, _encoded(run, module, large))
        line = f"memory: {predicted:.0f} MB predicted for the largest batch"
        line += ", which did not fit" if measured is None else f", {measured:.0f} MB measured"
        run.console.print(line, highlight=False)
        return {
            "batches": len(tokens),
            "largest": max(tokens),
            "padding": round(found.padding, 4),
            "predicted_mb": round(predicted, 1),
            "measured_mb": None if measured is None else round(measured, 1),
        }


def _encoded(run: Run, module: AnswerModule, batch: list[np.ndarray]) -> dict[str, Tensor]:
    codec = module.vlm.codec
    learned = run.data.learned()
    examples = [learned[index] for document in batch for index in document]
    encoded = codec.packed_batch(examples) if run.data.packing else codec.train_batch(examples)
    return {name: tensor.to(module.device) for name, tensor in encoded.items()}


def _saved(trainer: Trainer, module: AnswerModule, batch: dict[str, Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights aside; shared storage counts once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.enable_grad(),
        sharded.whole_storages(module.vlm) as weights,
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        trainer.precision_plugin.train_step_context(),
    ):
        loss, _ = module.vlm.loss(batch)  # holds what is counted: an address must not be given twice
    del loss
    return sum(kept.values())


def _peak(trainer: Trainer, module: AnswerModule, batch: dict[str, Tensor]) -> float | None:
    """Peak of a forward and backward pass in MiB; None where any device runs out of memory.

    Devices that share the weights end there: nobody can go on without the one that ran out.
    """
    kind, fitted = module.device.type, True
    devices = [module.device] if kind == "cuda" else []
    with torch.random.fork_rng(devices), machine.measured_peak(kind) as peak:
        try:
            with torch.enable_grad(), trainer.precision_plugin.train_step_context():
                loss, _ = module.vlm.loss(batch)
            loss.backward()
        except torch.OutOfMemoryError:
            if sharded.is_sharded(module.vlm):  # the others wait for what this device cannot give them any more
                raise
            fitted = False
        module.zero_grad(set_to_none=True)
    if dist.is_available() and dist.is_initialized():
        everyone = torch.tensor(float(fitted), device=module.device)
        dist.all_reduce(everyone, dist.ReduceOp.MIN)
        fitted = bool(everyone)
    return peak[0] if fitted else None


def _halve(run: Run, trainer: Trainer) -> None:
    """Half the tokens a batch and twice the batches a step: as many questions learned from at once as before."""
    assert run.data.batch_tokens is not None
    run.data.batch_tokens //= 2
    trainer.accumulate_grad_batches *= 2
    run.console.print(
        f"data.batch_tokens halved to {run.data.batch_tokens}, with"
        f" trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}",
        highlight=False,
    )
