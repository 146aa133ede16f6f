"""What the audit finds of copies that stand among many other pages, beside looking at every pair.

    python -m bench.audit_pool --pages FOLDER --copies 24 --pool 4000

Pages of a folder (drawn ones without it) are in train, their copies in val, one way of copying at a time, among so many
drawn pages, a fifth of them in val. `pairs` counts the copies that are found where each is laid over its page, `audit`
those of them that an audit of all finds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from bench.audit import CHANGES, close, looked_at, pages_of
from bench.audit_growth import mixed
from docvlm.data.example import Example, Page
from docvlm.data.leakage.audit import SAME, audit
from docvlm.data.leakage.hash_cache import HashCache
from docvlm.data.leakage.hashes import page_hash
from docvlm.data.pages import FilePage


def asked(name: str, page: Page) -> Example:
    """A question that no other page is asked."""
    return Example(name, name, (name,), name, (page,), "copies")


def found(pages: list[Page], change: str, pool: dict[str, list[Example]], folder: Path) -> tuple[int, int]:
    """Copies of pages that a pair shows, and those of them that the audit finds."""
    train, val, expected = [], [], set()
    for number, page in enumerate(pages):
        image = page.open()
        copy = CHANGES[change](image)
        hashes = page_hash(image), page_hash(copy)
        file = folder / f"{list(CHANGES).index(change)}-{number}.png"
        copy.save(file)
        train.append(asked(f"page {number}", page))
        val.append(asked(f"copy {number}", FilePage(str(file))))
        if close(*hashes) and looked_at(image, copy, hashes) >= SAME:
            expected.add((f"page {number}", f"copy {number}"))
    result = audit(
        [*pool["train"], *train], {"val": [*pool["val"], *pool["test"], *val]}, HashCache(folder), lambda line: None
    )
    return len(expected), len(expected & {(overlap.train, overlap.evaluated) for overlap in result.overlaps})


def main() -> None:
    """Print a Markdown table, a row a way of copying."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, help="folder with images, at any depth; without it pages are drawn")
    parser.add_argument("--copies", type=int, default=24, help="pages that are copied")
    parser.add_argument("--pool", type=int, default=4000, help="drawn pages around them")
    options = parser.parse_args()
    every = pages_of(options.pages, 2 * options.copies, "tiny", 2)
    chosen = np.random.default_rng(6).permutation(len(every))[: options.copies].tolist()
    print("| copy | pairs | audit |\n|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        pool = mixed(options.pool, Path(folder))
        for change in CHANGES:
            pairs, among = found([every[number] for number in chosen], change, pool, Path(folder))
            print(f"| {change} | {pairs} | {among} |", flush=True)


if __name__ == "__main__":
    main()
