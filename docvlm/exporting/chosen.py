"""What is exported, chosen by the words of `docvlm.evaluate`, what it is scored on, and where the folders go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm.errors import DocvlmError
from docvlm.evaluation import comparison
from docvlm.exporting.source import Source
from docvlm.runs import finished as trained
from docvlm.timing import chosen

if TYPE_CHECKING:
    from docvlm.config import ExportConfig, Job
    from docvlm.runs.finished import Run


def runs(cfg: ExportConfig, job: Job) -> Iterator[tuple[Source, list[str], Path]]:
    """Each run with its benchmarks and its folder. Raises `DocvlmError` if none is named, or it saved no weights."""
    output = None if cfg.output is None else Path(cfg.output).expanduser()
    if cfg.run is not None:
        run = trained.read(Path(cfg.run).expanduser())
        comparison.same_scale(run, cfg.scale.name, job)
        yield _of(cfg, run, output)
    elif cfg.best:
        for family, run in comparison.best_runs(cfg.scale.name, cfg.benchmarks or tuple(cfg.data)).items():
            yield _of(cfg, run, None if output is None else output / family)
    else:
        raise DocvlmError("nothing to export: give run=DIR, a folder that docvlm.train left, or best=true")


def _of(cfg: ExportConfig, run: Run, output: Path | None) -> tuple[Source, list[str], Path]:
    learned = chosen.learned(run)
    return (
        Source(run, learned, cfg.offline, tuple(cfg.allow_fields)),
        cfg.benchmarks or [learned],
        output or run.folder.root / "export",
    )
