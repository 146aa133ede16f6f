"""Benchmark: how long an answer takes, what memory and money it costs, and what accuracy a smaller page gives up.

    python -m docvlm.benchmark run=DIR                                     a run
    python -m docvlm.benchmark run=DIR budgets=[1003520,501760,250880]     at several page sizes: the frontier
    python -m docvlm.benchmark run=DIR selectors=[none,text] selector_pages=[1,2]    all pages, or those handed on
    python -m docvlm.benchmark run=DIR endpoint=http://localhost:8000/v1   and as a server such as vLLM answers
    python -m docvlm.benchmark best=true                                   the best run of each family
    python -m docvlm.benchmark model=florence2 checkpoint=DIR              a checkpoint as it comes

Latency is what a person waits for, from opening the page to the text, at batch 1 and at the largest batch that fits.
Costs come from measured latencies and `conf/prices.yaml`, which is yours to edit. Results go to the run's `benchmark/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from docvlm import startup
from docvlm.config import BenchmarkConfig, Job, verb
from docvlm.files import remove_unused

if TYPE_CHECKING:
    from docvlm.data.benchmark import Role
    from docvlm.evaluation.subjects import Subject
    from docvlm.timing.prices import Prices


@verb("benchmark", BenchmarkConfig, on_failure=lambda job, reason: remove_unused(job.folder, "benchmark"))
def main(cfg: BenchmarkConfig, job: Job) -> None:
    """Choose what is measured; then for each: load, time and score at every budget, price, show, write."""
    with startup.libraries():
        from docvlm.timing import chosen, prices

    price_list = prices.read(prices.DEFAULT if cfg.prices is None else Path(cfg.prices).expanduser())
    for subject, name in chosen.chosen(cfg, job):
        _benchmark(cfg, subject, name, price_list)
    remove_unused(job.folder, "benchmark")


def _benchmark(cfg: BenchmarkConfig, subject: Subject, name: str, price_list: Prices) -> None:
    from docvlm.evaluation.questions import prepare
    from docvlm.files import shown
    from docvlm.reporting.figures import measured as figures
    from docvlm.reporting.inputs.measured import Measured
    from docvlm.tables import show
    from docvlm.timing import chosen, frontier, record, runtimes, selectors, served

    def say(line: str) -> None:
        print(line, flush=True)

    data = chosen.data(cfg, name)
    prepare(subject, [data], cast("Role", cfg.split), say)
    planned = selectors.plan(cfg, subject, data, say)
    vlm = subject.vlm()
    own = vlm.codec.budget
    endpoint = None if cfg.endpoint is None else served.connected(cfg, vlm)
    base, about = chosen.base(cfg, subject, vlm), record.identity(subject, vlm, data.label)
    others = record.other_machines(base, about, cfg.measured)
    asked = None if endpoint is None else served.ask(cfg, endpoint, data, say)
    measured = frontier.measure(cfg, subject, vlm, data, say)
    compared = selectors.measure(cfg, subject, vlm, planned, say)
    found = record.record(cfg, subject, vlm, about, data.source, measured, compared)
    if subject.described["run"] is not None:
        found, left_out = runtimes.beside(found, Path(subject.described["run"]), own)
        for line in left_out:
            say(line)
    if asked is not None:
        found = served.beside(found, asked)
    folder, tables, files = record.write(base, found, others, price_list)
    figures.frontier(folder, Measured(((shown(folder), found),), {}))
    files += [folder / "frontier.pdf", folder / "frontier.svg"]
    show(*tables)
    print(*(f"written: {file}" for file in files), sep="\n")


script = startup.script(main)

if __name__ == "__main__":
    script()
