"""What the exports of the chosen runs answered, so that what people deploy stands beside what was trained.

Answers are those of `docvlm.export`, or of a later `docvlm.evaluate checkpoint=EXPORT`: the same protocol. Their
baseline is their run's. Only what was asked the questions of its run is shown: of rows on other questions nobody could
say what the format costs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from docvlm.files import read_json, shown
from docvlm.reporting.inputs.answers import Answers, evaluations, exported_from, located
from docvlm.scoring.predictions import read

_EXPORTS = Path("export", "export.json")  # what an export leaves below a run
_RUN = "run"  # its row of what was exported


@dataclass(frozen=True)
class _Asked:
    """Answers of an export in `folder` to a benchmark's split, and the file that holds them."""

    folder: Path
    benchmark: str
    split: str
    answers: Path

    @property
    def line(self) -> str:
        """Why it is not shown."""
        why = "its run was not asked the same questions" if self.answers.exists() else "its answers are gone"
        return f"{shown(self.folder)}: on {self.benchmark}, {self.split} split, {why}"


def with_exports(answers: Sequence[Answers], roots: Sequence[Path], own: Path) -> tuple[list[Answers], list[str]]:
    """`answers` with those of the exports of their runs; and a line for each export that is not shown."""
    asked: dict[Path, list[_Asked]] = defaultdict(list)
    runs = list(dict.fromkeys(one.run.folder.root.resolve() for one in answers if one.run is not None))
    for run in runs:
        asked[run] += _own(run, roots)
    for run, export in _evaluated(roots, own):
        asked[run].append(export)
    found, seen = [], set()
    for one in answers:
        theirs = [] if one.run is None else asked[one.run.folder.root.resolve()]
        exports = dict(_same_questions(one, theirs))
        found.append(replace(one, exports=tuple(exports.values())))
        seen |= {(folder, one.benchmark, one.split) for folder in exports}
    others = [e for run in runs for e in asked[run] if (e.folder, e.benchmark, e.split) not in seen]
    return found, list(dict.fromkeys(export.line for export in others))


def _same_questions(one: Answers, theirs: Sequence[_Asked]) -> Iterator[tuple[Path, Answers]]:
    """Of exports, those that answered the questions of `one`; of two sets of answers the later in `theirs` stays."""
    keys = {record.key for record in one.records}
    for export in theirs:
        if (export.benchmark, export.split) == (one.benchmark, one.split) and export.answers.exists():
            records = read(export.answers)
            if {record.key for record in records} == keys:
                name, source = f"{one.name}, {export.folder.name}", shown(export.folder)
                yield export.folder, replace(one, name=name, source=source, records=records, run=None, siblings=())


def _own(root: Path, roots: Sequence[Path]) -> Iterator[_Asked]:
    """What `docvlm.export` asked each format that it made of a run, which may have another name since."""
    file = root / _EXPORTS
    if not file.exists():
        return
    record = read_json(file)

    def place(text: str) -> Path:
        path = located(text, roots)
        inside = Path(text).is_relative_to(record["run"]) and not path.exists()
        return root / Path(text).relative_to(record["run"]) if inside else path

    for row in record["formats"]:
        for score in row["scores"] if row["format"] != _RUN and not row["reasons"] else []:
            answers = place(score["answers"]) / "predictions.jsonl"
            yield _Asked(place(row["folder"]).resolve(), score["benchmark"], score["split"], answers)


def _evaluated(roots: Sequence[Path], own: Path) -> Iterator[tuple[Path, _Asked]]:
    """Evaluations of exports, with the runs that these were made of."""
    for (folder, benchmark, split), row in evaluations(roots, own).items():
        run = exported_from(folder)
        if run is not None:
            answers = located(row["ours"]["folder"], roots) / "predictions.jsonl"
            yield located(run, roots).resolve(), _Asked(folder.resolve(), benchmark, split, answers)
