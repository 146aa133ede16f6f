"""What the tests of answering share: a small run with an adapter that changes answers, and files to ask about."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from tiny import Paper, load

from docvlm.serving import reader
from docvlm.serving.pdf import DPI
from docvlm.vlms.trainable import Lora, apply

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
    folder = Path(tempfile.mkdtemp(prefix="docvlm-asked-")) / "run"
    vlm = load("qwen2vl")
    apply(vlm, 100, Lora(4))
    with torch.no_grad():
        for name, parameter in vlm.net.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    vlm.save(folder / "checkpoints" / "best")
    config = {"model": {"attn": "eager"}, "data": {"name": "chartqa"}}
    manifest = {"family": "qwen2vl", "scale": "tiny", "data": {"benchmark": "chartqa-generated"}, "config": config}
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
