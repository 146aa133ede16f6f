"""What `docvlm.export` can be told, and values an export cannot be made with: found before a run is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docvlm.config.base import SPLITS, ReadOnly, need
from docvlm.config.data import DataConf, check_data
from docvlm.config.model import ModelVerbConfig, check_revision
from docvlm.errors import DocvlmError
from docvlm.vlms.forms import OUTSIDE

FORMATS = ("adapter", "merged", "int8", "int4", "openvino", "openvino_int4", "gguf")
"""What a run can be exported as; each has a record in `docvlm.exporting.formats`."""
TOLERANCES = (*FORMATS, "merged_16bit")
"""What `conf/export.yaml` declares a tolerance for."""


@dataclass
class ToleranceConf(ReadOnly):
    """How far a format may be from its run: `conf/export.yaml` says what each of them means."""

    texts: float
    logits: float | None
    score: float


@dataclass
class ExportConfig(ModelVerbConfig):
    """Everything `docvlm.export` can be told (`conf/export.yaml`). `tolerance` has an entry for every format.

    `merged_16bit` takes the place of `merged` for a run in 16 bits.
    """

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
    allow_fields: list[str]

    @property
    def loads_checkpoint(self) -> bool:
        return not (self.run or self.best)

    def check(self, *, sweep: bool = False) -> None:
        super().check(sweep=sweep)
        revision, brought = self.model.revision, self.run is not None or self.best
        need(brought or revision is None, "model.revision", revision, "a run brings its own; drop it")
        check_revision(self.model, run=self.run, best=self.best)
        need(self.run is None or not self.best, "best", "true", "give one of run and best, not both")
        advice = "there is no such file or folder"
        need(self.run is None or Path(self.run).expanduser().exists(), "run", self.run, advice)
        named = {"formats": (self.formats, FORMATS), "benchmarks": (self.benchmarks, tuple(self.data))}
        for key, (given, known) in named.items():
            need(given != [], key, "[]", f"name at least one of {', '.join(known)}, or null for the default")
            for value in given or []:
                need(value in known, key, value, f"choose from {', '.join(known)}")
            need(len(set(given or [])) == len(given or []), key, given, "name each only once")
        for name in self.benchmarks or []:
            check_data(self.data[name], f"data.{name}")
        need(self.split in SPLITS, "split", self.split, "test reports a score, val selects an epoch")
        need(self.limit is None or self.limit >= 1, "limit", self.limit, "1 or more questions, or null for all")
        for key in ("canary", "pages", "warmup"):
            need(getattr(self, key) >= 1, key, getattr(self, key), "1 or more")
        _push(self)
        for word in TOLERANCES:
            need(word in self.tolerance, f"tolerance.{word}", "", "a format needs one, as in conf/export.yaml")
        for word, tolerance in self.tolerance.items():
            need(word in TOLERANCES, f"tolerance.{word}", "…", f"there are {', '.join(TOLERANCES)}")
            _tolerance(tolerance, f"tolerance.{word}")
            silent = word in OUTSIDE and tolerance.logits is not None
            advice = f"{OUTSIDE.get(word)} shows no logits: give null"
            need(not silent, f"tolerance.{word}.logits", tolerance.logits, advice)


def _push(cfg: ExportConfig) -> None:
    repo = cfg.push_to
    need(repo is not None or not cfg.dry_run, "dry_run", "true", "it is for push_to=user/name: give that, or drop it")
    if repo is None:
        return
    need(not cfg.best, "best", "true", "a repository holds one model: give run=DIR with push_to")
    one = cfg.formats is None or len(cfg.formats) == 1
    need(one, "formats", cfg.formats, "a repository holds one format: name one, or null for the adapter or merged")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    need(repo.count("/") == 1, "push_to", repo, "give it as user/name or organisation/name")
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise DocvlmError(f"push_to={repo}: {' '.join(str(error).split())}") from error


def _tolerance(tolerance: ToleranceConf, key: str) -> None:
    need(0 <= tolerance.texts <= 1, f"{key}.texts", tolerance.texts, "a share of equal answers from 0 to 1")
    need(0 <= tolerance.score <= 1, f"{key}.score", tolerance.score, "a difference of scores from 0 to 1")
    most = tolerance.logits
    need(most is None or most >= 0, f"{key}.logits", most, "0 or more, or null for any")
