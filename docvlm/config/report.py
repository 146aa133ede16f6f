"""What `docvlm.report` can be told, and values a report cannot be made with: found before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docvlm.config.base import ReadOnly, VerbConfig, need


@dataclass
class GalleryConf(ReadOnly):
    """How many answers the report's gallery shows, and how large their pages may be."""

    failures: int
    flips: int
    width: int
    megabytes: float


@dataclass
class ReportConfig(VerbConfig):
    """Everything `docvlm.report` can be told (`conf/report.yaml`). It loads no model and has no scale."""

    roots: list[str]
    output: str
    predictions: list[str]
    pages: str | None
    target: float | None
    gallery: GalleryConf

    def check(self, *, sweep: bool = False) -> None:
        need(not sweep, "-m", "", "a report is made once, of all there is; leave -m out")
        advice = "name folders with results, or predictions=[FILE]"
        need(bool(self.roots or self.predictions), "roots", "[]", advice)
        for path in self.predictions:
            need(Path(path).expanduser().is_file(), "predictions", path, "there is no such file")
        repeated = len(set(self.predictions)) < len(self.predictions)
        need(not repeated, "predictions", self.predictions, "name each file only once")
        pages = self.pages
        need(pages is None or Path(pages).expanduser().is_dir(), "pages", pages, "there is no such folder")
        need(bool(self.output), "output", "''", "name the folder that the report is written to")
        need(self.target is None or 0 < self.target <= 1, "target", self.target, "a score above 0, at most 1")
        gallery = self.gallery
        for name in ("failures", "flips"):
            value = getattr(gallery, name)
            need(0 <= value <= 1000, f"gallery.{name}", value, "0 to 1000 cards")
        need(120 <= gallery.width <= 2000, "gallery.width", gallery.width, "120 to 2000 pixels")
        need(0 <= gallery.megabytes <= 200, "gallery.megabytes", gallery.megabytes, "0 to 200")
