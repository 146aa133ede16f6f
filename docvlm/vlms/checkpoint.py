"""Checkpoints of a family: a folder or a hub id, checked before any weight loads, and read without executing anything.

`config.json` says whose weights they are, so a mix-up costs milliseconds and one line. Weights come from safetensors
only and code of a repository never runs. Everything Transformers, the hub client or safetensors complain about is a
user's file or network, hence one `DocvlmError`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from huggingface_hub import metadata_load
from huggingface_hub.errors import HfHubHTTPError, XetDownloadError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoProcessor,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers import __version__ as transformers_version
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import cached_file, logging
from yaml import YAMLError  # type: ignore[import-untyped]

from docvlm.errors import DocvlmError, causes
from docvlm.vlms.families import OTHER, Family

ModelT = TypeVar("ModelT", bound=PreTrainedModel)
T = TypeVar("T")
# httpx of huggingface_hub 1 and httpx2 of 2 name their errors alike, but they are other classes
HTTP_ERROR: type[Exception] = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
_BROKEN = (OSError, ValueError, KeyError, SafetensorError, ImportError, XetDownloadError, HTTP_ERROR)
_BUSY = (408, 429)  # and 5xx: the hub's word for "later"
WAITS_S = (1.0, 5.0, 15.0)
"""Seconds before a download that broke off is tried again.

Files that are complete are kept. huggingface_hub 2.4 continues a file after a time-out or an early end of it by itself;
after a reset connection or a 5xx, which reach us, it begins that file again.
"""
GENERATION = "generation_config.json"
CARD = "README.md"
_SAMPLES, _SAMPLE_BYTES = 64, 65_536


def check_model_type(checkpoint: str | Path, family: Family, *, offline: bool, revision: str | None = None) -> None:
    """Raise `DocvlmError` unless the checkpoint's `model_type` is one of the family's and it brings no code."""
    folder = Path(checkpoint)
    if folder.is_dir() and not (folder / "config.json").is_file():
        kind = "an adapter: give its run instead" if (folder / "adapter_config.json").is_file() else "no checkpoint"
        raise DocvlmError(f"model.checkpoint={checkpoint}: the folder has no config.json, so it is {kind}")
    if folder.is_file() or (folder.is_absolute() and not folder.exists()):
        raise DocvlmError(f"model.checkpoint={checkpoint}: not a folder; give a checkpoint's folder or a hub id")
    how = {"local_files_only": offline, "revision": revision}
    config, _ = _tried(checkpoint, how, lambda: PreTrainedConfig.get_config_dict(str(checkpoint), **how))
    found = config["model_type"] if "model_type" in config else None
    if family.takes_any:
        _check_native(checkpoint, found)
        return
    if found not in family.model_types:
        needs = f"family {family.name} needs {' or '.join(family.model_types)}"
        raise DocvlmError(f"model.checkpoint={checkpoint}: model_type is {found!r}, but {needs}")
    if "auto_map" in config:
        raise DocvlmError(
            f"model.checkpoint={checkpoint}: it brings its own code (auto_map), which docvlm never runs;"
            f" take the native form, such as {next(iter(family.licences))}"
        )


def _check_native(checkpoint: str | Path, model_type: Any) -> None:
    """Raise `DocvlmError` unless Transformers itself has a class that reads images and text for a `model_type`.

    A checkpoint may bring code beside it (`auto_map`), for versions of Transformers before the class: it never runs.
    """
    if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise DocvlmError(
            f"model.checkpoint={checkpoint}: model_type is {model_type!r}, for which transformers"
            f" {transformers_version} has no image-text-to-text class, and code of a checkpoint never runs; update"
            " transformers, or take a checkpoint in its format"
        )


def load_weights(
    cls: type[ModelT],
    checkpoint: str | Path,
    *,
    dtype: torch.dtype,
    attn: str,
    offline: bool,
    options: dict[str, Any] | None = None,
    revision: str | None = None,
    generates: bool = True,
) -> ModelT:
    """A model of `cls` with every weight taken from the checkpoint; a missing one is an error, never a random one.

    `options` are more of `from_pretrained`'s (`docvlm.vlms.quant`). `generates`: it must know how an answer ends.
    """
    how = {"local_files_only": offline, "revision": revision}

    def read() -> Any:
        # asked for by itself first: `from_pretrained` takes one that cannot be fetched for one that is not there
        cached_file(str(checkpoint), GENERATION, _raise_exceptions_for_missing_entries=False, **how)
        with no_progress_bar() if Path(checkpoint).is_dir() else nullcontext():
            return cls.from_pretrained(
                str(checkpoint),
                dtype=dtype,
                attn_implementation=attn,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **how,
                **(options or {}),
            )

    net, info = _tried(checkpoint, how, read, RuntimeError)  # tensors of other shapes than config.json says
    if generates and (net.generation_config is None or net.generation_config.eos_token_id is None):
        raise DocvlmError(f"model.checkpoint={checkpoint}: generation_config.json is missing or has no eos_token_id")
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise DocvlmError(f"model.checkpoint={checkpoint}: {len(names)} weights are missing, the first is {names[0]}")
    return cast("ModelT", net)


def load_config(checkpoint: str | Path, *, offline: bool, revision: str | None = None) -> PreTrainedConfig:
    """The checkpoint's `config.json`, without its weights."""
    how = {"local_files_only": offline, "revision": revision}
    found = _tried(checkpoint, how, lambda: AutoConfig.from_pretrained(str(checkpoint), trust_remote_code=False, **how))
    return cast("PreTrainedConfig", found)


def load_generation_config(
    checkpoint: str | Path, config: PreTrainedConfig, *, offline: bool, revision: str | None = None
) -> GenerationConfig:
    """How the checkpoint begins and ends an answer: `generation_config.json`, in old checkpoints `config.json`."""
    how: dict[str, Any] = {"local_files_only": offline, "revision": revision}

    def read() -> GenerationConfig | None:
        if cached_file(str(checkpoint), GENERATION, _raise_exceptions_for_missing_entries=False, **how):
            return GenerationConfig.from_pretrained(str(checkpoint), **how)
        return None

    found = _tried(checkpoint, how, read)
    return GenerationConfig.from_model_config(config) if found is None else found


def load_processor(
    checkpoint: str | Path, kind: type[ProcessorMixin], *, offline: bool, revision: str | None = None
) -> ProcessorMixin:
    """The checkpoint's processor, which has to be a `kind`."""
    how = {"local_files_only": offline, "revision": revision}

    def read() -> Any:
        return AutoProcessor.from_pretrained(str(checkpoint), trust_remote_code=False, **how)

    processor = _tried(checkpoint, how, read, AttributeError)  # a tokenizer lacks what the processor's class expects
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


def fingerprint(checkpoint: str | Path, revision: str | None = None) -> str:
    """16 hex digits of config and weights: all of small files, 64 samples of 64 KiB of each large one (< 0.1 s).

    It tells checkpoints apart; it is no protection against someone who changes the bytes between the samples.
    """
    config = cached_file(str(checkpoint), "config.json", local_files_only=True, revision=revision)
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


def licence(checkpoint: str | Path, *, offline: bool, revision: str | None = None) -> dict[str, str | None]:
    """What the head of the checkpoint's own card (README.md) says; None where it does not say.

    `licence` is its identifier, or "other" with `licence_name` and `licence_link`; several licences are such an other.
    """
    how: dict[str, Any] = {"local_files_only": offline, "revision": revision}

    def read() -> str | None:
        return cached_file(str(checkpoint), CARD, _raise_exceptions_for_missing_entries=False, **how)

    file = _tried(checkpoint, how, read)
    try:
        said: Any = {} if file is None else metadata_load(file) or {}
    except (UnicodeDecodeError, YAMLError):
        said = {}  # a card that cannot be read does not say
    found, name, link = (said.get(key) for key in ("license", "license_name", "license_link"))
    if isinstance(found, list):
        found, name = (found[0], name) if len(found) == 1 else (OTHER, ", ".join(map(str, found)))
    told = {"licence": found, "licence_name": name, "licence_link": link}
    return {key: value if isinstance(value, str) and value else None for key, value in told.items()}


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


def _tried(checkpoint: str | Path, how: dict[str, Any], read: Callable[[], T], *also: type[Exception]) -> T:
    """What `read` gives, called again where a download breaks off. Raises `DocvlmError` where it fails for good.

    `how` is what `read` tells the hub client; `also` are kinds of errors that only this reader has.
    """
    kinds: tuple[type[Exception], ...] = (*_BROKEN, *also)
    for wait in (*WAITS_S, None):
        try:
            return read()
        except kinds as error:
            broken = None if how["local_files_only"] else _broken_off(error)
            if broken is None:
                raise _unreadable(checkpoint, error, how) from error
            if wait is None:
                raise DocvlmError(
                    f"model.checkpoint={checkpoint}: its download from the hub broke off {len(WAITS_S) + 1} times, at"
                    f" last with {broken}; the same command continues it, complete files are kept"
                ) from error
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _broken_off(error: BaseException) -> str | None:
    """What the network or the hub did where asking once more may help, else None."""
    for link in causes(error):
        if isinstance(link, HfHubHTTPError):
            status = link.response.status_code
            return f"status {status}" if status >= 500 or status in _BUSY else None
        cut = isinstance(link, OSError) and str(link).startswith("Consistency check failed")  # a shorter file came
        if cut or isinstance(link, (HTTP_ERROR, XetDownloadError)):
            return f"{type(link).__name__}: {' '.join(str(link).split())[:160]}"
    return None


def _unreadable(checkpoint: str | Path, error: Exception, how: dict[str, Any]) -> DocvlmError:
    reason, offline = " ".join(str(error).split()), how["local_files_only"]
    if how["revision"] is not None and not Path(checkpoint).exists():
        checkpoint = f"{checkpoint} model.revision={how['revision']}"
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
