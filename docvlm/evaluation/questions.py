"""The questions of an evaluation, read and judged before the weights that answer them are loaded.

A row that the model cannot take, or whose page cannot be decoded, is quarantined and counted here: nothing of one row
may end an evaluation later. Each page is opened once for it, and not again where an audit or an evaluation did before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm.data.leakage.hash_cache import HashCache, unreadable
from docvlm.selection import chooser

if TYPE_CHECKING:
    from docvlm.data.benchmark import Role
    from docvlm.data.loading.datamodule import DocumentDataModule
    from docvlm.evaluation.subjects import Subject

HASHES = Path(".features") / "hashes"
"""Where training keeps what it saw of pages, unless told otherwise; may be deleted at any time."""


def prepare(subject: Subject, data: Iterable[DocumentDataModule], split: Role, say: Callable[[str], None]) -> None:
    """Read `split` of each module for this subject. `say` is told what became of its rows.

    Raises `DocvlmError` if nothing is left, or more rows are bad than good.
    """
    codec = None if subject.codec is None else subject.codec()
    cache = HashCache(HASHES)
    for module in data:
        module.gate(codec)
        module.choose = chooser(module.reading.selection, offline=module.offline)
        examples = module.filled(split)
        module.shown(examples)
        if bad := unreadable(examples, cache):
            module.leave_out_pages(bad)
            module.filled(split)
        for line in module.account():
            say(f"{module.label} {split}: {line}")
