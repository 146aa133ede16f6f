"""What there is to report: runs, sweeps, evaluations and files of answers under the given roots.

Reads what commands left and decides what is shown: per family and scale the run that `best=true` takes, of sweeps of
one kind the latest. What is passed over is listed, since a number that is left out without a word is a choice
nobody can check.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from docvlm.config import ReportConfig
from docvlm.errors import DocvlmError
from docvlm.files import read_json, shown
from docvlm.metrics import METRICS
from docvlm.metrics.registry import current_names
from docvlm.reporting.inputs.answers import Answers, evaluated, given, scored, tables
from docvlm.reporting.inputs.exports import with_exports
from docvlm.reporting.inputs.measured import Measured, benchmarks, results
from docvlm.reporting.sweeps.comparisons import compare
from docvlm.reporting.sweeps.seeds import gather as over_seeds
from docvlm.reporting.sweeps.sweep import Row, collect, command, seeded
from docvlm.runs.finished import FINISHED, Chosen, Run, best, told_apart
from docvlm.runs.folder import RunFolder
from docvlm.runs.result import read as read_result

AXES = ("freeze", "freeze_language", "lora_r")


@dataclass(frozen=True)
class Sweep:
    """A folder under multirun/: a row a cell, what may be said of their differences, and what was varied.

    `settings` has a row for all cells that differ only in their seed; [] where every cell has one.
    """

    folder: Path
    rows: list[Row]
    settings: list[Row]
    lines: list[str]
    comparisons: list[Row]

    @property
    def done(self) -> list[Row]:
        """Rows of finished cells."""
        return [row for row in self.rows if row["status"] == FINISHED]

    @property
    def points(self) -> list[tuple[Row, list[Row]]]:
        """What a figure shows: each setting with its single runs, or each finished cell with none."""
        if not self.settings:
            return [(row, []) for row in self.done]
        cells = {str(row["cell"]): row for row in self.done}
        return [(row, [cells[number] for number in row["cells"].split()]) for row in self.settings]

    @property
    def axis(self) -> str:
        """The one of `AXES` that varies, or `other` where none or several do."""
        varied = [axis for axis in AXES if len({row[axis] for row in self.done}) > 1]
        return varied[0] if len(varied) == 1 else "other"

    @property
    def subject(self) -> tuple[str, ...]:
        """Axis, family, benchmark, and adapters other than LoRA. Of sweeps with one subject the latest is shown."""
        first, adapters = self.done[0], {row["adapter"] for row in self.done}
        return self.axis, first["family"], first["benchmark"], *sorted(adapters - {None, "LoRA"})


@dataclass(frozen=True)
class Inputs:
    """All that a report is made of. `passed_over` says in a line each what is not shown, and why."""

    runs: list[Run]
    chosen: list[Run]
    sweeps: list[Sweep]
    answers: list[Answers]
    evaluations: list[Path]
    benchmarks: Measured
    robustness: Measured
    controls: Measured
    passed_over: list[str]

    @property
    def empty(self) -> bool:
        """Whether there is nothing at all to report."""
        return not (self.runs or self.answers)


def gather(cfg: ReportConfig) -> Inputs:
    """Read everything `cfg` names. Raises `DocvlmError` for a file that cannot be read."""
    roots, own = [Path(root).expanduser() for root in cfg.roots], Path(cfg.output).expanduser()
    found, passed_over = _runs(roots)
    settings = _best(found)
    sweeps, older = _sweeps(roots, found)
    answers, others = evaluated(roots, own, settings, found)
    answers, other_exports = with_exports(answers, roots, own)
    answers += given([Path(name).expanduser() for name in cfg.predictions])
    answers += scored(roots, own, {Path(name).expanduser().resolve() for name in cfg.predictions})
    evaluations = sorted({file.parent for file in tables(roots, own)})
    return Inputs(
        found,
        [one.run for one in settings],
        sweeps,
        answers,
        evaluations,
        benchmarks(roots, own, found),
        results(roots, own, "robustness.json", "corruptions", found),
        results(roots, own, "controls.json", "controls", found),
        [*passed_over, *older, *others, *other_exports],
    )


def epochs(run: Run) -> list[dict[str, float | None]]:
    """The numbers of `epochs.csv`, a row an epoch; None where a column is empty."""
    try:
        with run.folder.epochs.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DocvlmError(f"{run.folder.epochs}: cannot be read ({error.strerror})") from error
    numbers = [{k: float(v) if v else None for k, v in row.items() if k != "metric"} for row in rows]
    return [dict.fromkeys(METRICS) | current_names(row) for row in numbers]


def _runs(roots: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """Finished runs, oldest first, and a line for each that is not finished."""
    done, others = [], []
    for path in sorted(path for root in roots for depth in ("*", "*/*") for path in root.glob(f"{depth}/result.json")):
        place, result = RunFolder(path.parent), read_result(path)
        if result["status"] == FINISHED and place.manifest.exists():
            run = Run(place, read_json(place.manifest), result)
            if run.unknown:
                print(f"left out: {run.unknown}", flush=True)
                others.append(run.unknown)
            else:
                done.append(run)
        else:
            reason = " ".join(str(result["reason"] or "").split())
            others.append(f"{shown(path.parent)}: {result['status']}{f', {reason}' if reason else ''}")
    return told_apart(done), others


def _best(found: Sequence[Run]) -> list[Chosen]:
    """Per scale and family the setting with the best mean selection score."""
    scales = sorted({run.scale for run in found})
    return [one for scale in scales for one in best([run for run in found if run.scale == scale]).values()]


def _sweeps(roots: Iterable[Path], found: Sequence[Run]) -> tuple[list[Sweep], list[str]]:
    latest: dict[tuple[str, ...], Sweep] = {}
    older, others = [], seeded(found)
    for folder in sorted({path.parent.parent for root in roots for path in root.glob("*/[0-9]*/.hydra")}):
        rows = collect(folder, found)
        done = [row for row in rows if row["status"] == FINISHED]
        if len(done) < 2:
            continue
        sweep = Sweep(folder, rows, over_seeds(rows), *compare(done, command(folder), others))
        if sweep.subject in latest:
            older.append(f"{shown(latest[sweep.subject].folder)}: an older sweep of the same kind")
        latest[sweep.subject] = sweep
    return list(latest.values()), list(dict.fromkeys(older))
