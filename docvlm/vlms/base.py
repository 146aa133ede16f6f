"""One protocol for every model family: a model that learns and answers, beside its codec.

The model is plain torch: Lightning, Hydra and files of a run stay outside. All families have the same shape, so that
another is a copy of the shape and not of the code. What they share is here because it has to be the same number: which
positions reach the vocabulary projection, what greedy means, and what an end of an answer is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from peft.helpers import DoraCaching
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel

from docvlm.data.loading.packing import IGNORED
from docvlm.vlms.checkpoint import check_model_type, load_config, load_weights
from docvlm.vlms.codec import Budget, Codec
from docvlm.vlms.families import FAMILIES, Family, imported
from docvlm.vlms.losses import answer_cross_entropy
from docvlm.vlms.quant import NONE, of, options
from docvlm.vlms.trainable import Block, Parts, Trainable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from transformers import LogitsProcessor

    from docvlm.data.example import Example


AS_FOUND = Parts()
"""No module is named by the user."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One decoded answer: its text, how many tokens were generated, and whether `max_new_tokens` cut it.

    `confidence` is the mean probability of those tokens, its end token included; it is not calibrated. Not compared:
    the same answer in another batch has it to float error only.
    """

    text: str
    tokens: int
    truncated: bool
    confidence: float = field(compare=False)


def greedy(own: GenerationConfig) -> GenerationConfig:
    """A checkpoint's own tokens and nothing else of its generation settings: no sampling, beams or penalties.

    Hub checkpoints say otherwise (sampling, three beams, no repeated 3-grams, which forbids some numbers), and what a
    call leaves open `generate` would take from them.
    """
    return GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
        forced_bos_token_id=own.forced_bos_token_id,
        do_sample=False,
        num_beams=1,
    )


class VLM(nn.Module, ABC):
    """A vision-language model of one family with its codec.

    `net` is the Transformers model, inside a `PeftModel` where an adapter learns; `bare` is the Transformers model
    either way. `dtype` is what the frozen weights are held in, or computed in where `quant` packs them; what learns is
    held in float32 (`prepare.apply`). `in_step`: its weights are spread over devices (`sharded`) which answer together,
    so that each makes as many forward passes as the one whose answers are longest.
    """

    family: ClassVar[str]  # the name of its record (`docvlm.vlms.families`)
    classes: ClassVar[Mapping[str, type[PreTrainedModel]]]  # the Transformers class of each `model_type`
    codec: Codec
    trainable: Trainable | None = None  # set by `prepare.apply`
    in_step: bool = False

    def __init__(
        self,
        net: PreTrainedModel,
        codec: Codec,
        checkpoint: str | Path,
        dtype: torch.dtype,
        revision: str | None = None,
        parts: Parts = AS_FOUND,
    ) -> None:
        super().__init__()
        assert net.generation_config is not None
        net.generation_config = greedy(net.generation_config)
        self.net: nn.Module = net
        self.codec = codec
        self.checkpoint, self.revision = str(checkpoint), revision
        self.dtype, self.parts = dtype, parts
        self.frozen_modules: tuple[str, ...] = ()  # of the tower
        self.frozen_layers: tuple[str, ...] = ()  # of the decoder

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        budget: Budget,
        *,
        dtype: torch.dtype = torch.float32,
        attn: str = "sdpa",
        offline: bool = False,
        quant: str = NONE,
        revision: str | None = None,
        parts: Parts = AS_FOUND,
    ) -> VLM:
        """Load weights and processor from a folder or a hub id; `quant="4bit"` packs language weights, on a GPU.

        `revision`: branch, tag or commit of a hub id, default its main branch. `parts`: of families that find the
        modules of a checkpoint themselves, where they are to be others than those found.

        Raises `DocvlmError` if they are another family's, or cannot be packed here (`docvlm.vlms.quant`).
        """
        codec = cls.codec_of(checkpoint, budget, offline=offline, revision=revision)
        config = load_config(checkpoint, offline=offline, revision=revision)
        kind = cls.net_class(config.model_type)
        how = options(quant, dtype, () if quant == NONE else cls.kept(config, parts))
        net = load_weights(kind, checkpoint, dtype=dtype, attn=attn, offline=offline, options=how, revision=revision)
        cls.adjust(net)
        return cls(net, codec, checkpoint, dtype, revision, parts)

    @classmethod
    def net_class(cls, model_type: str) -> type[PreTrainedModel]:
        """The Transformers class that loads checkpoints of this `model_type`."""
        return cls.classes[model_type]

    @classmethod
    def kept(cls, config: PreTrainedConfig, parts: Parts) -> tuple[str, ...]:
        """Modules that are not packed in 4 bits: the tower, the vocabulary."""
        return FAMILIES[cls.family].kept

    @classmethod
    def adjust(cls, net: PreTrainedModel) -> None:
        """Put faster forms of its parts into a model that has just been loaded, in place; by default none."""

    @classmethod
    def codec_of(
        cls, checkpoint: str | Path, budget: Budget, *, offline: bool = False, revision: str | None = None
    ) -> Codec:
        """The codec of a folder or a hub id, without its weights: seconds, not minutes. Raises as `load`."""
        family = FAMILIES[cls.family]
        check_model_type(checkpoint, family, offline=offline, revision=revision)
        kind: type[Codec] = imported(family.codec)
        return kind.load(checkpoint, budget, offline=offline, revision=revision)

    @abstractmethod
    def set_budget(self, budget: Budget) -> None:
        """Read pages at another budget from now on. Raises `DocvlmError` if the checkpoint cannot."""

    @property
    def about(self) -> Family:
        """What is said of the family where it is registered."""
        return FAMILIES[self.family]

    @property
    def language(self) -> str:
        """The module that holds the language side."""
        return self.about.language

    @property
    def decoder(self) -> str:
        """The module that lists the decoder's blocks, from input to output; "" where there is none to freeze."""
        return self.about.decoder

    @property
    def lora_targets(self) -> tuple[str, ...]:
        """Linear layers of the language side that an adapter goes on unless the config names others."""
        return self.about.lora_targets

    @property
    def unstored(self) -> str:
        """Why nothing that the tower makes of a page can be stored, in a line; "" where it can.

        Features are stored under their page alone: a family whose pages show their question stores none.
        """
        return ""

    def settle(self, examples: Sequence[Example]) -> str:
        """Find out on some examples whether questions can share the work on a page; why they do not, or "".

        Families whose sharing is exact by construction have nothing to find out. Call it before batches are made.
        """
        return ""

    @property
    def forced_tokens(self) -> int:
        """Tokens a decoder is made to say before the first token of an answer."""
        return 0

    @abstractmethod
    def vision_blocks(self) -> list[Block]:
        """The tower's blocks from input to output; together they hold every tower parameter exactly once.

        Asked of a model without an adapter; `prepare.apply` keeps the answer in `trainable.blocks`.
        """

    def _block(self, name: str, modules: Sequence[str]) -> Block:
        """A block of some modules, given by their paths in `bare`, with all parameters below them."""
        parameters = [
            f"{module}.{name}" for module in modules for name, _ in self.bare.get_submodule(module).named_parameters()
        ]
        return Block(name, tuple(modules), tuple(parameters))

    @abstractmethod
    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Summed cross-entropy over labelled tokens (scalar, nats) and how many there were."""

    @property
    def bare(self) -> PreTrainedModel:
        """The Transformers model, whether or not an adapter is wrapped around it."""
        net = self.net if isinstance(self.net, PreTrainedModel) else self.net.get_base_model()  # type: ignore[operator]  # PeftModel
        assert isinstance(net, PreTrainedModel)
        return net

    @property
    def prefix(self) -> tuple[nn.Module, ...]:
        """The tower's frozen modules, input first, where blocks behind them learn; else empty."""
        if self.trainable is None or self.trainable.frozen_blocks == len(self.trainable.blocks):
            return ()
        return tuple(self.bare.get_submodule(name) for name in self.frozen_modules)

    @property
    def kept_of_prefix(self) -> tuple[nn.Module, ...]:
        """The modules of `prefix` whose output is stored of a page, in the order in which they compute."""
        return self.prefix[-1:]

    @property
    def learns_below(self) -> bool:
        """Whether blocks of the tower learn, whose gradients come through the whole decoder."""
        return self.trainable is None or self.trainable.frozen_blocks < len(self.trainable.blocks)

    @property
    def unprefilled(self) -> str:
        """Why what frozen blocks of the decoder make of a page cannot be stored, in a line; "" where it can."""
        return f"{self.about.label} goes on from no stored page"

    @property
    def prefill_width(self) -> int:
        """Values a token that are stored of what frozen blocks of the decoder make of a page; 0 where none are."""
        return 0

    @property
    def quant(self) -> str:
        """How frozen language weights are held: "none" (in `dtype`) or "4bit"."""
        return of(self.bare)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> VLM:
        """Training mode for what learns only: a frozen tower in training mode would still drop paths (DaViT).

        Frozen blocks of the decoder that gradients of a tower come through are in it, to be computed anew backwards.
        """
        super().train(mode)
        layers = () if self.learns_below else self.frozen_layers
        for name in (*self.frozen_modules, *layers):
            self.bare.get_submodule(name).eval()
        return self

    def gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass. Call it after `prepare.apply`.

        Transformers and PEFT would both make the embeddings' outputs require gradients, the tower's patch embedding
        among them, and so buy the frozen tower a backward pass. Non-reentrant checkpointing does not need that.
        """
        enable = getattr(self.bare, "activation_checkpointing_enable", None) or self.bare.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        self.bare.disable_input_require_grads()

    def run_layers_once(self) -> None:
        """Make a loss of one pass through every layer: a sharded layer is whole again for the last of several only.

        Families whose loss is one anyway have nothing to change. Call it before batches are made.
        """

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in the dtype of the frozen weights where it is not float32; what learns stays in float32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _stored_prefix(self, batch: dict[str, Tensor]) -> Tensor:
        """What the frozen blocks made of the pages, in a dtype that the blocks behind them take."""
        stored = batch["prefix"]
        return stored if torch.is_autocast_enabled(self.device.type) else stored.to(self.dtype)

    def _keep(self, batch: dict[str, Tensor], pages: Sequence[Tensor]) -> None:
        """Store what was computed of a batch's pages, one tensor a page, if the batch asks for it."""
        if "digests" in batch and self.codec.stored is not None:
            self.codec.stored.keep(batch["digests"], pages)

    def _answer_loss(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, int]:
        """Loss of `hidden` (B x T x D) on `labels` (B x T) at the same positions; only answers are projected.

        Here nothing is shifted: a decoder-only family moves its labels by one first.
        """
        answers = labels != IGNORED
        with self.autocast():
            loss = answer_cross_entropy(hidden[answers], self.bare.get_output_embeddings(), labels[answers])
        return loss, int(answers.sum())

    @abstractmethod
    def page_features(self, batch: dict[str, Tensor]) -> Tensor:
        """What the tower makes of a packed batch's pages: as the batch brings it, or computed and kept if asked for.

        A batch brings `features`, the tower's output; `prefix`, its frozen blocks' output; or pixels.
        """

    @torch.no_grad()
    def generate(self, batch: dict[str, Tensor], max_new_tokens: int) -> list[Generated]:
        """Greedy answers, one a row of the batch, in its order. Runs in eval mode and without gradients.

        DoRA would multiply its matrices and take norms anew for every token, many times the work on one token; what
        they come to is kept for the call.
        """
        training = self.training
        self.eval()
        with self.autocast(), DoraCaching():
            ids, probabilities = self._greedy(batch, max_new_tokens)
        self.train()  # which drops what was kept: the weights may be others at the next call
        self.train(training)
        return self._answers(ids, probabilities)

    @abstractmethod
    def _greedy(self, batch: dict[str, Tensor], max_new_tokens: int) -> tuple[Tensor, Tensor]:
        """New ids (B x T) up to and with an end token, whatever comes after it, and the probability of each.

        Without the start of an encoder-decoder's row. `use_cache=True` has to be said: configs may say otherwise.
        """

    def _generated(self, inputs: Mapping[str, Any], max_new_tokens: int, watching: LogitsProcessor) -> Tensor:
        """Ids (B x T) by Transformers' own `generate`, prompt included.

        Left to itself it would wait for the other devices of any sharded model, also where each has it whole.
        """
        ids: Tensor = self.bare.generate(  # type: ignore[operator]  # from a mixin
            **inputs, max_new_tokens=max_new_tokens, logits_processor=[watching], synced_gpus=self.in_step
        )
        return ids

    def _answers(self, ids: Tensor, probabilities: Tensor) -> list[Generated]:
        """Texts of new ids (B x T): tokens counted up to and with the end token, truncated where there is none."""
        generation = self.bare.generation_config
        assert generation is not None
        ends = torch.isin(ids, torch.as_tensor(generation.eos_token_id, device=ids.device))
        ended = ends.any(dim=1)
        lengths = torch.where(ended, ends.int().argmax(dim=1) + 1, ids.shape[1])
        said = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        sure = (probabilities * said).sum(dim=1) / lengths
        rows = zip(self.codec.texts(ids), lengths.tolist(), ended.tolist(), sure.tolist(), strict=True)
        return [Generated(text, tokens, not end, confidence) for text, tokens, end, confidence in rows]
