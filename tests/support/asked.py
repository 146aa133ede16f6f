"""What the tests of answering share: a small run with an adapter that changes answers, and files to ask about."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image

from docvlm.data.pdf import DPI
from docvlm.serving import reader
from docvlm.vlms import embedded, load_family, saved
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from tests.support.tiny import Paper, load

ENCRYPTED = b"""%%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>endobj
4 0 obj<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>endobj
trailer<</Root 1 0 R/Encrypt 4 0 R/ID[<00><00>]>>
""" % (b"ab" * 32, b"cd" * 32)
"""A PDF that asks for a password: what stands under /U is not what the empty one would give."""


@lru_cache
def run() -> Path:
    """The files that answering reads of a run, trained on ChartQA. All tests share it: do not change it."""
    vlm = load("qwen2vl")
    apply(vlm, 100, Lora(4))
    with torch.no_grad():
        for name, parameter in vlm.net.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    return _kept(vlm, "chartqa")


@lru_cache
def reading_run() -> Path:
    """A run that started from an embedded checkpoint, which reads drawn pages; its adapter spoils some answers."""
    vlm = load_family("qwen2vl").load(embedded.checkpoint("qwen2vl"), Budget(), offline=True)
    torch.manual_seed(0)
    apply(vlm, 100, Lora(4))
    with torch.no_grad():
        for name, parameter in vlm.net.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.08)
    return _kept(vlm, "docvqa")


def full_run() -> Path:
    """A run that learned in full, so that it answers without its base. Yours to change."""
    vlm = load("qwen2vl")
    apply(vlm, 100, Lora(0))
    return _kept(vlm, "docvqa")


def _kept(vlm: VLM, benchmark: str) -> Path:
    """The files that answering reads of a run with these weights."""
    folder = Path(tempfile.mkdtemp(prefix="docvlm-asked-")) / "run"
    saved.save(vlm, folder / "checkpoints" / "best")
    config = {"model": {"attn": "eager"}, "data": {"name": benchmark}}
    manifest = {"family": "qwen2vl", "scale": "tiny", "data": {"benchmark": f"{benchmark}-generated"}, "config": config}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "result.json").write_text(json.dumps({"status": "finished", "selection": {"value": 0.5}}))
    return folder


load_once = lru_cache(reader.load)
"""For tests that run the command many times: what it loads never changes."""


def image(name: str) -> Image.Image:
    """A page with its name on it."""
    return Paper(name).open()


def pdf(path: Path, *names: str) -> Path:
    """A PDF whose pages, drawn at the resolution docvlm draws at, have the pixels of the named images."""
    first, *rest = [image(name).convert("P") for name in names]  # palettes are kept as they are, RGB becomes a JPEG
    first.save(path, save_all=True, append_images=rest, resolution=DPI)
    return path
