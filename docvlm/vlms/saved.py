"""`best/`: what a run learned, in the format of PEFT or Transformers, with the processor and the budget it saw.

Files: `adapter_model.safetensors` + `adapter_config.json` (or `model.safetensors` + `config.json` where the language
side learned in full), the processor's files, `generation_config.json` (greedy), and `docvlm.json`, which says how to
put it together again. Plain `transformers` + `peft` need all but the last. A folder is written beside its place and
moved there, so it is whole or absent; on load every key must match.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from docvlm import registry
from docvlm.data.reading import Reading
from docvlm.errors import DocvlmError
from docvlm.files import follow_umask, replace_folder
from docvlm.version import __version__
from docvlm.vlms import FAMILIES, embedded, load_family
from docvlm.vlms.base import VLM
from docvlm.vlms.checkpoint import fingerprint
from docvlm.vlms.codec import Budget
from docvlm.vlms.families import called
from docvlm.vlms.prepare import apply
from docvlm.vlms.quant import NONE
from docvlm.vlms.trainable import Lora, Parts
from docvlm.writing import written

RECORD = "docvlm.json"
WEIGHTS = "adapter_model.safetensors"
_LATER: dict[str, Any] = {
    "freeze_language": 0,
    "quant": NONE,
    "revision": None,
    "extensions": [],
    "parts": {},
    "reading": {},
}  # keys that older versions did not write


def save(vlm: VLM, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
    """Write `folder`, replacing an older one. `weights`: those of a sharded model, put together (`sharded`).

    Raises `DocvlmError` where it cannot be written.
    """
    if vlm.trainable is None:
        raise ValueError("save: nothing has been made trainable; call prepare.apply first")
    beside = folder.with_name(f".{folder.name}.partial")
    try:
        with written(folder):
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            # "auto" would ask the hub whether the vocabulary had been resized
            options: dict[str, Any] = {"save_embedding_layers": False} if isinstance(vlm.net, PeftModel) else {}
            options |= {} if weights is None else {"state_dict": weights}
            vlm.net.save_pretrained(str(beside), **options)  # type: ignore[operator]  # PreTrainedModel or PeftModel
            vlm.bare.generation_config.save_pretrained(beside)
            vlm.codec.save(beside)
            (beside / RECORD).write_text(json.dumps(_record(vlm), indent=2) + "\n")
            follow_umask(beside)
            replace_folder(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # gone already where all went well


def load(
    folder: Path,
    *,
    checkpoint: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    attn: str = "sdpa",
    offline: bool = False,
    quant: str | None = None,
) -> VLM:
    """The model a run saved in `folder`, with its budget. `checkpoint` names the base where it has moved since.

    The base is held as it was in training, unless `quant` says otherwise ("none": an adapter on the base in full).
    Raises `DocvlmError` where the folder is incomplete, where base, rank or a key do not match, or a value is not what
    `save` writes.
    """
    record = read(folder)
    lora = Lora(**record["lora"])
    if lora.r == 0:
        # float32 first: what learned was saved in it, and `apply` puts the frozen part back into `dtype`
        family, budget = load_family(record["family"]), Budget(**record["budget"])
        vlm = family.load(folder, budget, dtype=torch.float32, attn=attn, offline=True, parts=Parts(**record["parts"]))
        vlm.dtype, vlm.checkpoint, vlm.revision = dtype, *base_of(record)
        vlm.codec.reading = Reading.of(record["reading"])
        apply(vlm, record["freeze"], lora, record["freeze_language"])
        return vlm.eval()
    vlm = load_base(folder, checkpoint=checkpoint, dtype=dtype, attn=attn, offline=offline, quant=quant)
    apply(vlm, record["freeze"], lora, record["freeze_language"])
    _load_weights(vlm, folder)
    return vlm.eval()


def load_base(
    folder: Path,
    *,
    checkpoint: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    attn: str = "sdpa",
    offline: bool = False,
    quant: str | None = None,
) -> VLM:
    """The checkpoint that the model in `folder` started from, with that model's budget. Arguments as for `load`.

    Raises `DocvlmError` where it is not there or is another one than `folder` was trained on.
    """
    record = read(folder)
    if checkpoint is None:
        check_embedded(folder, record)
    base, revision = base_of(record, checkpoint)
    budget, held = Budget(**record["budget"]), record["quant"] if quant is None else quant
    family = load_family(record["family"])
    options: dict[str, Any] = {"dtype": dtype, "attn": attn, "offline": offline, "quant": held, "revision": revision}
    vlm = family.load(base, budget, **options, parts=Parts(**record["parts"]))
    vlm.codec.reading = Reading.of(record["reading"])
    found = fingerprint(base, revision)
    if found != record["base_fingerprint"]:
        raise DocvlmError(
            f"{folder}: trained on {record['checkpoint']} with fingerprint {record['base_fingerprint']}, but {base}"
            f" has {found}; give the checkpoint it was trained on"
        )
    return vlm.eval()


def read(folder: Path) -> dict[str, Any]:
    """`docvlm.json` of a saved folder, checked for its keys. Raises `DocvlmError` if it is absent or cut short."""
    file = folder / RECORD
    try:
        record: dict[str, Any] = _LATER | json.loads(file.read_text())
    except FileNotFoundError as error:
        raise DocvlmError(f"{folder}: no {RECORD} in it, so it is no folder that docvlm saved completely") from error
    except (OSError, ValueError) as error:
        raise DocvlmError(f"{file}: not readable ({error}); take another checkpoint of the run") from error
    missing = {"family", "checkpoint", "base_fingerprint", "budget", "freeze", "lora", "dtype"} - set(record)
    if missing:
        raise DocvlmError(f"{file}: {', '.join(sorted(missing))} missing; take another checkpoint of the run")
    if record["family"] not in FAMILIES:
        raise DocvlmError(
            f"{file}: family {record['family']} is not known here; {registry.advice(record['extensions'])}"
        )
    return record


def _load_weights(vlm: VLM, folder: Path) -> None:
    file = folder / WEIGHTS
    try:
        saved = load_file(file)
        config = json.loads((folder / "adapter_config.json").read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise DocvlmError(f"{file}: not readable ({error}); take another checkpoint of the run") from error
    assert isinstance(vlm.net, PeftModel) and vlm.trainable is not None
    if config["r"] != vlm.trainable.lora.r:
        raise DocvlmError(f"{folder}: adapter_config.json says r={config['r']}, {RECORD} lora.r={vlm.trainable.lora.r}")
    expected = get_peft_model_state_dict(vlm.net, save_embedding_layers=False)
    wrong = sorted(set(saved) ^ set(expected)) or sorted(
        name for name, tensor in saved.items() if tensor.shape != expected[name].shape
    )
    if wrong:
        raise DocvlmError(
            f"{file}: {len(wrong)} of {len(expected)} keys do not match {vlm.family} with r={config['r']},"
            f" the first is {wrong[0]}; it is another model's adapter"
        )
    set_peft_model_state_dict(vlm.net, saved)


def _record(vlm: VLM) -> dict[str, Any]:
    assert vlm.trainable is not None
    return {
        "docvlm": __version__,
        "family": vlm.family,
        "extensions": registry.loaded(),
        # the word, not the path: an installation elsewhere has it too
        "checkpoint": "embedded" if embedded.holds(vlm.checkpoint) else vlm.checkpoint,
        "revision": vlm.revision,
        "base_fingerprint": fingerprint(vlm.checkpoint, vlm.revision),
        "budget": asdict(vlm.codec.budget),
        "freeze": vlm.trainable.freeze,
        "freeze_language": vlm.trainable.freeze_language,
        "lora": asdict(vlm.trainable.lora),
        "dtype": str(vlm.dtype).removeprefix("torch."),
        "quant": vlm.quant,
        "parts": asdict(vlm.parts),
        "prompt": vlm.codec.prompt,
        "reading": asdict(vlm.codec.reading),
    }


def check_embedded(folder: Path, record: dict[str, Any]) -> None:
    """Raise `DocvlmError` where `folder` was trained on embedded weights of another version than are installed.

    `record` is what `read` found in `folder`. No weight is loaded for it.
    """
    if record["checkpoint"] != "embedded":
        return
    family, wanted = record["family"], record["base_fingerprint"]
    here = fingerprint(embedded.checkpoint(family))
    if here != wanted:
        made_by = record["docvlm"] if "docvlm" in record else None
        raise DocvlmError(f"{folder}: {embedded.another(family, wanted, here, made_by)}")


def name_of(family: str, checkpoint: str) -> str:
    """What a model is called: a whole export as the checkpoint that it was made of, and not as its folder."""
    folder = Path(checkpoint)
    base = read(folder)["checkpoint"] if (folder / RECORD).is_file() else checkpoint
    return called(family, str(base))


def dtype_of(record: dict[str, Any]) -> torch.dtype:
    """What the frozen weights of what is saved are held in."""
    dtype: torch.dtype = getattr(torch, record["dtype"])
    return dtype


def base_of(record: dict[str, Any], moved: str | Path | None = None) -> tuple[str, str | None]:
    """Folder or hub id of the checkpoint that what is saved was trained on, and its revision on the hub.

    `moved` is where it is now; under another name it has no revision.
    """
    name = record["checkpoint"]
    base = str(embedded.checkpoint(record["family"])) if name == "embedded" else str(name)
    if moved is None or str(moved) == base:
        return base, record["revision"]
    return str(moved), None
