"""Hydra reads and parses the same yaml files for every command; within a process of tests, once."""

from __future__ import annotations

import copy
import os
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult


def remember() -> None:
    """Keep every yaml file that Hydra reads, until it changes. A fifth of what composing a config takes."""
    read = FileConfigSource.load_config
    known: dict[tuple[Any, ...], ConfigResult] = {}

    def remembered(self: FileConfigSource, config_path: str) -> ConfigResult:
        file = os.path.join(self.path, self._normalize_file_name(config_path))
        state = os.stat(file)
        key = (self.provider, file, state.st_mtime_ns, state.st_size)
        if key not in known:
            known[key] = read(self, config_path)
        return copy.deepcopy(known[key])  # Hydra changes what it is given

    FileConfigSource.load_config = remembered  # type: ignore[method-assign]
