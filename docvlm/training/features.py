"""Whether a run keeps what the frozen part of its tower makes of a page, and where.

Of a tower that is frozen in full the output is stored, of one that learns from some block on the output of the blocks
before it. `features=auto` stores the pages of a first batch, reads them back, encodes some of them again, and keeps
what was faster; the choice is in `manifest.json`, and a resumed run takes it from there.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from docvlm.errors import DocvlmError
from docvlm.training.files import read_json
from docvlm.vlms.codec import Codec, Stored
from docvlm.vlms.features import FeatureStore
from docvlm.vlms.proof import fingerprint
from docvlm.vlms.trainable import plain_name

if TYPE_CHECKING:
    from docvlm.config import TrainConfig
    from docvlm.data.example import Example
    from docvlm.training.run import Run
    from docvlm.vlms.base import VLM

TRIAL = 8  # pages that `auto` stores and reads
ENCODED = 2  # and of these, how many it encodes for their time only
GIB = 2**30


def attach(run: Run) -> None:
    """Give the run's codec a feature store, or leave it without, as `features` and the measurement say."""
    cfg, vlm = run.cfg, run.vlm
    assert vlm is not None and vlm.trainable is not None
    frozen = vlm.trainable.frozen_blocks > 0
    if cfg.features == "on" and not (frozen and cfg.packing == "on"):
        raise DocvlmError(
            f"features=on: only what frozen blocks make of a page can be stored, and read with packing=on; here"
            f" freeze={cfg.freeze:g} and packing={cfg.packing}. Take features=auto or off"
        )
    if cfg.features == "off" or not frozen or cfg.packing == "off":
        run.features = "off"
        return
    decided = read_json(run.folder.manifest).get("features") if run.folder.manifest.exists() else None
    stored = _stored(cfg, vlm)
    if cfg.features == "on" or decided == "on":
        run.features, vlm.codec.stored = "on", stored
    elif decided is None:
        _measure(run, vlm, stored)
    else:
        run.features = "off"


def _stored(cfg: TrainConfig, vlm: VLM) -> Stored:
    """The store of these frozen blocks, budget and processor, and the dtypes this run computes in."""
    assert vlm.trainable is not None
    blocks, frozen = vlm.trainable.blocks, vlm.trainable.frozen_blocks
    names = {name for block in blocks[:frozen] for name in block.parameters}
    weights = fingerprint((plain_name(name), p) for name, p in vlm.net.named_parameters() if plain_name(name) in names)
    images = vlm.codec.processor.image_processor.to_dict()
    text = json.dumps([weights, str(vlm.codec.budget), images], sort_keys=True, default=str)
    folder = Path(cfg.features_folder) / hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        store = FeatureStore(folder, int(cfg.features_limit_gb * GIB))
    except OSError as error:
        where = f"features_folder={cfg.features_folder}"
        raise DocvlmError(f"{where}: {error.strerror}; name another folder, or take features=off") from error
    return Stored(store, training_dtype(cfg, vlm), vlm.dtype, whole=frozen == len(blocks))


def training_dtype(cfg: TrainConfig, vlm: VLM) -> torch.dtype:
    """What training computes in: `trainer.precision` decides for a float32 model, else the model's own dtype."""
    mixed = {"bf16": torch.bfloat16, "16": torch.float16}.get(cfg.trainer.precision.split("-")[0], torch.float32)
    return mixed if vlm.dtype == torch.float32 else vlm.dtype


def _measure(run: Run, vlm: VLM, stored: Stored) -> None:
    """Time reading and encoding of the same pages, with what learns behind them; the second pass of each counts.

    All trial pages are stored, which an epoch would do next; few are encoded only to see how long that takes.
    """
    pages = list({example.pages: example for example in run.data.train[: 8 * TRIAL]}.values())[:TRIAL]
    codec, device = vlm.codec, vlm.device
    dtype = getattr(torch, stored.training.removeprefix("torch."))

    def seconds(kept: Stored | None, some: list[Example]) -> float:
        began = time.perf_counter()
        codec.stored = kept
        batch: Any = codec.packed_batch(some)
        with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            vlm.page_features({name: tensor.to(device) for name, tensor in batch.items()})
        if device.type == "cuda":
            torch.cuda.synchronize()
        if kept is not None:
            kept.store.flush()
        return time.perf_counter() - began

    seconds(stored, pages)
    reading = seconds(stored, pages) / len(pages)
    few = pages[:ENCODED]
    seconds(None, few[:1])  # where everything was stored already, nothing has been encoded yet
    encoding = seconds(None, few) / len(few)
    run.features = "on" if reading < encoding else "off"
    codec.stored = stored if run.features == "on" else None
    costs = f"a page takes {1000 * encoding:.1f} ms to encode, {1000 * reading:.1f} ms to read"
    run.console.print(f"features={run.features} (auto: {costs})", highlight=False)


class Flush(Callback):
    """Writes what was gathered at the ends of epochs and evaluations."""

    def __init__(self, codec: Codec) -> None:
        self.stored = codec.stored

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """After the pages of val."""
        self._flush()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """After the pages of train."""
        self._flush()

    def _flush(self) -> None:
        if self.stored is not None:
            self.stored.store.flush()
