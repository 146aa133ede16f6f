"""Evaluate: a run against its base, the best run of each family, a checkpoint, a served model, or a file of answers.

    python -m docvlm.evaluate run=DIR benchmarks=[docvqa,chartqa,infovqa]    baseline / ours / difference
    python -m docvlm.evaluate best=true benchmarks=[docvqa,chartqa,infovqa]  the same for the best run of each family
    python -m docvlm.evaluate model=florence2 checkpoint=DIR                 zero-shot
    python -m docvlm.evaluate endpoint=http://localhost:8000/v1              a served model (docs/guide/serve.md)
    python -m docvlm.evaluate predictions=FILE                               only scores
    python -m docvlm.evaluate predictions=FILE against=FILE                  and what changed from a baseline's answers
    python -m docvlm.evaluate run=DIR robustness=true                        also on noisy, blurred, skewed … pages
    python -m docvlm.evaluate run=DIR controls=true                          also on blank and on shuffled pages

Every score is a mean over questions with a 95 % interval over documents, taken apart by type and by how answers fail;
all of it is left as CSV. Answers are kept beside the weights they came from, so an evaluation that was stopped
goes on, and one that is there is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docvlm import startup
from docvlm.config import EvaluateConfig, Job, verb
from docvlm.files import remove_unused

if TYPE_CHECKING:
    from docvlm.evaluation.tables import Row


@verb("evaluate", EvaluateConfig, on_failure=lambda job, reason: remove_unused(job.folder, "evaluate"))
def main(cfg: EvaluateConfig, job: Job) -> None:
    """Choose what is evaluated, answer, score, show, write."""
    if cfg.predictions is not None:
        _score_only(cfg, Path(cfg.output).expanduser() if cfg.output else job.folder)
        remove_unused(job.folder, "evaluate")
        return
    with startup.libraries():
        from docvlm.evaluation import comparison, tables
        from docvlm.scoring import analysis
        from docvlm.tables import show

    rows = [row for pair in comparison.chosen(cfg, job) for row in comparison.rows(cfg, pair)]
    apart = [row.analysis() for row in rows]
    for row, one in zip(rows, apart, strict=True):
        show(*tables.by_type(row), *tables.details(one))
    show(*tables.summary(rows))
    folder = _folder(cfg, job, rows)
    files = tables.write(folder, rows) + analysis.write(folder, apart) + _beyond(cfg, rows, folder)
    print(*(f"written: {file}" for file in files), sep="\n")
    remove_unused(job.folder, "evaluate")


def _score_only(cfg: EvaluateConfig, folder: Path) -> None:
    from docvlm.evaluation import answer_files
    from docvlm.tables import show

    path = Path(str(cfg.predictions)).expanduser()
    against = None if cfg.against is None else Path(cfg.against).expanduser()
    found = answer_files.score_file(path, cfg.metric, against)
    show(*answer_files.tables(found, path))
    print(*("written: " + str(file) for file in answer_files.write(folder, found, path, against)), sep="\n")


def _folder(cfg: EvaluateConfig, job: Job, rows: list[Row]) -> Path:
    if cfg.output:
        return Path(cfg.output).expanduser()
    if cfg.endpoint:
        return rows[0].ours.folder.parent
    return Path(cfg.run).expanduser() / "eval" if cfg.run else job.folder


def _beyond(cfg: EvaluateConfig, rows: list[Row], folder: Path) -> list[Path]:
    """Show and write what corrupted and replaced pages tell, where they were asked about."""
    from docvlm.evaluation import controls, robustness, tables
    from docvlm.reporting.figures import robustness as curves
    from docvlm.tables import show

    outcomes = [side for row in rows for side in (row.baseline, row.ours) if side is not None]
    files: list[Path] = []
    if cfg.controls:
        replaced = [controls.measure(outcome, outcome.controls) for outcome in outcomes]
        show(*map(tables.controls, replaced))
        files += tables.write_controls(folder, replaced, controls.CONTROLS)
    if cfg.robustness:
        corrupted = [robustness.measure(outcome, outcome.corrupted) for outcome in outcomes]
        show(*map(tables.robustness, corrupted))
        whole, written = tables.write_robustness(folder, corrupted)
        files += written + curves.write(folder, whole)
    return files


script = startup.script(main)

if __name__ == "__main__":
    script()
