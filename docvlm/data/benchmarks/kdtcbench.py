"""K-DTCBench: questions with four choices on Korean documents, tables and charts (Ju et al., arXiv 2411.19103).

It has a test split only: good for evaluation, not for training. The first letter of a reply counts.
"""

from __future__ import annotations

from docvlm.data.benchmark import Benchmark, HubSplit
from docvlm.data.benchmarks.lazy import data_module
from docvlm.data.example import Example
from docvlm.data.page_ids import identified
from docvlm.data.rows import BadRow, Row, strings, text

REPO = "NCSOFT/K-DTCBench"
LETTERS = "ABCD"


def example(row: Row) -> Example:
    """A row of NCSOFT/K-DTCBench; the choices follow the question as lmms-eval words them. Raises `BadRow`."""
    document, pages = identified(row.pages)
    choices = ", ".join(f"{letter}: {text(row, f'choice_{letter.lower()}')}" for letter in LETTERS)
    answer = text(row, "answer")
    if answer.upper() not in tuple(LETTERS):
        raise BadRow(f"answer is {answer!r}, none of {', '.join(LETTERS)}", "answer is no letter of a choice")
    return Example(
        question_id=text(row, "index"),
        question=f"{text(row, 'question')}\nOptions: {choices}",
        answers=(answer,),
        document=document,
        pages=pages,
        benchmark="kdtcbench",
        question_types=strings(row, "category"),
        language="ko",
    )


BENCHMARK = Benchmark(
    name="kdtcbench",
    title="K-DTCBench",
    metric="first_letter",
    instruction="\n주어진 선택지 중 해당 옵션의 문자로 바로 답하세요.",
    max_new_tokens=16,
    columns=(("index",), ("question",), *((f"choice_{letter.lower()}",) for letter in LETTERS), ("answer",)),
    example=example,
    public={"train": "train", "test": "test"},
    hub={REPO: {"test": HubSplit(REPO, "test")}},
    without_train="it is for evaluation only: train on data=mtvqa, or on own pages with data=folder",
    marks=(frozenset({"choice_a", "choice_b", "choice_c", "choice_d"}),),
    pages="Korean documents, tables and charts",
    languages={"ko": "Korean"},
    licence="CC BY-NC 4.0 (hub card)",
    citation="Ju et al., arXiv 2411.19103",
)
__getattr__ = data_module(__name__, "KDTCBench", BENCHMARK)
