"""What an export can be told."""

from __future__ import annotations

from dataclasses import dataclass

from docvlm.config.schema import DataConf, ModelConf, ReadOnly, ScaleConf


@dataclass
class ToleranceConf(ReadOnly):
    """How far a format may be from its run: `conf/export.yaml` says what each of them means."""

    texts: float
    logits: float | None
    score: float


@dataclass
class ExportConfig(ReadOnly):
    """Everything `docvlm.export` can be told (`conf/export.yaml`). `tolerance` has an entry for every format.

    `merged_16bit` takes the place of `merged` for a run in 16 bits.
    """

    scale: ScaleConf
    model: ModelConf
    data: dict[str, DataConf]
    run: str | None
    best: bool
    formats: list[str] | None
    output: str | None
    benchmarks: list[str] | None
    split: str
    limit: int | None
    canary: int
    pages: int
    warmup: int
    tolerance: dict[str, ToleranceConf]
    push_to: str | None
    dry_run: bool
    private: bool
    rerun: bool
    packing: str
    seed: int
    offline: bool
    extensions: list[str]
