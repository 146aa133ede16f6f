"""`docs/published.yaml`: every number has a source; only numbers of one benchmark, split and metric stand together."""

from __future__ import annotations

from pathlib import Path

import pytest

from docvlm.errors import DocvlmError
from docvlm.reporting.inputs import published

SMALL = """
sources:
  here: {title: A paper, url: null}
scores:
  - {model: M, size: 2B, benchmark: docvqa, split: val, metric: anls, score: 0.9, source: here, note: ""}
experiments:
  - model: M
    size: null
    benchmark: docvqa
    split: val
    questions: 500
    name: curve
    set: {vision_trainable: 0}
    source: here
    note: theirs
    columns: [epoch, anls, val_loss]
    rows: [[0, 0.2, null], [1, 0.5, 1.7]]
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "published.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def entries() -> list[published.Published]:
    return published.read()


def test_the_published_numbers_that_the_issue_names_are_there(entries: list[published.Published]) -> None:
    found = {(e.model, e.benchmark, e.split, e.metric): e.score for e in entries if not e.experiment}
    assert found["GPT-4V", "docvqa", "test", "anls"] == 0.884
    assert found["Qwen2-VL-7B", "docvqa", "test", "anls"] == 0.945
    assert found["Qwen2-VL-2B", "chartqa", "test", "relaxed_accuracy"] in (0.735, 0.756)
    theirs = [e for e in entries if "DocFloQA" in e.source]
    curve = {e.epoch: e.score for e in theirs if e.experiment == "fine-tuning curve" and e.metric == "anls"}
    assert len(curve) == 9 and (curve[0], curve[8]) == (0.2437, 0.5816)
    shares = {
        e.vision_trainable: e.score for e in theirs if e.experiment == "freezing ablation" and e.metric == "exact_match"
    }
    assert shares == {0: 0.424, 33: 0.467, 66: 0.481, 100: 0.475}
    accuracies = [e for e in theirs if e.metric == "their_accuracy"]
    assert len(accuracies) == 13 and all("definition is unknown" in e.note or "as above" in e.note for e in accuracies)
    assert all(e.source for e in entries)


def test_an_experiment_becomes_one_number_a_cell(tmp_path: Path) -> None:
    alone, *rest = published.read(written(tmp_path, SMALL))
    assert (alone.score, alone.source, alone.experiment, alone.epoch) == (0.9, "A paper", "", None)
    assert [(e.epoch, e.metric, e.score, e.vision_trainable, e.questions) for e in rest] == [
        (0, "anls", 0.2, 0, 500), (1, "anls", 0.5, 0, 500), (1, "val_loss", 1.7, 0, 500),
    ]  # fmt: skip


def test_test_never_stands_with_val_nor_generated_with_public(entries: list[published.Published]) -> None:
    ours = published.beside(entries, "docvqa", "test", "anls")
    assert ours and {e.split for e in ours} == {"val"}, "docvlm reports on the public validation split of DocVQA"
    assert {e.split for e in published.elsewhere(entries, "docvqa", "test", "anls")} == {"test"}
    assert {e.split for e in published.beside(entries, "chartqa", "test", "relaxed_accuracy")} == {"test"}
    assert published.elsewhere(entries, "chartqa", "test", "relaxed_accuracy") == []
    assert published.public_split("docvqa", "val") is None, "a slice of train, which nobody else reports on"
    assert published.public_split("chartqa", "val") == "val"
    for label in ("docvqa-generated", "folder", "mix"):
        assert published.beside(entries, label, "test", "anls") == []
        assert published.elsewhere(entries, label, "test", "anls") == []
    assert not [e for e in ours if e.experiment], "a curve of 500 questions is no score of the split"


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("score: 0.9", "score: 90", "score=90.0: write it on 0 to 1"),
        ("split: val, metric", "split: dev, metric", "split=dev: choose one of val, test"),
        ("benchmark: docvqa, split", "benchmark: docvqa-generated, split", "benchmark=docvqa-generated"),
        ("metric: anls", "metric: bleu", "metric=bleu"),
        ("source: here, note", "source: there, note", "source=there is not under sources (there are: here)"),
        ("score: 0.9, ", "", "scores[0].score: a value is needed"),
        ("score: 0.9", "points: 0.9", "points: there is no such key"),
        ("[1, 0.5, 1.7]", "[1, 0.5]", "a row of 2 values under 3 columns"),
        ("set: {vision_trainable: 0}", "set: {lr: 0}", "set: lr: choose from"),
        ("[1, 0.5, 1.7]", "[0, 0.5, 1.7]", "is there twice"),
        ("scores:", "scores: [", "published.yaml"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL
    file = written(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(DocvlmError) as caught:
        published.read(file)
    assert message in str(caught.value) and "\n" not in str(caught.value) and str(file) in str(caught.value)
