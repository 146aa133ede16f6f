"""Pages for the tests of the leakage audit: copies, and folders of own pages written row by row."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance

from docvlm.config import Job, TrainConfig
from docvlm.config.compose import load
from docvlm.data.benchmarks import folder
from docvlm.data.generated import DrawnPage
from docvlm.data.leakage.audit import Audit, audit
from docvlm.data.leakage.hash_cache import HashCache
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.training.run import read


def drawn(index: int, split: str = "train") -> Image.Image:
    return DrawnPage("docvqa", split, index, "tiny", 0).open()


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **how)
    return content.getvalue()


def jpeg(image: Image.Image, quality: int = 60) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality))).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    x, y = round(image.width * 0.03), round(image.height * 0.03)
    return image.crop((x, y, image.width - x, image.height - y))


def annotated(index: int) -> Image.Image:
    """A page with a line of another one over its foot: an eighth of it differs."""
    page, line = drawn(index), drawn(index + 1).crop((0, 0, 280, 20))
    page.paste(line, (0, page.height - line.height))
    return page


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": jpeg,
    "larger": lambda image: image.resize((image.width * 3 // 2, image.height * 3 // 2)),
    "smaller": lambda image: image.resize((image.width * 3 // 4, image.height * 3 // 4)),
    "turned": lambda image: image.rotate(1, Image.Resampling.BICUBIC, fillcolor="white"),
    "cropped": cropped,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}


class Folder:
    """Own pages: `train`, `val` and `test` with rows and images written one by one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, split: str, name: str, image: Image.Image, *more: dict[str, object]) -> Path:
        """A page, and a question on it for each record of `more` (one of no importance without any)."""
        folder = self.root / split
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
        with (folder / "qa.jsonl").open("a", encoding="utf-8") as file:
            for number, extra in enumerate(more or ({},)):
                row = {"image": name, "question": "What is it?", "answers": [name], "question_id": f"{name}-{number}"}
                file.write(json.dumps({**row, **extra}) + "\n")
        return folder / name

    def fill(self) -> Folder:
        """Two pages for each split, all different."""
        for split in ("train", "val", "test"):
            for index in (1, 2):
                self.add(split, f"{split}{index}.png", drawn(index + 10, split))
        return self

    @property
    def words(self) -> list[str]:
        return ["data=folder", f"data.source={self.root}", "scale=tiny", f"features_folder={self.root / 'store'}"]

    def audited(self, store: HashCache | None = None) -> Audit:
        data = folder.Folder(str(self.root))
        return audit(data.train, {"val": data.val, "test": data.test}, store)

    def read(self, into: Path, mode: str | None = None) -> DocumentDataModule:
        """What a training run with `audit=mode` reads before it loads weights; without a mode, as the yaml says."""
        into.mkdir(parents=True, exist_ok=True)
        cfg = _config()
        data = dataclasses.replace(cfg.data, source=str(self.root))
        store = str(self.root / "store")
        return read(dataclasses.replace(cfg, data=data, features_folder=store, audit=mode or cfg.audit), Job(into))


@lru_cache
def _config() -> TrainConfig:
    """Composing takes half a second."""
    return load("train", TrainConfig, ["data=folder", "data.source=none", "scale=tiny"])
