"""Audit a data set before any training: is a document that is evaluated also learned from, and can every page be read?

python -m docvlm.audit data=docvqa                        train against val and test
python -m docvlm.audit data=folder data.source=DIR        the same for pages of your own

Overlaps are found by document id, by pixels, by perceptual hash and by question and answer; audit.html shows the pairs
side by side. Exits 1 where there is an overlap. A training run does the same before it starts (`audit=stop|drop|off`).
"""

from __future__ import annotations

from pathlib import Path

from docvlm.config import AuditConfig, Job, verb


@verb("audit", AuditConfig)
def main(cfg: AuditConfig, job: Job) -> None:
    """Read the splits, compare them, show, write."""
    from docvlm import build
    from docvlm.data import audit_page
    from docvlm.data.audit import audit
    from docvlm.data.print_store import PrintStore
    from docvlm.evaluation.printing import console

    data = build.datamodule(cfg.data)
    data.quarantine.report = job.folder / "quarantine.jsonl"
    data.setup()
    store = PrintStore(Path(cfg.features_folder).expanduser() / "prints")
    found = audit(data.train, {"val": data.val, "test": data.test}, store)
    console().print(audit_page.table(found))
    for bad in found.unreadable:
        print(f"unreadable ({bad.split}, {bad.questions} questions): {bad.reason}")
    if data.quarantine.rejected:
        print(f"{len(data.quarantine.rejected)} rows left out: {data.quarantine.report}")
    files = audit_page.write(job.folder, data.label, found, data.quarantine.rejected)
    print(*("written: " + str(file) for file in files), sep="\n")
    if found.overlaps:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
