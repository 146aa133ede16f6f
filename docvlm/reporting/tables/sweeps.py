"""Tables of sweeps: LoRA rank, vision freezing, whatever else was varied; and which cells differ beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from docvlm.files import shown
from docvlm.metrics import METRICS, metric_name
from docvlm.reporting.inputs.gather import Sweep
from docvlm.reporting.sweeps.seeds import gather
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
_OVER = {
    name: (("", f"{head}, mean"), ("_sd", "± sd"))
    for name, head in (("selection", "val, best"), ("score", "test score"), ("val_loss", "val loss"))
}
TITLES = {"lora_r": "LoRA rank", "freeze": "Vision-tower freezing", "other": "Sweep"}


def _metrics(*, narrow: bool) -> list[Column]:
    return [Column(metric.name, metric.column) for metric in METRICS.values() if metric.narrow or not narrow]


def title(sweep: Sweep) -> str:
    """What was varied, in which model, on which benchmark."""
    axis, family, benchmark, *adapters = sweep.subject
    varied = f"{' and '.join(adapters)} rank" if axis == "lora_r" and adapters else TITLES[axis]
    return f"{varied}: {label(family)} on {benchmark}"


def cells(sweep: Sweep) -> Table:
    """One row a finished cell; why the others are not finished stands in the notes."""
    rows = [
        {
            **row,
            "settings": row["settings"] or f"cell {row['cell']}",
            "test": Interval(row["score"], row["low"], row["high"], row["questions"], row["documents"]),
            "run": shown(Path(sweep.folder) / str(row["cell"])),
        }
        for row in sweep.done
    ]
    first = sweep.done[0]
    about = (
        f"{metric_name(first['metric'])}; {first['questions']} test questions on {first['documents']} documents."
        f" {INTERVALS} Val selected the epoch, test reports it."
    )
    unfinished = [
        f"{row['settings']}: {row['status']}, {row['reason']}." for row in sweep.rows if row not in sweep.done
    ]
    columns = (*_SHARES, *_metrics(narrow=True), *_LAST) if sweep.axis == "freeze" else _RANK
    return Table(file_name(*sweep.subject), title(sweep), columns, rows, [about, *unfinished])


def seeds(sweep: Sweep) -> Table | None:
    """Mean and standard deviation over seeds of cells that differ in nothing else; None where there are none."""
    found = gather(sweep.rows)
    if not found:
        return None
    columns = (
        _SETTINGS,
        Column("seeds", "seeds"),
        *(Column(f"{name}{part}", head) for name in ("selection", "score", "val_loss") for part, head in _OVER[name]),
        RUN,
    )
    rows = [{**row, "settings": row["settings"] or "these settings", "run": shown(sweep.folder)} for row in found]
    notes = [
        "The standard deviation is of single runs (divisor n - 1): what a number moves when only chance is repeated."
    ]
    return Table(file_name("seeds", *sweep.subject), f"{title(sweep)}, over seeds", columns, rows, notes)


def curves(sweep: Sweep, rows: Mapping[str, Sequence[Mapping[str, float | None]]]) -> Table:
    """`epochs.csv` of every cell, one below the other: val scores and loss from before training on."""
    columns = (
        _SETTINGS,
        Column("epoch", "epoch", 0),
        *_metrics(narrow=False),
        *(Column(name, head) for name, head in _LOSSES.items()),
        Column("questions_per_second", "questions/s", 1),
        RUN,
    )
    places = {
        row["settings"] or f"cell {row['cell']}": shown(Path(sweep.folder) / str(row["cell"])) for row in sweep.done
    }
    lines = [{"settings": cell, **row, "run": places[cell]} for cell, part in rows.items() for row in part]
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
