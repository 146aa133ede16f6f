"""The data module classes of the benchmarks, made when they are asked for: Lightning takes seconds to import."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from docvlm.data.benchmark import Benchmark

if TYPE_CHECKING:
    from docvlm.data.loading.datamodule import BenchmarkDataModule


def data_module(module: str, name: str, benchmark: Benchmark) -> Callable[[str], type[BenchmarkDataModule]]:
    """`__getattr__` of a benchmark's `module`: it makes the class `name`, which holds the splits of `benchmark`.

    Records stay light so: commands read them before they know whether they need torch.
    """

    def attribute(wanted: str) -> type[BenchmarkDataModule]:
        if wanted != name:
            raise AttributeError(f"module {module!r} has no attribute {wanted!r}")
        from docvlm.data.loading.datamodule import BenchmarkDataModule

        about = {"benchmark": benchmark, "__module__": module, "__doc__": f"Splits and loaders of {benchmark.title}."}
        made = type(name, (BenchmarkDataModule,), about)
        setattr(sys.modules[module], name, made)
        return made

    return attribute
