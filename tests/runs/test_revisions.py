"""A room whose code changed has its `REVISION` looked at: a digest of each room is kept beside its integer.

`python -m tests.runs.test_revisions` keeps today's digests. It is to be run after a change of such a room: with another
`REVISION` if the change gives other weights, answers or scores, without one if it cannot.
"""

from __future__ import annotations

import ast
import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from docvlm.runs import code_version
from docvlm.vlms.families import FAMILIES

KEPT = Path(__file__).with_name("revisions.json")
PACKAGE = Path(code_version.__file__).parents[1]
ROOMS = (*code_version.ROOMS, *(f"vlms.{family}" for family in FAMILIES), "data.leakage")
LEFT = {
    # the weights are hashed themselves; what the audit leaves out is missing from the fingerprint of the data, its
    # own integer is that of what it keeps of pages
    "vlms": ("embedded", "families.py", "proof.py", "saved.py"),
    "data": ("corruptions.py", "sources/quarantine.py"),
    "data.leakage": (
        "audit.py", "candidates.py", "hash_cache.py", "page.py", "parallel.py", "stand_ins.py", "table.py",
    ),
    "training": (
        "epochs.py", "feature_choice.py", "leakage.py", "loggers.py", "manifest.py", "progress.py", "ranks.py",
    ),
}  # fmt: skip
"""What of a room keeps, prints, times or explains, and changes no number of a run."""
_SILENT = {"ctx", "kind", "type_comment"}  # follow from the rest, or are comments
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SOURCE = '''"""A module."""

def loss(total: float, count: int = 1) -> float:
    """Mean."""
    # why
    return total / count


class Empty:
    """Nothing but this."""
'''


def digest(source: str) -> str:
    """16 hex digits of what a module does: its syntax tree without imports, docstrings, comments and layout."""
    return _hash(repr(_bare(ast.parse(source))))


def of_room(room: str) -> str:
    """16 hex digits of a room without the rooms within it; where a file lies in it plays no part."""
    place = PACKAGE.joinpath(*room.split("."))
    within = [PACKAGE.joinpath(*other.split(".")) for other in ROOMS if other.startswith(f"{room}.")]
    left = [*within, *(place / name for name in LEFT.get(room, ()))]
    files = [file for file in place.rglob("*.py") if not any(file.is_relative_to(other) for other in left)]
    return _hash("\n".join(sorted(digest(file.read_text(encoding="utf-8")) for file in files)))


def of_family(family: str) -> str:
    """16 hex digits of a family's room and of what its record says of the weights that learn."""
    about = FAMILIES[family]
    said = (about.model, about.codec, about.language, about.lora_targets, about.kept)
    return _hash(f"{of_room(f'vlms.{family}')} {said}")


def now() -> dict[str, Any]:
    found = {
        room: {"revision": import_module(f"docvlm.{room}").REVISION, "digest": of_room(room)}
        for room in (*code_version.ROOMS, "data.leakage")
    }
    for name, about in FAMILIES.items():
        found[f"vlms.{name}"] = {"revision": about.revision, "digest": of_family(name)}
    return found


def _bare(node: Any) -> Any:
    """A tree as nested tuples that Python 3.10 to 3.13 spell alike: `ast.dump` does not."""
    if isinstance(node, list):
        return [_bare(item) for item in node if not isinstance(item, ast.Import | ast.ImportFrom)]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    kept = [(name, _bare(value)) for name, value in fields.items() if name not in _SILENT and value not in (None, [])]
    return (type(node).__name__, *kept)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("room", ROOMS)
def test_a_changed_room_was_looked_at(room: str) -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8")).get(room)
    advice = (
        f"docvlm/{room.replace('.', '/')} changed: raise REVISION in its __init__.py, or revision in a family's record,"
        " if that gives other weights, answers or scores; then run python -m tests.runs.test_revisions"
    )
    assert kept == now()[room], advice


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# why", "# because"),
        ('"""Mean."""', '"""The mean of it."""'),
        ('"""A module."""\n', "import math\n"),
        ('"""Nothing but this."""', '"""Nothing."""'),
        ("count: int = 1) ->", "\n    count: int = 1,\n) ->"),
    ],
)
def test_words_layout_and_imports_do_not_count(before: str, after: str) -> None:
    assert before in SOURCE
    assert digest(SOURCE.replace(before, after)) == digest(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [("/ count", "* count"), ("int = 1", "int = 2"), ("return total", "return -total"), ("total / count", '"total"')],
)
def test_what_it_does_counts(before: str, after: str) -> None:
    assert before in SOURCE
    assert digest(SOURCE.replace(before, after)) != digest(SOURCE)


if __name__ == "__main__":
    KEPT.write_text(json.dumps(now(), indent=2) + "\n", encoding="utf-8")
