"""The report through its command: what it says, what it must never say, and the files it leaves."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from docvlm import evaluate
from docvlm.report import main
from docvlm.reporting.inputs.answers import Answers
from docvlm.reporting.inputs.scored import Exam, examine
from docvlm.reporting.page.findings import answer
from docvlm.scoring.predictions import Prediction
from tests.support.runs import finished

EVIL = "<script>alert('x')</script> $\\frac{"
KINDS = ("form", "letter", "table")


def answers(
    right: float, *, seed: int = 0, questions: int = 240, benchmark: str = "docvqa", **changed: Any
) -> list[dict[str, Any]]:
    """Answers to the same questions whatever `right` is: three kinds of documents, four questions each."""
    rng, hard = np.random.default_rng(seed), np.random.default_rng(9).random(questions)
    said = np.where(rng.random(questions) < 0.8, hard, rng.random(questions)) < right
    return [
        {
            "question_id": str(i), "document": f"p{i // 4}", "benchmark": benchmark, "document_type": KINDS[i // 4 % 3],
            "question_types": ["form"], "question": f"What is {i}?", "prediction": "amber" if said[i] else "violet",
            "answers": ["amber"],
        } | changed
        for i in range(questions)
    ]  # fmt: skip


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """Run the command in `tmp_path`; the page it wrote."""
    monkeypatch.chdir(tmp_path)
    main(list(words))
    return (tmp_path / "outputs" / "report" / "index.html").read_text(encoding="utf-8")


class Text(HTMLParser):
    """What a reader sees of a page, and every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_two_files_of_answers_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = written(tmp_path / "small.jsonl", answers(0.3)), written(tmp_path / "large.jsonl", answers(0.8))
    page = reported(tmp_path, monkeypatch, f"predictions=[{before.name},{after.name}]")
    seen = Text(page).text
    with (tmp_path / "outputs/report/tables/main-public.csv").open(newline="", encoding="utf-8") as file:
        small, large = csv.DictReader(file)
    assert small["model"] == "small" and small["baseline"] == "" and large["run"] == "large.jsonl"
    truth = sum(row["prediction"] == "amber" for row in answers(0.8)) / 240
    base = sum(row["prediction"] == "amber" for row in answers(0.3)) / 240
    assert float(large["ours"]) == pytest.approx(truth) and float(large["baseline"]) == pytest.approx(base)
    assert float(large["difference"]) == pytest.approx(truth - base)
    assert float(large["difference_low"]) < truth - base < float(large["difference_high"])
    assert f"large reaches ANLS {truth:.3f}" in seen and "above small.jsonl" in seen
    assert "python -m docvlm.train model=qwen2vl lora.r=16,32,64 -m" in seen, "what is missing says what to run"


def test_a_comparison_that_evaluate_made_is_in_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "base.jsonl", answers(0.3))
    written(tmp_path / "ours.jsonl", answers(0.8))
    monkeypatch.chdir(tmp_path)
    evaluate.main(["predictions=ours.jsonl", "against=base.jsonl"])
    text = Text(reported(tmp_path, monkeypatch)).text
    assert re.search(r"ours reaches ANLS 0\.\d+ .* above base\.jsonl \(p <0\.001\)", text), text[:600]


def test_nothing_at_all_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Text(reported(tmp_path, monkeypatch)).text
    for command in (
        "docvlm.train model=qwen2vl",
        "docvlm.train model=florence2",
        "docvlm.evaluate best=true",
        "make demo",
    ):
        assert command in seen


def test_predictions_are_text_whatever_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil: dict[str, Any] = {"question": EVIL, "answers": [EVIL]}
    for name, right in (("before", EVIL + "1"), ("after", EVIL)):
        rows = answers(0.5, **evil)
        for i, row in enumerate(rows):
            row |= {"prediction": right if i % 3 else "", "document_type": EVIL + KINDS[i // 4 % 3]}
        written(tmp_path / f"{name}.jsonl", rows)
    page = reported(tmp_path, monkeypatch, "predictions=[before.jsonl,after.jsonl]")
    assert "<script>alert" not in page and html.escape(EVIL).replace("&#x27;", "&#39;") in page
    assert sum(tag == "script" for tag, _ in Text(page).tags) == 1, "the page's own"
    assert "<script" not in (tmp_path / "outputs/report/report.md").read_text(encoding="utf-8")
    assert (tmp_path / "outputs/report/figures/gains-by-type.svg").exists(), "types are labels of a figure too"


def test_the_page_needs_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "a.jsonl", answers(0.5))
    seen = Text(reported(tmp_path, monkeypatch, f"predictions=[{file.name}]"))
    loads = [attrs["src"] for tag, attrs in seen.tags if "src" in attrs] + [
        attrs["href"] for tag, attrs in seen.tags if tag == "link"
    ]
    assert loads and all(str(source).startswith("data:") for source in loads)
    beside = [str(attrs["href"]) for tag, attrs in seen.tags if tag == "a" and not str(attrs["href"]).startswith("#")]
    assert beside and all((tmp_path / "outputs" / "report" / name).exists() for name in beside)
    anchors = [str(attrs["href"])[1:] for tag, attrs in seen.tags if tag == "a" and str(attrs["href"]).startswith("#")]
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) and set(anchors) <= set(ids)


def test_drawn_pages_share_no_table_with_public_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = written(tmp_path / "drawn.jsonl", answers(0.9, benchmark="docvqa-generated"))
    public = written(tmp_path / "public.jsonl", answers(0.5))
    seen = Text(reported(tmp_path, monkeypatch, f"predictions=[{public.name},{drawn.name}]")).text
    tables = tmp_path / "outputs/report/tables"
    for kind, name in (("public", "public"), ("generated", "drawn")):
        with (tables / f"main-{kind}.csv").open(newline="", encoding="utf-8") as file:
            assert [row["model"] for row in csv.DictReader(file)] == [name]
    assert "public reaches ANLS" in seen and "drawn reaches ANLS" not in seen, "the answer is about real documents"


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        f"predictions=[{written(tmp_path / f'{name}.jsonl', answers(right)).name}" for name, right in (("a", 0.3),)
    ]
    written(tmp_path / "b.jsonl", answers(0.8))
    reported(tmp_path, monkeypatch, words[0] + ",b.jsonl]")
    folder = tmp_path / "outputs" / "report"
    first = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    reported(tmp_path, monkeypatch, words[0] + ",b.jsonl]")
    assert {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()} == first
    assert {file.suffix for file in first} == {".html", ".md", ".csv", ".tex", ".svg", ".pdf"}
    pdf = next(data for file, data in first.items() if file.suffix == ".pdf")
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf, "fonts are embedded as TrueType"
    latex = (folder / "tables" / "main-public.tex").read_text(encoding="utf-8")
    assert re.search(r"\\toprule.*\\midrule.*\\bottomrule", latex, re.DOTALL) and r"$\Delta$" in latex


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_one_page_of_english_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for name, known in (
        ("silent", {}),
        ("known", {"n_pages": 1, "answer_pages": [1], "page": 1, "language": "en"}),
    ):
        written(tmp_path / name / "a.jsonl", answers(0.3, **known))
        written(tmp_path / name / "b.jsonl", answers(0.8, **known))
        reported(tmp_path / name, monkeypatch, "predictions=[a.jsonl,b.jsonl]", "roots=[]")
        evaluate.main(["predictions=b.jsonl", "against=a.jsonl", "output=eval"])
        shown = capsys.readouterr().out
        found.append((shown, everything(tmp_path / name / "outputs/report"), everything(tmp_path / name / "eval")))
    assert len(found[0][2]) > 5 and "by document type" in found[0][0]
    assert not any("score-by-pages" in str(name) for name in found[1][1])
    assert found[0] == found[1]


def paged(right: float, seed: int) -> list[dict[str, Any]]:
    """Documents of 1, 2, 4 and 8 pages in turn; every second in Korean. A wrong answer was read from the first page."""
    rows = answers(right, seed=seed)
    for i, row in enumerate(rows):
        document = i // 4
        pages = 2 ** (document % 4)
        on = 1 + i % pages
        row |= {"n_pages": pages, "answer_pages": [on], "page": on if row["prediction"] == "amber" else 1}
        row |= (
            {"language": "ko", "document_type": ("양식", "편지")[document % 2]} if document % 2 else {"language": "en"}
        )
    return rows


def test_pages_and_languages_have_sections_tables_and_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = paged(0.3, 1), paged(0.8, 2)
    written(tmp_path / "base.jsonl", before)
    written(tmp_path / "ours.jsonl", after)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Glyph")  # a box in a figure
        page = Text(reported(tmp_path, monkeypatch, "predictions=[base.jsonl,ours.jsonl]", "roots=[]"))
    titles = ["By document type", "By number of pages", "By place of the answer's page", "By language", "Failures"]
    assert [word for word in page.words if word in titles][:10] == titles * 2, "beside the page, and as its headings"

    def table(name: str) -> dict[str, dict[str, str]]:
        with (tmp_path / f"outputs/report/tables/{name}.csv").open(newline="", encoding="utf-8") as file:
            return {row["type"] if "type" in row else row["model"]: row for row in csv.DictReader(file)}

    def share(rows: list[dict[str, Any]], name: str, value: Any) -> float:
        part = [row["prediction"] == "amber" for row in rows if row[name] == value]
        return sum(part) / len(part)

    lengths = table("gains-pages-ours-docvqa")
    assert list(lengths) == ["1 page", "2 pages", "3 to 5 pages", "6 to 10 pages"]
    for (label, row), pages in zip(lengths.items(), (1, 2, 4, 8), strict=True):
        assert float(row["baseline"]) == pytest.approx(share(before, "n_pages", pages)), label
        assert float(row["ours"]) == pytest.approx(share(after, "n_pages", pages)), label
        assert float(row["ours_low"]) < float(row["ours"]) < float(row["ours_high"])
    said = " ".join(value for _, attrs in page.tags for value in attrs.values() if value)
    for side, rows in (("ours on docvqa", after), ("ours on docvqa, baseline", before)):
        points = said.split(f"{side}: 1 page ")[1].split("].")[0] + "]"
        for label, pages in (("2 pages", 2), ("3 to 5 pages", 4), ("6 to 10 pages", 8)):
            assert f"{label} {share(rows, 'n_pages', pages):.3f} [" in points, "the figure says what the table has"
    assert (tmp_path / "outputs/report/figures/score-by-pages.pdf").exists()
    assert list(table("gains-place-ours-docvqa")) == ["only page", "first third", "middle third", "last third"]
    languages = table("gains-language-ours-docvqa")
    assert float(languages["ko"]["ours"]) == pytest.approx(share(after, "language", "ko"))
    right = [row["page"] in row["answer_pages"] for row in after]
    assert float(table("page-accuracy")["ours"]["ours"]) == pytest.approx(sum(right) / len(right))
    assert "8 pages" in page.words and "answer on page 3" in page.words and "read from page 1" in page.words
    spoken = [attrs["lang"] for _, attrs in page.tags if "lang" in attrs]
    assert set(spoken) == {"en", "ko"} and spoken.count("en") == 1, "the page itself; answers only where not English"


def test_a_model_without_a_baseline_has_its_scores_by_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "alone.jsonl", paged(0.5, 3))
    reported(tmp_path, monkeypatch, "predictions=[alone.jsonl]", "roots=[]")
    names = {file.stem for file in (tmp_path / "outputs/report/tables").glob("scores-*.csv")}
    assert names == {f"scores-{by}-alone-docvqa" for by in ("pages", "place", "language")}
    assert (tmp_path / "outputs/report/figures/score-by-pages.svg").exists()


def test_the_card_has_a_row_a_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "outputs" / "korean"
    shutil.copytree(finished(), run, ignore=shutil.ignore_patterns("checkpoints"))
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    written(run / "predictions.jsonl", [line | {"language": ("en", "ko")[i % 2]} for i, line in enumerate(lines)])
    reported(tmp_path, monkeypatch)
    (card,) = (tmp_path / "outputs" / "report" / "cards").rglob("README.md")
    rows = re.findall(r"^\| (\w+) \| (\d+) \|", card.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: int(number) for name, number in rows if name in ("en", "ko")} == {
        "en": len(lines[::2]), "ko": len(lines[1::2]),
    }  # fmt: skip


def test_a_trained_run_is_reported_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "whole").symlink_to(finished(), target_is_directory=True)
    page = reported(tmp_path, monkeypatch)
    seen = Text(page)
    assert "docvqa-generated" in seen.text and "drawn by docvlm" in seen.text
    assert re.search(r"evaluate run=\S+ benchmarks=\[docvqa\]", seen.text), "not yet measured against its base"
    assert any(tag == "img" and str(a["src"]).startswith("data:image/webp") for tag, a in seen.tags), "drawn pages"
    run = json.loads((finished() / "manifest.json").read_text())
    assert run["data"]["fingerprint"][:12] in seen.text


def exam(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Exam:
    def records(rows: list[dict[str, Any]]) -> list[Prediction]:
        fields = [
            {**row, "question_types": tuple(row["question_types"]), "answers": tuple(row["answers"])} for row in rows
        ]
        return [Prediction(**row) for row in fields]

    return examine(
        Answers(
            "m", "", "docvqa", "as given", "anls", "m.jsonl", records(after), base="b.jsonl", before=records(before)
        )
    )


def test_a_difference_within_chance_is_not_called_one() -> None:
    rows = answers(0.5)
    right, wrong = ([row for row in rows if row["prediction"] == said] for said in ("amber", "violet"))
    for row in right[:9] + wrong[:11]:
        row["prediction"] = "violet" if row["prediction"] == "amber" else "amber"
    same, better = exam(answers(0.5), rows), exam(answers(0.2), answers(0.9))
    assert same.difference is not None and same.difference.mean > 0
    assert "cannot be told from b.jsonl" in answer([same], None)[0].sentence
    assert "above b.jsonl" in answer([better], None)[0].sentence
    assert "below b.jsonl" in answer([exam(answers(0.9), answers(0.2))], None)[0].sentence


@pytest.mark.parametrize("target, said", [(0.05, "is reached"), (0.42, "cannot be said"), (0.99, "is not reached")])
def test_a_target_is_reached_only_by_the_whole_interval(target: float, said: str) -> None:
    one = exam(answers(0.2), answers(0.5))
    assert one.score.interval.low < 0.42 < one.score.interval.high, "the premise of the middle case"
    assert said in answer([one], target)[0].more[0]


def test_the_lead_of_a_class_is_claimed_only_beyond_its_interval() -> None:
    rows = answers(0.5)
    wrong = [row for row in rows if row["prediction"] != "amber"]
    sentence = answer([exam(answers(0.5), rows)], None)[2].sentence
    assert "all of the class “other”" in sentence
    for row in wrong[: len(wrong) // 2]:
        row["prediction"] = ""
    assert "cannot be told apart" in answer([exam(answers(0.5), rows)], None)[2].sentence
    for row in wrong[: len(wrong) - 4]:
        row["prediction"] = ""
    assert "most often “empty”" in answer([exam(answers(0.5), rows)], None)[2].sentence


@pytest.mark.parametrize(
    "words, said",
    [
        (["predictions=[gone.jsonl]"], "predictions=gone.jsonl: there is no such file"),
        (["target=2"], "target=2.0: a score above 0, at most 1"),
        (["gallery.width=10"], "gallery.width=10: 120 to 2000 pixels"),
        (["galery.width=10"], "galery"),
        (["pages=nowhere"], "pages=nowhere: there is no such folder"),
    ],
)
def test_a_wrong_value_is_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(words)
    error = capsys.readouterr().err.strip()
    assert stopped.value.code == 1 and said in error and error.count("\n") == 0
    assert not (tmp_path / "outputs").exists()


def test_pages_of_answers_from_a_file_are_found_by_name_and_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images" / "scans").mkdir(parents=True)
    Image.new("RGB", (1600, 1200), "white").save(tmp_path / "images" / "scans" / "a.png")
    rows = [
        {"question_id": i, "question": "?", "image": f"C:\\x\\{name}", "prediction": "no", "answers": ["yes"]}
        for i, name in enumerate(["a.png", "gone.png"])
    ]
    written(tmp_path / "a.jsonl", rows)
    seen = Text(reported(tmp_path, monkeypatch, "predictions=[a.jsonl]", "pages=images", "gallery.width=300"))
    pictures = [attrs for tag, attrs in seen.tags if tag == "img" and str(attrs["src"]).startswith("data:image")]
    assert [(attrs["width"], attrs["height"]) for attrs in pictures] == [("300", "225")]
    assert "no picture of its pages at hand" in seen.text, "the other page is missing, and said to be"
    seen = Text(reported(tmp_path, monkeypatch, "predictions=[a.jsonl]", "pages=images", "gallery.megabytes=0"))
    assert "pictures end at gallery.megabytes=0" in seen.text
    assert not any(str(attrs["src"]).startswith("data:image") for tag, attrs in seen.tags if tag == "img")
