"""Formats that run without torch, as their packages are installed for the tests: what is written is read, and answers.

`test_gguf_runtime.py` and `test_openvino_runtime.py` export and ask at length, and run the cards.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from docvlm.answering.openvino import OpenVinoSteps
from docvlm.data.generated import documents
from docvlm.data.pages import FilePage
from docvlm.errors import DocvlmError
from docvlm.exporting import formats, openvino
from docvlm.exporting.source import Source
from docvlm.runs.finished import Run
from docvlm.runs.folder import RunFolder
from docvlm.serving.reader import Reader, load
from docvlm.vlms import embedded, load_family, saved
from docvlm.vlms.codec import Budget
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from tests.support.tiny import example


def untaught(reader: Reader, folder: Path) -> Source:
    """A run that has learned nothing yet: it answers as the embedded model does."""
    family, budget = reader.vlm.family, reader.vlm.codec.budget
    vlm = load_family(family).load(embedded.checkpoint(family), budget, attn="sdpa", offline=True)
    apply(vlm, 100, Lora(4))
    saved.save(vlm, folder / "checkpoints" / "best")
    about = {"family": family, "checkpoint": {"name": "embedded"}, "data": {"benchmark": "docvqa-generated"}}
    return Source(Run(RunFolder(folder), {"config": {"model": {"attn": "sdpa"}}, **about}, {}), "docvqa", True)


@pytest.fixture(scope="module")
def run(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return untaught(reader, tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize(("word", "package"), [("gguf", "xllamacpp"), ("openvino", "openvino_genai")])
def test_it_answers_as_the_run_does(word: str, package: str, run: Source, reader: Reader, tmp_path: Path) -> None:
    pytest.importorskip(package)
    assert formats.chosen([word], run) == ([word], {})
    formats.RECORDS[word].write(run, tmp_path / word)
    asked = [document[0] for document in documents("docvqa", "test", 3, "tiny", 0)]
    there = load(str(tmp_path / word))
    for one in asked:
        ours, theirs = (model.ask(one.pages[0].open(), one.question) for model in (reader, there))
        assert theirs.text == ours.text != ""
        assert theirs.confidence == pytest.approx(ours.confidence, abs=0.05)
    assert len({reader.ask(one.pages[0].open(), one.question).text for one in asked}) > 1


@pytest.fixture(scope="module")
def florence() -> Reader:
    return load("embedded", family="florence2", offline=True)


@pytest.fixture(scope="module")
def steps(florence: Reader, tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Path]:
    """A run of Florence-2, and its folder for OpenVINO."""
    pytest.importorskip("openvino_genai")
    folder = tmp_path_factory.mktemp("florence2")
    run = untaught(florence, folder)
    assert formats.chosen(["openvino"], run) == (["openvino"], {})
    formats.RECORDS["openvino"].write(run, folder / "openvino")
    return run, folder / "openvino"


def test_an_encoder_and_a_decoder_answer_as_the_run_does(steps: tuple[Source, Path], florence: Reader) -> None:
    asked = [document[0] for document in documents("docvqa", "test", 6, "tiny", 0)]
    there, different = load(str(steps[1])), 0
    for one in asked:
        ours, theirs = (model.ask(one.pages[0].open(), one.question) for model in (florence, there))
        different += theirs.text != ours.text
        if theirs.text == ours.text:
            assert theirs.confidence == pytest.approx(ours.confidence, abs=0.1)
            assert theirs.tokens == ours.tokens and theirs.truncated is ours.truncated is False
        assert there.ask(one.pages[0].open(), one.question, max_new_tokens=1).truncated
    assert different <= 1, "8 bits change few answers"
    with pytest.raises(DocvlmError, match=r"budget\.height=84, budget\.width=280: .* read pages of 168 x 280 only"):
        OpenVinoSteps(steps[1], budget=Budget(height=84, width=280))


def test_the_card_of_an_encoder_and_a_decoder_needs_no_torch(
    steps: tuple[Source, Path], florence: Reader, tmp_path: Path
) -> None:
    run, folder = steps
    (one, *_) = documents("docvqa", "test", 3, "tiny", 0)[2]
    one.pages[0].open().resize((1000, 700)).save(folder / "page.png")
    code = openvino.example(run).replace("What is the total?", one.question)
    assert len(code.splitlines()) <= 40 and one.question in code
    names: dict[str, Any] = {"Image": Image}
    (resized,) = [line for line in code.splitlines() if line.startswith("page = ")]
    exec(resized.replace("page.png", str(folder / "page.png")), names)
    _, (page,) = florence.vlm.codec.ids_and_pages(example(0, pages=(FilePage(str(folder / "page.png")),)))
    off = np.abs(np.array(names["page"]).astype(int) - np.array(page).astype(int))
    assert off.max() <= 1, "Pillow and torchvision round some values apart"
    barred = "import sys\nfor name in ('torch', 'transformers', 'docvlm'):\n    sys.modules[name] = None\n"
    alone = subprocess.run([sys.executable, "-c", barred + code], capture_output=True, text=True, cwd=folder)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.strip() == load(str(folder)).ask(folder / "page.png", one.question).text != ""


def test_an_export_leaves_the_streams_of_its_caller_open(tmp_path: Path) -> None:
    """In a process of its own, whose standard error is replaced for a while; every command sets up logging anew."""
    pytest.importorskip("openvino_genai")
    program = (
        "import io, logging.config, sys\n"
        "from contextlib import redirect_stderr\n"
        "from docvlm.exporting import openvino\n"
        "stream = io.StringIO()\n"
        "with redirect_stderr(stream), openvino._quiet():\n"
        "    pass\n"
        "logging.config.dictConfig({'version': 1})\n"
        "print(stream.closed)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr
