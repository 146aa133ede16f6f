"""The scale, the model and the pixels it sees: groups of the config that several verbs share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docvlm.config.base import SWITCH, ReadOnly, VerbConfig, need, targets
from docvlm.data.reading import RETRIEVER, SELECTORS, Selection
from docvlm.vlms.families import FAMILIES, OWN, PIXELS, SIDES, Family

DTYPES = ("float32", "bfloat16", "float16")


@dataclass
class ScaleConf(ReadOnly):
    """`conf/scale/`: what "tiny" and "full" mean, where it does not depend on the model family."""

    name: str
    source: str | None
    preset: str
    limit_train: int | None
    limit_val: int | None
    limit_test: int | None
    batch_size: int | None
    batch_tokens: int | None
    eval_batch_size: int
    num_workers: int
    max_epochs: int
    select: str
    accumulate_grad_batches: int
    precision: str
    dtype: str


@dataclass
class ScaledModel(ReadOnly):
    """What a model family starts from at one scale. Learning rates: `lr` beside an adapter, `full_lr` where r=0."""

    size: str
    attn: str
    lr: float
    full_lr: float
    vision_lr: float
    limit_train: int | None = None  # questions, where the scale asks the family
    limit_test: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    height: int | None = None
    width: int | None = None


@dataclass
class ModelConf(ReadOnly):
    """`conf/model/`: a family, which checkpoint of it, and the family's defaults for `lora.r`, `freeze`, budget.

    `revision` is a branch, tag or commit of a checkpoint on the hub. `tower` and `blocks` name modules where a family
    looks for them in the checkpoint and would take others.
    """

    family: str
    size: str
    checkpoint: str
    dtype: str
    attn: str
    checkpoints: dict[str, str]
    default_r: int
    default_freeze: float
    by_scale: dict[str, ScaledModel]
    revision: str | None = None
    tower: str | None = None
    blocks: str | None = None


@dataclass
class BudgetConf(ReadOnly):
    """Pixels of a page a model sees: `min_pixels` to `max_pixels`, or `height` x `width`, as its family reads.

    `longest_edge` and `max_tiles`: terms that processors of other checkpoints know, for families that take any.
    `jpeg_quality`: pages go through JPEG before they are resized, as lmms-eval's do at 85; some families' only.
    `document_pixels`: what the pages of a document may have together, of families that take `max_pixels` alone.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    height: int | None = None
    width: int | None = None
    jpeg_quality: int | None = None
    longest_edge: int | None = None
    max_tiles: int | None = None
    document_pixels: int | None = None


@dataclass
class ModelVerbConfig(VerbConfig):
    """What every verb that shows pages to a model, or chooses pages for one, can be told."""

    scale: ScaleConf
    model: ModelConf
    packing: str
    seed: int
    offline: bool

    @property
    def pages_from(self) -> str | None:
        """The source of the pages."""
        return self.scale.source

    @property
    def loads_checkpoint(self) -> bool:
        """Whether `model.checkpoint` is what is loaded."""
        return True

    @property
    def base(self) -> str | None:
        """Folder, hub id or word of the checkpoint that is loaded; None where none is."""
        return self.model.checkpoint if self.loads_checkpoint else None

    def check(self, *, sweep: bool = False) -> None:
        targets(dataclasses.asdict(self))
        check_model(self.model, self.base)
        need(self.packing in SWITCH, "packing", self.packing, "choose on or off")
        need(0 <= self.seed < 2**32, "seed", self.seed, "choose one from 0 to 4294967295")

    def scale_line(self, choices: Mapping[str, str]) -> str:
        name = self.scale.name
        other = "full" if name == "tiny" else "tiny"
        why = "as you said"
        if choices["scale"] == "auto":
            why = "auto: no CUDA device found" if name == "tiny" else "auto: a CUDA device is present"
        what = f"pages from {self.pages_from}"
        if self.base is not None:  # else the run or the server says which, or none is needed
            what = f"checkpoint {self.base}, {what}"
        return f"scale={name} ({why}): {what}. scale={other} overrides it."


@dataclass
class ReadingVerbConfig(ModelVerbConfig):
    """What verbs that answer questions about whole documents can be told: who chooses the pages that are read."""

    selector: str | None
    selector_pages: int
    selector_checkpoint: str | None

    @property
    def selection(self) -> Selection | None:
        """Who chooses the pages of a document; None where the command does not say."""
        if self.selector is None:
            return None
        return Selection(self.selector, self.selector_pages, self.selector_checkpoint or "")

    def check(self, *, sweep: bool = False) -> None:
        super().check(sweep=sweep)
        advice = f"choose {', '.join(SELECTORS)}, or null: as the model was trained"
        need(self.selector is None or self.selector in SELECTORS, "selector", self.selector, advice)
        need(self.selector_pages >= 1, "selector_pages", self.selector_pages, "1 or more pages of a document")
        check_retriever(self.selector == RETRIEVER, self.selector_checkpoint)


def check_retriever(asked: bool, checkpoint: str | None) -> None:
    """Raise `DocvlmError` unless there is a checkpoint exactly where a retriever is asked for."""
    advice = f"a folder or a hub id, such as ModernVBERT/colmodernvbert-merged, beside selector={RETRIEVER}"
    need(asked == bool(checkpoint), "selector_checkpoint", checkpoint, advice)


def check_model(model: ModelConf, base: str | None) -> None:
    """Raise `DocvlmError` for the first impossible value of `model`; `base` is what is loaded, if anything."""
    known = f"choose one of {', '.join(sorted(FAMILIES))}, or name the module that registers it in extensions"
    need(model.family in FAMILIES, "model.family", model.family, known)
    need(model.dtype in DTYPES, "model.dtype", model.dtype, f"choose one of {', '.join(DTYPES)}")
    family = FAMILIES[model.family]
    embedded = family.embedded is not None
    advice = "a folder or a hub id" + (", or the word embedded" if embedded else "")
    need(base is None or bool(base), "model.checkpoint", "''", advice)
    advice = f"{family.name} has no checkpoint that comes with docvlm; give a folder or a hub id"
    need(embedded or base != "embedded", "model.checkpoint", "embedded", advice)
    for key in ("tower", "blocks"):
        value = getattr(model, key)
        advice = f"{family.name} knows where they are; drop it"
        need(value is None or family.takes_any, f"model.{key}", value, advice)


def check_budget(budget: BudgetConf, family: Family) -> None:
    """Raise `DocvlmError` for the first impossible value of `budget`, or one that is another family's."""
    own = family.budget
    instead = f"{family.name} takes {' and '.join(f'budget.{key}' for key in own)} instead"
    for key in own:
        value = getattr(budget, key)
        needed = own != OWN or value is not None  # a checkpoint has its own, and says which of the terms it knows
        need(not needed or (value or 0) > 0, f"budget.{key}", value, f"{family.name} needs it: a number above 0")
    for key in {*PIXELS, *SIDES, *OWN} - set(own):
        value = getattr(budget, key)
        need(value is None, f"budget.{key}", value, instead)
    together = budget.document_pixels
    advice = f"{family.label} has a budget a page only; set null"
    need(together is None or own == PIXELS, "budget.document_pixels", together, advice)
    need(together is None or together > 0, "budget.document_pixels", together, "pixels of all pages together, or null")
    quality = budget.jpeg_quality
    advice = f"{family.label}'s pages do not go through JPEG in any harness; set null"
    need(quality is None or family.jpeg, "budget.jpeg_quality", quality, advice)
    advice = "a quality from 1 to 100 (lmms-eval: 85), or null for pages as they are"
    need(quality is None or 1 <= quality <= 100, "budget.jpeg_quality", quality, advice)
    if budget.min_pixels is not None and budget.max_pixels is not None:
        advice = f"must not be above budget.max_pixels={budget.max_pixels}"
        need(budget.min_pixels <= budget.max_pixels, "budget.min_pixels", budget.min_pixels, advice)


def check_revision(model: ModelConf, checkpoint: str | None = None, **weights: object) -> None:
    """A revision is of the hub: neither a folder nor what else a command may evaluate (`weights`, by key) has one."""
    revision = model.revision
    if revision is None:
        return
    need(bool(revision.strip()), "model.revision", "''", "a branch, tag or commit, or null for the main branch")
    for key, given in weights.items():
        advice = f"{key}={given} brings its own weights; drop one of the two"
        need(not given, "model.revision", revision, advice)
    name = checkpoint or model.checkpoint
    local = name == "embedded" or Path(name).expanduser().exists()
    need(not local, "model.revision", revision, f"{name} is not on the hub, so it has none; drop it, or give a hub id")
