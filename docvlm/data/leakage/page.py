"""What an audit leaves: `audit.json`, and `audit.html`, the pairs side by side.

The page is one file without scripts or links: thumbnails are part of it, so it can be mailed and opens offline. Names,
questions and answers come from data sets and are escaped. Cost: the pages of the pairs shown are opened once more;
`SHOWN` pairs at most, some 30 kB each. `audit.json` has all of them.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from docvlm.data.example import Page
from docvlm.data.leakage.audit import KINDS, Audit, Overlap
from docvlm.data.leakage.hashes import BITS
from docvlm.data.sources.quarantine import Rejected
from docvlm.errors import DocvlmError
from docvlm.files import write_whole
from docvlm.writing import written

SHOWN = 100
THUMBNAIL = 420  # longest side of a thumbnail, in pixels
WHY = {
    "document": "the same document id",
    "pixels": "the same pixels",
    "near": "the same page, copied with loss",
    "question": "a page much like it, with the same question and answer",
}


def summary(audit: Audit) -> dict[str, Any]:
    """Counts, for `manifest.json`, `result.json` and the head of `audit.json`."""
    splits = [split for split in audit.questions if split != "train"]
    counts = audit.counts()
    return {
        "overlaps": {split: {kind: counts.get((split, kind), 0) for kind in KINDS} for split in splits},
        "documents_of_train": len(audit.leaking),
        "questions_of_train": audit.leaking_questions,
        "unreadable": len(audit.unreadable),
        "pages": audit.pages,
    }


def write(folder: Path, title: str, audit: Audit, quarantined: Sequence[Rejected] = ()) -> tuple[Path, Path]:
    """Write `audit.html` and `audit.json` into `folder`. Raises `DocvlmError` if they cannot be written."""
    found = {
        "data": title,
        **summary(audit),
        "questions": audit.questions,
        "documents": audit.documents,
        "pairs_compared": audit.compared,
        "quarantined": [{"where": r.where, "question_id": r.question_id, "reason": r.reason} for r in quarantined],
        "unreadable_pages": [
            {"split": bad.split, "page": bad.page, "reason": bad.reason, "questions": bad.questions}
            for bad in audit.unreadable
        ],
        "pairs": [_record(overlap) for overlap in audit.overlaps],
    }
    page, data = folder / "audit.html", folder / "audit.json"
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    shown, listed = html(title, audit, quarantined), json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    write_whole(page, lambda file: file.write(shown))
    write_whole(data, lambda file: file.write(listed))
    return page, data


def _record(overlap: Overlap) -> dict[str, Any]:
    return {
        "kind": overlap.kind,
        "split": overlap.split,
        "benchmark": overlap.benchmark,
        "train_document": overlap.train,
        "evaluated_document": overlap.evaluated,
        "train_page": overlap.page.name,
        "evaluated_page": overlap.other.name,
        "hash_bits": overlap.bits,
        "agreement": overlap.agreement,
        "asked_on_both": [{"question": question, "answer": answer} for question, answer in overlap.asked],
    }


def html(title: str, audit: Audit, quarantined: Sequence[Rejected] = ()) -> str:
    """The page. At most `SHOWN` pairs are drawn."""
    template = _environment().get_template("audit.html.j2")
    return template.render(
        title=title,
        audit=audit,
        counts=audit.counts(),
        splits=[split for split in audit.questions if split != "train"],
        kinds={kind: WHY[kind] for kind in KINDS},
        bits=BITS,
        most=SHOWN,
        thumbnail=_thumbnail,
        undecoded=[f"{one.page} ({one.split}): {one.reason}" for one in audit.unreadable],
        left_out=[f"{one.where}: {one.reason}" for one in quarantined],
    )


def _thumbnail(page: Page) -> str | None:
    """A small picture as a data URI; None for a page that cannot be decoded, of a document known by its id."""
    try:
        image = page.open()
    except DocvlmError:  # the page is among those listed below
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
