"""The report's sections in the reader's order; one whose input is missing says what it would show and what to run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from docvlm.config import ReportConfig
from docvlm.data.benchmark import of_label
from docvlm.data.benchmarks import published as published_benchmarks
from docvlm.files import shown
from docvlm.reporting.blocks import Block, Code, Figure, Section, Text, ToRun
from docvlm.reporting.figures import ablations, groups, measured, pipeline
from docvlm.reporting.figures import epochs as epoch_figure
from docvlm.reporting.inputs.answers import Answers
from docvlm.reporting.inputs.gather import Inputs, Sweep, epochs
from docvlm.reporting.inputs.scored import PUBLIC, Exam, leading
from docvlm.reporting.naming import name
from docvlm.reporting.page import commands, gallery
from docvlm.reporting.tables import registry, scores
from docvlm.reporting.tables import sweeps as tables_sweeps
from docvlm.runs.finished import Run
from docvlm.runs.folder import follow
from docvlm.scoring.groups import GROUPINGS, By

_BEYOND: dict[By, str] = {"pages": "pages", "place": "places", "language": "languages"}
"""Groupings that have a section of their own, with its anchor."""
RANKS = "python -m docvlm.train model=qwen2vl lora.r=16,32,64 -m"
FREEZING = "python -m docvlm.train model=florence2 freeze=0,33,66,100 -m"


def build(inputs: Inputs, exams: Sequence[Exam], cfg: ReportConfig, figures: Path) -> list[Section]:
    """All sections; figures are drawn into the folder `figures` on the way."""
    return [
        _main(inputs, exams),
        _published(inputs, exams),
        _ablations(inputs, exams, figures),
        _types(inputs, exams, figures),
        *_groups(inputs, exams, figures),
        _failures(inputs, exams, cfg, figures),
        _speed(inputs, exams, figures),
        _robustness(inputs, exams, figures),
        _data(inputs, exams),
        _training(inputs, exams, figures),
        _reproduce(inputs, exams, cfg),
    ]


def _main(inputs: Inputs, exams: Sequence[Exam]) -> Section:
    blocks: list[Block] = []
    if not exams:
        *first, last = (benchmark.title for benchmark in published_benchmarks())
        text = f"Baseline, ours and Δ on {', '.join(first)} and {last}."
        blocks.append(ToRun(text, [RANKS, FREEZING, _evaluate()]))
    blocks += registry.of("scores", inputs, exams)
    alone = [exam.answers for exam in exams if exam.before is None and exam.answers.run is not None]
    if alone:
        command = list(dict.fromkeys(_against_base(one) for one in alone))
        blocks.append(ToRun("Not yet measured against the checkpoint they came from:", command))
    if inputs.passed_over:
        blocks.append(Code("Not shown, and why", "\n".join(inputs.passed_over), folded=True))
    return Section("scores", "Test scores", blocks)


def _against_base(answers: Answers) -> str:
    """The command that asks a run and its base what the run was asked; own pages lie where the run found them."""
    benchmark = of_label(answers.benchmark)
    command = f"python -m docvlm.evaluate run={answers.source} benchmarks=[{benchmark.name if benchmark else _names()}]"
    data = {} if answers.run is None else answers.run.manifest["config"]["data"]
    if benchmark is None or benchmark.hub or data.get("name") != benchmark.name:
        return command
    source = f"data.{benchmark.name}.source={data['source']}"
    return f"{command} {shlex.quote(source)}"


def _names() -> str:
    return ",".join(benchmark.name for benchmark in published_benchmarks())


def _evaluate() -> str:
    return f"python -m docvlm.evaluate best=true baseline=true benchmarks=[{_names()}]"


def _published(inputs: Inputs, exams: Sequence[Exam]) -> Section:
    blocks: list[Block] = []
    if not any(exam.kind == PUBLIC and exam.answers.run is not None for exam in exams):
        text = "Ours beside what others report on the same public benchmark and split."
        blocks.append(ToRun(text, [f"{_evaluate()} scale=full"]))
    return Section("published", "Beside published numbers", [*blocks, *registry.of("published", inputs, exams)])


def _ablations(inputs: Inputs, exams: Sequence[Exam], figures: Path) -> Section:
    blocks: list[Block] = []
    for axis, command in (("lora_r", RANKS), ("freeze", FREEZING), ("freeze_language", ""), ("other", "")):
        sweeps = [sweep for sweep in inputs.sweeps if sweep.axis == axis]
        for sweep in sweeps:
            blocks += _sweep(sweep, figures)
        if not sweeps and command:
            what = "LoRA rank" if axis == "lora_r" else "vision freezing"
            blocks.append(ToRun(f"Score against {what}, with the differences that are beyond chance.", [command]))
    return Section("ablations", "Ablations", [*blocks, *registry.of("ablations", inputs, exams)])


def _sweep(sweep: Sweep, figures: Path) -> list[Block]:
    heading, stem = tables_sweeps.title(sweep), scores.file_name(*sweep.subject)
    over, single = tables_sweeps.seeds(sweep), tables_sweeps.cells(sweep)
    blocks: list[Block] = [single if over is None else over]
    blocks += [Text(_sentence(line), "claim") for line in sweep.lines]
    if sweep.axis == "lora_r":
        blocks.append(ablations.rank(figures, f"rank-{stem}", heading, sweep.points))
    if sweep.axis == "freeze_language":
        blocks.append(ablations.decoder(figures, f"decoder-{stem}", heading, sweep.points))
    if sweep.axis == "freeze":
        blocks.append(ablations.freezing(figures, f"freezing-{stem}", heading, sweep.points))
    curves = {row["cell"]: _curve(sweep, row["cell"]) for row in sweep.done}
    drawn = {tables_sweeps.name(row): [curves[run["cell"]] for run in runs or (row,)] for row, runs in sweep.points}
    metric = sweep.done[0]["metric"]
    blocks.append(epoch_figure.draw(figures, f"epochs-{stem}", f"Epoch progress, {heading}", metric, drawn))
    blocks += [] if over is None else [single]
    blocks.append(tables_sweeps.curves(sweep, curves))
    if (pairs := tables_sweeps.differences(sweep)) is not None:
        blocks.append(pairs)
    return blocks


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def _curve(sweep: Sweep, cell: int) -> list[dict[str, float | None]]:
    return epochs(Run(follow(sweep.folder / str(cell)), {}, {}))


def _types(inputs: Inputs, exams: Sequence[Exam], figures: Path) -> Section:
    compared = [exam for exam in exams if exam.before is not None]
    if not compared:
        text = "Gains by document type and question type, and which of them gain most."
        return Section("types", "By document type", [ToRun(text, [_evaluate()])])
    first = [exam for exam in leading(compared) if exam.gains is not None]
    drawn = groups.gains(figures, first)
    blocks: list[Block] = [
        Text(f"{exam.answers.title}: {exam.gains.sentence}", "claim") for exam in first if exam.gains
    ]
    blocks += [drawn] if drawn else []
    return Section("types", "By document type", [*blocks, *registry.of("types", inputs, exams)])


def _groups(inputs: Inputs, exams: Sequence[Exam], figures: Path) -> list[Section]:
    """By number of pages, place of the answer's page and language: those that the answers know."""
    found = []
    for by, anchor in _BEYOND.items():
        tables = registry.of(anchor, inputs, exams)
        parts = [(exam, part) for exam in leading(exams) for part in exam.analysis.gains] if tables else []
        claims = [
            Text(f"{exam.answers.title}: {part.sentence}", "claim")
            for exam, part in parts
            if part.by == by and len(part.rows) > 1
        ]
        drawn = groups.by_pages(figures, leading(exams)) if tables and by == "pages" else None
        if tables:
            blocks: list[Block] = [*claims, *([drawn] if drawn else []), *tables]
            found.append(Section(anchor, f"By {GROUPINGS[by].name}", blocks))
    return found


def _failures(inputs: Inputs, exams: Sequence[Exam], cfg: ReportConfig, figures: Path) -> Section:
    if not exams:
        text = "Classes of failure with their frequency, what changed against the baseline, and a gallery of pages."
        return Section("failures", "Failures", [ToRun(text, [_evaluate()])])
    drawn = groups.failures(figures, leading(exams))
    blocks: list[Block] = [drawn] if drawn else []
    blocks += registry.of("failures", inputs, exams)
    return Section("failures", "Failures", [*blocks, gallery.make(exams, cfg)])


def _speed(inputs: Inputs, exams: Sequence[Exam], figures: Path) -> Section:
    found = inputs.benchmarks
    if not found.records:
        text = "Latency (median, p95, first token), memory, cost of 1 000 pages, and the frontier of score and time."
        return Section("speed", "Latency and cost", [ToRun(text, [f"python -m docvlm.benchmark run={_a_run(inputs)}"])])
    blocks: list[Block] = [measured.frontier(figures, found), *registry.of("speed", inputs, exams)]
    return Section("speed", "Latency and cost", blocks)


def _robustness(inputs: Inputs, exams: Sequence[Exam], figures: Path) -> Section:
    blocks: list[Block] = []
    command = f"python -m docvlm.evaluate run={_a_run(inputs)} "
    if inputs.robustness.records:
        blocks.append(measured.robustness(figures, inputs.robustness))
    else:
        text = "Scores and consistency on pages with scan noise, blur, JPEG, skew and low resolution."
        blocks.append(ToRun(text, [command + "robustness=true"]))
    blocks += registry.of("robustness", inputs, exams)
    if not inputs.controls.records:
        text = "What the model knows without looking: scores on blank pages and on another document's."
        blocks.append(ToRun(text, [command + "controls=true"]))
    return Section("robustness", "Robustness and controls", blocks)


def _a_run(inputs: Inputs) -> str:
    return shown(inputs.chosen[0].folder.root) if inputs.chosen else "DIR"


def _data(inputs: Inputs, exams: Sequence[Exam]) -> Section:
    missing = [] if inputs.runs else [ToRun("Source, samples by split, terms and the leakage audit.", [RANKS])]
    return Section("data", "Data", [*missing, *registry.of("data", inputs, exams)])


def _training(inputs: Inputs, exams: Sequence[Exam], figures: Path) -> Section:
    drawn: Block = ToRun("Model configuration and training set-up.", [RANKS, FREEZING])
    if inputs.chosen:
        drawn = pipeline.draw(figures, inputs.chosen)
    return Section("training", "How it was trained", [drawn, *registry.of("training", inputs, exams)])


def _reproduce(inputs: Inputs, exams: Sequence[Exam], cfg: ReportConfig) -> Section:
    words = [f"predictions=[{','.join(cfg.predictions)}]"] if cfg.predictions else []
    blocks: list[Block] = [Code("The commands, in order", "\n".join(commands.all_of(inputs, words)))]
    blocks += registry.of("reproduce", inputs, exams)
    for run in inputs.chosen:
        text = json.dumps(run.manifest, indent=2, ensure_ascii=False)
        title = f"manifest.json of {name(run.family, run)}, {shown(run.folder.root)}"
        blocks.append(Code(title, text, folded=True))
    return Section("reproduce", "How to reproduce", blocks)


def figures_of(sections: Sequence[Section]) -> list[Figure]:
    """Every figure of the report, in reading order."""
    return [block for section in sections for block in section.blocks if isinstance(block, Figure)]
