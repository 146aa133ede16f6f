"""Benchmarks of one's own beside those that a verb's yaml lists.

`conf/evaluate.yaml` and its like list `data@data.NAME: NAME` for docvlm's own. One's own need no edit of them: every
`data/NAME.yaml` in the `conf/` of an extension, or in docvlm's, is found.
"""

from __future__ import annotations

from collections.abc import Sequence

from docvlm import registry
from docvlm.config.base import CONF_DIR


def with_groups(verb: str, words: Sequence[str]) -> list[str]:
    """`+data@data.NAME=NAME` for each benchmark that the yaml could list and does not, and the words of a command."""
    listed = (CONF_DIR / f"{verb}.yaml").read_text(encoding="utf-8")
    if "data@data." not in listed:
        return list(words)
    files = [file for folder in (CONF_DIR, *registry.config_folders()) for file in sorted(folder.glob("data/*.yaml"))]
    names = [file.stem for file in files if "\nparts:" not in file.read_text(encoding="utf-8")]  # a mixture is none
    groups = [f"+data@data.{name}={name}" for name in dict.fromkeys(names) if f"data@data.{name}:" not in listed]
    return [*(group for group in groups if group not in words), *words]
