"""What an export can be told: the tolerances that are declared, and mistakes, before anything is read or written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from docvlm.config import ExportConfig
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.export import main


def test_the_page_declares_the_tolerance_that_holds(root: Path) -> None:
    page = (root / "docs" / "guide" / "export.md").read_text(encoding="utf-8")
    found = load("export", ExportConfig, ["scale=tiny"]).tolerance
    names = {"merged": "`merged` of a run in float32", "merged_16bit": "`merged` of a run in 16 bits"}
    for word, tolerance in found.items():
        name = names[word] if word in names else f"`{word}`"
        (row,) = [line for line in page.splitlines() if re.match(rf"\| {name} \| \d", line)]
        told = [cell.strip() for cell in row.split("|")[2:-1]]
        assert float(told[0]) == tolerance.texts and float(told[2]) == tolerance.score, word
        assert tolerance.logits == (None if told[1] == "any" else float(told[1])), word


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "nothing to export: give run=DIR"),
        (["best=true"], "no finished run at scale=tiny on docvqa, chartqa, infovqa, mpdocvqa, dude, slidevqa, mtvqa"),
        (["run=absent"], "run=absent: there is no such file or folder"),
        (["data.limit_test=4"], "data has an entry for each name here; give data.<name>.limit_test=…"),
        (["data=docvqa"], "nothing to choose here, it has an entry for each name; give data.<name>.<key>=…"),
        (["data.docvqa.limit_tst=4"], "there is no such key (did you mean data.<name>.limit_test?)"),
        (["format=merged"], "format: there is no such key (did you mean formats?)"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["scale=tiny", *words])
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not Path("outputs").exists() or not list(Path("outputs").iterdir()), "nothing is left"


def test_impossible_values_are_named() -> None:
    usual = load("export", ExportConfig, ["scale=tiny"])
    usual.check()
    tolerance = usual.tolerance
    spoilt = {"merged": replace(tolerance["merged"], texts=2.0)}, {"int8": replace(tolerance["int8"], logits=-1.0)}
    for changes, message in (
        ({"best": True, "run": "."}, "give one of run and best, not both"),
        ({"formats": ["onnx"]}, "formats=onnx: choose from adapter, merged, int8, int4"),
        ({"formats": []}, r"formats=\[\]: name at least one of adapter"),
        ({"formats": ["merged", "merged"]}, "name each only once"),
        ({"benchmarks": ["nlvr"]}, "benchmarks=nlvr: choose from docvqa"),
        ({"benchmarks": ["folder"]}, "data.folder.source=None: give your own folder"),
        ({"canary": 0}, "canary=0: 1 or more"),
        ({"limit": 0}, "limit=0: 1 or more"),
        ({"split": "train"}, "split=train: test reports"),
        ({"tolerance": tolerance | spoilt[0]}, r"tolerance\.merged\.texts=2\.0: a share of equal answers"),
        ({"tolerance": tolerance | spoilt[1]}, r"tolerance\.int8\.logits=-1\.0: 0 or more, or null"),
        ({"tolerance": {"merged": tolerance["merged"]}}, r"tolerance\.adapter=: a format needs one"),
        ({"tolerance": tolerance | {"onnx": tolerance["merged"]}}, r"tolerance\.onnx=…: there are adapter"),
    ):
        with pytest.raises(DocvlmError, match=message):
            replace(usual, **changes).check()
