"""What is said of a family, a benchmark or a metric is said in its record, its file and its yaml, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docvlm.data.benchmarks import BENCHMARKS
from docvlm.metrics import METRICS
from docvlm.vlms import FAMILIES

HOMES = ("docvlm/vlms/families.py", "docvlm/vlms/embedded/", "conf/model/")
"""The embedded checkpoints' architectures and their training are families in miniature."""
CHOICE = re.compile(r"(model=|/?model: |--family )\w+")
"""How a command or a default chooses one: an example of use, not knowledge about it."""


def test_no_other_file_names_a_family(root: Path) -> None:
    known = [family for family in FAMILIES.values() if not family.takes_any]  # else its name is a word of the field
    words = [re.escape(word) for family in known for word in (family.name, family.label)]
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


DATA = ("docvlm/data/benchmarks/", "docvlm/data/generated/tiny/", "docvlm/data/generated/full/", "conf/data/")
METRIC_HOMES = "docvlm/metrics/"  # where a docstring may say of which benchmark a metric is the headline
ONE_S_PAGES = "folder"
"""A benchmark whose name is a word of every other sentence."""
USED = re.compile(
    r"<DocVQA>"  # the task token of Florence-2, which is a word of its vocabulary
    r"|(?<!\w)(override /)?data(=|: )\w+|benchmarks(=|: )\[[\w,]+\]"  # a choice: of an example, or a default
    r"|data@data\.\w+: \w+"  # the lists of conf/evaluate.yaml, benchmark.yaml and export.yaml
    r"|#.*"  # what a key means, said with the default in it
)


def _naming(root: Path, words: list[str], homes: tuple[str, ...], used: re.Pattern[str]) -> list[str]:
    named = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(map(re.escape, words))})(?![A-Za-z0-9])")
    return [
        f"{place}:{number}: {line.strip()}"
        for file in sorted(path for top in ("docvlm", "conf") for path in (root / top).rglob("*"))
        if file.suffix in (".py", ".yaml", ".j2") and not (place := file.relative_to(root).as_posix()).startswith(homes)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if named.search(used.sub("", line))
    ]


def test_no_other_file_names_a_benchmark(root: Path) -> None:
    records = [one for name, one in BENCHMARKS.items() if name != ONE_S_PAGES]
    words = [word for one in records for word in (one.name, one.title)]
    found = _naming(root, words, (METRIC_HOMES, *DATA), USED)
    assert not found, "say it in the benchmark's record (docvlm/data/benchmarks/NAME.py):\n" + "\n".join(found)


def test_no_other_file_names_a_metric(root: Path) -> None:
    """`accuracy` is a word of English too, and stands for the score in tables of speed."""
    words = [word for one in METRICS.values() for word in (one.name, one.label, *one.former) if word != "accuracy"]
    words.remove("relaxed")
    found = _naming(root, words, (METRIC_HOMES, *DATA), re.compile("#.*|</?em>"))
    assert not found, "say it in the metric's record (docvlm/metrics/registry.py):\n" + "\n".join(found)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_record_of_a_benchmark_is_complete(root: Path, name: str) -> None:
    one = BENCHMARKS[name]
    assert (root / "conf" / "data" / f"{name}.yaml").is_file()
    assert one.metric in METRICS and one.instruction and one.columns and one.pages and one.languages and one.licence
    assert one.published == bool(one.citation) == (name != ONE_S_PAGES)
    for verb in ("evaluate", "benchmark", "export"):
        assert f"data@data.{name}: {name}\n" in (root / "conf" / f"{verb}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", METRICS)
def test_the_record_of_a_metric_is_complete(name: str) -> None:
    one = METRICS[name]
    assert (one("17", ["17"]), one("no", ["17"])) == (1.0, 0.0) and one.label and one.source
