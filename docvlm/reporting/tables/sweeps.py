"""Tables of sweeps: LoRA rank, vision freezing, whatever else was varied; and which cells differ beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from docvlm.files import shown
from docvlm.metrics import metric_name
from docvlm.metrics.registry import shown_for
from docvlm.reporting.inputs.gather import Sweep
from docvlm.reporting.sweeps.sweep import Row
from docvlm.reporting.tables.scores import INTERVALS, RUN, file_name
from docvlm.scoring.intervals import Difference, Interval
from docvlm.tables import Column, Table
from docvlm.vlms.families import label

_SETTINGS = Column("settings", "cell", kind="text")
_SCORE = (Column("zero_shot", "val, epoch 0"), Column("selection", "val, best"), Column("test", "test score"))
_RANK = (
    _SETTINGS,
    Column("trainable_millions", "trainable, M"),
    Column("trainable_percent", "trainable, %", 2),
    *_SCORE,
    Column("minutes", "minutes", 1),
    Column("peak_memory_mb", "peak memory, MB", 0),
    RUN,
)
_LANGUAGE = (
    _SETTINGS,
    Column("language_frozen_blocks_percent", "decoder frozen, % of blocks", 1),
    *_RANK[1:],
)
_SHARES = (
    _SETTINGS,
    Column("vision_frozen_blocks_percent", "vision frozen, % of blocks", 1),
    Column("vision_frozen_parameters_percent", "% of parameters", 1),
    Column("vision_trainable_blocks_percent", "vision trainable, % of blocks", 1),
    Column("vision_trainable_parameters_percent", "% of parameters", 1),
    *_SCORE,
)
_LAST = (Column("val_loss", "val loss, best"), Column("minutes", "minutes", 1), RUN)
_LOSSES = {"val_loss": "val loss", "train_loss": "train loss"}
_DIFFERENCE = ("difference", "low", "high", "p", "questions", "documents")
_SPREAD = {"selection": "selection_sd", "test": "score_sd", "val_loss": "val_loss_sd"}
TITLES = {
    "lora_r": "LoRA rank",
    "freeze": "Vision-tower freezing",
    "freeze_language": "Decoder freezing",
    "other": "Sweep",
}


def _metrics(sweep: Sweep, *, narrow: bool) -> list[Column]:
    return [
        Column(metric.name, metric.column)
        for metric in shown_for(*{str(row["metric"]) for row in sweep.done})
        if metric.narrow or not narrow
    ]


def title(sweep: Sweep) -> str:
    """What was varied, in which model, on which benchmark."""
    axis, family, benchmark, *adapters = sweep.subject
    varied = f"{' and '.join(adapters)} rank" if axis == "lora_r" and adapters else TITLES[axis]
    return f"{varied}: {label(family)} on {benchmark}"


def name(row: Row) -> str:
    """A cell, or a setting over its seeds, in words."""
    return str(row["settings"]) or ("these settings" if "seeds" in row else f"cell {row['cell']}")


def cells(sweep: Sweep) -> Table:
    """One row a finished cell; why others are not finished stands in the notes. Closed where `seeds` has a table."""
    rows = [
        {
            **row,
            "settings": name(row),
            "test": Interval(row["score"], row["low"], row["high"], row["questions"], row["documents"]),
            "run": shown(Path(sweep.folder) / str(row["cell"])),
        }
        for row in sweep.done
    ]
    unfinished = [
        f"{row['settings']}: {row['status']}, {row['reason']}." for row in sweep.rows if row not in sweep.done
    ]
    single = bool(sweep.settings)
    heading = f"{title(sweep)}, single runs" if single else title(sweep)
    notes = [f"{_about(sweep)} {INTERVALS} Val selected the epoch, test reports it.", *unfinished]
    return Table(file_name(*sweep.subject), heading, _columns(sweep), rows, notes, folded=single)


def seeds(sweep: Sweep) -> Table | None:
    """Mean, spread and interval of every setting over its seeds; None where each has one."""
    if not sweep.settings:
        return None
    columns: list[Column] = []
    for column in _columns(sweep):
        columns.append(column)
        if column.key == "settings":
            columns.append(Column("seeds", "seeds"))
        if column.key in _SPREAD:
            columns.append(Column(_SPREAD[column.key], "± sd"))
    rows = [
        {
            **row,
            "settings": name(row),
            "test": _mean(row),
            "run": shown(sweep.folder),
        }
        for row in sweep.settings
    ]
    notes = [
        f"{_about(sweep)} Means over seeds. In brackets: 95 % interval of the mean over documents and seeds.",
        "± sd: of single runs (divisor n - 1), what a number moves when only chance is repeated.",
    ]
    return Table(file_name("seeds", *sweep.subject), f"{title(sweep)}, over seeds", columns, rows, notes)


def _columns(sweep: Sweep) -> tuple[Column, ...]:
    if sweep.axis == "freeze":
        return (*_SHARES, *_metrics(sweep, narrow=True), *_LAST)
    return _LANGUAGE if sweep.axis == "freeze_language" else _RANK


def _about(sweep: Sweep) -> str:
    first = sweep.done[0]
    return f"{metric_name(first['metric'])}; {first['questions']} test questions on {first['documents']} documents."


def _mean(row: Row) -> Interval | float:
    """The mean test score of a setting, without an interval where answers are gone."""
    if row["low"] is None:
        return float(row["score"])
    return Interval(row["score"], row["low"], row["high"], row["questions"], row["documents"])


def curves(sweep: Sweep, rows: Mapping[int, Sequence[Mapping[str, float | None]]]) -> Table:
    """`epochs.csv` of every cell, by its number, one below the other: val scores and loss from before training on."""
    columns = (
        _SETTINGS,
        Column("epoch", "epoch", 0),
        *_metrics(sweep, narrow=False),
        *(Column(name, head) for name, head in _LOSSES.items()),
        Column("questions_per_second", "questions/s", 1),
        RUN,
    )
    lines = [
        {"settings": name(row), **epoch, "run": shown(Path(sweep.folder) / str(row["cell"]))}
        for row in sweep.done
        for epoch in rows[row["cell"]]
    ]
    count = int(lines[0]["val_questions"] or 0)
    notes = [f"Scores on the {count} questions of val, which is not test. Epoch 0 is before any training."]
    return Table(file_name("epochs", *sweep.subject), f"Epochs, {title(sweep)}", columns, lines, notes, folded=True)


def differences(sweep: Sweep) -> Table | None:
    """Every comparison of two cells, largest difference first; None where fewer than two could be compared."""
    if not sweep.comparisons:
        return None
    settings = sweep.comparisons[0]["about"] == "settings"
    columns = (
        Column("first", "from", kind="text"),
        Column("second", "to", kind="text"),
        Column("difference", "Δ test score"),
        Column("p", "p", kind="p"),
        Column("p_holm", "p (Holm)", kind="p"),
        Column("smallest_detectable", "detectable at 80 %"),
        Column("questions", "questions"),
        Column("documents", "documents"),
        RUN,
    )
    rows = [
        {
            **one,
            "difference": Difference(*(one[key] for key in _DIFFERENCE)),
            "run": shown(sweep.folder),
        }
        for one in sorted(sweep.comparisons, key=lambda one: -abs(one["difference"]))
    ]  # fmt: skip
    over = "documents and seeds: about settings" if settings else "documents: about these weights, not about settings"
    notes = [
        f"Paired, question by question; the interval is over {over}; Holm over all rows.",
        "Detectable: the true difference that these documents and seeds show four times in five.",
    ]
    return Table(file_name("differences", *sweep.subject), f"{title(sweep)}: differences", columns, rows, notes, True)
