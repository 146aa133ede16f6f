"""Whether a run keeps what the frozen part of its tower makes of a page, and where.

Of a tower that is frozen in full the output is stored, of one that learns from some block on the output of the blocks
before it. `features=auto` stores the pages of a first batch, reads them back, encodes some of them again, and keeps
what was faster; the choice is in `manifest.json`, and a resumed run takes it from there. How long encoding takes is
written beside the features: the next cell of a sweep times reading alone. The test split is read through the store too.

What frozen blocks of the decoder make of a document's pages (`freeze_language`) is chosen in the same way, after what
it will take is said: it is 20 times what a tower makes of a page, so it is stored only where all of it fits.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from docvlm import machine
from docvlm.errors import DocvlmError
from docvlm.files import read_json, write_json
from docvlm.vlms import quant
from docvlm.vlms.codec import Codec, Stored
from docvlm.vlms.feature_store import FeatureStore
from docvlm.vlms.prepare import below
from docvlm.vlms.proof import fingerprint
from docvlm.vlms.trainable import plain_name

if TYPE_CHECKING:
    from docvlm.config import TrainConfig
    from docvlm.data.example import Example
    from docvlm.training.run import Run
    from docvlm.vlms.base import VLM

TRIAL = 8  # pages that `auto` stores and reads
ENCODED = 2  # and of these, how many it encodes for their time only
DECISIVE = 4  # times as long as reading: what an earlier run found is measured again where less than this speaks for it
COSTS = "encoding.json"  # seconds a page takes to encode, by machine
GIB = 2**30
_NO_SETTINGS = ("dtype", "torch_dtype", "architectures", "transformers_version", "use_cache")


def attach(run: Run, device: torch.device) -> None:
    """Give the run's codec its stores, or leave it without, as `features` and measurements on `device` say."""
    _attach_features(run, device)
    if run.vlm is not None and run.vlm.frozen_layers:
        _attach_prefill(run, run.vlm, device)


def _attach_features(run: Run, device: torch.device) -> None:
    cfg, vlm = run.cfg, run.vlm
    assert vlm is not None and vlm.trainable is not None
    # how long rows are depends on what is found: batches by tokens are the same with and without packing
    line = vlm.settle(run.data.learned()) if cfg.packing == "on" or run.data.batch_tokens is not None else ""
    if line and cfg.packing == "on":
        run.console.print(line, highlight=False)
    frozen = vlm.trainable.frozen_blocks > 0
    if frozen and cfg.packing == "on" and vlm.unstored:
        if cfg.features == "on":
            raise DocvlmError(f"features=on: {vlm.unstored}. Take features=auto or off")
        run.features = "off"
        run.console.print(f"features=off ({vlm.unstored})", highlight=False)
        return
    if cfg.features == "on" and not (frozen and cfg.packing == "on"):
        raise DocvlmError(
            f"features=on: only what frozen blocks make of a page can be stored, and read with packing=on; here"
            f" freeze={cfg.freeze:g} and packing={cfg.packing}. Take features=auto or off"
        )
    if cfg.features == "off" or not frozen or cfg.packing == "off":
        run.features = "off"
        return
    decided = _decided(run, "features")
    stored = _stored(cfg, vlm)
    if cfg.features == "on" or decided == "on":
        run.features, vlm.codec.stored = "on", stored
    elif decided is None:
        # to where it will train: a GPU encodes in a fraction of the processor's time
        if cfg.trainer.sharded:
            _move_tower(vlm, device)
        else:
            vlm.to(device)
        run.features = _measure(run, vlm, stored, device, Tower())
    else:
        run.features = "off"


def _decided(run: Run, name: str) -> str | None:
    """What an earlier session of a resumed run decided."""
    found = read_json(run.folder.manifest).get(name) if run.folder.manifest.exists() else None
    return None if found is None else str(found)


def _attach_prefill(run: Run, vlm: VLM, device: torch.device) -> None:
    """Say why what the decoder's frozen blocks make of pages is not stored, or how large it will be; then as above."""
    cfg, decided = run.cfg, _decided(run, "prefill")
    plain = cfg.packing == "off" or cfg.features == "off"
    if reason := "" if plain else _no_prefill(run, vlm):
        run.console.print(f"prefill=off ({reason})", highlight=False)
    if plain or reason or decided == "off":
        return
    stored = _prefilled(cfg, vlm)
    if cfg.features == "on" or decided == "on":
        run.prefill, vlm.codec.prefilled = "on", stored
        return
    vlm.to(device)
    run.prefill = _measure(run, vlm, stored, device, Decoder())


def _no_prefill(run: Run, vlm: VLM) -> str:
    """Why nothing of the kind is stored; where it is, its size is said and "" comes back."""
    if vlm.unprefilled:
        return vlm.unprefilled
    if run.cfg.trainer.sharded:
        return "devices share the weights of the decoder"
    limit, token = run.cfg.features_limit_gb, vlm.prefill_width * vlm.dtype.itemsize
    documents, tokens = _tokens(run, vlm)
    every = f"{token * tokens / GIB:.3g} GB of {documents} documents"
    size = f"{len(vlm.frozen_layers)} blocks make {token / 2**10:.1f} KB of a token, {every}"
    if token * tokens > limit * GIB:
        return f"{size}; features_limit_gb={limit:g} is less"
    run.console.print(f"prefill: {size}, in {run.cfg.features_folder}", highlight=False)
    return ""


def _tokens(run: Run, vlm: VLM) -> tuple[int, int]:
    """Documents of all splits as they are read, and the tokens of their pages."""
    data = run.data
    asked = [
        one for split in (data.val, data.test) for example in data.shown(split) for one in data.reading.asked(example)
    ]
    documents = {example.pages: example for example in (*data.learned(), *asked)}
    return len(documents), int(vlm.codec.lengths(list(documents.values())).pages.sum())


def share(run: Run, vlm: VLM) -> None:
    """Let a model that was read back from disk use the run's stores too, which are found by its weights."""
    if run.features == "on":
        vlm.codec.stored = _stored(run.cfg, vlm)
    if run.prefill == "on":
        vlm.codec.prefilled = _prefilled(run.cfg, vlm)


def _stored(cfg: TrainConfig, vlm: VLM) -> Stored:
    """The store of these frozen blocks, budget, processor and packages, and the dtypes this run computes in.

    A page's digest is that of its pixels before they are resized, so what resizes them is in the folder's name.
    """
    assert vlm.trainable is not None
    blocks, frozen = vlm.trainable.blocks, vlm.trainable.frozen_blocks
    names = {name for block in blocks[:frozen] for name in block.parameters}
    return Stored(_store(cfg, vlm, names), training_dtype(cfg, vlm), vlm.dtype, whole=frozen == len(blocks))


def _prefilled(cfg: TrainConfig, vlm: VLM) -> Stored:
    """The same of the tower and the frozen blocks of the decoder, with their settings: what is above has no part in it.

    A document's name in it is that of its pages and of all tokens before the question, so positions have theirs too.
    """
    assert vlm.trainable is not None
    names = {name for block in vlm.trainable.blocks for name in block.parameters} | below(vlm, vlm.frozen_layers)
    settings = vlm.bare.config.get_text_config().to_dict()
    settings = {key: value for key, value in settings.items() if not (key.startswith("_") or key in _NO_SETTINGS)}
    store = _store(cfg, vlm, names, len(vlm.frozen_layers), settings)
    return Stored(store, training_dtype(cfg, vlm), vlm.dtype, beside=vlm.codec.stored)


def _store(cfg: TrainConfig, vlm: VLM, names: set[str], *more: Any) -> FeatureStore:
    """The store of what the weights of these names, and what there is `more`, make of pages at the model's budget."""
    held = [(plain_name(name), p) for name, p in vlm.net.named_parameters() if plain_name(name) in names]
    weights = fingerprint([*held, *quant.scales(held)])
    images = vlm.codec.processor.image_processor.to_dict()
    packages = {name: found for name, found in machine.versions().items() if name in machine.PIXELS}
    text = json.dumps([weights, str(vlm.codec.budget), images, packages, *more], sort_keys=True, default=str)
    folder = Path(cfg.features_folder).expanduser() / hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        return FeatureStore(folder, int(cfg.features_limit_gb * GIB))
    except OSError as error:
        where = f"features_folder={cfg.features_folder}"
        raise DocvlmError(f"{where}: {error.strerror}; name another folder, or take features=off") from error


def training_dtype(cfg: TrainConfig, vlm: VLM) -> torch.dtype:
    """What training computes in: `trainer.precision` decides for a float32 model, else the model's own dtype."""
    mixed = {"bf16": torch.bfloat16, "16": torch.float16}.get(cfg.trainer.precision.split("-")[0], torch.float32)
    return mixed if vlm.dtype == torch.float32 else vlm.dtype


def _move_tower(vlm: VLM, device: torch.device) -> None:
    """Move all but the language side, which may be larger than a device."""
    language = set(vlm.bare.get_submodule(vlm.language).modules())
    for module in vlm.bare.modules():
        if module not in language:
            module._apply(lambda tensor: tensor.to(device), recurse=False)


class Tower:
    """What frozen blocks of the tower make of pages; `read` of the trial pages are timed once they are stored."""

    key, encoded, read = "features", "to encode", TRIAL
    taken = "to read"

    def use(self, codec: Codec, stored: Stored | None) -> None:
        """Let batches come from a store, or from none."""
        codec.stored = stored

    def make(self, vlm: VLM, batch: dict[str, Tensor]) -> None:
        """Compute it, or take what the batch brings."""
        vlm.page_features(batch)


class Decoder(Tower):
    """What frozen blocks of the decoder make of the pages of documents.

    Timed with all that follows, since questions take another way behind a stored page; and on as many pages either way,
    since passes of a small model take about as long with few as with many.
    """

    key, encoded, read = "prefill", "through the whole decoder", ENCODED
    taken = "from what is stored"

    def use(self, codec: Codec, stored: Stored | None) -> None:
        """See `Tower`."""
        codec.prefilled = stored

    def make(self, vlm: VLM, batch: dict[str, Tensor]) -> None:
        """See `Tower`."""
        vlm.loss(batch)


def _measure(run: Run, vlm: VLM, stored: Stored, device: torch.device, kind: Tower) -> str:
    """Time reading and encoding of the same pages, with what learns behind them; the second pass of each counts.

    All trial pages are stored, which an epoch would do next; few are encoded only to see how long that takes. Leaves
    the codec with the faster of the two ("on": reading).
    """
    pages = list({example.pages: example for example in run.data.learned()[: 8 * TRIAL]}.values())[:TRIAL]
    _seconds(vlm, device, stored.training, stored, pages, kind)
    again = pages[: kind.read]
    reading = _seconds(vlm, device, stored.training, stored, again, kind) / len(again)
    file, where = stored.store.folder / COSTS, machine.name(device.type)
    known = _known(file)
    earlier = DECISIVE * reading < known.get(where, 0.0)
    if not earlier:
        few = pages[:ENCODED]
        _seconds(vlm, device, stored.training, None, few[:1], kind)  # where all was stored, none was encoded yet
        known[where] = _seconds(vlm, device, stored.training, None, few, kind) / len(few)
        write_json(file, known)
    chosen = "on" if reading < known[where] else "off"
    kind.use(vlm.codec, stored if chosen == "on" else None)
    encoding = f"{1000 * known[where]:.1f} ms {kind.encoded}{' (in an earlier run)' if earlier else ''}"
    run.console.print(
        f"{kind.key}={chosen} (auto: a page takes {encoding}, {1000 * reading:.1f} ms {kind.taken})", highlight=False
    )
    return chosen


def _known(file: Path) -> dict[str, float]:
    """Seconds a page takes to encode, by machine. Raises `DocvlmError` where the file holds anything else."""
    if not file.exists():
        return {}
    try:
        return {name: float(seconds) for name, seconds in json.loads(file.read_text(encoding="utf-8")).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DocvlmError(f"{file}: no times of encoding ({error}); delete it, and they are taken again") from error


def _seconds(
    vlm: VLM, device: torch.device, training: str, kept: Stored | None, some: list[Example], kind: Tower
) -> float:
    """Wall time of making what is stored of these pages, by reading it where it is in `kept`."""
    dtype = getattr(torch, training.removeprefix("torch."))
    began = time.perf_counter()
    kind.use(vlm.codec, kept)
    batch: Any = vlm.codec.packed_batch(some)
    with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        kind.make(vlm, {name: tensor.to(device) for name, tensor in batch.items()})
    if device.type == "cuda":
        torch.cuda.synchronize()
    if kept is not None:
        kept.store.flush()
    return time.perf_counter() - began


def flush(codec: Codec) -> None:
    """Write what was gathered, where there is a store."""
    for stored in (codec.stored, codec.prefilled):
        if stored is not None:
            stored.store.flush()


class Flush(Callback):
    """Writes what was gathered at the ends of epochs and evaluations."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """After the pages of val."""
        flush(self.codec)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """After the pages of train."""
        flush(self.codec)
