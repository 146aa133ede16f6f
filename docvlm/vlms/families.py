"""One record a model family: all that differs from one family to the next and is not code.

Another family is a folder with `model.py` and `codec.py` (`docvlm.vlms.base`, `docvlm.vlms.codec`), a yaml in
`conf/model/`, and a record here, or in a module of one's own that calls `FAMILIES.register` (docs/extend/family.md). No
other file names one. Classes stand here as `module:name` and are imported where they are needed: this takes no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from docvlm.registry import Registry

APACHE = "apache-2.0"
OTHER = "other"
"""The hub's word for a licence that has no identifier there, but a name and a link."""
PIXELS, SIDES = ("min_pixels", "max_pixels"), ("height", "width")
OWN = ("min_pixels", "max_pixels", "longest_edge", "max_tiles")
QWEN2_VL_FIELDS = (
    "model_type", "architectures", "tie_word_embeddings", "image_token_id", "video_token_id", "vision_start_token_id",
    "vision_end_token_id", "vision_token_id", "bos_token_id", "eos_token_id", "text_config.model_type",
    *(f"text_config.{name}" for name in (
        "bos_token_id", "eos_token_id", "attention_dropout", "hidden_act", "hidden_size", "initializer_range",
        "intermediate_size", "max_position_embeddings", "max_window_layers", "num_attention_heads",
        "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_parameters.mrope_section",
        "rope_parameters.rope_theta", "rope_parameters.type", "sliding_window", "use_cache", "use_sliding_window",
        "vocab_size",
    )),
    *(f"vision_config.{name}" for name in (
        "model_type", "depth", "embed_dim", "mlp_ratio", "num_heads", "in_channels", "in_chans", "hidden_size",
        "patch_size", "spatial_merge_size", "spatial_patch_size", "temporal_patch_size",
    )),
)  # fmt: skip
"""Of Qwen/Qwen2-VL-2B-Instruct and its 7B, which has them flat: `rope_theta` and `rope_scaling` are `rope_parameters`
of the text now, `in_chans` is `in_channels`. Nothing in them says how the tower turns its positions."""
_CACHED = "models--"  # and the hub id, a folder in the hub client's cache: `models--user--name/snapshots/<commit>`
_EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class Weights:
    """A version of a family's embedded weights. `docvlm` is the last version of docvlm that ships them."""

    version: int
    docvlm: str


@dataclass(frozen=True)
class Miniature:
    """A family's embedded checkpoint: its folder, and for docvlm's own every version of its weights there has been.

    `weights` has them by the fingerprint that runs record (`docvlm.vlms.checkpoint`).
    """

    folder: Path
    weights: Mapping[str, Weights] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """How a model of the family is asked behind an OpenAI-compatible API.

    `page(page, budget)` is the image that is sent; None: pages go as they are, and the server's own processor resizes
    them. `described` is recorded with the answers: families that send a page otherwise say so here, or one's answers
    are taken for the other's.
    """

    page: str | None
    described: str = "chat completions: pages, then question + instruction"


@dataclass(frozen=True)
class Family:
    """What a family is called, made of, and allowed."""

    name: str
    """The word of the command line and of `conf/model/`."""
    label: str
    """The name in reports and cards."""
    revision: int
    """Goes up with every change of its code that gives other numbers (`docvlm.runs.code_version`)."""
    model: str
    """Path of its `VLM`."""
    codec: str
    """Path of its `Codec`."""
    transformers: str
    """The class of Transformers that a card loads it with."""
    model_types: tuple[str, ...]
    """`model_type` in `config.json` of its checkpoints; empty: all that Transformers reads image and text with."""
    language: str
    """The module that holds the language side; "" where it depends on the checkpoint, as all below up to `budget`."""
    lora_targets: tuple[str, ...]
    """Linear layers of the language side that an adapter goes on unless the config names others."""
    kept: tuple[str, ...]
    """Modules that `quant=4bit` leaves as they are: the tower, the vocabulary."""
    budget: tuple[str, ...]
    """The keys of `budget` that say how large a page is read: `PIXELS`, `SIDES`, the checkpoint's `OWN`, or a tuple of
    one's own such as `("max_pixels",)`. All but `OWN` must then have a value in the yaml's `by_scale`."""
    licences: Mapping[str, str]
    """Licences of the checkpoints that its yaml names; first a native one, which an error suggests."""
    jpeg: bool = False
    """Whether `budget.jpeg_quality` means something: pages can go through JPEG first."""
    pages: int | None = None
    """Pages that a question may be about; None: as many as there are positions for."""
    decoder: str = ""
    """The list of the decoder's blocks, which `freeze_language` counts; "" where the language side is no decoder that
    reads a page before its question. A family that takes any checkpoint finds it there."""
    branches: bool = False
    """Whether packed questions are branches of one sequence, whose mask FlashAttention does not take."""
    served: Served | None = None
    """How a served model of it is asked; None: it is not asked by chat."""
    embedded: Miniature | None = None
    """Its embedded checkpoint; None: it has none."""
    openvino: Mapping[str, str] = field(default_factory=dict)
    """Path of what cuts a model into graphs for OpenVINO (`docvlm.vlms.graphs`), by `model_type`; empty: none does."""
    genai: bool = True
    """Whether OpenVINO GenAI has a pipeline for these graphs; else a loop of docvlm's own asks encoder and decoder."""
    gguf: Mapping[str, str] = field(default_factory=dict)
    """Path of what llama.cpp calls the halves of a model (`docvlm.vlms.ggml`), by `model_type`; empty: nothing does."""
    published: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Fields of `config.json` in the published checkpoints of a `model_type`, by today's names: all that every reader
    of them knows. A reader takes a constant for any other (`docvlm.exporting.readers`); empty: nothing is checked."""
    pipeline: str = "image-text-to-text"
    """The hub's `pipeline_tag`."""
    tags: tuple[str, ...] = field(default=())
    """More tags of its model cards."""

    @property
    def has_decoder(self) -> bool:
        """Whether `freeze_language` has blocks to count."""
        return bool(self.decoder) or self.takes_any

    @property
    def takes_any(self) -> bool:
        """Whether it is no architecture but reads what a checkpoint's own files say of it."""
        return not self.model_types


FAMILIES: Registry[Family] = Registry(
    "model.family",
    (
        Family(
            name="qwen2vl",
            label="Qwen2-VL",
            revision=1,
            model="docvlm.vlms.qwen2vl.model:Qwen2VL",
            codec="docvlm.vlms.qwen2vl.codec:Qwen2VLCodec",
            transformers="Qwen2VLForConditionalGeneration",
            model_types=("qwen2_vl", "qwen2_5_vl"),
            language="model.language_model",
            lora_targets=("q_proj", "k_proj", "v_proj", "o_proj"),
            kept=("model.visual", "lm_head"),
            budget=PIXELS,
            licences={
                "Qwen/Qwen2-VL-2B-Instruct": APACHE,
                "Qwen/Qwen2-VL-7B-Instruct": APACHE,
                "embedded": APACHE,
            },
            jpeg=True,
            decoder="model.language_model.layers",
            branches=True,
            served=Served("docvlm.vlms.qwen2vl.codec:served"),
            openvino={"qwen2_vl": "docvlm.vlms.qwen2vl.graphs:graphs"},
            gguf={"qwen2_vl": "docvlm.vlms.qwen2vl.ggml:HALVES"},
            published={"qwen2_vl": QWEN2_VL_FIELDS},
            embedded=Miniature(
                _EMBEDDED / "qwen2vl",
                {"22a164486430795e": Weights(1, "0.1.0"), "b40e5dde579be92a": Weights(2, "0.2.0")},
            ),
        ),
        Family(
            name="qwen3vl",
            label="Qwen3-VL",
            revision=1,  # most of its code is qwen2vl's: what raises that one's raises this one too
            model="docvlm.vlms.qwen3vl.model:Qwen3VL",
            codec="docvlm.vlms.qwen3vl.codec:Qwen3VLCodec",
            transformers="Qwen3VLForConditionalGeneration",
            model_types=("qwen3_vl",),
            language="model.language_model",
            lora_targets=("q_proj", "k_proj", "v_proj", "o_proj"),
            kept=("model.visual", "lm_head"),
            budget=PIXELS,
            licences={
                "Qwen/Qwen3-VL-2B-Instruct": APACHE,
                "Qwen/Qwen3-VL-4B-Instruct": APACHE,
                "Qwen/Qwen3-VL-8B-Instruct": APACHE,
            },
            jpeg=True,
            decoder="model.language_model.layers",
            branches=True,
            served=Served("docvlm.vlms.qwen3vl.codec:served"),
        ),
        Family(
            name="florence2",
            label="Florence-2",
            revision=1,
            model="docvlm.vlms.florence2.model:Florence2",
            codec="docvlm.vlms.florence2.codec:Florence2Codec",
            transformers="Florence2ForConditionalGeneration",
            model_types=("florence2",),
            language="model.language_model",
            lora_targets=("q_proj", "k_proj", "v_proj", "out_proj"),
            kept=("model.vision_tower", "model.multi_modal_projector", "lm_head"),
            budget=SIDES,
            licences={
                "florence-community/Florence-2-base-ft": "mit",
                "florence-community/Florence-2-large-ft": "mit",
                "embedded": APACHE,
            },
            pages=1,
            openvino={"florence2": "docvlm.vlms.florence2.graphs:graphs"},
            genai=False,
            embedded=Miniature(
                _EMBEDDED / "florence2",
                {"036e7958fedea917": Weights(1, "0.1.0"), "0e4ca9cadc8dd75c": Weights(2, "0.2.0")},
            ),
        ),
        Family(
            name="chat",
            label="chat model",
            revision=2,  # a shared page counts once towards `data.batch_tokens`
            model="docvlm.vlms.chat.model:Chat",
            codec="docvlm.vlms.chat.codec:ChatCodec",
            transformers="AutoModelForImageTextToText",
            model_types=(),
            language="",
            lora_targets=(),
            kept=(),
            budget=OWN,
            licences={},
            served=Served(None),
        ),
    ),
)


def no_decoder(family: Family) -> str:
    """Why `freeze_language` has no blocks to count in a family."""
    return f"{family.label} has no decoder whose blocks read the page before the question (`decoder`); leave it at 0"


def label(family: str) -> str:
    """What a report calls a family. A served model stands there under its own name, which no record has."""
    return FAMILIES[family].label if family in FAMILIES else family


def called(family: str, checkpoint: str) -> str:
    """What results of a checkpoint stand under: its family, or its own name where the family takes any.

    The name is the last part of its folder or hub id: runs from two checkpoints are of two models. A folder that is
    called as a family is not taken for that.
    """
    if family not in FAMILIES or not FAMILIES[family].takes_any:
        return family
    name = last_part(published(checkpoint)[0])
    return f"{family}-{name}" if name in FAMILIES else name or family


def last_part(checkpoint: str) -> str:
    """The name of a folder, or of a hub id without its owner."""
    return checkpoint.replace("\\", "/").rstrip("/").rpartition("/")[2]


def published(checkpoint: str) -> tuple[str, str | None]:
    """Hub id and commit of a checkpoint that is named by its folder in the hub's local cache; else it as it is."""
    *_, repository, snapshots, commit = ("", "", *checkpoint.replace("\\", "/").rstrip("/").split("/"))
    if snapshots != "snapshots" or not repository.startswith(_CACHED):
        return checkpoint, None
    return repository.removeprefix(_CACHED).replace("--", "/", 1), commit


def imported(path: str) -> Any:
    """What a record names as `module:name`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
