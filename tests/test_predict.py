"""`docvlm-predict`: an answer and its latency for a run and for a checkpoint; mistakes are one line; help is fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import Paper, checkpoint, load

from docvlm.predict import main
from docvlm.vlms.trainable import Lora, apply

AWKWARD = "What's {the} total=[sum], in $ or %? \\ 'x'"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "invoice no. 1.png"
    Paper("total").open().save(path)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files that prediction reads of a run, around an adapter that changes answers."""
    folder = tmp_path / "run"
    vlm = load("qwen2vl")
    apply(vlm, 100, Lora(4))
    with torch.no_grad():
        for name, parameter in vlm.net.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    vlm.save(folder / "checkpoints" / "best")
    config = {"model": {"attn": "eager"}, "data": {"name": "chartqa"}}
    manifest = {"family": "qwen2vl", "scale": "tiny", "data": {"benchmark": "chartqa-generated"}, "config": config}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "result.json").write_text(json.dumps({"status": "finished", "selection": {"value": 0.5}}))
    return folder


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    """Answer and latency line."""
    main([str(argument) for argument in arguments])
    answer, latency, *_ = capsys.readouterr().out.splitlines()
    return answer, latency


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 1) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == code
    error = capsys.readouterr().err
    assert code == 2 or error.count("\n") == 1
    return error


def test_a_run_and_its_base_answer_differently(run: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--question", AWKWARD, "--max-new-tokens", 4, page)
    ours, latency = asked(capsys, "--run", run, *flags)
    assert latency.startswith("latency ")
    assert float(latency.split()[1]) > 0
    assert asked(capsys, "--run", run, *flags)[0] == ours
    base, _ = asked(capsys, "--checkpoint", checkpoint("qwen2vl"), "--family", "qwen2vl", *flags)
    assert base != ours


def test_several_pages_are_one_document(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--checkpoint", checkpoint("qwen2vl"), "--family", "qwen2vl", "--question", "x?", "--max-new-tokens", 2)
    assert asked(capsys, *flags, page, page)[1].startswith("latency")
    flags = ("--checkpoint", checkpoint("florence2"), "--family", "florence2", "--question", "x?")
    assert "reads exactly one" in refused(capsys, *flags, page, page)


def test_bad_pages_and_questions(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--checkpoint", checkpoint("qwen2vl"), "--family", "qwen2vl", "--question", "x?")
    assert "absent.png: no such file" in refused(capsys, *flags, tmp_path / "absent.png")
    assert "a folder; give an image file" in refused(capsys, *flags, tmp_path)
    (tmp_path / "empty.png").touch()
    assert "empty (0 bytes)" in refused(capsys, *flags, tmp_path / "empty.png")
    (tmp_path / "cut.png").write_bytes(page.read_bytes()[:200])
    assert "cut.png" in refused(capsys, *flags, tmp_path / "cut.png")
    Image.new("RGB", (20_000, 10)).save(tmp_path / "strip.png")
    assert "strip.png" in refused(capsys, *flags, tmp_path / "strip.png")
    assert "--question is empty" in refused(capsys, *flags[:-1], " ", page)


def test_bad_weights(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("--question", "x?", page)
    assert "no such folder" in refused(capsys, "--run", tmp_path / "absent", *ask)
    assert "manifest.json: no such file" in refused(capsys, "--run", tmp_path, *ask)
    other = ("--checkpoint", checkpoint("qwen2vl"), "--family", "florence2")
    assert "model_type is 'qwen2_vl'" in refused(capsys, *other, *ask)
    hub = ("--checkpoint", "nobody/nothing", "--family", "qwen2vl", "--offline")
    assert "nobody/nothing" in refused(capsys, *hub, *ask)


def test_flags_that_do_not_fit(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("--question", "x?", page)
    assert "--checkpoint needs --family" in refused(capsys, "--checkpoint", "embedded", *ask, code=2)
    assert "--family goes with --checkpoint" in refused(capsys, "--run", "r", "--family", "qwen2vl", *ask, code=2)
    assert "give a number" in refused(capsys, "--run", "r", "--max-new-tokens", "0", *ask, code=2)
    assert "one of the arguments --run --checkpoint is required" in refused(capsys, *ask, code=2)


def test_help_needs_no_torch() -> None:
    code = (
        "import sys, docvlm.predict as p\ntry: p.main(['--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert found.returncode == 0
    assert "--run DIR" in found.stdout
