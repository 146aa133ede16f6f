"""docs/guide/predict.md is executed, block by block: its pages are drawn, its commands and its Python run."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from docvlm import predict
from docvlm.config import EvaluateConfig
from docvlm.config.compose import rehearse
from docvlm.serving import reader
from tests.support import asked

VERB = "docvlm-predict"


def run_line(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command of the page prints; of the shell it needs `cat FILE |` before and `| head -1` after."""
    before, _, rest = line.rpartition(f"{VERB} ")
    command, _, after = rest.partition(" | ")
    if before:
        cat, name, bar = before.split()
        assert (cat, bar) == ("cat", "|")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(name).read_bytes())))
    predict.main(shlex.split(command))
    out = capsys.readouterr().out
    if after:
        assert after == "head -1"
        out = out.splitlines()[0]
    return out


def test_the_page_works(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (root / "docs" / "guide" / "predict.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, "load", asked.load_once)
    shutil.copytree(asked.run(), "outputs/run")
    names: dict[str, object] = {}
    printed: dict[str, str] = {}
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", page, flags=re.DOTALL):
        code = block.replace("outputs/<time>", "outputs/run")
        if language == "python":
            exec(compile(code, "docs/guide/predict.md", "exec"), names)
            printed[code] = capsys.readouterr().out
            continue
        for line in code.splitlines():
            if VERB in line:
                printed[line] = run_line(line, capsys, monkeypatch)
            else:
                words = shlex.split(line)
                assert words[:3] == ["python", "-m", "docvlm.evaluate"]
                rehearse("evaluate", EvaluateConfig, words[3:], sweep=False)
    assert sum(VERB in command for command in printed) >= 8
    silent = [command for command, out in printed.items() if not out and "--output" not in command and VERB in command]
    assert silent == []
    with Path("amounts.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert [json.loads(line)["answers"] for line in Path("predictions.jsonl").read_text().splitlines()] == [
        ["365"],
        ["Tammie Cline"],
        ["Hart Group"],
    ]


def test_every_flag_the_page_names_exists(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (root / "docs" / "guide" / "predict.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        predict.main(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page))
    assert named <= known
    assert len(named) >= 10
