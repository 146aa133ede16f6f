"""SlideVQA: questions on slide decks of up to 20 slides (Tanaka et al., arXiv 2301.04883); strict ANLS, EM and F1.

Slides are separate pages here. lmms-eval pastes a deck into at most five images of two columns, so its figures are of
another protocol. Train learns, a deck-grouped slice of it selects, the split `val` reports, as lmms-eval does.
"""

from __future__ import annotations

from docvlm.data.benchmark import Benchmark, HubSplit, Public
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.example import Example
from docvlm.data.page_ids import identified
from docvlm.data.rows import BadRow, Row, identifier, page_numbers, present, text

NOT_ANSWERABLE = "not answerable"
"""The accepted answer of a question whose `answer` is null or NaN, as lmms-eval and VLMEvalKit score it."""
REPO = "NTT-hil-insight/SlideVQA"


def example(row: Row) -> Example:
    """A row of NTT-hil-insight/SlideVQA. Raises `BadRow`.

    A line break in an answer is deleted, as lmms-eval does. `evidence_pages` count from 1.
    """
    pages = identified(row.pages)[1]
    deck, own_id = text(row, "deck_name"), identifier(row, "qa_id")
    answer = NOT_ANSWERABLE
    if present(row, "answer") is not None:
        answer = text(row, "answer").replace("\n", "")
    evidence = page_numbers(present(row, "evidence_pages"), "evidence_pages")
    if evidence and max(evidence) > len(pages):
        raise BadRow(
            f"evidence_pages names {max(evidence)}, and the row has {len(pages)} pages", "no such evidence page"
        )
    return Example(
        question_id=f"{row.split}-{row.number}" if own_id is None else own_id,
        question=text(row, "question"),
        answers=(answer,),
        document=deck,
        pages=pages,
        benchmark="slidevqa",
        answer_pages=evidence,
    )


def _hub() -> dict[Public, HubSplit]:
    return {"train": HubSplit(REPO, "train"), "validation": HubSplit(REPO, "val")}


BENCHMARK = Benchmark(
    name="slidevqa",
    title="SlideVQA",
    metric="anls",
    variants={"anls": "slidevqa", "f1": "slidevqa", "exact_match": "slidevqa"},
    instruction="\nAnswer using only the short answer, without explanation.",
    max_new_tokens=128,
    columns=(("deck_name",), ("question",), ("answer",)),
    images=tuple(f"page_{number}" for number in range(1, 21)),
    example=example,
    public={"train": "train", "test": "validation"},
    hub={REPO: _hub()},
    marks=(frozenset({"page_1", "deck_name"}),),
    pages="slide decks of up to 20 slides",
    licence="see the hub card (an account is needed)",
    citation="Tanaka et al., AAAI 2023, arXiv 2301.04883",
)
__getattr__ = data_module(__name__, "SlideVQA", BENCHMARK)
