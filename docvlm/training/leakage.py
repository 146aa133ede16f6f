"""The audit before a run: an overlap of train with what is evaluated ends it, or is taken out of train.

It stands between reading data and loading weights: hours of training on a leak are worth nothing, and what is taken out
must be known before the run has its identity. `audit=auto` stops, except where the splits are as their publisher made
them: some were dealt out by page, so documents stand in two of them and every run would stop; these documents are
left out of train, which is said and recorded. A page that cannot be decoded is a bad row like any other: quarantined
and counted, in every split, also with `audit=off`. Process 0 audits, the others wait for what it found.

Cost: hashes of pages are kept, so from the second run on it is that of asking a small database
(docs/results/benchmarks.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docvlm.config import Job, TrainConfig
from docvlm.data.leakage import page as audit_page
from docvlm.data.leakage.audit import Audit, audit
from docvlm.data.leakage.hash_cache import HashCache, unreadable
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.errors import DocvlmError
from docvlm.files import read_json
from docvlm.training import ranks

NAMED = 3  # pairs that the message names


def guard(cfg: TrainConfig, job: Job, data: DocumentDataModule) -> None:
    """Audit as `audit` says. Raises `DocvlmError` for an overlap under `stop`, and if more rows are bad than good.

    `data.audited` is what `manifest.json` and `result.json` record: `mode` (stop, drop or off, never auto), and unless
    it is off `overlaps` (split → kind → pairs), `documents_of_train` and `questions_of_train` that overlap, the same
    two as `dropped`, `unreadable` pages, and `pages` looked at in each split. The other processes end with exit code 1
    where the first one raises.
    """
    mode = cfg.audit
    if mode == "auto":
        mode = "drop" if data.published else "stop"
    if ranks.is_main():
        outcome = _outcome(cfg, mode, job, data)
        ranks.tell("AUDIT", outcome)
    else:
        outcome = ranks.hear("AUDIT")
    if outcome["error"]:
        raise DocvlmError(outcome["error"]) if ranks.is_main() else SystemExit(1)  # one of them says why
    data.audited = outcome["audited"]
    if outcome["unreadable"]:
        data.leave_out_pages(outcome["unreadable"])
    if outcome["left_out"]:
        pairs = read_json(Path(outcome["left_out"]))["pairs"]
        data.leave_out({(pair["benchmark"], pair["train_document"]) for pair in pairs})
    for role in ("train", "val", "test"):
        data.filled(role)  # a run without one of them would fail hours later


def hash_cache(cfg: TrainConfig) -> HashCache:
    """Where hashes of pages are kept between runs."""
    return HashCache(Path(cfg.features_folder).expanduser() / "hashes")


def _outcome(cfg: TrainConfig, mode: str, job: Job, data: DocumentDataModule) -> dict[str, Any]:
    """What process 0 tells the others: why to stop, what to record, and the file that names what to leave out."""
    try:
        cache = hash_cache(cfg)
        if mode == "off":
            everything = [*data.train, *data.val, *data.test]
            return _told({"mode": "off"}, unreadable(everything, cache, _say))
        found = audit(data.train, {"val": data.val, "test": data.test}, cache, _say)
        bad = {one.page: one.reason for one in found.unreadable}
        if not found.overlaps and not bad:
            return _told(_recorded(mode, found), {})
        page, listed = audit_page.write(job.folder, data.label, found, data.quarantine.rejected)
    except DocvlmError as error:  # the others must not wait for what will not come
        return _told({}, {}, error=str(error))
    if not found.overlaps:
        return _told(_recorded(mode, found), bad)
    if mode == "stop":
        return _told({}, {}, error=_overlap(found, page))
    why = f" (auto: the splits of data.source={data.source} are its publisher's)" if cfg.audit == "auto" else ""
    _say(f"audit=drop{why}: {_counted(found)} are also evaluated and left out of train: {page}")
    return _told(_recorded(mode, found), bad, left_out=str(listed.resolve()))


def _told(
    audited: dict[str, Any], bad: dict[str, str], *, error: str | None = None, left_out: str | None = None
) -> dict[str, Any]:
    return {"error": error, "audited": audited, "unreadable": bad, "left_out": left_out}


def _recorded(mode: str, found: Audit) -> dict[str, Any]:
    counts = {"documents": len(found.leaking), "questions": found.leaking_questions}
    dropped = counts if mode == "drop" else dict.fromkeys(counts, 0)
    return {"mode": mode, **audit_page.summary(found), "dropped": dropped}


def _say(line: str) -> None:
    print(line, flush=True)


def _counted(found: Audit) -> str:
    return f"{len(found.leaking)} documents of train ({found.leaking_questions} questions)"


def _overlap(found: Audit, where: Path) -> str:
    pairs = "; ".join(str(overlap) for overlap in found.overlaps[:NAMED])
    more = len(found.overlaps) - NAMED
    return (
        f"audit=stop: {_counted(found)} are also evaluated: {pairs}"
        + (f"; and {more} more pairs" if more > 0 else "")
        + f" (all in {where}). Take them out of the source, or give audit=drop to leave them out of train"
    )
