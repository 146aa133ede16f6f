"""What a training run and the verb do about leakage, and what they leave."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docvlm.audit import main
from docvlm.config import Job, TrainConfig
from docvlm.config.compose import load
from docvlm.data.leakage import page as audit_page
from docvlm.data.leakage.audit import KINDS
from docvlm.data.pages import FilePage
from docvlm.errors import DocvlmError
from docvlm.training.run import read
from tests.support import runs
from tests.support.audit_pages import Folder, drawn


@pytest.fixture
def pages(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "pages").fill()


def test_a_run_stops_and_says_where(pages: Folder, tmp_path: Path) -> None:
    for index in range(50, 55):
        pages.add("train", f"a{index}.png", drawn(index))
        pages.add("test", f"b{index}.png", drawn(index))
    with pytest.raises(DocvlmError) as stopped:
        pages.read(tmp_path / "run")
    line = str(stopped.value)
    assert line.startswith("audit=stop: 5 documents of train (5 questions) are also evaluated: pixels: ")
    assert "\n" not in line
    assert "a50.png (train) = " in line and "and 2 more pairs (all in " in line and "audit=drop" in line
    assert str(tmp_path / "run" / "audit.html") in line and (tmp_path / "run" / "audit.html").is_file()


def test_drop_takes_whole_documents_out_of_train_and_is_another_run(pages: Folder, tmp_path: Path) -> None:
    before = pages.read(tmp_path / "before")
    assert before.audited["mode"] == "stop" and not list((tmp_path / "before").iterdir())
    pages.add("train", "a1.png", drawn(50), {"doc_id": "a"}, {"doc_id": "a", "question": "Who?"})
    pages.add("train", "a2.png", drawn(51), {"doc_id": "a"})
    pages.add("val", "b.png", drawn(50))
    off, drop = (pages.read(tmp_path / mode, mode) for mode in ("off", "drop"))
    assert (len(off.train), len(drop.train)) == (5, 2) and "a" not in {e.document for e in drop.train}
    assert off.audited == {"mode": "off"}
    assert drop.audited["mode"] == "drop" and drop.audited["dropped"] == {"documents": 1, "questions": 3}
    assert (drop.audited["documents_of_train"], drop.audited["questions_of_train"]) == (1, 3)
    assert drop.audited["overlaps"]["val"]["pixels"] == 1
    assert drop.fingerprint() != off.fingerprint()
    assert drop.fingerprint(["train"]) == before.fingerprint(["train"])


def test_dropping_everything_leaves_nothing_to_learn(tmp_path: Path) -> None:
    pages = Folder(tmp_path / "pages")
    for split in ("train", "val", "test"):
        pages.add(split, f"{split}.png", drawn(50))
    with pytest.raises(DocvlmError, match="no train questions"):
        pages.read(tmp_path / "run", "drop")


def test_a_mixture_counts_what_is_left_of_its_parts() -> None:
    from docvlm import build

    words = ["scale=tiny", "data=mix", "data.limit_train=12", "data.limit_val=4", "data.limit_test=4"]
    data = build.datamodule(load("train", TrainConfig, words).data)
    first = data.train[0]
    dropped = [e for e in data.train if (e.benchmark, e.document) == (first.benchmark, first.document)]
    left = len(data.train) - len(dropped)
    data.leave_out({(first.benchmark, first.document)})
    assert len(data.train) == left == sum(count for count, _ in data._parts())


def test_manifest_and_result_say_what_the_audit_found() -> None:
    """`stop`, since the yaml's `auto` has drawn pages before it."""
    found = json.loads((runs.finished() / "manifest.json").read_text())["data"]["audit"]
    assert found["mode"] == "stop" and found["documents_of_train"] == found["questions_of_train"] == 0
    assert found["dropped"] == {"documents": 0, "questions": 0} and found["pages"]["train"] > 0
    assert found["overlaps"]["val"] == dict.fromkeys(KINDS, 0) and set(found["overlaps"]) == {"val", "test"}
    assert runs.result(runs.finished())["audit"] == found


def test_a_wrong_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from docvlm.train import main as train

    with pytest.raises(SystemExit):
        train(["scale=tiny", "audit=warn"])
    assert "audit=warn: stop (an overlap ends the run), drop" in capsys.readouterr().err


class Command:
    """The verb, in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str]:
        try:
            main(list(words))
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = self.capsys.readouterr()
        return code, out + err


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


class Page(HTMLParser):
    """The tags of a page, its text, and where its pictures come from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.content = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.content += data


def test_the_verb_exits_0_without_and_1_with_an_overlap(pages: Folder, tmp_path: Path, command: Command) -> None:
    code, out = command(*pages.words)
    assert code == 0 and "the same pixels" in out, out
    script = "<script>alert(1)</script>"
    pages.add("train", "a.png", drawn(50), {"question": script, "answers": ['"&<b>']})
    pages.add("test", "b.png", drawn(50), {"question": script, "answers": ['"&<b>']})
    code, out = command(*pages.words, "hydra.run.dir=found")
    assert code == 1 and "Traceback" not in out and str(tmp_path / "found" / "audit.html") in out
    found = json.loads((tmp_path / "found" / "audit.json").read_text())
    assert found["overlaps"]["test"]["pixels"] == 1 and found["pairs"][0]["train_document"] == "train/a.png"
    page = Page((tmp_path / "found" / "audit.html").read_text())
    assert "script" not in page.tags and script in page.content and '"&<b>' in page.content
    assert len(page.sources) == 2 and all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "color-scheme:light dark" in page.content


def test_a_damaged_page_is_reported(pages: Folder, tmp_path: Path, command: Command) -> None:
    """Its header and its end are whole, so that reading the source does not notice."""
    path = pages.add("train", "a.png", drawn(50))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    path.write_bytes(content)
    code, out = command(*pages.words, "hydra.run.dir=found")
    assert code == 0 and "unreadable (train, 1 questions): page" in out and "Traceback" not in out
    (bad,) = json.loads((tmp_path / "found" / "audit.json").read_text())["unreadable_pages"]
    assert bad["page"].endswith("a.png") and bad["questions"] == 1
    assert "Pages that cannot be decoded" in (tmp_path / "found" / "audit.html").read_text()
    for audit in ("auto", "off"):
        data = pages.read(tmp_path / audit, audit)
        assert "1 page cannot be decoded" in str(data.quarantine)
        assert not any(page.name.endswith("a.png") for example in data.train for page in example.pages)


def test_a_document_known_by_its_id_shows_its_first_pages(pages: Folder) -> None:
    broken = pages.add("train", "a.png", drawn(50), {"doc_id": "<i>7"})
    pages.add("test", "b.png", drawn(51), {"doc_id": "<i>7"})
    found = pages.audited()
    page = Page(audit_page.html("pages", found))
    assert len(page.sources) == 2 and "1. document: the same document id" in page.content
    assert page.content.count("<i>7") == 2 and "i" not in page.tags
    broken.write_bytes(b"")
    page = Page(audit_page.html("pages", found))
    assert len(page.sources) == 1 and "This page cannot be decoded." in page.content


def test_many_pairs_make_a_page_of_the_first(pages: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in (50, 51, 52):
        pages.add("train", f"a{index}.png", drawn(index))
        pages.add("test", f"b{index}.png", drawn(index))
    monkeypatch.setattr(audit_page, "SHOWN", 2)
    page = Page(audit_page.html("pages", pages.audited()))
    assert len(page.sources) == 4 and "1 more in audit.json" in page.content


def published(root: Path) -> Path:
    """DocVQA as RRC hands it out: the document `twice` has a page in train and one in val."""
    (root / "documents").mkdir(parents=True)
    for split, names in (("train", ("a_1", "b_1", "twice_1")), ("val", ("c_1", "twice_2"))):
        rows = []
        for number, name in enumerate(names):
            drawn(20 + number, split).save(root / "documents" / f"{name}.png")
            row = {"question": "What is it?", "answers": [name], "image": f"documents/{name}.png"}
            document, page = name.split("_")
            ids = {"questionId": f"{split}-{number}", "ucsf_document_id": document, "ucsf_document_page_no": page}
            rows.append({**row, **ids, "docId": number, "data_split": split, "question_types": ["form"]})
        (root / f"{split}_v1.0_withQT.json").write_text(json.dumps({"dataset_name": "SP-DocVQA", "data": rows}))
    return root


def test_auto_leaves_out_what_published_splits_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = published(tmp_path / "rrc")
    words = ["scale=tiny", "data=docvqa", f"data.source={source}", f"features_folder={tmp_path / 'store'}"]
    cfg = load("train", TrainConfig, [*words, "data.val_fraction=0.3"])
    data = read(cfg, Job(tmp_path))
    out = capsys.readouterr().out
    assert "audit=drop (auto: the splits of data.source=" in out and "1 documents of train (1 questions)" in out
    assert "twice" in {e.document for e in data.test} and "twice" not in {e.document for e in data.train}
    assert data.audited["mode"] == "drop" and data.audited["dropped"] == {"documents": 1, "questions": 1}
    assert data.audited["overlaps"]["test"]["document"] == 1
    with pytest.raises(DocvlmError, match=r"audit=stop: 1 documents of train .*document: twice \(train"):
        read(dataclasses.replace(cfg, audit="stop"), Job(tmp_path))


def test_the_other_processes_learn_what_the_first_found(
    pages: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They look at no page themselves, leave out the same documents, and stop without a line of their own."""
    pages.add("train", "a.png", drawn(50), {"doc_id": "a"})
    pages.add("val", "b.png", drawn(50))
    monkeypatch.setenv("DOCVLM_AUDIT", "")  # what the first process says there goes with the test
    with pytest.raises(DocvlmError, match="audit=stop: 1 documents"):
        pages.read(tmp_path / "first", "stop")
    with other_process(monkeypatch), pytest.raises(SystemExit, match="1"):
        pages.read(tmp_path / "second", "stop")
    first = pages.read(tmp_path / "first", "drop")
    with other_process(monkeypatch):
        second = pages.read(tmp_path / "second", "drop")
    assert second.audited == first.audited and second.audited["dropped"]["documents"] == 1
    assert second.fingerprint() == first.fingerprint() and not list((tmp_path / "second").iterdir())


@contextmanager
def other_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the second process of a run, for which no page can be opened."""
    with monkeypatch.context() as changed:
        changed.setattr(FilePage, "open", lambda page: pytest.fail(f"{page.name} was opened"))
        changed.setenv("LOCAL_RANK", "1")
        yield
