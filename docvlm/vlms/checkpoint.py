"""Checkpoints of a family: a folder or a hub id, checked before any weight loads, and read without executing anything.

`config.json` says whose weights they are, so a mix-up costs milliseconds and one line. Weights come from safetensors
only and code of a repository never runs. Everything Transformers, the hub client or safetensors complain about is a
user's file or network, hence one `DocvlmError`.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoProcessor,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import cached_file, logging

from docvlm.errors import DocvlmError

ModelT = TypeVar("ModelT", bound=PreTrainedModel)
_BROKEN = (OSError, ValueError, KeyError, SafetensorError, ImportError)
GENERATION = "generation_config.json"
_SAMPLES, _SAMPLE_BYTES = 64, 65_536


def model_type(checkpoint: str | Path, family: str, known: tuple[str, ...], *, offline: bool) -> str:
    """The checkpoint's `model_type`. Raises `DocvlmError` where there is none or it is not one of `known`."""
    folder = Path(checkpoint)
    if folder.is_dir() and not (folder / "config.json").is_file():
        kind = "an adapter: give its run instead" if (folder / "adapter_config.json").is_file() else "no checkpoint"
        raise DocvlmError(f"model.checkpoint={checkpoint}: the folder has no config.json, so it is {kind}")
    if folder.is_file() or (folder.is_absolute() and not folder.exists()):
        raise DocvlmError(f"model.checkpoint={checkpoint}: not a folder; give a checkpoint's folder or a hub id")
    try:
        config, _ = PreTrainedConfig.get_config_dict(str(checkpoint), local_files_only=offline)
    except _BROKEN as error:
        raise _unreadable(checkpoint, error, offline) from error
    found = config["model_type"] if "model_type" in config else None
    if found not in known:
        wanted = " or ".join(known)
        raise DocvlmError(f"model.checkpoint={checkpoint}: model_type is {found!r}, but family {family} needs {wanted}")
    if "auto_map" in config:
        raise DocvlmError(
            f"model.checkpoint={checkpoint}: it brings its own code (auto_map), which docvlm never runs;"
            " take the native form (for Florence-2: florence-community/Florence-2-base-ft)"
        )
    return str(found)


def load_weights(
    cls: type[ModelT],
    checkpoint: str | Path,
    *,
    dtype: torch.dtype,
    attn: str,
    offline: bool,
    options: dict[str, Any] | None = None,
) -> ModelT:
    """A model of `cls` with every weight taken from the checkpoint; a missing one is an error, never a random one.

    `options` are more of `from_pretrained`'s (`docvlm.vlms.quant`).
    """
    try:
        with no_progress_bar() if Path(checkpoint).is_dir() else nullcontext():
            net, info = cls.from_pretrained(
                str(checkpoint),
                dtype=dtype,
                attn_implementation=attn,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=offline,
                output_loading_info=True,
                **(options or {}),
            )
    except _BROKEN as error:
        raise _unreadable(checkpoint, error, offline) from error
    except RuntimeError as error:  # tensors of other shapes than config.json says
        raise _unreadable(checkpoint, error, offline) from error
    if net.generation_config is None or net.generation_config.eos_token_id is None:
        raise DocvlmError(f"model.checkpoint={checkpoint}: generation_config.json is missing or has no eos_token_id")
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise DocvlmError(f"model.checkpoint={checkpoint}: {len(names)} weights are missing, the first is {names[0]}")
    return net


def load_config(checkpoint: str | Path, *, offline: bool) -> PreTrainedConfig:
    """The checkpoint's `config.json`, without its weights."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            str(checkpoint), trust_remote_code=False, local_files_only=offline
        )
    except _BROKEN as error:
        raise _unreadable(checkpoint, error, offline) from error
    return config


def load_generation_config(checkpoint: str | Path, config: PreTrainedConfig, *, offline: bool) -> GenerationConfig:
    """How the checkpoint begins and ends an answer: `generation_config.json`, in old checkpoints `config.json`."""
    try:
        if cached_file(
            str(checkpoint), GENERATION, local_files_only=offline, _raise_exceptions_for_missing_entries=False
        ):
            return GenerationConfig.from_pretrained(str(checkpoint), local_files_only=offline)
    except _BROKEN as error:
        raise _unreadable(checkpoint, error, offline) from error
    return GenerationConfig.from_model_config(config)


def load_processor(checkpoint: str | Path, kind: type[ProcessorMixin], *, offline: bool) -> ProcessorMixin:
    """The checkpoint's processor, which has to be a `kind`."""
    try:
        processor = AutoProcessor.from_pretrained(str(checkpoint), trust_remote_code=False, local_files_only=offline)
    except (*_BROKEN, AttributeError) as error:  # a tokenizer that lacks what the processor's class expects of it
        raise _unreadable(checkpoint, error, offline) from error
    if not isinstance(processor, kind):
        raise DocvlmError(
            f"model.checkpoint={checkpoint}: its processor is a {type(processor).__name__}, not a {kind.__name__};"
            " preprocessor_config.json or tokenizer files are missing"
        )
    # Without its vocabulary file Transformers makes an empty tokenizer and says nothing.
    tokenizer = processor.tokenizer  # type: ignore[attr-defined]  # every processor of this project has one
    if tokenizer.decode(tokenizer("A", add_special_tokens=False)["input_ids"]) != "A":
        raise DocvlmError(f"model.checkpoint={checkpoint}: its tokenizer knows no letters; tokenizer.json is missing")
    return processor


def fingerprint(checkpoint: str | Path) -> str:
    """16 hex digits of config and weights: all of small files, 64 samples of 64 KiB of each large one (< 0.1 s).

    It tells checkpoints apart; it is no protection against someone who changes the bytes between the samples.
    """
    config = cached_file(str(checkpoint), "config.json", local_files_only=True)
    folder = Path(str(config)).parent
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            step = max(size // _SAMPLES, _SAMPLE_BYTES)
            for start in range(0, size, step):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def share(folder: Path, like: str) -> None:
    """Give the weights in `folder` the permissions of the file `like` beside them, which the umask decided.

    safetensors writes for its owner only, and a server under another account could not read what it is to serve.
    """
    mode = stat.S_IMODE((folder / like).stat().st_mode)
    for file in folder.glob("*.safetensors"):
        file.chmod(mode)


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """No bar for reading files that are on disk already."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _unreadable(checkpoint: str | Path, error: Exception, offline: bool) -> DocvlmError:
    reason = " ".join(str(error).split())
    if not Path(checkpoint).exists() and isinstance(error, OSError):
        if offline:
            return DocvlmError(
                f"model.checkpoint={checkpoint}: not a folder here and not in the local Hugging Face cache (offline):"
                " check the spelling, or download it once with offline=false"
            )
        return DocvlmError(
            f"model.checkpoint={checkpoint}: not a folder here and not to be had from the hub; check spelling and"
            f" network: {reason[:200]}"
        )
    return DocvlmError(f"model.checkpoint={checkpoint}: cannot be loaded: {type(error).__name__}: {reason[:300]}")
