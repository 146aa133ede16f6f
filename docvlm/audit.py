"""Audit a data set before any training: is a document that is evaluated also learned from, and can every page be read?

python -m docvlm.audit data=docvqa                        train against val and test
python -m docvlm.audit data=folder data.source=DIR        the same for pages of your own

Overlaps are found by document id, by pixels, by perceptual hash and by question and answer; audit.html shows the pairs
side by side. Exits 1 where there is an overlap. A training run does the same before it starts (`audit=stop|drop|off`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docvlm import startup
from docvlm.config import AuditConfig, Job, verb
from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from docvlm.data.leakage.audit import Audit
    from docvlm.tables import Table
    from docvlm.vlms.codec import Codec


@verb("audit", AuditConfig)
def main(cfg: AuditConfig, job: Job) -> None:
    """Read the splits, compare them, show, write."""
    with startup.libraries():
        from docvlm import build
        from docvlm.data.leakage import page
        from docvlm.data.leakage.audit import audit
        from docvlm.data.leakage.hash_cache import HashCache, hashing
        from docvlm.tables import show

    data = build.datamodule(cfg.data)
    data.quarantine.report = job.folder / "quarantine.jsonl"
    cache = HashCache(Path(cfg.features_folder).expanduser() / "hashes")
    data.gate(_codec(cfg), hashing(cache))
    data.setup()
    print(*data.account(), sep="\n", flush=True)
    found = audit(data.train, {"val": data.val, "test": data.test}, cache)
    show(_table(found))
    for bad in found.unreadable:
        print(f"unreadable ({bad.split}, {bad.questions} questions): {bad.reason}")
    files = page.write(job.folder, data.label, found, data.quarantine.rejected)
    print(*("written: " + str(file) for file in files), sep="\n")
    if found.overlaps:
        raise SystemExit(1)


def _table(found: Audit) -> Table:
    """Overlaps by kind, and how much was looked at, a column for each evaluation split."""
    from docvlm.data.leakage.audit import KINDS
    from docvlm.data.leakage.page import WHY
    from docvlm.tables import Column, Table

    splits = [split for split in found.questions if split != "train"]
    counts = found.counts()
    rows: list[dict[str, str | int]] = [
        {"by": f"{kind}: {WHY[kind]}", **{split: counts.get((split, kind), 0) for split in splits}} for kind in KINDS
    ]
    unreadable = {split: sum(bad.split == split for bad in found.unreadable) for split in splits}
    for name in ("pages", "documents", "questions"):
        rows.append({"by": name, **{split: getattr(found, name)[split] for split in splits}})
    rows.insert(len(KINDS), {"by": "unreadable pages", **unreadable})
    columns = [Column("by", "overlap by", kind="text"), *(Column(split, split) for split in splits)]
    return Table("audit", "train against the evaluation splits", columns, rows)


def _codec(cfg: AuditConfig) -> Codec | None:
    """What judges rows as a training of this model would; None where the checkpoint cannot be had, which is said."""
    with startup.libraries():
        from docvlm.vlms import embedded, load_family
        from docvlm.vlms.codec import Budget

    name, scaled = cfg.model.checkpoint, cfg.model.by_scale[cfg.scale.name]
    budget = Budget(scaled.min_pixels, scaled.max_pixels, scaled.height, scaled.width)
    checkpoint = str(embedded.checkpoint(cfg.model.family)) if name == "embedded" else name
    if not name:
        print(f"rows are not judged for model={cfg.model.family}: name its model.checkpoint", flush=True)
        return None
    try:
        return load_family(cfg.model.family).codec_of(
            checkpoint, budget, offline=cfg.offline, revision=cfg.model.revision
        )
    except DocvlmError as error:
        print(f"rows are not judged for model={cfg.model.family}: {error}", flush=True)
        return None


script = startup.script(main)

if __name__ == "__main__":
    script()
