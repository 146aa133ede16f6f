"""Inputs that once trained on something else, were counted twice, ended in a traceback, or were found after hours.

Each is read as training, `evaluate predictions=` and predict read it, before any weights load.
"""

from __future__ import annotations

import base64
import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docvlm import evaluate
from docvlm.config import Job, TrainConfig
from docvlm.config.compose import load
from docvlm.data.example import Example
from docvlm.data.loading.datamodule import DocumentDataModule
from docvlm.data.reading import ALL_PAGES
from docvlm.errors import DocvlmError
from docvlm.serving import sources
from docvlm.serving.reader import load_codec
from docvlm.training.run import read
from tests.support.audit_pages import drawn


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six pages; the working directory, where verbs leave their logs, is beside them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    for number in range(6):
        drawn(number).save(tmp_path / "own" / f"{number}.png")
    return tmp_path / "own"


def row(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "image": f"{number}.png",
        "question": f"What is the total of {number}?",
        "answers": [f"${number}.48"],
    } | changed


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    """A question on each of six pages; of the last ones, `changes`."""
    return [row(number, **changes[number - 6] if number >= 6 - len(changes) else {}) for number in range(6)]


def write(folder: Path, lines: list[dict[str, Any]] | str, name: str = "qa.jsonl") -> Path:
    text = lines if isinstance(lines, str) else "".join(json.dumps(line) + "\n" for line in lines)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def trained(folder: Path, *more: str, family: str = "qwen2vl") -> DocumentDataModule:
    """What a training run reads: everything before its weights load."""
    words = ["scale=tiny", f"model={family}", "data=folder", f"data.source={folder}", "audit=off"]
    limits = [f"data.limit_{role}=null" for role in ("train", "val", "test")]
    job = folder.parent / "run"
    job.mkdir(exist_ok=True)
    return read(load("train", TrainConfig, [*words, *limits, "data.val_fraction=0.2", *more]), Job(job, ()))


def examples(data: DocumentDataModule) -> dict[str, Example]:
    return {one.question: one for one in data.train + data.val + data.test}


def left_out(data: DocumentDataModule) -> list[tuple[str, str]]:
    return [(one.where, one.reason) for one in data.quarantine.rejected]


def asked(file: Path) -> sources.Source:
    return sources.gate(sources.read([str(file)], []), load_codec("embedded", family="qwen2vl"), 64, ALL_PAGES)


def scored(file: Path, folder: Path) -> tuple[int, float]:
    """Questions and ANLS of a file of predictions."""
    evaluate.main([f"predictions={file}", f"output={folder}"])
    (line,) = csv.DictReader((folder / "score.csv").open(newline="", encoding="utf-8"))
    return int(line["questions"]), float(line["anls"])


def test_02_zero_is_an_id(folder: Path) -> None:
    lines = [
        row(number % 3, question=f"Line {number}?", doc_id=number % 3 * 7, question_id=number) for number in range(6)
    ]
    data = trained(write(folder, lines).parent, "data.test_fraction=0.3")
    assert {one.question_id for one in examples(data).values()} == set("012345")
    assert {one.document for one in examples(data).values()} == {"0", "7", "14"}
    assert not {one.document for one in data.train} & {one.document for one in data.test}


@pytest.mark.parametrize("written", ["['$950.48']", '["$950.48"]', "('$950.48',)", "['$950.48' '950.48']"])
def test_03_a_list_in_a_cell_is_a_list(folder: Path, written: str) -> None:
    with (folder / "qa.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["image", "question", "answers"])
        table.writeheader()
        table.writerows(rows({"answers": "['$1.48"}, {"answers": written})[:4])
        table.writerows(rows({"answers": "['$1.48"}, {"answers": written})[4:])
    data = trained(folder)
    assert examples(data)["What is the total of 5?"].answers[0] == "$950.48"
    ((where, reason),) = left_out(data)
    assert where == "qa.csv line 6" and "is a list that cannot be read" in reason


def test_04_all_pages_of_a_tiff_in_every_verb(folder: Path) -> None:
    drawn(7).save(folder / "fax.tif", save_all=True, append_images=[drawn(8)])
    file = write(folder, rows({"image": "fax.tif#page=2"}, {"image": "fax.tif"}))
    data = trained(folder)
    for pages in (examples(data)["What is the total of 5?"].pages, asked(file).tasks[5].pages):
        assert [page.name.rpartition("/")[2] for page in pages] == ["fax.tif#page=1", "fax.tif#page=2"]
        assert [page.open().tobytes() for page in pages] == [drawn(index).tobytes() for index in (7, 8)]
    (page,) = examples(data)["What is the total of 4?"].pages
    assert page.open().tobytes() == drawn(8).tobytes()
    one = trained(folder, family="florence2")
    assert [reason.partition(",")[0] for _, reason in left_out(one)] == ["2 pages"]  # which reads one page


def test_05_numbers_keep_their_characters(folder: Path) -> None:
    text = "".join(json.dumps(line) + "\n" for line in rows())
    text = text.replace('["$5.48"]', "[950.50, 1200.00, 1e2]").replace('["$4.48"]', "true").replace('["$3.48"]', "-0")
    data = trained(write(folder, text).parent)
    accepted = [examples(data)[f"What is the total of {number}?"].answers for number in (3, 4, 5)]
    assert accepted == [("-0",), ("true",), ("950.50", "1200.00", "1e2")]
    predicted = text.replace("}\n", ', "prediction": 950.50}\n')
    assert scored(write(folder, predicted, "p.jsonl"), folder)[0] == 6


def test_06_a_line_that_stands_there_again_counts_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = row(0, prediction="$0.48"), row(1, prediction="no")
    questions, anls = scored(write(folder, [right, wrong, right, right, right], "p.jsonl"), folder)
    assert (questions, anls) == (2, 0.5)
    assert "3 merged as repeats" in capsys.readouterr().out


def test_07_answers_beyond_the_limit_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, rows({"answers": ["Suite 4711 Long Street " * 12]}, {"answers": ["short", "Suite 4711 " * 40]}))
    trained(folder)
    said = capsys.readouterr().out
    assert "answers: 1 of 6 questions have none within max_new_tokens=64" in said
    needed = said.rpartition("set data.max_new_tokens=")[2].split()[0]
    trained(folder, f"data.max_new_tokens={needed}")
    assert f"answers: all of 6 questions have one within max_new_tokens={needed}" in capsys.readouterr().out


BAD = {
    "09 a special token": ({"question": "What is <|image_pad|>?"}, "holds <|image_pad|>, a special token"),
    "09 a special token in an answer": ({"answers": ["a <|im_end|>"]}, "holds <|im_end|>, a special token"),
    "11 a thin page": ({"image": "line.png"}, "line.png: 3000 x 12 px"),
    "13 half a surrogate pair": ({"question": "What is \ud83d?"}, "question holds half a surrogate pair (\\ud83d"),
    "13 half of one in an answer": ({"answers": ["\udc00"]}, "answers holds half a surrogate pair"),
    "15 a damaged data URI": ({"image": "data:image/png;base64,####"}, "a data URI whose base64 is damaged"),
    "20 a null split": ({"split": None}, "split is null"),
    "20 an unknown split": ({"split": 7}, "split='7'; use train, val or test"),
}


@pytest.mark.parametrize(("changed", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_is_named_before_weights_load(folder: Path, changed: dict[str, Any], reason: str) -> None:
    Image.new("L", (3000, 12), 255).save(folder / "line.png")
    lines = rows(changed)
    if "split" in changed:
        lines = [{"split": split, **line} for split, line in zip(("train", "val", "test") * 2, lines, strict=True)]
    file = write(folder, lines)
    data = trained(folder)
    assert len(examples(data)) == 5
    ((where, said),) = left_out(data)
    assert where == "qa.jsonl line 6" and reason in said
    report = [json.loads(line) for line in (folder.parent / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["where"] for entry in report] == [where]
    if not {"split", "answers"} & set(changed) or "\udc00" in str(
        changed
    ):  # predict reads no splits, learns no answers
        quarantine = asked(file).quarantine
        assert quarantine is not None and [(one.where, one.reason) for one in quarantine.rejected] == [(where, said)]


def test_15_images_in_the_row_itself(folder: Path) -> None:
    plain = base64.b64encode((folder / "5.png").read_bytes()).decode()
    file = write(folder, rows({"image": plain}, {"image": f"data:image/png;base64,{plain}"}))
    data = trained(folder)
    for pages in (*(examples(data)[f"What is the total of {n}?"].pages for n in (4, 5)), asked(file).tasks[5].pages):
        assert [page.open().tobytes() for page in pages] == [drawn(5).tobytes()]
    documents = {examples(data)[f"What is the total of {number}?"].document for number in (4, 5)}
    assert len(documents) == 1  # one page, whichever way it is written


def test_17_the_other_unicode_form_is_the_same_name(folder: Path) -> None:
    name = "Prüfbericht-é.png"
    (folder / "5.png").rename(folder / unicodedata.normalize("NFD", name))
    file = write(folder, rows({"image": unicodedata.normalize("NFC", name)}))
    (page,) = examples(trained(folder))["What is the total of 5?"].pages
    (same,) = asked(file).tasks[5].pages
    assert page.open().tobytes() == same.open().tobytes() == drawn(5).tobytes()


def test_19_files_named_after_splits_are_the_splits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, split in enumerate(("train", "val", "test")):
        write(folder, [row(2 * number), row(2 * number + 1)], f"{split}.jsonl")
    data = trained(folder)
    found = [[Path(one.document).stem for one in split] for split in (data.train, data.val, data.test)]
    assert found == [["0", "1"], ["2", "3"], ["4", "5"]]
    assert "not read" not in capsys.readouterr().out
    write(folder, rows())
    with pytest.raises(DocvlmError, match="several question files"):
        trained(folder)
