"""What `docvlm.evaluate` can be told, and values with which nothing can be evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docvlm.config.base import SPLITS, need
from docvlm.config.data import DataConf, check_data
from docvlm.config.endpoint import check_endpoint
from docvlm.config.model import BudgetConf, ReadingVerbConfig, check_budget, check_revision
from docvlm.metrics import METRICS
from docvlm.vlms.families import FAMILIES


@dataclass
class EvaluateConfig(ReadingVerbConfig):
    """Everything `docvlm.evaluate` can be told (`conf/evaluate.yaml`).

    `run` is a folder a training left; without it, `endpoint` and `predictions`, `checkpoint` (default: the family's
    own) is evaluated zero-shot. `data` holds one entry for each benchmark that `benchmarks` may name.
    """

    budget: BudgetConf
    data: dict[str, DataConf]
    benchmarks: list[str]
    run: str | None
    checkpoint: str | None
    endpoint: str | None
    served: str | None
    concurrency: int
    timeout: float
    retries: int
    logprobs: bool
    choices: list[str] | None
    json_schema: str | None
    json_field: str | None
    predictions: str | None
    against: str | None
    metric: str | None
    baseline: bool
    best: bool
    split: str
    limit: int | None
    output: str | None
    rerun: bool
    robustness: bool
    corruptions: list[str]
    severities: list[int]
    robustness_limit: int | None
    controls: bool

    @property
    def loads_checkpoint(self) -> bool:
        return not (self.run or self.best or self.predictions or self.endpoint)

    @property
    def base(self) -> str | None:
        return (self.checkpoint or super().base) if self.loads_checkpoint else None

    def check(self, *, sweep: bool = False) -> None:
        super().check(sweep=sweep)
        brought = {"run": self.run, "best": self.best, "endpoint": self.endpoint, "predictions": self.predictions}
        check_revision(self.model, self.checkpoint, **brought)
        if self.endpoint is None or self.budget != BudgetConf():
            check_budget(self.budget, FAMILIES[self.model.family])
        given = [key for key in ("run", "checkpoint", "endpoint", "predictions") if getattr(self, key) is not None]
        given += ["best"] * self.best
        need(len(given) <= 1, given[-1] if given else "", "…", f"give one of {' and '.join(given)}, not both")
        advice = "it is the baseline of predictions=FILE; with a run the baseline is its base"
        need(self.against is None or self.predictions is not None, "against", self.against, advice)
        _endpoint(self)
        _structured(self)
        for key in ("run", "predictions", "against", "json_schema"):
            path = getattr(self, key)
            need(path is None or Path(path).expanduser().exists(), key, path, "there is no such file or folder")
        need(bool(self.benchmarks), "benchmarks", "[]", f"name at least one of {', '.join(self.data)}")
        for benchmark in self.benchmarks:
            need(benchmark in self.data, "benchmarks", benchmark, f"choose from {', '.join(self.data)}")
            check_data(self.data[benchmark], f"data.{benchmark}")
        repeated = len(set(self.benchmarks)) < len(self.benchmarks)
        need(not repeated, "benchmarks", self.benchmarks, "name each only once")
        need(self.metric is None or self.metric in METRICS, "metric", self.metric, f"choose from {', '.join(METRICS)}")
        need(self.split in SPLITS, "split", self.split, "test reports a score, val selects an epoch")
        need(self.limit is None or self.limit >= 1, "limit", self.limit, "1 or more questions, or null for all")
        for key in ("robustness", "controls"):
            asks = getattr(self, key) and self.predictions is not None
            need(not asks, key, "true", "it shows a model other pages; predictions=FILE holds answers and no model")
        _corruptions(self)


def _corruptions(cfg: EvaluateConfig) -> None:
    from docvlm.data.corruptions import CORRUPTIONS, SEVERITIES

    every = f"{SEVERITIES[0]} to {SEVERITIES[-1]}"
    for key, given, known, names in (
        ("corruptions", cfg.corruptions, tuple(CORRUPTIONS), ", ".join(CORRUPTIONS)),
        ("severities", cfg.severities, SEVERITIES, f"{every}; the clean pages are always there"),
    ):
        need(bool(given), key, "[]", f"name at least one of {names}")
        for value in given:
            need(value in known, key, value, f"choose from {names}")
        need(len(set(given)) == len(given), key, given, "name each only once")
    most = cfg.robustness_limit
    need(most is None or most >= 1, "robustness_limit", most, "1 or more questions, or null for all")


def _endpoint(cfg: EvaluateConfig) -> None:
    """Raise `DocvlmError` for the first impossible value of `endpoint` and of what goes with it."""
    check_endpoint(cfg)
    if cfg.endpoint is None:
        return
    asked = [family for family in FAMILIES.values() if family.served is not None]
    labels = " or ".join(f"{family.label}'s" for family in asked if family.served and family.served.page)
    advice = f"a served model is asked by chat, and its pages are resized as {labels}; leave model=… out"
    family = FAMILIES[cfg.model.family]
    need(family in asked, "model", cfg.model.family, advice)
    if family.served is not None and family.served.page is None:
        advice = "the server's own processor says how large a page is read; drop it"
        for key, value in vars(cfg.budget).items():
            need(value is None, f"budget.{key}", value, advice)


def _structured(cfg: EvaluateConfig) -> None:
    """Raise `DocvlmError` for the first impossible value of what a served model may answer.

    What the file of `json_schema` holds is looked at before the first request (`docvlm.answering.structured`).
    """
    for key in ("choices", "json_schema"):
        advice = "a server decodes so, and a model that is loaded here does not; give endpoint=URL too"
        need(getattr(cfg, key) is None or cfg.endpoint is not None, key, getattr(cfg, key), advice)
    if cfg.choices is not None:
        need(cfg.json_schema is None, "json_schema", cfg.json_schema, "give one of choices and json_schema, not both")
        need(bool(cfg.choices), "choices", "[]", "name at least one text, or null for any answer")
        for text in cfg.choices:
            need(text == text.strip() != "", "choices", f"[{text!r}]", "a text without space around it")
        need(len(set(cfg.choices)) == len(cfg.choices), "choices", cfg.choices, "name each only once")
    advice = "the part of a JSON answer that is scored; give json_schema=FILE too"
    need(cfg.json_field is None or cfg.json_schema is not None, "json_field", cfg.json_field, advice)
