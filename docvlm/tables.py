"""One table for all readers: values with headings, shown in a terminal, as CSV, LaTeX, Markdown, or HTML in the report.

A `Table` holds values, not strings, so that no two of its forms can disagree. In a narrow terminal intervals take two
lines, and numbers are never cut. In a pipe or a log a row is a line of plain text. CSV has full precision, an interval
as three columns (`x`, `x_low`, `x_high`). LaTeX needs `\\usepackage{booktabs}` and nothing else: the few signs that
pdflatex lacks are written as math. HTML is the report's macro `table` over `Table.cells`.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.files import write_csv, write_whole
from docvlm.scoring.flips import p_value
from docvlm.scoring.intervals import Difference, Interval

if TYPE_CHECKING:
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table as Drawn

MISSING = "–"
"""What stands in a cell where there is no such number."""
_THIN = "\u2009"  # between thousands
_WIDE = 10_000  # columns: no table is as wide
_MATH = {
    "Δ": r"$\Delta$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\rightarrow$", "α": r"$\alpha$",
    "±": r"$\pm$", _THIN: r"\,", "–": "--", "…": r"\dots{}", "·": r"$\cdot$",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column: its key in a row, its heading, and how its numbers are written (`digits` after the point).

    Of a `mean` a reader sees no interval. Without a heading a column is in the CSV file only. `ends` names the columns
    that an interval's ends have there. A column that is not `filed` is for readers only.
    """

    key: str
    head: str = ""
    digits: int = 3
    kind: str = "number"  # number | mean | text | p | run
    ends: tuple[str, str] | None = None
    filed: bool = True

    @property
    def is_text(self) -> bool:
        """Whether cells are words, which stand on the left."""
        return self.kind in ("text", "run")


@dataclass(frozen=True)
class Table:
    """A table of values, not of strings. `name` is its file; `notes` stand below it; `strong` rows are set in bold.

    In a report every row that holds a measured number has the run or file it came from in the column `run`.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    folded: bool = False  # on the page closed at first
    strong: Collection[int] = ()

    @property
    def headed(self) -> list[Column]:
        """The columns that a reader sees."""
        return [column for column in self.columns if column.head]

    def cells(self, row: Mapping[str, Any]) -> list[str]:
        """A row as text, one string for each column that has a heading."""
        return [written(row[column.key], column) for column in self.headed]


def written(value: Any, column: Column) -> str:
    """A value as a reader wants it: intervals in brackets, p-values below 0.001 as such, gaps as a dash."""
    if value is None or value == "":
        return MISSING
    if column.kind == "mean" and isinstance(value, Interval | Difference):
        value = value.mean
    if isinstance(value, Difference):
        return f"{value.mean:+.{column.digits}f} [{value.low:+.{column.digits}f}, {value.high:+.{column.digits}f}]"
    if isinstance(value, Interval):
        return f"{value.mean:.{column.digits}f} [{value.low:.{column.digits}f}, {value.high:.{column.digits}f}]"
    if column.kind == "p":
        return value if isinstance(value, str) else p_value(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}".replace(",", _THIN) if isinstance(value, int) else f"{value:.{column.digits}f}"


def show(*blocks: Table | str, console: Console | None = None) -> None:
    """Print tables and sentences, to standard output unless a console is given."""
    from rich.console import Console
    from rich.text import Text

    to = Console(highlight=False) if console is None else console
    for block in blocks:
        if isinstance(block, str):
            to.print(Text(block), soft_wrap=not to.is_terminal)
        elif to.is_terminal:
            _print(block, to)
        else:
            to.print(Text(to_text(block) + "\n"), soft_wrap=True)


def _print(table: Table, console: Console) -> None:
    """On a terminal: a table that is wider than it, even with intervals on two lines, keeps its numbers whole."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.measure import Measurement
    from rich.text import Text

    drawn = _drawn(table, SIMPLE_HEAD)
    wide = console.options.update(max_width=_WIDE)
    if Measurement.get(console, wide, drawn).maximum > console.width:
        drawn = _drawn(table, SIMPLE_HEAD, two_lines=True)
    width = max(console.width, Measurement.get(console, wide, drawn).minimum)
    console.print(Text(table.title, style="bold"))
    whole = Console(file=console.file, force_terminal=True, width=width, no_color=console.no_color, quiet=console.quiet)
    whole.print(drawn)
    console.print(*(Text(note, style="dim") for note in table.notes), "", sep="\n")


def to_text(table: Table) -> str:
    """Title, heads, a line a row, notes: as wide as it needs to be, without box characters or trailing spaces."""
    from rich.box import Box
    from rich.console import Console

    box = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
    out = io.StringIO()
    Console(file=out, width=_WIDE, highlight=False, no_color=True).print(_drawn(table, box))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join([*filter(None, [table.title]), *lines, *table.notes])


def _drawn(table: Table, box: Box, *, two_lines: bool = False) -> Drawn:
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=box, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    lines = [[column.head for column in table.headed], *(table.cells(row) for row in table.rows)]
    cells = [[cell.replace(_THIN, "") for cell in line] for line in lines]
    for place, column in enumerate(table.headed):
        if column.is_text:
            drawn.add_column(overflow="fold")
            continue
        for line in cells if two_lines else ():
            line[place] = line[place].replace(" [", "\n[")
        widest = max(len(part) for line in cells for part in line[place].split("\n"))
        drawn.add_column(justify="right", no_wrap=True, min_width=widest)
    for place, head in enumerate(cells[0]):
        drawn.columns[place].header = Text(head)
    for number, line in enumerate(cells[1:]):
        drawn.add_row(*map(Text, line), style="bold" if number in table.strong else None)
    return drawn


def to_csv(path: Path, table: Table) -> None:
    """Every column in full precision, an interval as three."""
    write_csv(path, flat(table))


def flat(table: Table) -> list[dict[str, Any]]:
    """The rows of the CSV file."""
    rows: list[dict[str, Any]] = [{} for _ in table.rows]
    for column in table.columns:
        if column.filed:
            values = [row[column.key] for row in table.rows]
            spread = column.ends or any(isinstance(value, Interval | Difference) for value in values)
            low, high = column.ends or (f"{column.key}_low", f"{column.key}_high")
            for row, value in zip(rows, values, strict=True):
                if isinstance(value, Interval | Difference):
                    row |= {column.key: value.mean, low: value.low, high: value.high}
                else:
                    row |= {column.key: value} | ({low: None, high: None} if spread else {})
    return rows


def write(folder: Path, table: Table) -> list[Path]:
    """`<name>.csv` and `<name>.tex` in `folder`."""
    files = [folder / f"{table.name}.csv", folder / f"{table.name}.tex"]
    to_csv(files[0], table)
    write_whole(files[1], lambda file: file.write(to_latex(table)))
    return files


def to_latex(table: Table) -> str:
    """A `table` environment with booktabs rules, caption and label; every cell escaped."""
    import pandas

    frame = pandas.DataFrame([table.cells(row) for row in table.rows])
    heads = [column.head for column in table.headed]
    styled = frame.style.hide(axis="index").format(escape="latex")
    styled = styled.format_index(formatter=lambda i: heads[i], axis="columns", escape="latex")
    text = styled.to_latex(
        hrules=True,
        position="tb",
        position_float="centering",
        column_format="".join("l" if column.is_text else "r" for column in table.headed),
        caption=_escaped(" ".join([f"{table.title}.", *table.notes])),
        label=f"tab:{table.name}",
    )
    for sign, math in _MATH.items():
        text = text.replace(sign, math)
    return str(text)


def to_markdown(table: Table) -> str:
    """A pipe table; bars and angle brackets of untrusted text are written as entities."""
    heads = "| " + " | ".join(entities(column.head) for column in table.headed) + " |"
    rule = "|" + "|".join("---" if column.is_text else "---:" for column in table.headed) + "|"
    rows = ["| " + " | ".join(entities(cell) for cell in table.cells(row)) + " |" for row in table.rows]
    return "\n".join([heads, rule, *rows])


def entities(text: str) -> str:
    """Text that Markdown takes for text, whatever it holds."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("\n", " ")):
        text = text.replace(sign, entity)
    return text


def _escaped(text: str) -> str:
    """Text of our own (titles and notes) for LaTeX; cells are escaped by pandas."""
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text
