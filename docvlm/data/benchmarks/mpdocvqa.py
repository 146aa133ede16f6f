"""MP-DocVQA: questions on documents of several pages (Tito et al., arXiv 2212.05935); ANLS."""

from __future__ import annotations

from docvlm.data.benchmark import SINGLE_WORD_OR_PHRASE, Benchmark
from docvlm.data.benchmarks import docvqa
from docvlm.data.benchmarks.lazy import data_module

BENCHMARK = Benchmark(
    name="mpdocvqa",
    title="MP-DocVQA",
    metric="anls",
    instruction=SINGLE_WORD_OR_PHRASE,
    max_new_tokens=32,
    columns=(("questionId",), ("question",), ("answers",)),
    example=docvqa.example,
    public={"train": "train", "test": "validation"},
    generator="docvlm.data.generated.{preset}.mpdocvqa",
    pages="scanned documents of several pages",
    citation="Tito et al., Pattern Recognition 2023, arXiv 2212.05935",
)
__getattr__ = data_module(__name__, "MPDocVQA", BENCHMARK)
