"""Formats of a run, one after the other: write, read back, compare, score, time; only then a folder gets its name.

A format is made in a hidden folder beside its place. One that is not the run it came from, within its tolerance, is
removed with an error and the others go on; one that breaks off leaves nothing. So a folder under its own name is whole,
was read back and scored. What is there already, made of the same weights with the same settings, is kept; what a killed
process left half-made is said and made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from filelock import Timeout
from safetensors import SafetensorError

from docvlm import locks
from docvlm.errors import DocvlmError
from docvlm.evaluation import subjects
from docvlm.exporting import canary, card, formats, measuring, records, verdict
from docvlm.exporting.source import beside
from docvlm.files import replace_folder, shown, write_json
from docvlm.machine import git_commit, hardware
from docvlm.version import __version__

if TYPE_CHECKING:
    from docvlm.config import ExportConfig
    from docvlm.exporting.measuring import Found, Questions
    from docvlm.exporting.source import Source

Say = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """The rows of the run and of every format, those that failed among them; why others were `left_out`."""

    rows: list[dict[str, Any]]
    left_out: dict[str, str]

    @property
    def failed(self) -> dict[str, str]:
        """Why a format was not exported."""
        return {row["format"]: "; ".join(row["reasons"]) for row in self.rows if row["reasons"]}


def make(cfg: ExportConfig, source: Source, names: Sequence[str], output: Path, say: Say) -> Made:
    """Export `source` into folders of `output`, scored on the benchmarks `names`.

    Raises `DocvlmError` for a format that was asked for and cannot be made here, before anything is written.
    """
    words, left_out = formats.chosen(cfg.formats, source)
    for word, why in left_out.items():
        say(f"{word}: left out, {why}")
    output.mkdir(parents=True, exist_ok=True)
    with _alone(output), TemporaryDirectory(prefix="docvlm-pages-") as pages:
        subject = subjects.of_run(source.run, None, cfg.offline)
        asked = measuring.questions(cfg, names, Path(pages), subject)
        run = measuring.measure(cfg, subject, asked, rerun=False)
        rows = [records.row(records.RUN, source.best, run)]
        for word in words:
            rows.append(_one(cfg, source, asked, run, word, output, say))
    return Made(rows, left_out)


def _one(
    cfg: ExportConfig, source: Source, asked: Questions, run: Found, word: str, output: Path, say: Say
) -> dict[str, Any]:
    """The row of one format: kept, made, or failed."""
    place = output / word
    made_of = records.made_of(cfg, source, asked, word, run.device)
    if not cfg.rerun and (row := records.kept(place, made_of)) is not None:
        say(f"{word}: {place} is there already, of the same weights and settings; rerun=true makes it again")
        return row
    with _hidden(place, say) as folder:
        with _written(place):
            formats.RECORDS[word].write(source, folder)
        subject = subjects.of_saved(folder, output / "eval", cfg.offline, attn=source.attn, named=place)
        found = measuring.measure(cfg, subject, asked, rerun=cfg.rerun)
        seen = canary.compare(run.replies, found.replies)
        row = {**records.row(word, folder, found, run.outcomes, seen), "folder": shown(place)}
        tolerance = verdict.declared(cfg.tolerance, word, source.dtype)
        row["reasons"] = verdict.beyond(tolerance, seen, row["scores"])
        if row["reasons"]:
            earlier = f"; {place} is still an earlier export" if place.exists() else ""
            say(f"{word}: not exported, it is not the run: {'; '.join(row['reasons'])}{earlier}")
            return row
        card.write(folder, source, found.outcomes, row)
        about = {"docvlm": __version__, "run": shown(source.run.folder.root), "git_commit": git_commit()}
        write_json(folder / records.FILE, {**about, "row": row, "made_of": made_of, "hardware": hardware(run.device)})
        replace_folder(folder, place)
    say(f"{word}: {place}, {row['size_mb']:.1f} MB, {row['canary']['equal']} of {row['canary']['questions']} canary")
    return row


@contextmanager
def _hidden(place: Path, say: Say) -> Iterator[Path]:
    """Where a format is made until it may have its name: a folder that is not there afterwards, whatever happens."""
    hidden = place.with_name(f".{place.name}.partial")
    left = [folder for folder in (hidden, beside(hidden)) if folder.exists()]
    for folder in left:
        say(f"{place.name}: an export was interrupted and left half a folder, {folder}; it is made again")
        shutil.rmtree(folder)
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def _written(place: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise DocvlmError(
            f"{place}: cannot be written ({reason}); nothing of it is left: check the disk's space and permissions"
        ) from error


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Two processes that export into one folder would take each other's half-made ones for interrupted."""
    held = locks.lock(output / ".lock", timeout=0)
    try:
        held.acquire()
    except Timeout as error:
        raise DocvlmError(
            f"{output}: another process is exporting into it; wait for it, or give another output"
        ) from error
    try:
        yield
    finally:
        held.release()
