"""Formats that run without torch, as their packages are installed for the tests: what is written is read, and answers.

`test_gguf_runtime.py` and `test_openvino_runtime.py` export and ask at length, and run the cards.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from docvlm.data.generated import documents
from docvlm.exporting import formats
from docvlm.exporting.source import Source
from docvlm.runs.finished import Run
from docvlm.runs.folder import RunFolder
from docvlm.serving.reader import Reader, load
from docvlm.vlms import embedded, load_family, saved
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora


@pytest.fixture(scope="module")
def run(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A run that has learned nothing yet: it answers as the embedded model does."""
    folder = tmp_path_factory.mktemp("run")
    budget = reader.vlm.codec.budget
    vlm = load_family("qwen2vl").load(embedded.checkpoint("qwen2vl"), budget, attn="sdpa", offline=True)
    apply(vlm, 100, Lora(4))
    saved.save(vlm, folder / "checkpoints" / "best")
    about = {"family": "qwen2vl", "checkpoint": {"name": "embedded"}, "data": {"benchmark": "docvqa-generated"}}
    return Source(Run(RunFolder(folder), {"config": {"model": {"attn": "sdpa"}}, **about}, {}), "docvqa", True)


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
