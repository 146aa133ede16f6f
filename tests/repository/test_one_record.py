"""What is said of a family is said in its record, its folder and its yaml, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docvlm.vlms import FAMILIES

HOMES = ("docvlm/vlms/families.py", "docvlm/vlms/embedded/", "conf/model/")
"""The embedded checkpoints' architectures and their training are families in miniature."""
CHOICE = re.compile(r"(model=|/?model: |--family )\w+")
"""How a command or a default chooses one: an example of use, not knowledge about it."""


def test_no_other_file_names_a_family(root: Path) -> None:
    words = [re.escape(word) for family in FAMILIES.values() for word in (family.name, family.label)]
    named = re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE)
    homes = (*HOMES, *(f"docvlm/vlms/{name}/" for name in FAMILIES))
    found = [
        f"{place}:{number}: {line.strip()}"
        for file in sorted(path for top in ("docvlm", "conf") for path in (root / top).rglob("*"))
        if file.suffix in (".py", ".yaml", ".j2") and not (place := file.relative_to(root).as_posix()).startswith(homes)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if named.search(CHOICE.sub("", line))
    ]
    assert not found, "say it in the family's record (docvlm/vlms/families.py):\n" + "\n".join(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_record_is_complete(root: Path, name: str) -> None:
    family = FAMILIES[name]
    assert (root / "conf" / "model" / f"{name}.yaml").is_file() and family.name == name
    text = (root / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8")
    named = re.findall(r"^  \w+: ([\w./-]+/[\w./-]+)$", text, re.MULTILINE)
    assert set(named) <= set(family.licences), "a licence for every checkpoint that its yaml names"
