"""Configuration: where `conf/` is, the typed schema, checks with messages, and the decorator that makes a verb.

`train`, `evaluate`, … a verb's schema and its checks · `model`, `data` parts that several verbs share · `compose` yaml
and overrides → dataclasses · `explain` Hydra's errors in one line · `entry` the decorator. Nothing here imports Hydra,
OmegaConf or torch until something is run.
"""

from collections.abc import Mapping

from docvlm.config.audit import AuditConfig
from docvlm.config.base import CONF_DIR, VerbConfig
from docvlm.config.benchmark import BenchmarkConfig
from docvlm.config.data import DataConf
from docvlm.config.entry import verb
from docvlm.config.evaluate import EvaluateConfig
from docvlm.config.export import ExportConfig, ToleranceConf
from docvlm.config.job import Job
from docvlm.config.model import BudgetConf, ModelVerbConfig
from docvlm.config.report import GalleryConf, ReportConfig
from docvlm.config.train import LoraConf, OptimConf, TrainConfig, TrainerConf

__all__ = [
    "CONF_DIR",
    "VERBS",
    "AuditConfig",
    "BenchmarkConfig",
    "BudgetConf",
    "DataConf",
    "EvaluateConfig",
    "ExportConfig",
    "GalleryConf",
    "Job",
    "LoraConf",
    "ModelVerbConfig",
    "OptimConf",
    "ReportConfig",
    "ToleranceConf",
    "TrainConfig",
    "TrainerConf",
    "verb",
]

VERBS: Mapping[str, type[VerbConfig]] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "audit": AuditConfig,
    "benchmark": BenchmarkConfig,
    "export": ExportConfig,
    "report": ReportConfig,
}
"""Every verb with a config: its word is the name of its module, of its yaml in `conf/` and of its file here."""
