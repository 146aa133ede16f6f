"""The benchmarks: a file each, with its record and the reader of its rows. Importing this registers all of them.

One's own stands in a module of one's own that calls `BENCHMARKS.register` (`docs/extend/benchmark.md`).
"""

from docvlm import metrics
from docvlm.data.benchmark import BENCHMARKS, Benchmark, of_label
from docvlm.data.benchmarks import chartqa, docvqa, dude, folder, infovqa, kdtcbench, mpdocvqa, mtvqa, slidevqa

DEFAULT = docvqa.BENCHMARK
"""Whose wording or pages are taken where nothing says otherwise."""

for _module in (docvqa, chartqa, infovqa, mpdocvqa, dude, slidevqa, mtvqa, kdtcbench, folder):
    BENCHMARKS.register(_module.BENCHMARK)


def published() -> list[Benchmark]:
    """The benchmarks that others report on: those with public data."""
    return [benchmark for benchmark in BENCHMARKS.values() if benchmark.published]


def default_metric(label: str) -> str:
    """The headline of results called `label`; that of nothing in particular where nobody registered the benchmark."""
    benchmark = of_label(label)
    return metrics.DEFAULT if benchmark is None else benchmark.metric


__all__ = ["BENCHMARKS", "DEFAULT", "Benchmark", "default_metric", "published"]
