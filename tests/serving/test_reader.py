"""`from docvlm import load`: pages of every kind, shared prefills, confidence, and one line for whatever is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import docvlm
from docvlm import predict
from docvlm.data.generated.page import documents
from docvlm.errors import DocvlmError
from docvlm.serving.pages import as_pages
from docvlm.serving.reader import TOGETHER, Reader, load
from docvlm.vlms.base import Generated
from tests.support import asked
from tests.support.tiny import Paper, checkpoint

QUESTIONS = ["What is the total?", "Which date?", "Who signs it and where?"]


@pytest.fixture(scope="module")
def vlm() -> Reader:
    return load(asked.run(), offline=True)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    asked.image("total").save(tmp_path / "invoice.png")
    return tmp_path / "invoice.png"


def refused(said: str, act: object, *arguments: object, **options: object) -> None:
    with pytest.raises(DocvlmError, match=said) as caught:
        act(*arguments, **options)  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_the_three_lines(page: Path) -> None:
    vlm = docvlm.load(asked.run())
    answer = vlm.ask(page, "What is the total?", max_new_tokens=4)
    assert str(answer) == answer.text != ""
    assert (answer.question, answer.pages) == ("What is the total?", (str(page),))
    assert answer.latency_s > 0
    assert 0 < answer.confidence <= 1
    assert 1 <= answer.tokens <= 4
    assert isinstance(answer, docvlm.Answer)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        docvlm.lod  # type: ignore[attr-defined]  # noqa: B018


def test_ctrl_c_while_the_model_loads_is_one_line(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("docvlm.serving.reader.load", pressed)
    with pytest.raises(SystemExit) as ended:
        predict.main(["--run", str(asked.run()), "--question", "x?", str(page)])
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_questions_asked_together_share_one_reading(vlm: Reader, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [vlm.ask(page, question, max_new_tokens=6) for question in QUESTIONS]
    readings: list[int] = []
    inner = vlm.vlm.page_features
    monkeypatch.setattr(vlm.vlm, "page_features", lambda batch: readings.append(1) or inner(batch))
    together = vlm.ask(page, QUESTIONS, max_new_tokens=6)
    assert len(readings) == 1
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    assert len({answer.text for answer in together}) > 1
    assert [a.confidence for a in together] == pytest.approx([a.confidence for a in alone], rel=1e-4)
    assert len(vlm.ask(page, QUESTIONS[:1] * (TOGETHER + 1), max_new_tokens=1)) == TOGETHER + 1
    assert len(readings) == 2 or TOGETHER == 1  # the last one went alone, and so through Transformers' `generate`


@pytest.mark.parametrize("family", ["qwen2vl", "florence2"])
def test_confidence_is_the_mean_probability_of_the_tokens(family: str) -> None:
    """Against the logits that Transformers hands out itself; answers end apart."""
    vlm = load("embedded", family=family).vlm
    examples = [example for document in documents("docvqa", "test", 3, "tiny", 0) for example in document[:2]]
    found = vlm.generate(vlm.codec.prompt_batch(examples), 8)
    for one, asked_alone in zip(found, examples, strict=True):
        batch = vlm.codec.prompt_batch([asked_alone])
        theirs = vlm.bare.generate(**batch, max_new_tokens=8, return_dict_in_generate=True, output_logits=True)  # type: ignore[operator]
        best = torch.stack(theirs.logits).float().softmax(-1).amax(-1)
        assert one.tokens == len(best)
        assert one.confidence == pytest.approx(best.mean().item(), rel=1e-4)
    assert len({one.tokens for one in found}) > 1
    packed = vlm.generate(vlm.codec.packed_prompt_batch(examples), 8)
    assert packed == found
    assert [one.confidence for one in packed] == pytest.approx([one.confidence for one in found], rel=1e-4)
    assert Generated("a", 1, False, 0.1) == Generated("a", 1, False, 0.2), "the same answer, whatever rounding says"


def test_every_kind_of_page_is_the_same_page(vlm: Reader, page: Path) -> None:
    turned = Image.open(page).transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # "turn me by 90 degrees to the right"
    kinds = [page, str(page), page.read_bytes(), Image.open(page), turned, Paper("total")]
    answers = [vlm.ask(kind, QUESTIONS[0], max_new_tokens=6) for kind in kinds]
    assert len({answer.text for answer in answers}) == 1
    assert vlm.ask(Paper("other"), QUESTIONS[0], max_new_tokens=6).text != answers[0].text


def test_every_way_to_name_a_page_of_a_pdf(vlm: Reader, tmp_path: Path) -> None:
    one, two = asked.pdf(tmp_path / "one.pdf", "total"), asked.pdf(tmp_path / "two.pdf", "other", "total")
    kinds = [one, one.read_bytes(), f"{two}#page=2", as_pages(two)[1]]
    answers = [vlm.ask(kind, QUESTIONS[0], max_new_tokens=6) for kind in kinds]
    answers.append(vlm.ask(two, QUESTIONS[0], pages=[2], max_new_tokens=6))
    assert len({answer.text for answer in answers}) == 1
    assert answers[-1].pages == (f"{two}#page=2",)
    assert vlm.ask(two, QUESTIONS[0], pages=[1], max_new_tokens=6).text != answers[0].text
    assert vlm.ask(two, QUESTIONS[0], max_new_tokens=6).pages == (f"{two}#page=1", f"{two}#page=2")


def test_pages_of_a_pdf_are_drawn_as_they_are(tmp_path: Path) -> None:
    path = asked.pdf(tmp_path / "a.pdf", "first", "second", "third")
    pages = as_pages(path, [3, 1])
    assert [page.name for page in pages] == [f"{path}#page=3", f"{path}#page=1"]
    for page, name in zip(pages, ("third", "first"), strict=True):
        drawn, meant = page.open(), asked.image(name)
        assert drawn.size == page.size == meant.size  # type: ignore[attr-defined]
        assert np.abs(np.asarray(drawn).astype(int) - np.asarray(meant)).mean() < 1
    assert len(as_pages(path)) == 3


def test_a_sheet_that_claims_to_be_huge_is_drawn_small(tmp_path: Path) -> None:
    sheet = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    sheet += b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 14400 14400]>>endobj\ntrailer<</Root 1 0 R>>\n"
    (opened,) = as_pages(sheet)
    assert opened.size == (4000, 4000)  # type: ignore[attr-defined]
    assert opened.open().size == (4000, 4000)
    refused("sides differ more than 200 times", as_pages, sheet.replace(b"14400 14400", b"14400 10"))


def test_pages_that_cannot_be_read(page: Path, tmp_path: Path) -> None:
    path = asked.pdf(tmp_path / "a.pdf", "first", "second")
    refused(r"a.pdf: has pages 1 to 2, so there is no page 3", as_pages, path, [1, 3])
    refused(r"a.pdf: has pages 1 to 2, so there is no page 0", as_pages, path, [0])
    refused(r"a.pdf: has pages 1 to 2, so there is no page 7", as_pages, f"{path}#page=7")
    refused("no page to read", as_pages, path, [])
    (tmp_path / "secret.pdf").write_bytes(asked.ENCRYPTED)
    refused(r"secret.pdf: encrypted; save a copy without its password", as_pages, tmp_path / "secret.pdf")
    (tmp_path / "cut.pdf").write_bytes(path.read_bytes()[:60])
    refused(r"cut.pdf: a PDF that cannot be opened", as_pages, tmp_path / "cut.pdf")
    (tmp_path / "notes.png").write_text("no image")
    refused(r"notes.png: not an image Pillow can read", as_pages, tmp_path / "notes.png")
    refused(r"empty \(0 bytes\)", as_pages, b"")
    refused(r"absent.png' not found", as_pages, tmp_path / "absent.png")
    refused(r"a folder; give an image file or a PDF", as_pages, tmp_path)
    refused(r"int is no page", as_pages, 3)
    two = asked.image("a"), asked.image("b")
    two[0].save(tmp_path / "scan.tif", save_all=True, append_images=two[1:])
    assert [page.name[-6:] for page in as_pages(tmp_path / "scan.tif")] == ["page=1", "page=2"]
    refused(r"scan.tif: has pages 1 to 2, so there is no page 3", as_pages, tmp_path / "scan.tif", [3])
    two[0].save(tmp_path / "film.gif", save_all=True, append_images=two[1:])
    refused(r"film.gif: an animated GIF of 2 frames; save the frame", as_pages, tmp_path / "film.gif")
    Image.new("1", (15_000, 15_000)).save(tmp_path / "huge.png")
    refused(r"huge.png: more pixels than Pillow's decompression-bomb limit", as_pages, tmp_path / "huge.png")


def test_questions_that_cannot_be_asked(vlm: Reader, page: Path) -> None:
    refused("question is empty", vlm.ask, page, " ")
    refused("question is empty", vlm.ask, page, ["What?", ""])
    refused("question is empty", vlm.ask, page, [])
    refused("invoice.png: pages= chooses pages of a PDF", vlm.ask, page, "What?", pages=[1])
    refused("max_new_tokens=0", vlm.ask, page, "What?", max_new_tokens=0)


def test_a_gpu_that_is_too_small_is_one_line(vlm: Reader, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr(vlm.vlm, "generate", full)
    refused(r"invoice.png: its pages \(1\) and questions \(2\) do not fit", vlm.ask, page, ["x?", "y?"])


def test_more_pages_than_the_model_has_positions_for(vlm: Reader, page: Path) -> None:
    refused(r"invoice.png: 80 pages and a question are up to \d+ tokens, but this model has positions for 4096",
            vlm.ask, [page] * 80, "What?")  # fmt: skip
    assert vlm.ask([page] * 2, "What?", max_new_tokens=1).pages == (str(page),) * 2


def test_what_is_loaded(page: Path, tmp_path: Path) -> None:
    best = asked.run() / "checkpoints" / "best"
    run, saved = load(asked.run()), load(best)
    assert (run.benchmark.name, saved.benchmark.name) == ("chartqa", "docvqa")
    assert (
        load(best, benchmark="chartqa").ask(page, "x?", max_new_tokens=4).text
        == run.ask(page, "x?", max_new_tokens=4).text
    )
    base = load(checkpoint("qwen2vl"), family="qwen2vl")
    assert base.vlm.trainable is None
    moved = tmp_path / "moved"
    shutil.copytree(checkpoint("qwen2vl"), moved)
    assert load(asked.run(), base=moved).vlm.checkpoint == str(moved)
    shutil.copytree(best, tmp_path / "best")
    record = (tmp_path / "best" / "docvlm.json").read_text()
    (tmp_path / "best" / "docvlm.json").write_text(record.replace(str(checkpoint("qwen2vl")), "/gone/base"))
    refused("its base /gone/base is not there any more; say where it is now with --base", load, tmp_path / "best")
    assert load(tmp_path / "best", base=moved).vlm.checkpoint == str(moved)
    families = r"\(qwen2vl or qwen3vl or florence2 or chat\)"
    refused(rf"a checkpoint, not a run; give it with its family {families}", load, moved)
    refused("a checkpoint, not a run", load, "embedded")
    refused("benchmark=textvqa: not known", load, best, benchmark="textvqa")


def test_runs_that_are_not_whole(tmp_path: Path) -> None:
    refused("no such folder", load, tmp_path / "absent")
    refused("manifest.json: no such file", load, tmp_path)
    run = tmp_path / "run"
    shutil.copytree(asked.run(), run)
    weights = run / "checkpoints" / "best" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused("adapter_model.safetensors: not readable", load, run)
    (run / "manifest.json").write_text(json.dumps({"family": "qwen2vl"}))
    refused(r"manifest.json: no config.model.attn in it", load, run)
    shutil.copy(asked.run() / "manifest.json", run)
    (run / "result.json").write_text('{"status": "fin')
    refused(r"result.json: not JSON", load, run)
    (run / "result.json").write_text('{"status": "running"}')
    (run / "checkpoints" / "best" / "docvlm.json").unlink()
    refused("best: no docvlm.json in it", load, run)
    refused("best: no docvlm.json in it", load, run / "checkpoints" / "best")
    shutil.rmtree(run / "checkpoints")
    refused("status running, and no weights", load, run)
