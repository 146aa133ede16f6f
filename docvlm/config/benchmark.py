"""What `docvlm.benchmark` can be told, and values with which nothing can be timed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from docvlm.config.base import SPLITS, need
from docvlm.config.data import DataConf, check_data
from docvlm.config.endpoint import check_endpoint
from docvlm.config.model import BudgetConf, ModelVerbConfig, check_budget, check_retriever, check_revision
from docvlm.data.reading import RETRIEVER, SELECTORS
from docvlm.vlms.families import FAMILIES

_BUDGET = r"[1-9]\d*(x[1-9]\d*)?|(edge|tiles)[1-9]\d*"


@dataclass
class BenchmarkConfig(ModelVerbConfig):
    """Everything `docvlm.benchmark` can be told. What is timed is chosen as by `docvlm.evaluate`.

    `selectors` are compared at each number of `selector_pages`; `none` among them is all pages.
    `batch` is a number or `auto`; each of `budgets` a number of pixels, `HEIGHTxWIDTH`, `edgeN` or `tilesN`.
    `endpoint` serves the model that is measured here, which is one more point then.
    """

    budget: BudgetConf
    data: dict[str, DataConf]
    run: str | None
    best: bool
    checkpoint: str | None
    benchmark: str | None
    budgets: list[str] | None
    selectors: list[str] | None
    selector_pages: list[int]
    selector_checkpoint: str | None
    pages: int
    warmup: int
    batch: str
    max_batch: int
    memory_limit_gb: float | None
    endpoint: str | None
    served: str | None
    served_on: str | None
    concurrency: int
    timeout: float
    retries: int
    logprobs: bool
    split: str
    limit: int | None
    prices: str | None
    measured: list[str]
    output: str | None
    rerun: bool

    @property
    def loads_checkpoint(self) -> bool:
        return not (self.run or self.best)

    @property
    def base(self) -> str | None:
        return (self.checkpoint or super().base) if self.loads_checkpoint else None

    def check(self, *, sweep: bool = False) -> None:
        super().check(sweep=sweep)
        check_revision(self.model, self.checkpoint, run=self.run, best=self.best)
        check_budget(self.budget, FAMILIES[self.model.family])
        given = [key for key in ("run", "checkpoint") if getattr(self, key) is not None] + ["best"] * self.best
        need(len(given) <= 1, given[-1] if given else "", "…", f"give one of {' and '.join(given)}, not both")
        for key, paths in (("run", [self.run]), ("prices", [self.prices]), ("measured", self.measured)):
            for path in paths:
                need(path is None or Path(path).expanduser().exists(), key, path, "there is no such file or folder")
        advice = f"one of {', '.join(self.data)}"
        need(self.benchmark is None or self.benchmark in self.data, "benchmark", self.benchmark, advice)
        if self.benchmark is not None:
            check_data(self.data[self.benchmark], f"data.{self.benchmark}")
        for budget in self.budgets or []:
            advice = (
                "give pixels as in budgets=[1003520,501760], height x width as in budgets=[768x768,384x384], or what a"
                " checkpoint's own processor knows, as in budgets=[edge1536,edge768] or budgets=[tiles12,tiles6]"
            )
            need(re.fullmatch(_BUDGET, budget) is not None, "budgets", budget, advice)
        need(self.budgets != [], "budgets", "[]", "name one or more, or null for the model's own, a half and a quarter")
        repeated = len(set(self.budgets or [])) < len(self.budgets or [])
        need(not repeated, "budgets", self.budgets, "name each only once")
        self._check_selectors()
        check_endpoint(self)
        advice = "it serves one model; give run=DIR or checkpoint=… with it"
        need(self.endpoint is None or not self.best, "endpoint", self.endpoint, advice)
        advice = "the device of endpoint=URL; give that too"
        need(self.served_on is None or self.endpoint is not None, "served_on", self.served_on, advice)
        batch = self.batch == "auto" or re.fullmatch(r"[1-9]\d*", self.batch) is not None
        need(batch, "batch", self.batch, "a number of questions of 1 or more, or auto for the largest that fits")
        for key in ("pages", "warmup", "max_batch"):
            need(getattr(self, key) >= 1, key, getattr(self, key), "1 or more")
        limit = self.memory_limit_gb
        need(limit is None or limit > 0, "memory_limit_gb", limit, "above 0, or null for the machine's own")
        need(self.split in SPLITS, "split", self.split, "test reports a score, val selects an epoch")
        need(self.limit is None or self.limit >= 1, "limit", self.limit, "1 or more questions, or null for all")

    def _check_selectors(self) -> None:
        names = self.selectors or []
        need(self.selectors != [], "selectors", "[]", f"name one or more of {', '.join(SELECTORS)}, or null")
        for name in names:
            need(name in SELECTORS, "selectors", name, f"choose from {', '.join(SELECTORS)}")
        need(bool(self.selector_pages), "selector_pages", "[]", "name one or more numbers of pages")
        for count in self.selector_pages:
            need(count >= 1, "selector_pages", count, "1 or more pages of a document")
        for key, values in (("selectors", names), ("selector_pages", self.selector_pages)):
            need(len(set(values)) == len(values), key, values, "name each only once")
        check_retriever(RETRIEVER in names, self.selector_checkpoint)
