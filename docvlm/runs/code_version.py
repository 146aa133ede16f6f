"""The version of the code that decides a run's numbers: integers beside what they version.

A commit would be the wrong measure: it changes with every word of a README. A digest of the sources would be one as
well: it changes with every name. So each room between a document and a score holds `REVISION`, and the record of a
family `revision`. It goes up when a change gives other weights, answers or scores. A finished run then stands for its
command until a number it rests on changes, however often files are moved or renamed. Who forgets is told by a test
(`tests/runs/test_revisions.py`), which keeps a digest of each room beside its integer. The config is in the fingerprint
by its values; the versions of other packages are in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from docvlm.vlms.families import FAMILIES

ROOMS = ("answering", "data", "data.generated", "metrics", "scoring", "training", "vlms")
"""Packages of docvlm between a document and a score; a run adds its family."""
_SOURCES_OF_0_1 = "c3f7f2b86c9a3f16"  # the digest of all sources that stood here in the last version without integers
_FIRST = 1  # what every integer was when they were introduced


def versions(family: str) -> Mapping[str, int]:
    """The integer of every room that decides a run of this family, and the family's own, by name."""
    rooms = {name: import_module(f"docvlm.{name}").REVISION for name in ROOMS}
    return rooms | {f"vlms.{family}": FAMILIES[family].revision}


def fingerprint(found: Mapping[str, int]) -> str:
    """All integers in one line, which is what a run records and is found by."""
    return " ".join(f"{name}={found[name]}" for name in sorted(found))


def recorded(version: str | None, now: Mapping[str, int]) -> str | None:
    """What a run recorded, in today's spelling: the last version with a digest of sources had the first integers."""
    return fingerprint(dict.fromkeys(now, _FIRST)) if version == _SOURCES_OF_0_1 else version


def changed(version: str | None, now: Mapping[str, int]) -> str:
    """The rooms whose integers differ from a recorded version's, for a line: at most three by name."""
    found = recorded(version, now)
    if found is None or "=" not in found:
        return "which part is not recorded"
    before = dict(part.split("=", 1) for part in found.split())
    names = sorted(name for name in {*before, *now} if before.get(name) != str(now.get(name)))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
