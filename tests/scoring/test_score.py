"""Scores of whole files: groups, comparisons, and the real predictions against the RRC rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from docvlm.errors import DocvlmError
from docvlm.scoring.predictions import Prediction, document_of, read
from docvlm.scoring.score import compare, score, with_scores
from tests.support.rrc import rrc

REAL = Path(__file__).parents[3] / "shared" / "data" / "predictions"


def prediction(number: int, text: str, *answers: str, types: tuple[str, ...] = (), kind: str = "") -> Prediction:
    return Prediction(str(number), f"doc{number // 2}", "docvqa", kind, types, "q", text, answers)


MIXED = [
    prediction(0, "ab", "ax", types=("form", "layout"), kind="letter"),
    prediction(1, "no", "yes", types=("form",), kind="letter"),
    prediction(2, "105", "100", kind="invoice"),
    prediction(3, "The total", "total", types=("layout",), kind="invoice"),
]


def test_every_number_by_hand() -> None:
    result = score(MIXED)
    assert (result.n_questions, result.n_documents, result.metric) == (4, 2, "anls")
    assert (
        result.headline == result.means["anls"] == result.interval.mean == pytest.approx((0.5 + 0 + 2 / 3 + 5 / 9) / 4)
    )
    others = {"accuracy": 0.0, "exact_match": 0.25, "f1": 0.25, "relaxed_accuracy": 0.25}
    others |= {"containment": 0.25, "first_letter": 0.75}
    assert result.means == {**others, "anls": result.headline}
    assert {name: result.as_dict()[name] for name in others} == others, "each under its own name in every file"
    assert result.latency_ms is None
    assert result.n_truncated == 0


def test_groups_by_type() -> None:
    result = score(MIXED)
    assert {name: (group.n, group.mean) for name, group in result.groups["question"].items()} == {
        "form": (2, 0.25),
        "layout": (2, pytest.approx((0.5 + 5 / 9) / 2)),
        "(none)": (1, pytest.approx(2 / 3)),
    }
    assert {name: group.clusters for name, group in result.groups["document"].items()} == {"invoice": 1, "letter": 1}
    assert score([prediction(1, "a", "a")]).groups["question"] == {}


def test_metric_variant_and_options() -> None:
    assert score(MIXED, metric="relaxed_accuracy").headline == 0.25
    assert score(MIXED, variant="paper").headline == pytest.approx((2 / 3 + 5 / 9) / 4)
    assert score(MIXED, threshold=0.6).headline == pytest.approx((2 / 3) / 4)
    with pytest.raises(DocvlmError, match="metric=bleu"):
        score(MIXED, metric="bleu")


def test_latency_and_truncation_are_carried() -> None:
    timed = [replace(MIXED[0], latency_s=0.1), replace(MIXED[1], latency_s=0.3, truncated=True)]
    assert score(timed).latency_ms == pytest.approx(200)
    assert score(timed).n_truncated == 1


def test_nothing_and_twice_are_errors() -> None:
    with pytest.raises(DocvlmError, match="no predictions to score"):
        score([])
    with pytest.raises(DocvlmError, match="question_id '0' of docvqa occurs twice"):
        score([MIXED[0], MIXED[0]])


def test_scores_are_stored_and_serialise() -> None:
    stored = with_scores(MIXED)
    assert stored[2].scores["relaxed_accuracy"] == 1.0
    assert json.loads(json.dumps(score(stored).as_dict()))["by_document_type"]["invoice"]["n"] == 2


def test_comparison_is_paired_by_question() -> None:
    better = [replace(p, prediction=p.answers[0]) for p in reversed(MIXED)]
    gain = compare(MIXED, better)
    assert gain.mean == pytest.approx(1 - score(MIXED).headline)
    assert compare(better, MIXED).mean == -gain.mean
    with pytest.raises(DocvlmError, match="1 questions are in only one of the two results, such as '3'"):
        compare(MIXED, better[1:])


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
@pytest.mark.parametrize("name", ["llama_scout", "qwen2_vl_2b", "qwen2_vl_2b_instruct", "qwen2_vl_7b_instruct"])
def test_real_predictions_agree_with_the_rrc_rule(name: str) -> None:
    path = REAL / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    records = read(path)
    assert score(records).n_documents == len({document_of(row["image"]) for row in rows}) == 280
    rows, records = rows[:250], records[:250]  # the plain rule is slow
    official = [rrc(row["prediction"], row["answers"]) for row in rows]
    stripped = [rrc(row["prediction"].strip(), row["answers"]) for row in rows]
    assert score(records, variant="rrc").headline == pytest.approx(sum(official) / 250, abs=1e-12)
    assert score(records).headline == pytest.approx(sum(stripped) / 250, abs=1e-12)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
def test_real_models_compare_in_spite_of_folder_prefixes() -> None:
    small, large = read(REAL / "qwen2_vl_2b_instruct.jsonl"), read(REAL / "qwen2_vl_7b_instruct.jsonl")
    scout = read(REAL / "llama_scout.jsonl")  # its image names carry a Windows folder
    assert compare(small, large).low > 0
    assert {p.document for p in scout} == {p.document for p in large}
