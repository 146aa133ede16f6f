"""Tables to files: CSV with full precision, LaTeX for a paper (booktabs, through pandas), Markdown for `report.md`.

An interval becomes three columns of the CSV (`x`, `x_low`, `x_high`). LaTeX needs `\\usepackage{booktabs}` and nothing
else: the few signs that pdflatex lacks are written as math.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docvlm.files import write_csv, write_whole
from docvlm.reporting.blocks import Table
from docvlm.scoring.intervals import Difference, Interval

_MATH = {
    "Δ": r"$\Delta$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\rightarrow$", "α": r"$\alpha$",
    "±": r"$\pm$", "\u2009": r"\,", "–": "--", "…": r"\dots{}", "·": r"$\cdot$",
}  # fmt: skip


def write(folder: Path, table: Table) -> list[Path]:
    """`<name>.csv` and `<name>.tex` in `folder`."""
    files = [folder / f"{table.name}.csv", folder / f"{table.name}.tex"]
    write_csv(files[0], [_flat(table, row) for row in table.rows])
    write_whole(files[1], lambda file: file.write(latex(table)))
    return files


def latex(table: Table) -> str:
    """A `table` environment with booktabs rules, caption and label; every cell escaped."""
    import pandas

    frame = pandas.DataFrame([table.cells(row) for row in table.rows])
    heads = [column.head for column in table.columns]
    styled = frame.style.hide(axis="index").format(escape="latex")
    styled = styled.format_index(formatter=lambda i: heads[i], axis="columns", escape="latex")
    text = styled.to_latex(
        hrules=True,
        position="tb",
        position_float="centering",
        column_format="".join("l" if column.is_text else "r" for column in table.columns),
        caption=_escaped(" ".join([f"{table.title}.", *table.notes])),
        label=f"tab:{table.name}",
    )
    for sign, math in _MATH.items():
        text = text.replace(sign, math)
    return str(text)


def markdown(table: Table) -> str:
    """A pipe table; bars and angle brackets of untrusted text are written as entities."""
    heads = "| " + " | ".join(plain(column.head) for column in table.columns) + " |"
    rule = "|" + "|".join("---" if column.is_text else "---:" for column in table.columns) + "|"
    rows = ["| " + " | ".join(plain(cell) for cell in table.cells(row)) + " |" for row in table.rows]
    return "\n".join([heads, rule, *rows])


def plain(text: str) -> str:
    """Text that Markdown takes for text, whatever it holds."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("\n", " ")):
        text = text.replace(sign, entity)
    return text


def _escaped(text: str) -> str:
    """Text of our own (titles and notes) for LaTeX; cells are escaped by pandas."""
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text


def _flat(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for column in table.columns:
        value = row[column.key]
        spread = any(isinstance(other[column.key], Interval | Difference) for other in table.rows)
        if isinstance(value, Interval | Difference):
            flat |= {column.key: value.mean, f"{column.key}_low": value.low, f"{column.key}_high": value.high}
        elif spread:
            flat |= {column.key: value, f"{column.key}_low": None, f"{column.key}_high": None}
        else:
            flat[column.key] = value
    return flat
