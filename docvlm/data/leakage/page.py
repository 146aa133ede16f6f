"""What an audit leaves: `audit.json`, and `audit.html`, the pairs side by side.

The page is one file without scripts or links: thumbnails are part of it, so it can be mailed and opens offline. Names,
questions and answers come from data sets and are escaped. Cost: the pages of the pairs shown are opened once more;
`SHOWN` pairs at most, some 30 kB each. `audit.json` has all of them.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

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
    splits = [split for split in audit.questions if split != "train"]
    counts = audit.counts()
    rows = "".join(
        f"<tr><th scope=row>{escape(WHY[kind])}</th>"
        + "".join(f"<td>{counts.get((split, kind), 0)}</td>" for split in splits)
        + "</tr>"
        for kind in KINDS
    )
    head = "".join(f"<th scope=col>{escape(split)}</th>" for split in splits)
    sizes = ", ".join(
        f"{escape(name)} {count} questions on {audit.pages[name]} pages" for name, count in audit.questions.items()
    )
    rest = len(audit.overlaps) - SHOWN
    more = f"<p>{rest} more in audit.json.</p>" if rest > 0 else ""
    bad = [f"{one.page} ({one.split}): {one.reason}" for one in audit.unreadable]
    out = [f"{one.where}: {one.reason}" for one in quarantined]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>audit: {escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{_verdict(audit)}</h1><p>{escape(title)}: {sizes}.</p>"
        "<table><caption>Pairs found</caption>"
        f"<thead><tr><th scope=col>overlap with train</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        + "".join(_pair(number, overlap) for number, overlap in enumerate(audit.overlaps[:SHOWN], start=1))
        + more
        + _listed("Pages that cannot be decoded", bad)
        + _listed("Rows left out", out)
        + "</main></body></html>\n"
    )


def _verdict(audit: Audit) -> str:
    if not audit.overlaps:
        return "No page of an evaluation document is in train"
    return f"{len(audit.leaking)} documents of train are also evaluated"


def _pair(number: int, overlap: Overlap) -> str:
    facts = []
    if overlap.bits is not None:
        facts.append(f"hashes {overlap.bits} of {BITS} bits apart")
    if overlap.agreement is not None:
        facts.append(f"{overlap.agreement:.1%} of the page agrees")
    asked = "".join(f"<dt>{escape(q)}</dt><dd>{escape(a)}</dd>" for q, a in overlap.asked)
    asked = f"<p>Asked on both, answered alike:</p><dl>{asked}</dl>" if asked else ""
    measured = f"<p>{'; '.join(facts)}</p>" if facts else ""
    sides = _side("train", overlap.train, overlap.page) + _side(overlap.split, overlap.evaluated, overlap.other)
    return (
        f"<section><h2>{number}. {overlap.kind}: {WHY[overlap.kind]}</h2>{measured}"
        f"<div class=pair>{sides}</div>{asked}</section>"
    )


def _side(split: str, document: str, page: Page) -> str:
    where = "" if page.name.endswith(document) else f"<br><small>{escape(page.name)}</small>"
    picture = _thumbnail(page, f"{split}, {document}")
    return f"<figure>{picture}<figcaption><b>{escape(split)}</b> {escape(document)}{where}</figcaption></figure>"


def _thumbnail(page: Page, label: str) -> str:
    try:
        image = page.open()
    except DocvlmError:  # of a document known by its id; the page is among those listed below
        return "<p>This page cannot be decoded.</p>"
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=70)
    picture = base64.b64encode(content.getvalue()).decode("ascii")
    return f'<img alt="{escape(label)}" src="data:image/jpeg;base64,{picture}">'


def _listed(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>{escape(title)}</h2><ul>{items}</ul></section>" if items else ""


_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;margin:0}
main{max-width:62rem;margin:auto;padding:1rem}
table{border-collapse:collapse}caption{text-align:left;padding:.2rem .8rem;font-size:.9rem}
td,th{padding:.2rem .8rem;border-bottom:1px solid var(--line);text-align:left}
tbody th{font-weight:normal}small{opacity:.8}
td{text-align:right;font-variant-numeric:tabular-nums}
section{border-top:1px solid var(--line);margin-top:1.5rem}h2{font-size:1.1rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(16rem,100%),1fr));gap:1rem}
figure{margin:0;background:var(--soft);padding:.6rem;border-radius:.4rem}
img{display:block;max-width:100%;max-height:26rem;margin:auto;background:#fff}
figcaption{overflow-wrap:anywhere;font-size:.9rem;margin-top:.4rem}dt{font-weight:600}li{overflow-wrap:anywhere}
@media print{section{break-inside:avoid}}
"""
