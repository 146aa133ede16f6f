"""The merged model, quantised as Transformers reads it, and written so that plain `from_pretrained` reads it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from docvlm.vlms import loading
from docvlm.vlms.checkpoint import no_progress_bar
from docvlm.vlms.families import FAMILIES

if TYPE_CHECKING:
    from docvlm.exporting.source import Source


def write(source: Source, folder: Path, form: str, settings: Callable[[list[str]], Any], **placed: Any) -> None:
    """Weights in safetensors, config, processor and record into `folder`.

    `settings` makes the quantisation's config from the names of the modules that it must leave alone.
    """
    with source.merged(folder) as weights, no_progress_bar():
        net = AutoModelForImageTextToText.from_pretrained(
            weights,
            dtype=source.dtype,
            quantization_config=settings(_untouched(weights, FAMILIES[source.record["family"]].language)),
            use_safetensors=True,
            local_files_only=True,
            **placed,
        )
        net.save_pretrained(folder)
    loading.complete(folder, source.best, source.about(form))


def _untouched(weights: Path, language: str) -> list[str]:
    """Modules outside the language side, and the vocabulary projection, which is tied to the embeddings."""
    config = AutoConfig.from_pretrained(weights, local_files_only=True)
    with torch.device("meta"):
        net = AutoModelForImageTextToText.from_config(config)
    outside = [f"model.{name}" for name, _ in net.model.named_children() if f"model.{name}" != language]
    return [*outside, *(name for name, module in net.named_modules() if module is net.get_output_embeddings())]
