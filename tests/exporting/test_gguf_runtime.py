"""llama.cpp's format with llama.cpp: exported, measured, asked, and run as its card says where torch is not.

The packages come from the index that pip knows, once, into environments in `~/.cache/docvlm` (125 MB each); where it
cannot be reached, the tests are skipped and say so.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import AddedToken

from docvlm.exporting.gguf import PACKAGES
from docvlm.vlms import loading
from tests.exporting.test_gguf import learned
from tests.support.environments import extra, kept, ran
from tests.support.runs import train
from tests.support.tiny import Paper

pytestmark = pytest.mark.slow

WORDS = ("scale=tiny", "run=outputs/run", "limit=30", "canary=8", "pages=2", "warmup=1")
WIDE = "tolerance.gguf={texts: 0.5, logits: null, score: 0.1}"  # few questions, and answers that are hardly sure
EXPORT = Path("outputs/run/export")
ASK = """
import json, sys
from pathlib import Path
from transformers import AutoTokenizer
from docvlm.answering.llamacpp import LlamaCpp
from tests.exporting.test_gguf_runtime import ODD
from tests.support.tiny import Paper, example
model = LlamaCpp(Path(sys.argv[1]))
for question in ODD:
    for pages in (1, 9):
        one = example(0, pages=tuple(Paper(str(number), 291, 160) for number in range(pages)), question=question)
        ours = model.codec.prompt_batch([one])["input_ids"].shape[1]
        said = model.ask(one, 8)
        assert said.prompt_tokens == ours, (question, pages, said, ours)
        assert said.tokens <= 8 and said.truncated == (said.tokens == 8), said
        assert 0 < said.confidence <= 1 and said.prepared < said.first_token <= said.total, said
held, peak = model.memory()
assert 20 < held <= peak < 400, (held, peak)
"""
ODD = ("What is in the value of the document", "Which price is shown for Brot", "Andre\u0301, 漢字 <|im_end|> 😀", "")


@pytest.fixture(scope="module")
def exporter() -> Path:
    """An interpreter that has docvlm's packages and those of `docvlm[gguf]`."""
    if all(find_spec(name) for name in PACKAGES):
        return Path(sys.executable)
    return kept("gguf", extra("gguf"), sees=sysconfig.get_path("purelib"))


@pytest.fixture(scope="module")
def user() -> Path:
    """An interpreter that has what the card names, and neither torch nor docvlm."""
    python = kept("llamacpp", ["xllamacpp", "pillow"])
    look = (
        "from importlib.util import find_spec; print([n for n in ('torch', 'docvlm', 'transformers') if find_spec(n)])"
    )
    assert ran(python, "-c", look, where=python.parent, path=False).stdout.strip() == "[]"
    return python


@pytest.fixture(scope="module")
def made(exporter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run that barely learned was exported."""
    folder = tmp_path_factory.mktemp("made")
    train(folder / "outputs" / "run", "model.checkpoint=embedded", "data.max_new_tokens=16")
    done = ran(exporter, "-m", "docvlm.export", *WORDS, WIDE, "formats=[gguf]", where=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "gguf_writer" not in done.stdout + done.stderr
    return folder


def test_it_is_measured_as_the_others_are(made: Path) -> None:
    run, row = json.loads((made / EXPORT / "export.json").read_text())["formats"]
    assert (run["format"], row["format"]) == ("run", "gguf")
    assert row["canary"]["equal"] >= 6 and row["canary"]["logits"] is None
    (score,) = row["scores"]
    assert score["n"] == run["scores"][0]["n"] and {"mean", "low", "high"} <= score["difference"].keys()
    assert 0 < row["latency"]["first_token_p50_ms"] < row["latency"]["p50_ms"] and row["latency"]["n"] == 2
    assert row["latency"]["peak_memory_mb"] < run["latency"]["peak_memory_mb"] / 2, "its process has no torch"
    assert row["size_mb"] == pytest.approx(loading.size(made / EXPORT / "gguf") / 1e6, rel=0.05)


def test_prompts_are_those_of_the_run_to_the_token(made: Path, exporter: Path) -> None:
    done = ran(exporter, "-c", ASK, str(made / EXPORT / "gguf"), where=made)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_tokenizer_with_merges_cuts_prompts_as_well(made: Path, exporter: Path, tmp_path: Path) -> None:
    """The published ones have merges. What the model says with this one is nonsense."""
    shutil.copytree(made / "outputs", tmp_path / "outputs")
    best = tmp_path / "outputs/run/checkpoints/best"
    spec = learned(best, [AddedToken("<price>", special=False)])
    (best / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    words = (*WORDS, "limit=3", "tolerance.gguf={texts: 0, logits: null, score: 1}", "output=other")
    done = ran(exporter, "-m", "docvlm.export", *words, "formats=[gguf]", where=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    done = ran(exporter, "-c", ASK, "other/gguf", where=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_card_answers_without_torch_as_docvlm_predict_does(
    made: Path, exporter: Path, user: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gguf"
    shutil.copytree(made / EXPORT / "gguf", folder)
    for width, height in ((280, 168), (291, 160), (1200, 900)):  # as it is, no multiples, one that has to shrink
        Paper("invoice", width, height).open().save(folder / "page.png")
        (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
        alone = ran(user, "-c", code, where=folder, path=False)
        assert alone.returncode == 0, alone.stderr
        words = ("--run", str(folder), "--question", "What is the total?", "page.png")
        ours = ran(exporter, "-m", "docvlm.predict", *words, where=folder)
        assert ours.returncode == 0, ours.stderr
        assert alone.stdout.strip() == ours.stdout.strip() != ""


def test_what_is_there_is_kept_and_what_is_broken_is_said(made: Path, exporter: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "outputs", tmp_path / "outputs")
    again = ran(exporter, "-m", "docvlm.export", *WORDS, WIDE, "formats=[gguf]", where=tmp_path)
    assert "gguf: outputs/run/export/gguf is there already" in again.stdout, again.stderr[-3000:]
    file = tmp_path / EXPORT / "gguf" / "model-q8_0.gguf"
    file.write_bytes(file.read_bytes()[:200_000])
    Paper("invoice").open().save(tmp_path / "page.png")
    words = ("--run", str(file.parent), "--question", "What?", "page.png")
    broken = ran(exporter, "-m", "docvlm.predict", *words, where=tmp_path)
    assert broken.returncode == 1
    (line,) = [line for line in broken.stderr.splitlines() if line.startswith("error: ")]
    assert "llama.cpp: Failed to init server" in line and "export it again" in line
