"""OpenVINO's formats without OpenVINO: who can have them, what a folder without its runtime says, and the client.

The client talks to a stand-in that speaks the worker's protocol; `test_openvino_runtime.py` has the real one.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from qwen_vl_utils.vision_process import smart_resize

from docvlm import load as load_reader
from docvlm import predict
from docvlm.answering import outside
from docvlm.answering.openvino import OpenVino, OpenVinoSteps
from docvlm.config import ExportConfig
from docvlm.config.compose import load
from docvlm.data.reading import ALL_PAGES
from docvlm.errors import DocvlmError
from docvlm.evaluation import subjects
from docvlm.exporting import canary, formats, gguf, openvino, publish
from docvlm.exporting.canary import Reply
from docvlm.exporting.source import Source
from docvlm.exporting.verdict import beyond
from docvlm.vlms import loading
from docvlm.vlms.trainable import Lora
from tests.exporting.test_exporting import source
from tests.support.tiny import Paper, example

STAND_IN = """
import json, sys, time
kind, folder, threads = sys.argv[1:]
assert kind == "openvino" and int(threads) >= 1
def say(message): print(json.dumps(message), flush=True)
say({"version": "0"})
for line in sys.stdin:
    asked = json.loads(line)
    if "memory" in asked:
        say({"held": 10.0, "peak": 20.0 if asked["memory"] == "peak" else 10.0})
    elif "fails" in asked["prompt"]:
        say({"error": "no such thing"})
    elif "dies" in asked["prompt"]:
        sys.exit("killed by hand")
    else:
        time.sleep(20 * ("slow" in asked["prompt"]))
        page, = asked["pages"]
        text = f" {page['width']} x {page['height']}, {len(page['pixels'])}, {asked['max_new_tokens']} "
        say({"text": text, "tokens": 2, "prompt_tokens": 7, "confidence": 0.5, "first_token_s": 0.25,
             "truncated": "cut" in asked["prompt"]})
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source(tmp_path_factory.mktemp("run"), "qwen2vl")


@pytest.fixture
def folder(run: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an export leaves but for the graphs, and a stand-in that answers for it."""
    place = tmp_path / "openvino"
    place.mkdir()
    shutil.copy(Path(run.record["checkpoint"]) / "config.json", place)
    loading.complete(place, run.best, run.about("openvino"))
    for name in ("language", "tokenizer"):
        (place / f"openvino_{name}.xml").write_text("<graph/>")
        (place / f"openvino_{name}.bin").write_bytes(b"weights")
    (tmp_path / "worker.py").write_text(STAND_IN)
    monkeypatch.setattr(outside, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(outside, "find_spec", lambda name: object())
    return place


def test_who_cannot_have_it(run: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "find_spec", lambda name: None if name in ("nncf", "openvino") else object())
    for word in ("openvino", "openvino_int4"):
        reason = "it needs openvino, nncf: pip install 'docvlm[openvino]'"
        assert formats.RECORDS[word].missing(run) == formats.chosen(None, run)[1][word] == reason
    monkeypatch.setattr(openvino, "find_spec", lambda name: object())
    assert formats.RECORDS["openvino"].missing(run) is None
    assert formats.RECORDS["openvino"].missing(source(tmp_path / "other", "florence2")) is None
    monkeypatch.setattr(Source, "config", SimpleNamespace(model_type="qwen2_5_vl"))
    with pytest.raises(DocvlmError, match=r"formats=openvino: .*for checkpoints of florence2 and qwen2_vl, and this"):
        formats.chosen(["openvino"], run)


def test_its_logits_cannot_be_asked_for() -> None:
    usual = load("export", ExportConfig, ["scale=tiny"])
    asked = usual.tolerance | {"openvino": replace(usual.tolerance["openvino"], logits=0.1)}
    with pytest.raises(DocvlmError, match=r"tolerance\.openvino\.logits=0\.1: OpenVINO shows no logits"):
        replace(usual, tolerance=asked).check()
    before = [Reply("a", torch.ones(1, 3)), Reply("b", torch.ones(1, 3))]
    seen = canary.compare(before, [Reply("a", None), Reply("c", None)])
    assert (seen.equal, seen.logits) == (1, None)
    assert beyond(usual.tolerance["merged"], seen, []) == ["1 of 2 canary answers are equal, 100% must be: 'c' for 'b'"]


def seen(run: Source, width: int, height: int) -> str:
    """The size of a page as this run reads it."""
    budget = run.record["budget"]
    limits = {name: budget[name] for name in ("min_pixels", "max_pixels")}
    high, wide = smart_resize(height, width, factor=28, **limits)
    return f"{wide} x {high}, {wide * high * 4},"  # 3 bytes a pixel are 4 letters


def test_what_is_asked_and_what_comes_back(folder: Path, run: Source) -> None:
    model = OpenVino(folder)
    said = model.ask(example(0, pages=(Paper("invoice", 300, 170),)), 9)
    assert said.text == f"{seen(run, 300, 170)} 9"
    assert (said.tokens, said.prompt_tokens, said.truncated, said.confidence) == (2, 7, False, 0.5)
    assert 0 < said.prepared == pytest.approx(said.first_token - 0.25) and said.total > said.prepared
    assert model.memory(reset=True) == (10.0, 10.0) and model.memory() == (10.0, 20.0)
    (((_, reply),),) = list(model.answers([example(0, question="cut")], 9))
    assert reply.truncated and reply.confidence == 0.5
    assert model.described["runtime"] == "openvino-genai 0" and model.described["quant"] == "openvino"
    before = outside.fingerprint(folder, OpenVino.weights)
    (folder / "openvino_language.bin").write_bytes(b"others")
    assert outside.fingerprint(folder, OpenVino.weights) != before
    model.check(ALL_PAGES)
    model.close()
    assert model._process.returncode == 0, "it ends when nothing more can come"


def test_a_runtime_that_fails_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = OpenVino(folder)
    with pytest.raises(DocvlmError, match=r"openvino: OpenVINO GenAI cannot answer question q0: no such thing; leave"):
        model.ask(example(0, question="fails"), 9)
    assert model.ask(example(0), 9).tokens == 2, "and it answers the next"
    with pytest.raises(DocvlmError, match=r"the process of OpenVINO GenAI ended with code 1 \(killed by hand\)"):
        model.ask(example(0, question="dies"), 9)
    with pytest.raises(DocvlmError, match="ended with code 1"):
        model.ask(example(0), 9)
    outside.WORKER.write_text("raise SystemExit('no room')")
    with pytest.raises(DocvlmError, match=r"ended with code 1 \(no room\)"):
        OpenVino(folder)
    monkeypatch.setattr(outside, "find_spec", lambda name: None)
    with pytest.raises(DocvlmError, match="OpenVINO GenAI, which is not installed: pip install openvino-genai"):
        OpenVino(folder)


def test_an_answer_that_nobody_waited_for_is_no_other_questions(folder: Path, run: Source) -> None:
    def given_up(*_: object) -> None:
        raise TimeoutError

    model, before = OpenVino(folder), signal.signal(signal.SIGALRM, given_up)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(TimeoutError):
            model.ask(example(0, pages=(Paper("invoice", 300, 170),), question="slow"), 9)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert model._process.returncode == -signal.SIGKILL
    assert model.ask(example(0, pages=(Paper("letter", 170, 300),)), 8).text == f"{seen(run, 170, 300)} 8"


def test_a_question_with_the_token_of_pages_is_refused(folder: Path) -> None:
    with pytest.raises(DocvlmError, match=r"question q0: it holds the special token <\|image_pad\|>; remove it"):
        OpenVino(folder).ask(example(0, question="What is <|image_pad|>?"), 9)


STEPS = """
import json, sys
kind, folder, threads = sys.argv[1:]
assert kind == "openvino_steps" and int(threads) >= 1
print(json.dumps({"version": "0"}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    prompt, (page,) = asked["prompt"], asked["pages"]
    assert (page["height"], page["width"], asked["max_new_tokens"]) == (112, 196, 9)
    assert (prompt["start"], prompt["ends"], prompt["most"]) == ([2, 0], [2, 7], 511)
    said = {"ids": prompt["ids"], "tokens": 3, "prompt_tokens": 7, "confidence": 0.5, "first_token_s": 0.1}
    print(json.dumps(said | {"truncated": False}), flush=True)
"""


def test_an_encoder_and_a_decoder_are_told_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the checkpoint's answers begin and end, and how many tokens there are positions for; no page's among them."""
    run, place = source(tmp_path / "run", "florence2", lora=Lora(r=0)), tmp_path / "openvino"
    settings = json.loads((run.best / "generation_config.json").read_text())
    changed = settings | {"forced_bos_token_id": 0, "eos_token_id": [2, 7]}
    (run.best / "generation_config.json").write_text(json.dumps(changed))
    place.mkdir()
    shutil.copy(Path(run.record["checkpoint"]) / "config.json", place)
    loading.complete(place, run.best, run.about("openvino"))
    (tmp_path / "worker.py").write_text(STEPS)
    monkeypatch.setattr(outside, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(outside, "find_spec", lambda name: object())
    model = subjects.of_saved(place, None, True).load()
    assert isinstance(model, OpenVinoSteps) and model.described["runtime"] == "openvino 0"
    assert model.ask(example(0, question="What"), 9).text == "<DocVQA>What ?"
    assert "answer, step = [], [2, 0]" in openvino.example(run) and "set([2, 7])" in openvino.example(run)


def test_docvlm_predict_answers_from_the_folder(
    folder: Path, run: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Paper("invoice").open().save(tmp_path / "invoice.png")
    predict.main(["--run", str(folder), "--question", "What?", "--format", "jsonl", str(tmp_path / "invoice.png")])
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["prediction"].startswith(seen(run, 280, 168)) and answer["confidence"] == round(0.5, 4)
    assert "latency" in printed.err and "on cpu" in printed.err


@pytest.mark.parametrize(
    ("options", "message"),
    [({"base": "elsewhere"}, "a whole model, so elsewhere is of no use"), ({"device": "meta"}, "is for a processor")],
)
def test_what_such_a_folder_is_not_for(options: dict[str, str], message: str, folder: Path) -> None:
    with pytest.raises(DocvlmError, match=message):
        load_reader(folder, **options)  # type: ignore[arg-type]


def test_other_verbs_say_who_reads_it(folder: Path) -> None:
    with pytest.raises(DocvlmError, match="OpenVINO reads it and Transformers does not"):
        loading.load(folder)
    with pytest.raises(DocvlmError, match="OpenVINO GenAI runs it, which is measured at its export"):
        subjects.of_saved(folder, None, True).vlm()
    model = subjects.of_saved(folder, None, True, named=Path("final/openvino")).ready()
    assert isinstance(model, OpenVino) and model.described["checkpoint"]["name"] == "final/openvino"


def test_a_push_wants_every_graph_with_its_weights(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert "openvino_language.bin" in publish.parcel(folder).files
    (folder / "openvino_language.bin").unlink()
    with pytest.raises(DocvlmError, match=r"openvino_language\.bin: no weights of a graph"):
        publish.parcel(folder)


def sides_of(code: str) -> Callable[[int, int], list[int]]:
    """How the card's code resizes a page of a size."""
    lines = code.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("sides ="))
    last = first + 4
    compiled = compile("\n".join(lines[first:last]), "card", "exec")

    def sides(width: int, height: int) -> list[int]:
        names: dict[str, Any] = {"page": SimpleNamespace(width=width, height=height, size=(width, height))}
        exec(compiled, names)
        found: list[int] = names["sides"]
        return found

    return sides


@pytest.mark.parametrize(("module", "lines"), [(openvino, 15), (gguf, 20)], ids=["openvino", "gguf"])
def test_the_code_of_the_card_resizes_as_docvlm_does(module: ModuleType, lines: int, run: Source) -> None:
    code = module.example(run)
    assert len([line for line in code.splitlines() if line]) <= lines
    sides, most = sides_of(code), run.record["budget"]["max_pixels"]
    for width in range(28, 1400, 31):
        for height in range(28, 1400, 37):
            other = smart_resize(height, width, factor=28, min_pixels=1, max_pixels=most)
            assert 0 in other or sides(width, height) == list(other)[::-1], (width, height)  # 0: docvlm refuses it
