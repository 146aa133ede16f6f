"""`docvlm.evaluate robustness=true` and `controls=true`: through the command, and by hand on known answers."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from docvlm.errors import DocvlmError
from docvlm.evaluate import main
from docvlm.evaluation import controls, robustness
from docvlm.evaluation.outcome import Outcome
from docvlm.scoring.formatting import content
from docvlm.scoring.predictions import Prediction, read
from docvlm.scoring.score import score
from tests.support.tiny import Paper, checkpoint, example

CELLS = {(name, severity) for name in ("noise", "skew") for severity in (1, 4)}
SMALL = ("scale=tiny", "limit=12", "data.docvqa.max_new_tokens=3", "output=here")
ASKED = (
    *SMALL, "robustness=true", "controls=true", "corruptions=[noise,skew]", "severities=[4,1]", "robustness_limit=6",
)  # fmt: skip


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the command has run, and what it printed."""
    folder = tmp_path_factory.mktemp("robustness")
    with pytest.MonkeyPatch.context() as patch, (folder / "out").open("w+") as out:
        patch.chdir(folder)
        patch.setattr("sys.stdout", out)
        main([*ASKED, f"checkpoint={checkpoint('qwen2vl')}"])
        out.seek(0)
        return folder, " ".join(out.read().split())


@pytest.fixture
def again(asked: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    shutil.copytree(asked[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return Path("here")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def answers(folder: Path, pattern: str) -> tuple[Path, list[Prediction]]:
    (file,) = folder.glob(f"*/docvqa-generated-test-*/{pattern}/predictions.jsonl")
    return file, read(file)


def test_every_cell_is_scored_against_the_clean_pages(asked: tuple[Path, str]) -> None:
    folder, shown = asked
    _, clean = answers(folder / "here", ".")
    found = {(row["corruption"], row["severity"]): row for row in rows(folder / "here" / "robustness.csv")}
    kinds = {("clean", "0"), ("mean", "mean"), ("mean", "1"), ("mean", "4"), ("noise", "mean"), ("skew", "mean")}
    assert set(found) == kinds | {(name, str(severity)) for name, severity in CELLS}
    changed = []
    for name, severity in CELLS:
        _, given = answers(folder / "here", f"robustness/{name}-{severity}-*")
        row, before = found[name, str(severity)], {p.key: p for p in clean if p.key in {g.key for g in given}}
        assert len(before) == len(given) == int(row["questions"]) <= 6
        assert float(row["score"]) == score(given).headline
        same = [content(p.prediction) == content(before[p.key].prediction) for p in given]
        assert float(row["consistency"]) == pytest.approx(np.mean(same))
        assert float(row["score"]) - float(row["delta"]) == pytest.approx(float(found["clean", "0"]["score"]))
        changed.append(1 - np.mean(same))
    assert max(changed) > 0, "the model does see other pages"
    assert float(found["mean", "mean"]["consistency"]) == pytest.approx(1 - np.mean(changed))
    assert found["skew", "4"]["level"] == "10" and found["skew", "4"]["unit"] == "degrees"
    assert f"4 corruptions x severities, {found['skew', '4']['questions']} of {len(clean)} questions on" in shown
    assert "mean Δ" in shown and "same answer" in shown


def test_the_json_holds_the_definitions_and_every_point(asked: tuple[Path, str]) -> None:
    whole = json.loads((asked[0] / "here" / "robustness.json").read_text())
    assert whole["corruptions"]["skew"]["levels"] == [1, 2, 5, 10] and whole["corruptions"]["skew"]["unit"] == "degrees"
    (result,) = whole["results"]
    assert (result["family"], result["subject"], result["benchmark"]) == ("qwen2vl", "zero-shot", "docvqa-generated")
    assert result["clean"]["n"] == result["questions"] < result["questions_of_split"]
    cells = {(p["corruption"], p["severity"]) for p in result["points"]}
    assert cells == CELLS | {(None, None), (None, 1), (None, 4), ("noise", None), ("skew", None)}
    assert all(p["score"]["clusters"] == result["documents"] for p in result["points"])


def test_the_figure_is_vector_and_the_same_each_time(asked: tuple[Path, str], again: Path) -> None:
    pdf, svg = (again / f"robustness-qwen2vl-docvqa-generated.{kind}" for kind in ("pdf", "svg"))
    before = pdf.read_bytes(), svg.read_bytes()
    assert before[0].startswith(b"%PDF") and b"<svg" in before[1]
    pdf.unlink()
    main([*ASKED, f"checkpoint={checkpoint('qwen2vl')}"])
    assert (pdf.read_bytes(), svg.read_bytes()) == before


def test_what_is_answered_is_kept_and_what_is_missing_is_asked(again: Path) -> None:
    command = [*ASKED, f"checkpoint={checkpoint('qwen2vl')}"]
    files = {file: file.read_bytes() for file in again.rglob("predictions.jsonl")}
    assert len(files) == 1 + len(CELLS) + 2
    cell, whole = answers(again, "robustness/noise-4-*")
    blank, _ = answers(again, "controls/blank")
    lines = files[cell].splitlines(keepends=True)
    cell.write_bytes(b"".join(lines[:2]) + lines[2][:20])  # killed while it wrote the third answer
    shutil.rmtree(blank.parent)
    main(command)
    assert {file: file.read_bytes() for file in files if file not in (cell, blank)} == {
        file: text for file, text in files.items() if file not in (cell, blank)
    }
    assert [(p.key, p.prediction) for p in read(cell)] == [(p.key, p.prediction) for p in whole]
    assert [p.latency_s for p in read(cell)[:2]] == [p.latency_s for p in whole[:2]]
    assert blank.exists()
    main([*command, "robustness_limit=3"])  # other questions lie beside them
    assert len(list(again.rglob("noise-4-*/predictions.jsonl"))) == 2


def test_controls_beside_the_real_score(asked: tuple[Path, str]) -> None:
    folder, shown = asked
    _, real = answers(folder / "here", ".")
    found = {row["control"]: row for row in rows(folder / "here" / "controls.csv")}
    assert list(found) == ["blank", "shuffled"]
    for name, row in found.items():
        _, given = answers(folder / "here", f"controls/{name}*")
        assert {p.key for p in given} == {p.key for p in real}
        assert [p.prediction for p in given] != [p.prediction for p in real]
        assert float(row["control_score"]) == score(given).headline
        assert float(row["looking_adds"]) == pytest.approx(score(real).headline - score(given).headline)
    assert "what it knows without looking" in shown
    (result,) = json.loads((folder / "here" / "controls.json").read_text())["results"]
    assert result["real"]["n"] == result["blank"]["score"]["n"] == len(real)


def test_blank_pages_are_white_and_shuffled_ones_are_anothers() -> None:
    shared = (Paper("shared", 300, 100),)
    asked = [example(1, pages=shared), example(1, pages=shared), *(example(number) for number in range(2, 9))]
    white = controls.blank(asked)
    assert white[0].pages[0] is white[1].pages[0]
    assert (white[0].pages[0].open().size, white[0].pages[0].open().getcolors()) == ((300, 100), [(30000, (255,) * 3)])
    for seed in range(20):
        moved = controls.shuffled(asked, seed)
        assert all(a.pages != b.pages and a.document == b.document for a, b in zip(asked, moved, strict=True))
        assert moved[0].pages[0] is moved[1].pages[0]
        assert len({e.pages[0].name for e in moved}) == 8, "no page twice"
        assert controls.shuffled(asked, seed) == moved
    assert len({tuple(e.pages for e in controls.shuffled(asked, seed)) for seed in range(20)}) > 10


def test_one_document_has_no_other() -> None:
    with pytest.raises(DocvlmError, match="only one document"):
        controls.shuffled([example(1), example(1)])


def predictions(said: Sequence[str]) -> list[Prediction]:
    """Two questions on each of some pages; "17" is right."""
    return [
        Prediction(f"q{i}", f"d{i // 2}", "b", "", (), "Total?", text, ("17",)) for i, text in enumerate(said)
    ]  # fmt: skip


def outcome(said: Sequence[str]) -> Outcome:
    given = predictions(said)
    subject: Any = SimpleNamespace(family="qwen2vl", title="ours", described={"run": None})
    return Outcome(subject, "b", "test", tuple(given), score(given), Path("nowhere"))


def test_points_by_hand() -> None:
    clean = outcome(["17"] * 30 + ["no", "seen"] * 5)
    found = robustness.measure(
        clean,
        {
            ("blur", 1): predictions(['"17."'] * 30 + ["NO", "seen"] * 5),
            ("blur", 2): predictions(["17"] * 15 + ["71", "no"] * 7 + ["17"] + ["17"] * 10),
        },
    )
    mild, severe, mean = found.point("blur", 1), found.point("blur", 2), found.point(None, None)
    assert found.clean.mean == 0.75
    assert mild.consistency.mean == 1.0, "only the dress differs"
    assert severe.consistency.mean == pytest.approx(16 / 40), "right where it was wrong is another answer, too"
    assert severe.score.mean == pytest.approx(26 / 40) and severe.delta.mean == pytest.approx(-4 / 40)
    assert severe.kept is not None and severe.kept.mean == pytest.approx(26 / 30)
    assert mean.consistency.mean == pytest.approx((1 + 16 / 40) / 2)
    assert replace(mean, corruption="blur") == found.point("blur", None)
    assert mild.delta.p < 0.001 and mild.adjusted == pytest.approx(2 * mild.delta.p), "dress costs ANLS; Holm over two"
    nothing = robustness.measure(outcome(["no"] * 8), {("blur", 1): predictions(["17"] * 8)})
    assert nothing.point("blur", 1).kept is None, "there is nothing to divide by"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["corruptions=[rain]"], "corruptions=rain: choose from noise, blur, jpeg, skew, dpi"),
        (["corruptions=[]"], "corruptions=[]: name at least one"),
        (["corruptions=[blur,blur]"], "corruptions=['blur', 'blur']: name each only once"),
        (["severities=[0]"], "severities=0: choose from 1 to 4"),
        (["severities=[much]"], "severities[0]: Value 'much'"),
        (["robustness_limit=0"], "robustness_limit=0: 1 or more questions"),
        (["robustness=maybe"], "robustness: Value 'maybe'"),
        (["controls=true", "predictions=p.jsonl"], "controls=true: it shows a model other pages"),
        (["robustness=true", "predictions=p.jsonl"], "robustness=true: it shows a model other pages"),
    ],
)
def test_wrong_values_are_one_line(
    words: list[str],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text('{"question_id": 1, "prediction": "x", "answers": ["x"]}\n')
    with pytest.raises(SystemExit) as ended:
        main(["scale=tiny", *words])
    assert ended.value.code == 1
    (told,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert line in told
    assert not Path("outputs").exists()


def test_what_looking_adds_by_hand() -> None:
    real = outcome(["17"] * 30 + ["no"] * 10)
    (blank,) = controls.measure(real, {"blank": predictions(["no"] * 36 + ["17"] * 4)}).controls
    assert blank.score.mean == pytest.approx(0.1) and blank.unchanged.mean == pytest.approx(6 / 40)
    assert blank.adds.mean == pytest.approx(0.75 - 0.1) and 0 < blank.adds.low < blank.adds.high
