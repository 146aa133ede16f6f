"""What a run can be exported as, a record a format, and which of them it and this machine can have.

`adapter`: the LoRA weights in PEFT's format, to be loaded onto the checkpoint they were trained on.
`merged`: one Transformers checkpoint in the layout of the hub, with the adapter added into the weights; vLLM and
whatever else reads the base's own folder reads it. Merged in float32 and stored in the run's dtype: that rounding is
all that can differ from the run. Costs the size of the checkpoint on disk and once in memory as float32.
`int8`, `int4`: the merged model with the linear layers of its language side quantised as Transformers reads it, and
written so that plain `from_pretrained` reads it back.
`openvino`, `openvino_int4`: the merged model as graphs with packed weights, which OpenVINO runs on a processor without
torch.
`gguf`: the merged model as the two files of llama.cpp, its language side in 8 bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from docvlm.answering import answer
from docvlm.config.export import FORMATS
from docvlm.errors import DocvlmError
from docvlm.exporting import gguf, openvino, readers
from docvlm.exporting.source import Source
from docvlm.vlms import load_family, loading
from docvlm.vlms.checkpoint import no_progress_bar
from docvlm.vlms.quant import nf4
from docvlm.vlms.saved import WEIGHTS
from docvlm.vlms.trainable import Parts

CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Format:
    """A format: `write(source, folder)` puts weights, config, processor and record into a new folder.

    `missing(source)` says why this run or this machine cannot have it; None where it can. `needs` is the package that
    quantised it, which reading it back needs as well. `packages` decide its numbers beside those that decide a run's.
    """

    write: Callable[[Source, Path], None]
    missing: Callable[[Source], str | None] = lambda source: None
    needs: str = ""
    packages: tuple[str, ...] = ()


def chosen(asked: Sequence[str] | None, source: Source) -> tuple[list[str], dict[str, str]]:
    """The formats to make, in the order of `FORMATS`, and why the others are left out where nobody asked for them.

    Raises `DocvlmError` for one that was asked for and cannot be made, before anything is written.
    """
    reasons = {word: why for word in asked or FORMATS if (why := RECORDS[word].missing(source)) is not None}
    if asked is not None and reasons:
        word, why = next(iter(reasons.items()))
        raise DocvlmError(f"formats={word}: {source.run.folder.root}: {why}")
    return [word for word in FORMATS if word in (asked or FORMATS) and word not in reasons], reasons


def _adapter(source: Source, folder: Path) -> None:
    """The files are the run's own, byte for byte.

    Only the record differs, and `adapter_config.json` where it names the embedded checkpoint: that is a path of the
    machine that trained.
    """
    folder.mkdir()
    copyfile(source.best / WEIGHTS, folder / WEIGHTS)
    config = json.loads((source.best / CONFIG).read_text(encoding="utf-8"))
    if source.record["checkpoint"] == "embedded":
        config["base_model_name_or_path"] = None
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    loading.complete(folder, source.best, source.about("adapter"))


def _no_adapter(source: Source) -> str | None:
    if not source.record["lora"]["r"]:
        return "the run has no adapter, since its language side learned in full (lora.r=0); merged is all of it"
    return None


def _int8(source: Source, folder: Path) -> None:
    """8 bits, for a CPU (torchao).

    Weights have one scale a row, found from the weights alone; activations one a token, found as they come. So products
    are of integers, which a CPU does about three times as fast as those of float32 where there are many tokens
    (docs/LOG.md); weights alone in 8 bits would have to be put back into floats for every product, and are slower than
    what they replace.
    """
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig
    from transformers import TorchAoConfig

    kind = Int8DynamicActivationInt8WeightConfig(version=2)
    _quantised(source, folder, "int8", lambda untouched: TorchAoConfig(kind, modules_to_not_convert=untouched))


def _no_int8(source: Source) -> str | None:
    return None if find_spec("torchao") else "it needs torchao: pip install 'docvlm[export]'"


def _int4(source: Source, folder: Path) -> None:
    """4 bits, for a CUDA GPU (bitsandbytes, NF4).

    NF4 with double quantisation, as QLoRA has it (Dettmers et al. 2023, arXiv:2305.14314); products are computed in the
    run's dtype. Scales come from the weights alone: no calibration data.
    """
    _quantised(source, folder, "int4", partial(nf4, source.dtype), device_map={"": answer.device()})


def _no_int4(source: Source) -> str | None:
    if not torch.cuda.is_available():
        return "it is for CUDA GPUs, and there is none here"
    return None if find_spec("bitsandbytes") else "it needs bitsandbytes: pip install 'docvlm[gpu]'"


def _quantised(source: Source, folder: Path, form: str, settings: Callable[[list[str]], Any], **placed: Any) -> None:
    """`settings` makes the quantisation's config from the names of the modules that it must leave alone."""
    with source.merged(folder) as weights, no_progress_bar():
        net = AutoModelForImageTextToText.from_pretrained(
            weights,
            dtype=source.dtype,
            quantization_config=settings(_untouched(source, weights)),
            use_safetensors=True,
            local_files_only=True,
            **placed,
        )
        net.save_pretrained(folder)
    loading.complete(folder, source.best, source.about(form))


def _untouched(source: Source, weights: Path) -> list[str]:
    """Modules outside the language side, and the vocabulary projection, which may be tied to the embeddings."""
    config = AutoConfig.from_pretrained(weights, local_files_only=True)
    family, parts = load_family(source.record["family"]), Parts(**source.record["parts"])
    return list(family.kept(config, parts))


def _no_openvino(source: Source) -> str | None:
    return openvino.missing(source) or readers.refused(source)


def _no_gguf(source: Source) -> str | None:
    return gguf.missing(source) or readers.refused(source)


RECORDS: dict[str, Format] = {
    "adapter": Format(_adapter, _no_adapter),
    "merged": Format(Source.write_whole, readers.refused),
    "int8": Format(_int8, _no_int8, "torchao"),
    "int4": Format(_int4, _no_int4, "bitsandbytes"),
    "openvino": Format(partial(openvino.write, bits=8), _no_openvino, "openvino-genai", openvino.DISTRIBUTIONS),
    "openvino_int4": Format(partial(openvino.write, bits=4), _no_openvino, "openvino-genai", openvino.DISTRIBUTIONS),
    "gguf": Format(gguf.write, _no_gguf, "xllamacpp", gguf.DISTRIBUTIONS),
}
"""Every format by the word that chooses it (`docvlm.config.export.FORMATS`)."""
