"""What is exported: the weights a run reports, and the whole model they make, in float32 and in the run's dtype."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedConfig, PreTrainedModel

from docvlm.runs.finished import Run
from docvlm.vlms import loading, saved
from docvlm.vlms.base import VLM
from docvlm.vlms.checkpoint import load_config, no_progress_bar


@dataclass(frozen=True)
class Source:
    """A run to export. `benchmark` is whose wording a question gets where nobody says otherwise.

    `allowed` names fields of `config.json` that an export may have although not every reader takes them from there.
    """

    run: Run
    benchmark: str
    offline: bool
    allowed: tuple[str, ...] = ()

    @property
    def best(self) -> Path:
        """The folder of the weights the run reports."""
        return self.run.folder.best

    @property
    def attn(self) -> str:
        """Attention as in training, so that the same numbers come out."""
        return str(self.run.manifest["config"]["model"]["attn"])

    @property
    def record(self) -> dict[str, Any]:
        """`docvlm.json` of the weights."""
        return saved.read(self.best)

    @property
    def dtype(self) -> torch.dtype:
        """What the run held its frozen weights in, and what an export stores."""
        return saved.dtype_of(self.record)

    @property
    def config(self) -> PreTrainedConfig:
        """The config of the checkpoint that the run started from, which its exports have too."""
        checkpoint, revision = saved.base_of(self.record)
        return load_config(checkpoint, offline=self.offline, revision=revision)

    def about(self, form: str) -> dict[str, Any]:
        """What `docvlm.json` says of an export and not of a run's own weights."""
        return {"format": form, "benchmark": self.benchmark, "trained_on": self.run.trained_on}

    def whole(self) -> VLM:
        """The model with its adapter merged, in float32: a sum of two bf16 numbers would round what was learned.

        Vision weights that learned beside an adapter (PEFT's `modules_to_save`) take the place of the base's.
        """
        # in 4 bits nothing could be added to the weights: a run with quant=4bit is merged into its base in full
        vlm = saved.load(self.best, dtype=torch.float32, attn=self.attn, offline=self.offline, quant="none")
        if isinstance(vlm.net, PeftModel):
            merged = vlm.net.merge_and_unload()
            assert isinstance(merged, PreTrainedModel)
            vlm.net = merged
        return vlm

    def write_whole(self, folder: Path) -> None:
        """The merged model in the run's dtype, its processor and its record into a new `folder`."""
        net = self.whole().bare.to(self.dtype)  # type: ignore[arg-type]  # Transformers types it as a device
        with no_progress_bar():
            net.save_pretrained(folder)
        loading.complete(folder, self.best, self.about("merged"))

    @contextmanager
    def merged(self, place: Path) -> Iterator[Path]:
        """A folder with the merged model, beside `place`, for what is made from it; gone afterwards."""
        folder = beside(place)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self.write_whole(folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def beside(place: Path) -> Path:
    """Where the merged weights lie while a format is made of them in `place`."""
    return place.with_name(f"{place.name}.weights")
