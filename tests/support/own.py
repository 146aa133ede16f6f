"""A data set of one's own whose rows name their split, and commands that train on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docvlm.train import main
from tests.support import runs
from tests.support.tiny import Paper

SPLITS = {"train": 4, "val": 2, "test": 3}
WORDS = (
    "data=folder", "data.source=pages", "data.eval_batch_size=1", "trainer.max_epochs=1", "lora.r=2",
)  # fmt: skip


def pages() -> None:
    """Write `pages/` into the working directory: a page a row, nine of them."""
    Path("pages").mkdir()
    rows = []
    for split, count in SPLITS.items():
        for number in range(count):
            name = f"{split}{number}"
            Paper(name).open().save(f"pages/{name}.png")
            row = {"image": f"{name}.png", "question": f"Which page is {number}?", "answers": [name], "split": split}
            rows.append({**row, "question_id": name, "doc_id": name})
    write(rows)


def write(rows: list[dict[str, Any]]) -> None:
    """Replace all rows."""
    Path("pages/qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read() -> list[dict[str, Any]]:
    """All rows."""
    return [json.loads(line) for line in Path("pages/qa.jsonl").read_text().splitlines()]


def change(name: str, **values: Any) -> None:
    """Mend a row; without values it is left out."""
    kept = [row for row in read() if row["question_id"] != name or values]
    write([{**row, **values} if row["question_id"] == name else row for row in kept])


def train(*more: str) -> None:
    """The command."""
    main([*runs.overrides("qwen2vl", *WORDS), *more])
