"""The version of the code that decides a run's numbers: a digest of each module, and what makes two of them differ.

A commit would be the wrong measure: it changes with every word of a README, and an uncommitted edit leaves it as it is.
What counts is the syntax tree of the modules between a document and a score, so comments, docstrings and layout may
change and finished runs stay valid. Modules that only watch, print, time or keep files are left out by name: a module
somebody adds counts until it is named here. The price: renaming a variable counts too, and a finished cell is then
trained again; the other mistake, a table with cells of two programs, would not be seen. Other packages are not in the
digest (their versions are in the manifest). Reading and parsing takes about 0.5 s, once a process.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
DECIDES = (
    "build.py", "data", "metrics", "training", "vlms",
    *(f"evaluation/{name}.py" for name in ("intervals", "predict", "records", "score")),
)  # fmt: skip
"""Modules and packages of docvlm between a document and a score. The config is in the fingerprint by its values."""
WATCHES = {
    "vlms/embedded", "vlms/proof.py", "data/quarantine.py",  # the recipe of a checkpoint whose weights are hashed
    "data/corruptions.py", "data/corruption_sheet.py",  # pages that no run learns from or reports
    # what the audit leaves out of train is missing from the fingerprint of the data
    *(f"data/{name}.py" for name in ("audit", "audit_page", "glance", "near", "print_store", "prints", "spread")),
    *(f"training/{name}.py" for name in (
        "code", "epochs", "features", "files", "folder", "identity", "interrupt", "leakage", "loggers", "machine",
        "manifest", "progress", "ranks", "result",
    )),
}  # fmt: skip
"""What of it keeps, prints, times or explains, and changes no number of a run."""
_SILENT = {"ctx", "kind", "type_comment"}  # follow from the rest, or are comments
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@lru_cache
def versions() -> Mapping[str, str]:
    """16 hex digits for every module that decides a run, by its path within the package."""
    return _read(_PACKAGE)


def fingerprint(found: Mapping[str, str]) -> str:
    """16 hex digits for all modules together."""
    return _hash("\n".join(f"{name} {found[name]}" for name in sorted(found)))


def digest(source: str) -> str:
    """16 hex digits of what a module does: its syntax tree without docstrings, comments and layout."""
    return _hash(repr(_bare(ast.parse(source))))


def changed(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """The modules that differ, for a line: at most three by name."""
    if before is None:
        return "which modules is not recorded"
    names = sorted(
        name for name in {*before, *now} if name not in before or name not in now or before[name] != now[name]
    )
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _read(package: Path) -> dict[str, str]:
    files = sorted(file for part in DECIDES for file in _modules(package / part))
    named = {file.relative_to(package).as_posix(): file for file in files}
    return {name: digest(file.read_text(encoding="utf-8")) for name, file in named.items() if not _left(name)}


def _modules(place: Path) -> list[Path]:
    return [place] if place.suffix == ".py" else list(place.rglob("*.py"))


def _left(name: str) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in WATCHES)


def _bare(node: Any) -> Any:
    """A tree as nested tuples that Python 3.10 to 3.13 spell alike: `ast.dump` does not."""
    if isinstance(node, list):
        return [_bare(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    kept = [(name, _bare(value)) for name, value in fields.items() if name not in _SILENT and value not in (None, [])]
    return (type(node).__name__, *kept)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
