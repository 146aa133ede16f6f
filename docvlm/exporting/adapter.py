"""`adapter`: the LoRA weights in PEFT's format, to be loaded onto the checkpoint they were trained on.

The files are the run's own, byte for byte. Only the record differs, and `adapter_config.json` where it names the
embedded checkpoint: that is a path of the machine that trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING

from docvlm.vlms import loading
from docvlm.vlms.saved import WEIGHTS

if TYPE_CHECKING:
    from docvlm.exporting.source import Source

CONFIG = "adapter_config.json"
NEEDS = ""


def missing(source: Source) -> str | None:
    """Why this run or this machine cannot have it; None where it can."""
    if not source.record["lora"]["r"]:
        return "the run has no adapter, since its language side learned in full (lora.r=0); merged is all of it"
    return None


def write(source: Source, folder: Path) -> None:
    """Weights, config, processor and record into a new `folder`."""
    folder.mkdir()
    copyfile(source.best / WEIGHTS, folder / WEIGHTS)
    config = json.loads((source.best / CONFIG).read_text(encoding="utf-8"))
    if source.record["checkpoint"] == "embedded":
        config["base_model_name_or_path"] = None
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    loading.complete(folder, source.best, source.about("adapter"))
