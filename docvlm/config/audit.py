"""What `docvlm.audit` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from docvlm.config.data import DataConf, check_data
from docvlm.config.model import ModelVerbConfig, check_revision


@dataclass
class AuditConfig(ModelVerbConfig):
    """Everything `docvlm.audit` can be told (`conf/audit.yaml`). `model` only says what `scale` asks of it."""

    data: DataConf
    features_folder: str

    @property
    def pages_from(self) -> str | None:
        return self.data.source

    @property
    def loads_checkpoint(self) -> bool:
        return False

    def check(self, *, sweep: bool = False) -> None:
        super().check(sweep=sweep)
        check_revision(self.model)
        check_data(self.data, "data")
