"""Which pages a selector hands on, and what commands do with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    ColModernVBertConfig,
    ColModernVBertForRetrieval,
    ColModernVBertProcessor,
    Idefics3ImageProcessor,
    ModernVBertConfig,
)

from docvlm.benchmark import main as benchmark
from docvlm.data import pdf
from docvlm.data.pdf import pdf_pages
from docvlm.data.reading import Selection
from docvlm.errors import DocvlmError
from docvlm.evaluate import main as evaluate
from docvlm.predict import main as predict
from docvlm.scoring import predictions as records
from docvlm.selection import chooser
from docvlm.selection.colmodernvbert import Retriever
from docvlm.selection.text import TextSelector, words
from docvlm.train import main
from tests.support import pdfs, runs
from tests.support.architectures.parts import byte_tokenizer
from tests.support.tiny import Paper, checkpoint, example

TEXTS = ("Contents of this report", "The total of the order is 12.50", "Signed by Ann Lee in Oslo", "Annex: the order")


@pytest.fixture
def contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contract.pdf").write_bytes(pdfs.with_text(TEXTS))
    return tmp_path / "contract.pdf"


@pytest.mark.parametrize(("question", "page"), [("What is the total?", 2), ("Who signed in Oslo?", 3), ("annex", 4)])
def test_words_of_a_question_find_their_page(contract: Path, question: str, page: int) -> None:
    choose = chooser(Selection("text", 1), offline=True)
    assert choose is not None
    (found,) = choose([example(0, pages=pdf_pages(str(contract), None), question=question)])
    assert (found.shown, found.n_pages, len(found.pages)) == ((page,), 4, 1)


def test_pages_stay_in_their_order_and_short_documents_whole(contract: Path) -> None:
    choose = chooser(Selection("text", 2), offline=True)
    assert choose is not None
    pages = pdf_pages(str(contract), None)
    (found,) = choose([example(0, pages=pages, question="the order, signed")])
    assert found.shown == tuple(sorted(found.shown)) and len(found.shown) == 2
    short = example(1, pages=pages[:2])
    assert choose([short]) == [short]


def test_pages_without_text_come_last_and_a_document_without_any_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "half.pdf"
    file.write_bytes(pdfs.with_text(["", "", "the total"]))
    assert TextSelector().scores("unheard of", pdf_pages(str(file), None)) == [0.0, 0.0, 0.0]
    file.write_bytes(pdfs.with_text(["", ""]))
    choose = chooser(Selection("text", 1), offline=True)
    assert choose is not None
    for pages in (pdf_pages(str(file), None), (Paper("a"), Paper("b"))):
        with pytest.raises(DocvlmError, match="no page of d0 has text") as raised:
            choose([example(0, pages=pages)])
        assert "\n" not in str(raised.value)


def test_all_pages_of_a_document_take_one_opening(contract: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    once = pdf._opened
    monkeypatch.setattr(pdf, "_opened", lambda path, data: opened.append(path) or once(path, data))
    pages = pdf_pages(str(contract), None)
    opened.clear()
    scores = TextSelector().scores("Signed in Oslo", (Paper("a"), *pages))
    assert scores is not None and scores.index(max(scores)) == 3 and len(scores) == 5
    assert opened == [str(contract)]


def test_scripts_without_spaces_are_cut_into_pairs() -> None:
    assert words("Total: 12.50 Größe") == ["total", "12", "50", "größe"]
    assert words("合計金額") == ["合計", "計金", "金額"]
    assert words("총 금액은 5") == ["총", "금액은", "5"]


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random retriever of the smallest size, its embeddings drawn wide."""
    tokenizer = byte_tokenizer(
        ("<|end_of_text|>", "<|pad|>", "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>",
         *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))),
        eos_token="<|end_of_text|>", pad_token="<|pad|>",
    )  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 64, "patch_size": 16}  # fmt: skip
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    inner = ModernVBertConfig(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pixel_shuffle_factor=2,
    )  # fmt: skip
    torch.manual_seed(0)
    net = ColModernVBertForRetrieval(ColModernVBertConfig(vlm_config=inner, embedding_dim=16))
    images = Idefics3ImageProcessor(size={"longest_edge": 128}, max_image_size={"longest_edge": 64})
    folder = tmp_path_factory.mktemp("retriever")
    net.save_pretrained(folder)
    ColModernVBertProcessor(images, tokenizer, image_seq_len=4).save_pretrained(folder)
    return folder


def test_a_late_interaction_retriever_scores_as_its_own_processor_does(retriever: Path) -> None:
    mine = Retriever.load(str(retriever), offline=True)
    pages = [Paper("one"), Paper("two", 140, 252), Paper("three", 252, 84)]
    found = mine.scores("Who signs?", pages)
    processor, net = mine.processor, mine.net
    with torch.no_grad():
        asked = net(**processor.process_queries(text=["Who signs?"], return_tensors="pt")).embeddings
        seen = [net(**processor.process_images(images=[p.open()], return_tensors="pt")).embeddings[0] for p in pages]
    wanted = processor.score_retrieval(list(asked), seen)[0].tolist()
    assert found == pytest.approx(wanted, rel=1e-5) and len(set(found)) == 3


def rows(folder: Path) -> None:
    asked = [("What is the total?", "12.50", 2), ("Who signed?", "Ann Lee", 3)]
    lines: list[dict[str, Any]] = []
    for split in ("train", "val", "test"):
        (folder / f"{split}.pdf").write_bytes(pdfs.with_text([f"{text} {split}" for text in TEXTS]))
        for question, answer, page in asked:
            row = {"image": f"{split}.pdf", "question": question, "answers": [answer], "answer_page": page}
            lines.append({**row, "split": split, "doc_id": split, "question_id": f"{split}-{page}"})
    (folder / "qa.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_commands_read_the_chosen_pages_and_go_on_as_a_run_was_trained(
    contract: Path, retriever: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (contract.parent / "pages").mkdir()
    rows(contract.parent / "pages")
    words = ["data=folder", "data.source=pages", "trainer.max_epochs=1", "lora.r=2", "audit=off"]
    main([*runs.overrides("florence2", *words), "selector=text"])
    out = capsys.readouterr().out
    assert "selector: text hands on 1 of a document's pages, which hold the answer of 6 of 6 questions" in out
    (run,) = Path("outputs").iterdir()
    assert {(one.shown, one.page) for one in records.read(run / "predictions.jsonl")} == {((2,), 2), ((3,), 3)}
    again = ["scale=tiny", f"run={run}", "benchmarks=[folder]", "data.folder.source=pages"]
    evaluate(again)
    (file,) = run.glob("eval/*/evaluation.json")
    found = json.loads(file.read_text())["score"]
    assert (found["page_recall"]["mean"], found["page_recall"]["n"]) == (1.0, 2)
    evaluate([*again, "selector=colmodernvbert", f"selector_checkpoint={retriever}"])
    shown = [{one.shown for one in records.read(file)} for file in run.glob("eval/*/predictions.jsonl")]
    assert len(shown) == 2 and {(2,), (3,)} in shown, "as it was trained, and as it was told"
    capsys.readouterr()
    predict(["--run", str(run), "--question", "Who signed in Oslo?", "contract.pdf"])
    assert "read from page 3 of 4" in capsys.readouterr().err


@pytest.mark.slow
def test_chosen_pages_may_be_asked_one_by_one(contract: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each question of two pages out of four, in every evaluation of a run and after it."""
    (contract.parent / "pages").mkdir()
    rows(contract.parent / "pages")
    words = ["data=folder", "data.source=pages", "trainer.max_epochs=1", "lora.r=2", "audit=off", "data.pages=each"]
    main([*runs.overrides("florence2", *words), "selector=text", "selector_pages=2"])
    (run,) = Path("outputs").iterdir()
    evaluate(["scale=tiny", f"run={run}", "benchmarks=[folder]", "data.folder.source=pages"])
    (again,) = run.glob("eval/*/predictions.jsonl")
    for file in (run / "predictions.jsonl", again):
        found = records.read(file)
        assert len(found) == 2 and all(one.page in (1, 2, 3, 4) for one in found)
    capsys.readouterr()


def test_a_retriever_is_compared_with_all_pages_and_embeds_each_page_once(
    contract: Path, retriever: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (contract.parent / "pages").mkdir()
    rows(contract.parent / "pages")
    loaded: list[str] = []
    load = Retriever.load.__func__  # type: ignore[attr-defined]  # a class method has one

    def counted(cls: type[Retriever], name: str, **how: Any) -> Retriever:
        loaded.append(name)
        found: Retriever = load(cls, name, **how)
        return found

    monkeypatch.setattr(Retriever, "load", classmethod(counted))
    few = [f"checkpoint={checkpoint('qwen2vl')}", "benchmark=folder", "data.folder.source=pages", "batch=1", "pages=1"]
    told = ["selectors=[none,colmodernvbert]", "selector_pages=[1,2]", f"selector_checkpoint={retriever}", "warmup=1"]
    benchmark(["scale=tiny", *few, *told, "data.folder.max_new_tokens=2", "output=here"])
    capsys.readouterr()
    (file,) = Path("here").rglob("benchmark.json")
    found = [row for row in json.loads(file.read_text())["selectors"]["rows"] if row["documents"] is None]
    names = [("none", None), ("none", 1), ("colmodernvbert", 1), ("none", 2), ("colmodernvbert", 2)]
    assert [(row["selector"], row["k"]) for row in found] == names
    assert all(row["selector_seconds"] > 0 for row in found if row["selector"] != "none")
    assert len(loaded) == 1 + 2 * 2, "once for both numbers of pages; each is timed with one that has seen nothing"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["selector=words"], "selector=words: choose none, text, colmodernvbert"),
        (["selector=text", "selector_pages=0"], "selector_pages=0"),
        (["selector=colmodernvbert"], "selector_checkpoint=None"),
        (["selector=text", "selector_checkpoint=somewhere"], "selector_checkpoint=somewhere"),
        (["selector=colmodernvbert", "selector_checkpoint=/nowhere"], "selector_checkpoint=/nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], said: str, contract: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (contract.parent / "pages").mkdir()
    rows(contract.parent / "pages")
    with pytest.raises(SystemExit) as ended:
        main([*runs.overrides("florence2", "data=folder", "data.source=pages"), *words])
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert said in line
