"""A run from any checkpoint (`model=chat`) through every later verb: names, scores, exports, cards, sizes, answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from docvlm import audit, benchmark, evaluate, predict, report, train
from docvlm import load as load_reader
from docvlm.export import main as export
from docvlm.runs.finished import best, finished
from docvlm.serving.app import models
from docvlm.vlms import saved
from tests.support.architectures import checkpoint
from tests.support.runs import SMALL, copied
from tests.support.served import serving
from tests.support.tiny import Paper

NAME = "Reader-256M"
TERMS = "https://example.org/terms"
CARD = f"---\nlicense: other\nlicense_name: reader-terms\nlicense_link: {TERMS}\n---\n\n# A reader\n"
TINY = ("scale=tiny", "data.docvqa.max_new_tokens=3", "limit=4")


def trained(folder: Path, name: str, model_type: str, *words: str) -> None:
    """A run in `folder`/outputs/`name` from a checkpoint of that name beside it."""
    base = folder / "checkpoints" / name
    shutil.copytree(checkpoint(model_type), base)
    (base / "README.md").write_text(CARD)
    train.main(["model=chat", f"model.checkpoint=checkpoints/{name}", *SMALL, f"hydra.run.dir=outputs/{name}", *words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two models, and all that the later verbs make of the first."""
    folder = tmp_path_factory.mktemp("chat")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained(folder, NAME, "idefics3")
        trained(folder, "Other", "qwen3_vl", "freeze=66")
        evaluate.main(["best=true", "baseline=true", "benchmarks=[docvqa]", *TINY])
        small = ("canary=2", "pages=1", "warmup=1", *TINY)
        export([f"run=outputs/{NAME}", "formats=[adapter,merged]", *small])
        benchmark.main([f"run=outputs/{NAME}", "pages=2", "warmup=1", "batch=2", *TINY])
        report.main([])
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copied(made, tmp_path, monkeypatch)


def test_models_stand_under_the_names_of_their_checkpoints(here: Path) -> None:
    text = (here / "outputs" / "report" / "report.md").read_text()
    assert f"{NAME} LoRA r=4" in text and "Other LoRA r=4 freeze=66" in text, "each is the best of its own"
    assert "chat model" not in text.replace("model=chat model.", "")
    rows = [json.loads(file.read_text())["family"] for file in here.glob("outputs/*/result.json")]
    assert sorted(rows) == ["Other", NAME]
    assert {path.name for path in (here / "outputs" / "report" / "cards").iterdir()} == {f"{NAME}-tiny", "Other-tiny"}


def test_checkpoints_of_one_name_are_told_apart(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As two folders called alike, or one name of two users: a run of another has another name everywhere."""
    shutil.copytree(here / "outputs" / NAME, here / "outputs" / "second")
    file = here / "outputs" / "second" / "manifest.json"
    manifest = json.loads(file.read_text())
    mark = manifest["checkpoint"]["fingerprint"][:8]
    base = manifest["checkpoint"] | {"name": f"elsewhere/{NAME}", "fingerprint": "0" * 16}
    file.write_text(json.dumps(manifest | {"checkpoint": base}))
    assert [run.model for run in finished()] == ["Other", f"{NAME}-{mark}", f"{NAME}-00000000"]
    assert set(best(finished())) == {"Other", f"{NAME}-{mark}", f"{NAME}-00000000"}
    evaluate.main(["model=chat", f"checkpoint=checkpoints/{NAME}", "benchmarks=[docvqa]", *TINY])
    assert f"{NAME} zero-shot" in capsys.readouterr().out, "which has no other to be taken for"
    report.main([])
    text = (here / "outputs" / "report" / "report.md").read_text()
    for name in (f"{NAME}-{mark} LoRA", f"{NAME}-00000000 LoRA", "Other LoRA", f"{NAME}-{mark} ours"):
        assert name in text, name
    assert f"{NAME} LoRA" not in text and f"{NAME} ours" not in text
    cards = {path.name for path in (here / "outputs" / "report" / "cards").iterdir()}
    assert {f"{NAME}-{mark}-tiny", f"{NAME}-00000000-tiny", "Other-tiny"} <= cards


def test_the_card_has_the_licence_of_the_checkpoint_s_own_card(here: Path) -> None:
    checkpoint = json.loads((here / "outputs" / NAME / "manifest.json").read_text())["checkpoint"]
    assert [checkpoint[f"licence{part}"] for part in ("", "_name", "_link")] == ["other", "reader-terms", TERMS]
    merged = ModelCard.load(here / "outputs" / NAME / "export" / "merged" / "README.md")
    assert (merged.data.license, merged.data.license_name, merged.data.license_link) == ("other", "reader-terms", TERMS)
    assert f"These weights: reader-terms ({TERMS})." in merged.content
    adapter = ModelCard.load(here / "outputs" / NAME / "export" / "adapter" / "README.md")
    assert adapter.data.license == "apache-2.0" and "license_name" not in adapter.data.to_dict()
    assert f"The base, checkpoints/{NAME}: reader-terms ({TERMS})." in adapter.content


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_the_code_of_the_card_answers_as_docvlm_does(form: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = here / "outputs" / NAME / "export" / form
    Paper("invoice").open().save(here / "page.png")
    code = (place / "README.md").read_text().split("```python\n")[1].split("```")[0]
    wrong = json.loads((here / "checkpoints" / NAME / "generation_config.json").read_text())
    (here / "checkpoints" / NAME / "generation_config.json").write_text(  # as many publishers' are
        json.dumps(wrong | {"do_sample": True, "temperature": 9.0, "repetition_penalty": 5.0})
    )
    capsys.readouterr()
    exec(compile(code.replace('place = "."', f"place = {str(place)!r}"), form, "exec"), {})
    said = load_reader(place).ask("page.png", "What is the total?")
    assert capsys.readouterr().out.strip() == said.text.strip() != ""


def test_the_browser_calls_all_that_comes_of_a_checkpoint_by_its_name(here: Path) -> None:
    ours, base = models.load(here / "outputs" / NAME)
    assert (ours.kind, base.kind) == (f"{NAME} with LoRA of rank 4", NAME)
    (whole,) = models.load(here / "outputs" / NAME / "export" / "merged", alone=True)
    assert whole.kind == NAME, "not merged, which its folder is called"


def test_the_audit_judges_rows_for_a_checkpoint_that_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=chat", "scale=tiny", "data.limit_train=4", "data.limit_val=4", "data.limit_test=4")
    audit.main([*words])
    assert "rows are not judged for model=chat: name its model.checkpoint\n" in capsys.readouterr().out
    audit.main([*words, f"model.checkpoint=checkpoints/{NAME}"])
    assert "rows are not judged" not in capsys.readouterr().out


def test_sizes_are_in_the_terms_of_the_processor(here: Path) -> None:
    (file,) = here.glob(f"outputs/{NAME}/benchmark/**/*.json")
    points = json.loads(file.read_text())["points"]
    assert [point["budget"]["longest_edge"] for point in points] == [192, 135, 96]
    assert [point["resolution"] for point in points] == ["edge192", "edge135", "edge96"]


def test_a_server_of_it_is_sent_pages_as_they_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=chat", "benchmarks=[docvqa]", *TINY)
    evaluate.main([*words, f"checkpoint=checkpoints/{NAME}", "output=local"])
    with serving(load_reader(f"checkpoints/{NAME}", family="chat")) as server:
        evaluate.main([*words, f"endpoint={server.url}", "output=asked"])
    with pytest.raises(SystemExit):
        evaluate.main([*words, f"endpoint={server.url}", "budget.longest_edge=96"])
    assert "budget.longest_edge=96: the server's own processor says" in capsys.readouterr().err
    answers = []
    for folder in ("local", "asked"):
        (row,) = json.loads((here / folder / "table.json").read_text())["rows"]
        lines = (Path(row["ours"]["folder"]) / "predictions.jsonl").read_text().splitlines()
        answers.append({line["question_id"]: line["prediction"] for line in map(json.loads, lines)})
    assert answers[0] == answers[1] and any(answers[0].values())


def test_run_export_and_checkpoint_answer_the_same_way(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = here / "page.png"
    Paper("invoice").open().save(page)
    asked = ["What is the total?", "Who is it from?"]
    answers = [
        [one.text for one in load_reader(place).ask(str(page), asked, max_new_tokens=4)]
        for place in (f"outputs/{NAME}", f"outputs/{NAME}/export/adapter", f"outputs/{NAME}/export/merged")
    ]
    assert answers[0] == answers[1] == answers[2]
    predict.main([str(page), "--checkpoint", f"checkpoints/{NAME}", "--family", "chat", "--question", asked[0]])
    assert capsys.readouterr().out.strip()
    assert saved.read(here / "outputs" / "Other" / "checkpoints" / "best")["freeze"] == 66
