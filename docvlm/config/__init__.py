"""Configuration: where `conf/` is, the typed schema, checks with messages, and the decorator that makes a verb.

`schema` names and types · `compose` yaml and overrides → dataclasses · `checks` values · `explain` Hydra's errors in
one line · `entry` the decorator. Nothing here imports Hydra, OmegaConf or torch until something is run.
"""

from docvlm.config.checks import check
from docvlm.config.entry import verb
from docvlm.config.schema import (
    CONF_DIR,
    AuditConfig,
    BenchmarkConfig,
    BudgetConf,
    DataConf,
    EvaluateConfig,
    Job,
    LoraConf,
    ModelConf,
    OptimConf,
    ScaleConf,
    ScaledModel,
    TrainConfig,
    TrainerConf,
)
from docvlm.config.schema_export import ExportConfig, ToleranceConf
from docvlm.config.schema_report import GalleryConf, ReportConfig

__all__ = [
    "CONF_DIR",
    "AuditConfig",
    "BenchmarkConfig",
    "BudgetConf",
    "DataConf",
    "EvaluateConfig",
    "ExportConfig",
    "GalleryConf",
    "Job",
    "LoraConf",
    "ModelConf",
    "OptimConf",
    "ReportConfig",
    "ScaleConf",
    "ScaledModel",
    "ToleranceConf",
    "TrainConfig",
    "TrainerConf",
    "check",
    "verb",
]
