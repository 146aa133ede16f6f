"""`docvlm-app` without a browser: who answers, what is taken, what is refused, and the server's address and headers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from docvlm import app
from docvlm.data.reading import Reading
from docvlm.errors import DocvlmError
from docvlm.serving.answers import Answer
from docvlm.serving.app import markup, models, samples, server
from docvlm.serving.app.handlers import MOST_QUESTIONS, Desk, questions
from tests.support import asked as files
from tests.support.tiny import checkpoint

BEST = Reading("best")
EVIL = "<script>alert(1)</script> & </article>"
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="no gradio here")


@pytest.fixture(scope="module")
def pair() -> tuple[models.Contender, ...]:
    return models.load(files.reading_run())


@pytest.fixture(scope="module")
def desk(pair: tuple[models.Contender, ...]) -> Desk:
    return Desk(pair, samples.samples("tiny"), 1)


def refused(capsys: pytest.CaptureFixture[str], *flags: object, code: int = 1) -> str:
    with pytest.raises(SystemExit) as ended:
        app.main([str(flag) for flag in flags])
    assert ended.value.code == code
    out, error = capsys.readouterr()
    assert out == ""
    assert code == 2 or error.count("\n") == 1
    return error


def test_a_run_and_its_base_answer_as_they_answer_alone(desk: Desk) -> None:
    run, base = files.load_once(files.reading_run()), files.load_once("embedded", family="qwen2vl")
    invoice = desk.samples[0]
    asked = list(invoice.answers)
    replies = models.ask(desk.models, [invoice.drawn], asked, None)
    assert [one.title for one in desk.models] == ["fine-tuned", "base"]
    assert [reply.answers[0].text for reply in replies] == [run.ask(invoice.drawn, one).text for one in asked]
    assert [reply.answers[1].text for reply in replies] == [base.ask(invoice.drawn, one).text for one in asked]
    assert len({reply.differ for reply in replies}) == 2, "the adapter spoils some answers, not all"
    shown = desk.answers(invoice, 1, "\n".join(asked))
    assert shown.count("the answers differ") == sum(reply.differ for reply in replies)
    assert shown.count('class="answer ') == 2 * len(asked)
    assert shown.count("right answer: ") == len(asked)
    assert "not calibrated" in shown


def test_questions_about_a_page_share_one_reading_a_model(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[str] = []
    for one in desk.models:
        inner = one.reader.vlm.page_features
        say = lambda batch, inner=inner, title=one.title: readings.append(title) or inner(batch)  # noqa: E731
        monkeypatch.setattr(one.reader.vlm, "page_features", say)
    desk.answers(desk.samples[0], 1, "Which amount is written?\n\n  Which date is written?\n")
    assert readings == ["fine-tuned", "base"]


def test_every_sample_opens_and_brings_questions(desk: Desk) -> None:
    assert [one.title for one in desk.samples] == [
        "Invoice", "Form", "Table", "Letter", "Receipt", "Chart", "Infographic",
    ]  # fmt: skip
    for one in desk.samples:
        assert 2 <= len(one.answers) <= 6
        assert desk.show(one, 1).size == (280, 168)
    full = samples.samples("full")
    assert [one.title for one in full] == [one.title for one in desk.samples]
    assert 1200 < max(desk.show(full[0], 1).size) <= 1600


def test_what_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = files.reading_run()
    (alone,) = models.load(run, alone=True)
    assert (alone.title, alone.kind, alone.miniature) == ("fine-tuned", "Qwen2-VL with LoRA of rank 4", True)
    learned = alone.reader.vlm.trainable
    alone.reader.vlm.trainable = replace(learned, lora=replace(learned.lora, use_dora=True))
    assert alone.kind == "Qwen2-VL with DoRA of rank 4"
    (zero_shot,) = models.load(None, "embedded", family="florence2")
    assert (zero_shot.title, zero_shot.kind, zero_shot.name) == ("checkpoint", "Florence-2", "embedded")
    assert "A miniature trained on small drawn pages" in markup.header([zero_shot])
    with pytest.raises(DocvlmError, match="fingerprint"):
        models.load(run, base=str(checkpoint("qwen2vl")))
    with pytest.raises(DocvlmError, match=r"device=quantum: not to be had .*; give cpu, cuda"):
        models.load(run, device="quantum")
    assert capsys.readouterr().err == ""


def test_a_run_whose_base_is_gone_answers_alone_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that learned in full needs no base to answer."""
    run = files.full_run()
    record = run / "checkpoints" / "best" / "docvlm.json"
    record.write_text(record.read_text().replace(str(checkpoint("qwen2vl")), "/gone/base"))
    (ours,) = models.load(run)
    assert (ours.kind, ours.miniature) == ("Qwen2-VL learned in full", False)
    assert "without the base beside it:" in (said := capsys.readouterr().err)
    assert "its base /gone/base is not there any more" in said
    both = models.load(run, base=str(checkpoint("qwen2vl")))
    assert [one.title for one in both] == ["fine-tuned", "base"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.png", b"no image", r"notes.png: not an image Pillow can read"),
        ("empty.png", b"", r"empty.png: empty \(0 bytes\)"),
        ("notes.txt", b"x", r"notes.txt: neither an image nor a PDF; give one of .png"),
        ("secret.pdf", files.ENCRYPTED, r"secret.pdf: encrypted; save a copy without its password"),
        ("cut.pdf", b"%PDF-1.4 and no more", r"cut.pdf: a PDF that cannot be opened"),
        ("long.png", bytes(1_200_000), r"long.png: 1.1 MB, and at most 1 MB are taken"),
    ],
)
def test_files_that_are_refused(desk: Desk, tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocvlmError, match=said) as caught:
        desk.upload(str(tmp_path / name))
    assert str(tmp_path) not in str(caught.value), "no path of this machine on the page"


def test_images_that_would_fill_the_memory_are_refused_by_their_header(desk: Desk, tmp_path: Path) -> None:
    Image.new("1", (15_000, 15_000)).save(tmp_path / "bomb.png")
    with pytest.raises(DocvlmError, match=r"bomb.png: more pixels than Pillow's decompression-bomb limit"):
        desk.upload(str(tmp_path / "bomb.png"))
    Image.new("1", (9_500, 9_000)).save(tmp_path / "huge.png")
    with pytest.raises(DocvlmError, match=r"huge.png: 9500 x 9000 pixels, and at most 80 million are taken"):
        desk.upload(str(tmp_path / "huge.png"))


def test_pages_of_a_pdf_are_asked_one_by_one(desk: Desk, tmp_path: Path) -> None:
    pdf = files.pdf(tmp_path / "two.pdf", "first", "second")
    sheet = desk.upload(str(pdf))
    assert (sheet.name, sheet.count) == ("two.pdf", 2)
    reader = desk.models[0].reader
    for number in (1, 2):
        found = desk.asked(str(pdf), number, "Which date is written?")
        assert found[0]["answers"][0]["answer"] == reader.ask(pdf, "Which date is written?", pages=[number]).text
    assert "two.pdf: has pages 1 to 2, so there is no page 3" in desk.answers(sheet, 3, "Which date?")
    pdf.unlink()
    assert "two.pdf: not here any more (No such file or directory); upload it again" in desk.answers(sheet, 1, "x?")


@pytest.mark.parametrize("suffix", ["pdf", "tif"])
def test_a_document_is_asked_as_a_whole_and_names_the_page(desk: Desk, tmp_path: Path, suffix: str) -> None:
    """Together where a model reads all pages; page by page where it was trained so."""
    file = tmp_path / f"two.{suffix}"
    first, second = (files.image(name) for name in ("first", "second"))
    first.save(file, save_all=True, append_images=[second], **({"resolution": 200} if suffix == "pdf" else {}))
    reader, question = desk.models[0].reader, "Which date is written?"
    (asked,) = desk.asked(str(file), 0, question)
    assert asked["answers"][0]["answer"] == reader.ask(file, question).text
    assert all("page" not in one for one in asked["answers"])
    (second_page,) = desk.asked(str(file), 2, question)
    assert [one["page"] for one in second_page["answers"]] == [2, 2]
    by_page = [replace(one, reader=replace(one.reader, reads=BEST)) for one in desk.models]
    one_by_one = replace(desk, models=tuple(by_page))
    expected = replace(reader, reads=BEST).ask(file, question)
    (best,) = one_by_one.asked(str(file), 0, question)
    assert (best["answers"][0]["answer"], best["answers"][0]["page"]) == (expected.text, expected.page)
    html = one_by_one.answers(desk.upload(str(file)), 0, question)
    assert f"page <b>{expected.page}</b>" in html
    assert "page <b>" not in one_by_one.answers(desk.samples[0], 1, question)


def test_questions_that_are_refused(desk: Desk) -> None:
    for text, said in {
        " \n ": "no question yet",
        "x?\n" * (MOST_QUESTIONS + 1): f"{MOST_QUESTIONS + 1} questions, and at most {MOST_QUESTIONS}",
        "x" * 501: "a question of 501 characters, and at most 500",
    }.items():
        assert said in desk.answers(desk.samples[0], 1, text)
        with pytest.raises(DocvlmError, match=said):
            questions(text)
    assert "no page yet: choose a sample" in desk.answers(None, 1, "x?")


def test_what_others_wrote_is_text_on_the_page(desk: Desk) -> None:
    answer = Answer(EVIL, EVIL, ("x",), 0.5, 3, True, 0.25)
    shown = markup.answers(["checkpoint"], [models.Reply(EVIL, (answer,))], {EVIL: EVIL}) + markup.notice(EVIL)
    assert "<script>" not in shown
    assert shown.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4
    assert "cut after 3 tokens" in shown


def test_flags_that_do_not_fit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--checkpoint needs --family" in refused(capsys, "--checkpoint", "x", code=2)
    assert "--alone goes with --run, and not with --base" in refused(
        capsys, "--run", "x", "--base", "y", "--alone", code=2
    )
    assert "70000: give a number from 0 to 65535" in refused(capsys, "--run", "x", "--port", 70000, code=2)
    assert "0: give a number of megabytes" in refused(capsys, "--run", "x", "--max-mb", 0, code=2)


def test_without_gradio_one_line_names_the_install_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    said = refused(capsys, "--run", "x")
    assert 'needs Gradio, which is not installed: pip install "docvlm[app]"' in said


@needs_gradio
def test_what_is_wrong_is_said_before_anything_loads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(capsys, "--run", tmp_path, "--port", port)
    assert f"--port {port}: Address already in use; give another, or 0 for any that is free" in said
    said = refused(capsys, "--run", tmp_path, "--host", "203.0.113.7", "--port", 0)  # for documentation: nobody's
    assert "--host 203.0.113.7: Cannot assign requested address; give 127.0.0.1" in said
    assert "manifest.json: no such file" in refused(capsys, "--run", tmp_path, "--port", 0)


def test_help_takes_under_a_second_and_imports_no_torch(root: Path) -> None:
    code = "import sys; from docvlm import app\ntry: app.main(['--help'])\nfinally: print('torch' in sys.modules)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.startswith("usage: docvlm-app") and done.stdout.endswith("False\n")
    assert time.perf_counter() - began < 3, "a second on a machine that does nothing else"


def test_an_address_anyone_can_open() -> None:
    with server.listen("0.0.0.0", 0) as listener:
        assert server.address(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"


@needs_gradio
def test_the_command_serves_until_ctrl_c_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with server.listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    seen: dict[str, object] = {}

    ended = threading.Event()

    def visit() -> None:
        try:
            while not ended.is_set():
                with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                seen["policy"] = answer.headers["content-security-policy"]
                seen["page"] = answer.read().decode()
            seen["uploads"] = Path(os.environ["GRADIO_TEMP_DIR"])
            large = urllib.request.Request(
                f"http://127.0.0.1:{port}/gradio_api/upload",
                b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
                + bytes(600_000)
                + b"\r\n--x--\r\n",
                {"Content-Type": "multipart/form-data; boundary=x"},
            )
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(large, timeout=60)
            seen["too large"] = caught.value.code
        finally:
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        app.main(["--run", str(files.reading_run()), "--port", str(port), "--max-mb", "0.5"])
    finally:
        ended.set()
        visitor.join()
    out, error = capsys.readouterr()
    assert out == f"fine-tuned, base: http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
    assert "Traceback" not in error
    assert "Ask a page" in str(seen["page"])
    assert str(seen["policy"]).startswith("default-src 'self';")
    assert seen["too large"] == 413
    assert isinstance(seen["uploads"], Path) and not seen["uploads"].exists()
    assert "GRADIO_TEMP_DIR" not in os.environ
