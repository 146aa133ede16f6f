"""The columns and types of the published data sets, and rows and parquet files made of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, Features, List, Value
from PIL import Image

STRINGS = List(Value("string"))
DOCVQA = Features(  # lmms-lab/DocVQA, config DocVQA
    {
        "questionId": Value("string"),
        "question": Value("string"),
        "question_types": STRINGS,
        "image": datasets.Image(),
        "docId": Value("int64"),
        "ucsf_document_id": Value("string"),
        "ucsf_document_page_no": Value("string"),
        "answers": STRINGS,
        "data_split": Value("string"),
    }
)
M4_DOCVQA = Features(  # HuggingFaceM4/DocumentVQA
    {
        key: Value("int32") if key in ("questionId", "docId") else kind
        for key, kind in DOCVQA.items()
        if key != "data_split"
    }
)
INFOVQA = Features(  # lmms-lab/DocVQA, config InfographicVQA
    {
        "questionId": Value("string"),
        "question": Value("string"),
        "answers": STRINGS,
        "answer_type": STRINGS,
        "image": datasets.Image(),
        "image_url": Value("string"),
        "operation/reasoning": STRINGS,
        "ocr": Value("string"),
        "data_split": Value("string"),
    }
)
M4_CHARTQA = Features(  # HuggingFaceM4/ChartQA
    {
        "image": datasets.Image(),
        "query": Value("string"),
        "label": STRINGS,
        "human_or_machine": ClassLabel(names=["human", "machine"]),
    }
)
LMMS_CHARTQA = Features(  # lmms-lab/ChartQA
    {"type": Value("string"), "question": Value("string"), "answer": Value("string"), "image": datasets.Image()}
)
MASRY_CHARTQA = Features(  # ahmed-masry/ChartQA
    {
        "imgname": Value("string"),
        "query": Value("string"),
        "label": Value("string"),
        "type": Value("string"),
        "image": Value("binary"),
    }
)


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (40 + shade % 5, 30), shade).save(stream, "PNG")
    return stream.getvalue()


def docvqa_rows(split: str, pages: int) -> Iterator[dict[str, Any]]:
    """Two questions a page, two pages a document."""
    for n in range(2 * pages):
        page, document = n // 2, n // 4
        yield {
            "questionId": f"{len(split)}{n:03d}",
            "question": f"What is {n} in {split}?",
            "question_types": ["table/list", "form"] if n % 2 else ["handwritten"],
            "image": {"bytes": png(page), "path": None},
            "docId": 1000 + document,
            "ucsf_document_id": f"{split}{document:04d}",
            "ucsf_document_page_no": str(page % 2 + 1),
            "answers": [f"{n}", f"no. {n}"],
            "data_split": split,
        }


def infovqa_rows(split: str, pages: int) -> Iterator[dict[str, Any]]:
    for n in range(2 * pages):
        yield {
            "questionId": f"{len(split)}{n:04d}",
            "question": f"How many {n}?",
            "answers": [str(n)],
            "answer_type": ["single span"],
            "image": {"bytes": png(n // 2 + 100 * (split == "train")), "path": None},
            "image_url": f"https://example.org/{n // 2}.png",
            "operation/reasoning": ["none"] if n % 2 else ["counting"],
            "ocr": "{}",
            "data_split": split,
        }


def chart_rows(split: str, features: Features, pages: int = 3) -> Iterator[dict[str, Any]]:
    for n in range(2 * pages):
        shade = n // 2 + 20 * len(split)
        values = {
            "image": png(shade) if features is MASRY_CHARTQA else {"bytes": png(shade), "path": None},
            "query": f"Which bar is {n}?",
            "question": f"Which bar is {n}?",
            "label": [str(n)] if features is M4_CHARTQA else str(n),
            "answer": str(n),
            "human_or_machine": n % 2,
            "imgname": f"{split}_{n // 2}.png",
            "type": f"{('human', 'augmented')[n % 2]}{'_test' if features is LMMS_CHARTQA else ''}",
        }
        yield {key: values[key] for key in features}


def parquet(folder: Path, name: str, features: Features, rows: Iterator[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(list(rows), features=features).to_parquet(folder / name)


def described(examples: list[Any]) -> list[tuple[Any, ...]]:
    return [(e.question_id, e.question, e.answers, e.document, e.question_types) for e in examples]


PAGES = range(1, 21)
MPDOCVQA = Features(  # lmms-lab-encoder/MP-DocVQA
    {
        **dict.fromkeys(
            ("questionId", "question", "doc_id", "page_ids", "answers", "answer_page_idx", "data_split"),
            Value("string"),
        ),
        **{f"image_{number}": datasets.Image() for number in PAGES},
    }
)


def mpdocvqa_rows(split: str, documents: int) -> Iterator[dict[str, Any]]:
    """Two questions a document; document n has n + 1 pages, and its last one holds the answer."""
    for n in range(2 * documents):
        count = n // 2 + 1
        ids = [f"{split}{n // 2}_p{page}" for page in range(count)]
        images = [
            {"bytes": png(10 * (n // 2) + page + 100 * (split == "train")), "path": None} for page in range(count)
        ]
        yield {
            "questionId": f"{len(split)}{n:03d}",
            "question": f"What is {n} in {split}?",
            "doc_id": f"{split}{n // 2}",
            "page_ids": str(ids),
            "answers": str([f"No. {n}", f"it's {n}"]),
            "answer_page_idx": str(count - 1),
            "data_split": split,
            **{f"image_{number}": images[number - 1] if number <= count else None for number in PAGES},
        }


SLIDEVQA = Features(  # NTT-hil-insight/SlideVQA
    {
        "deck_name": Value("string"),
        "qa_id": Value("int64"),
        "question": Value("string"),
        "answer": Value("string"),
        "evidence_pages": List(Value("int64")),
        **{f"page_{number}": datasets.Image() for number in PAGES},
    }
)
MTVQA = Features(  # ByteDance/MTVQA
    {"image": datasets.Image(), **dict.fromkeys(("id", "lang", "qa_pairs"), Value("string"))}
)
KDTCBENCH = Features(  # NCSOFT/K-DTCBench
    {
        **dict.fromkeys(
            ("index", "question", "choice_a", "choice_b", "choice_c", "choice_d", "answer", "category"), Value("string")
        ),
        "image": datasets.Image(),
    }
)


def slidevqa_rows(split: str, decks: int) -> Iterator[dict[str, Any]]:
    """Two questions a deck of three slides, the second without an answer."""
    for n in range(2 * decks):
        shade = 10 * (n // 2) + 100 * (split == "train")
        images = [{"bytes": png(shade + page), "path": None} for page in range(3)]
        yield {
            "deck_name": f"{split}-deck-{n // 2}",
            "qa_id": 1000 * len(split) + n,
            "question": f"What is {n}?",
            "answer": None if n % 2 else f"No. {n}",
            "evidence_pages": [] if n % 2 else [1, 3],
            **{f"page_{number}": images[number - 1] if number <= 3 else None for number in PAGES},
        }


def mtvqa_rows(split: str) -> Iterator[dict[str, Any]]:
    """A page in each of three languages, with two questions."""
    for n, (lang, question, answer) in enumerate(
        (("KR", "합계는?", "1,200원"), ("TH", "ชื่ออะไร", "ไก่ย่าง"), ("DE", 'Was steht bei "Summe"?', "12,50 €"))
    ):
        pairs = [{"question": question, "answer": answer}, {"question": f"{question} 2", "answer": "it's 2"}]
        image = {"bytes": png(20 * n + 100 * (split == "train")), "path": None}
        yield {"image": image, "id": str(n), "lang": lang, "qa_pairs": str(pairs)}


def kdtcbench_rows(pages: int) -> Iterator[dict[str, Any]]:
    for n in range(2 * pages):
        yield {
            "index": str(n),
            "question": f"총 매출은 {n}인가요?",
            **{f"choice_{letter}": f"{letter}{n}" for letter in "abcd"},
            "answer": "ABCD"[n % 4],
            "category": ("document", "table", "chart")[n // 2 % 3],
            "image": {"bytes": png(n // 2), "path": None},
        }
