"""A folder that docvlm saved or exported, as a model again.

`docvlm.json` says how: without the key `format`, and for an `adapter`, it is what a run saves (`docvlm.vlms.saved`).
`merged`, `int8` and `int4` are whole models, which Transformers' own `from_pretrained` reads: what was quantised stands
in `config.json`. Nothing but safetensors is read, and no code of a folder runs. Other runtimes read the
formats of OpenVINO and of llama.cpp (`docvlm.answering.outside`).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.utils import cached_file

from docvlm.data.reading import Reading
from docvlm.errors import DocvlmError
from docvlm.files import follow_umask
from docvlm.vlms import load_family, saved
from docvlm.vlms.codec import Budget
from docvlm.vlms.forms import ALONE, OUTSIDE, WHOLE
from docvlm.vlms.trainable import Parts

if TYPE_CHECKING:
    from docvlm.vlms.base import VLM
    from docvlm.vlms.codec import Codec

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "adapter_config.json", "README.md")


def load(folder: Path, *, checkpoint: str | Path | None = None, attn: str = "sdpa", offline: bool = False) -> VLM:
    """The model in `folder` with the budget and the dtype it was saved with.

    `checkpoint` names the base of an adapter where it has moved. Raises `DocvlmError` where the folder is incomplete,
    its base has changed, or the library that quantised it is missing.
    """
    record = saved.read(folder)
    if form(record) in OUTSIDE:
        raise DocvlmError(
            f"{folder}: {OUTSIDE[form(record)]} reads it and Transformers does not; docvlm-predict --run and"
            " docvlm.evaluate checkpoint= ask it, for all else export merged"
        )
    if form(record) not in WHOLE:
        dtype = saved.dtype_of(record)
        return saved.load(folder, checkpoint=checkpoint, dtype=dtype, attn=attn, offline=offline)
    if checkpoint is not None:
        raise DocvlmError(f"{folder}: a whole model ({form(record)}), so {checkpoint} is of no use; leave base out")
    budget = Budget(**record["budget"])
    family, dtype = load_family(record["family"]), saved.dtype_of(record)
    parts = Parts(**record["parts"])
    vlm = family.load(folder, budget, dtype=dtype, attn=attn, offline=True, parts=parts).eval()
    vlm.codec.reading = Reading.of(record["reading"])
    return vlm


def codec(
    folder: Path, *, checkpoint: str | Path | None = None, offline: bool = False, budget: Budget | None = None
) -> Codec:
    """The codec of the model that `load` gives, without its weights; at `budget` if given. Raises as `load` does."""
    record = saved.read(folder)
    whole = not record["lora"]["r"] or form(record) in ALONE
    if checkpoint is None and not whole:
        saved.check_embedded(folder, record)
    place, revision = (str(folder), None) if whole else saved.base_of(record, checkpoint)
    kind, seen = load_family(record["family"]), budget or Budget(**record["budget"])
    found = kind.codec_of(place, seen, offline=offline or whole, revision=revision)
    found.reading = Reading.of(record["reading"])
    return found


def form(record: dict[str, Any]) -> str:
    """The format of a saved folder, from its `docvlm.json`: one of `FORMATS`, or "" for what a run itself saved."""
    return str(record["format"]) if "format" in record else ""


def complete(folder: Path, best: Path, about: dict[str, Any]) -> None:
    """Put beside the weights in `folder` what a run saved beside its own: processor, generation config, record.

    `about` goes into `docvlm.json`, with `format` among it.
    """
    shutil.copytree(best, folder, ignore=shutil.ignore_patterns(*_WEIGHTS), dirs_exist_ok=True)
    record = saved.read(best) | about
    (folder / saved.RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    follow_umask(folder)


def size(folder: Path) -> int:
    """Bytes of all files in `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def base_size(checkpoint: str, revision: str | None) -> int:
    """Bytes of the weights of a checkpoint that has been loaded: what an adapter needs beside itself."""
    config = cached_file(checkpoint, "config.json", local_files_only=True, revision=revision)
    return sum(file.stat().st_size for file in Path(str(config)).parent.glob("*.safetensors"))
