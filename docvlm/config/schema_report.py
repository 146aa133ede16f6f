"""What a report can be told."""

from __future__ import annotations

from dataclasses import dataclass

from docvlm.config.schema import ReadOnly


@dataclass
class GalleryConf(ReadOnly):
    """How many answers the report's gallery shows, and how large their pages may be."""

    failures: int
    flips: int
    width: int
    megabytes: float


@dataclass
class ReportConfig(ReadOnly):
    """Everything `docvlm.report` can be told (`conf/report.yaml`). It loads no model and has no scale."""

    roots: list[str]
    output: str
    predictions: list[str]
    pages: str | None
    target: float | None
    gallery: GalleryConf
    extensions: list[str]
