"""Who answered what: evaluations of runs, runs that were not evaluated, and files of answers, each with its baseline.

Answers are read where a command left them, and found again where `outputs/` and `multirun/` have moved since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docvlm.data.benchmarks import default_metric
from docvlm.files import read_json, shown
from docvlm.reporting.naming import name
from docvlm.runs.finished import Chosen, Run, apart
from docvlm.scoring.predictions import Prediction, read
from docvlm.scoring.predictions import given as given_file

UNNAMED = "(unnamed)"  # the benchmark of answers whose file names none


@dataclass(frozen=True)
class Answers:
    """Answers of one model to one benchmark's questions, with a baseline's where there are any.

    `source` and `base` are the run folders or files they came from. `run` is None for a checkpoint as it comes,
    a served model, an export, and answers from a file. To the same questions, `siblings` are the answers of the
    setting's other seeds, `exports` those of the run in other formats (`docvlm.reporting.inputs.exports`).
    """

    name: str
    family: str
    benchmark: str
    split: str
    metric: str
    source: str
    records: Sequence[Prediction]
    run: Run | None = None
    base: str = ""
    before: Sequence[Prediction] | None = None
    pages: str = ""
    siblings: Sequence[Sequence[Prediction]] = ()
    exports: Sequence[Answers] = ()
    served: bool = False  # asked over HTTP: latency is that of requests, many at once

    @property
    def title(self) -> str:
        """The model and what it answered."""
        return f"{self.name} on {self.benchmark}"


def evaluated(
    roots: Sequence[Path], own: Path, chosen: Sequence[Chosen], runs: Sequence[Run] = ()
) -> tuple[list[Answers], list[str]]:
    """The evaluations of the chosen runs; for one that was not evaluated, its own answers without a baseline.

    Beside them the answers of the other seeds of its setting, from their evaluations or from their own test. `runs` are
    all there are: what was evaluated as it comes is not called as another checkpoint of theirs is.
    """
    rows = _named(evaluations(roots, own), runs, roots)
    wanted = {one.run.folder.root.resolve(): one.run for one in chosen}
    others_of = {one.run.folder.root.resolve(): [run for run in one.runs if run is not one.run] for one in chosen}
    answers, others, seen = [], [], set()
    for key, row in rows.items():
        folder = None if row["ours"]["run"] is None else located(row["ours"]["run"], roots).resolve()
        run = wanted[folder] if folder in wanted else None
        made_of = None if folder is None else exported_from(folder)
        if made_of is not None and located(made_of, roots).resolve() in wanted:
            continue  # it stands below its run
        if run is None and (folder is not None or any(one.run.model == row["family"] for one in chosen)):
            others.append(f"{shown(key[0])}: evaluated on {key[1]}, and not the best run of its family")
            continue
        answers.append(_of_row(row, run, roots))
        seen.add(folder)
    alone = [run for folder, run in wanted.items() if folder not in seen and run.folder.predictions.exists()]
    answers += [one for run in alone for one in _of_run(run)]
    with_seeds = [_with_siblings(one, rows, others_of, roots) for one in answers]
    return with_seeds, list(dict.fromkeys(others))


def _with_siblings(
    one: Answers,
    rows: Mapping[tuple[Path, str, str], dict[str, Any]],
    others: Mapping[Path, Sequence[Run]],
    roots: Sequence[Path],
) -> Answers:
    """With what the setting's other seeds answered to the same questions; one that was asked others is no sibling."""
    if one.run is None:
        return one
    asked, found = {record.key for record in one.records}, []
    evaluations = {(where.resolve(), *rest): row for (where, *rest), row in rows.items()}
    for run in others[one.run.folder.root.resolve()]:
        row = evaluations.get((run.folder.root.resolve(), one.benchmark, one.split))
        if row is not None:
            found.append(read(located(row["ours"]["folder"], roots) / "predictions.jsonl"))
        elif one.split == "test" and run.folder.predictions.exists():
            found.append([record for record in read(run.folder.predictions) if record.benchmark == one.benchmark])
    return replace(one, siblings=[part for part in found if {record.key for record in part} == asked])


def evaluations(roots: Sequence[Path], own: Path) -> dict[tuple[Path, str, str], dict[str, Any]]:
    """Rows of every `table.json`; of two on the same weights, benchmark and split the later one."""
    rows: dict[tuple[Path, str, str], dict[str, Any]] = {}
    for file in tables(roots, own):
        for row in read_json(file)["rows"]:
            ours = row["ours"]
            where = located(ours["folder"] if ours["run"] is None else ours["run"], roots)
            if (located(ours["folder"], roots) / "predictions.jsonl").exists():
                rows[where, row["benchmark"], row["split"]] = row
    return rows


def exported_from(folder: Path) -> str | None:
    """The run that an export in `folder` was made of; None for any other folder."""
    file = folder / "export.json"
    record = read_json(file) if file.exists() else {}
    return str(record["run"]) if "row" in record else None


def _named(
    rows: Mapping[tuple[Path, str, str], dict[str, Any]], runs: Sequence[Run], roots: Sequence[Path]
) -> dict[tuple[Path, str, str], dict[str, Any]]:
    """The rows with checkpoints of one name told apart; rows of runs are called as these are."""
    marks = {}
    for key, row in rows.items():
        file = located(row["ours"]["folder"], roots) / "evaluation.json"
        found = read_json(file).get("checkpoint") if row["ours"]["run"] is None and file.exists() else None
        if found is not None:
            marks[key] = (row["family"], found["fingerprint"])
    names = apart([*(run.checkpoint for run in runs), *marks.values()])
    return {key: row | ({"family": names[marks[key]]} if key in marks else {}) for key, row in rows.items()}


def tables(roots: Sequence[Path], own: Path) -> list[Path]:
    """Every `table.json`, in the order in which they were written."""
    depths = ("*", "*/eval", "*/*/eval", "zero-shot/*", "endpoint/*")
    files = [file for root in roots for depth in depths for file in root.glob(f"{depth}/table.json")]
    return sorted((f for f in files if not f.is_relative_to(own)), key=lambda file: (file.stat().st_mtime, file))


def _of_row(row: dict[str, Any], run: Run | None, roots: Sequence[Path]) -> Answers:
    ours, before = located(row["ours"]["folder"], roots), row["baseline"]
    base = None if before is None else located(before["folder"], roots)
    return Answers(
        name(row["family"], run, row["ours"]["subject"]),
        row["family"],
        row["benchmark"],
        row["split"],
        row["ours"]["metric"],
        shown(ours if run is None else run.folder.root),
        read(ours / "predictions.jsonl"),
        run,
        "" if base is None else shown(base),
        None if base is None else read(base / "predictions.jsonl"),
        _pages_of(ours),
        served="endpoint" in row["ours"],
    )


def _pages_of(folder: Path) -> str:
    file = folder / "evaluation.json"
    return str(read_json(file)["source"] or "") if file.exists() else ""


def _of_run(run: Run) -> list[Answers]:
    """What a run answered on its own test split, each benchmark of a mixture apart."""
    parts: dict[str, list[Prediction]] = {}
    for record in read(run.folder.predictions):
        parts.setdefault(record.benchmark, []).append(record)
    judged = run.result["benchmarks"]
    return [
        Answers(
            name(run.model, run),
            run.model,
            label,
            "test",
            judged[label]["metric"],
            shown(run.folder.root),
            part,
            run,
            pages=str(run.manifest["config"]["data"]["source"] or ""),
        )
        for label, part in parts.items()
    ]


def given(files: Sequence[Path]) -> list[Answers]:
    """`predictions=[…]`: the first file is the baseline of the others."""
    if not files:
        return []
    first, *rest = files
    return [*_of_file(first, None), *(one for file in rest for one in _of_file(file, first))]


def scored(roots: Sequence[Path], own: Path, known: set[Path]) -> list[Answers]:
    """Files that `docvlm.evaluate predictions=FILE` scored, where they still are; the latest comparison of each.

    The headline is that which the command gave them.
    """
    found: dict[Path, tuple[Path | None, dict[str, str]]] = {}
    for score in sorted(file for root in roots for file in root.glob("*/score.json")):
        record = read_json(score)
        file = Path(record["predictions"]).resolve()
        if file not in known and file.exists() and not score.is_relative_to(own):
            against = record["against"] if "against" in record else None
            metrics = {one["benchmark"]: one["metric"] for one in record["benchmarks"]}
            found[file] = Path(against) if against and Path(against).exists() else None, metrics
    return [one for file, (against, metrics) in found.items() for one in _of_file(file, against, metrics)]


def _of_file(file: Path, against: Path | None, metrics: Mapping[str, str] | None = None) -> list[Answers]:
    ours, before = _by_label(file), {} if against is None else _by_label(against)
    metrics = metrics or {}
    return [
        Answers(
            file.stem,
            "",
            label or UNNAMED,
            "as given",
            metrics.get(label or UNNAMED, default_metric(label)),
            shown(file),
            part,
            base="" if against is None or label not in before else shown(against),
            before=before[label] if label in before else None,
        )
        for label, part in ours.items()
    ]


def _by_label(file: Path) -> dict[str, list[Prediction]]:
    parts: dict[str, list[Prediction]] = {}
    for record in given_file(file)[0]:
        parts.setdefault(record.benchmark, []).append(record)
    return parts


def located(text: str, roots: Sequence[Path]) -> Path:
    """A path some command wrote down, found again where the folders have moved since."""
    path = Path(text)
    if path.exists():
        return path
    for root in roots:
        if root.name in path.parts:
            last = len(path.parts) - path.parts[::-1].index(root.name)
            if (moved := root.joinpath(*path.parts[last:])).exists():
                return moved
    return path
