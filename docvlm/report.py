"""Report: every result under outputs/ and multirun/ → one page, tables for papers, vector figures, model cards.

    python -m docvlm.report                                             → outputs/report/index.html
    python -m docvlm.report target=0.9                                  and whether that score is reached
    python -m docvlm.report predictions=[baseline.jsonl,ours.jsonl] pages=DIR    answers of any two models

It answers three questions: is a small model good enough, which documents gain most, how does it fail. It only reads
files: no model is loaded and nothing is fetched. A section whose input is missing says what to run for it.
"""

from __future__ import annotations

from pathlib import Path

from docvlm.config import Job, ReportConfig, verb


@verb("report", ReportConfig)
def main(cfg: ReportConfig, job: Job) -> None:
    """Gather, examine, answer, draw, write."""
    from docvlm.reporting.card import card
    from docvlm.reporting.inputs.gather import gather
    from docvlm.reporting.inputs.scored import GENERATED, examine
    from docvlm.reporting.page import render, sections
    from docvlm.reporting.page.findings import answer
    from docvlm.reporting.page.highlights import highlights

    folder = Path(cfg.output).expanduser()
    inputs = gather(cfg)
    exams = [examine(answers) for answers in inputs.answers]
    parts = sections.build(inputs, exams, cfg, folder / "figures")
    drawn = bool(exams) and all(exam.kind == GENERATED for exam in exams)
    report = render.Report(answer(exams, cfg.target), highlights(exams, inputs.benchmarks), parts, drawn)
    html, text = render.write(folder, report)
    cards = [card.write(folder / "cards" / f"{run.model}-{run.scale}", run, exams) for run in inputs.chosen]
    for one in report.answers:
        print(f"{one.question}\n  {one.sentence}")
    figures = len(sections.figures_of(parts))
    print(f"\ntables as CSV and LaTeX: {len(report.tables())} in {folder / 'tables'}")
    print(f"figures as PDF and SVG: {figures} in {folder / 'figures'}")
    print(*(f"written: {file}" for file in cards), sep="\n", end="\n" * bool(cards))
    print(f"written: {text}\nwritten: {html} ({html.stat().st_size / 1e6:.1f} MB, one file, opens offline)")


if __name__ == "__main__":
    main()
