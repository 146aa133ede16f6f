"""The data module classes of the benchmarks, made when they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from docvlm.data.benchmark import Benchmark

if TYPE_CHECKING:
    from docvlm.data.loading.datamodule import BenchmarkDataModule


def data_module(module: str, name: str, of: Mapping[str, Benchmark]) -> type[BenchmarkDataModule]:
    """The class `name` of `module`, for its `__getattr__`; `of` says whose splits it holds.

    Records stay light so: commands read them before they know whether they need torch.
    """
    if name not in of:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    from docvlm.data.loading.datamodule import BenchmarkDataModule

    benchmark = of[name]
    about = {"benchmark": benchmark, "__module__": module, "__doc__": f"Splits and loaders of {benchmark.title}."}
    made = type(name, (BenchmarkDataModule,), about)
    setattr(sys.modules[module], name, made)
    return made
