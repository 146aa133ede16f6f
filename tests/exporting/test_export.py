"""`docvlm.export`: formats of a run end to end, what is left behind, what is refused, and mistakes."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from docvlm import benchmark, evaluate, predict, report
from docvlm import load as load_reader
from docvlm.config import BenchmarkConfig, EvaluateConfig, ExportConfig, Job, ReportConfig
from docvlm.config.compose import load, rehearse
from docvlm.errors import DocvlmError
from docvlm.evaluation import subjects
from docvlm.export import main
from docvlm.exporting import formats, records
from docvlm.reporting.tables import scores
from docvlm.vlms import loading
from docvlm.vlms.forms import OUTSIDE
from tests.support.runs import after, copied
from tests.support.tiny import Paper, checkpoint

SMALL = ("scale=tiny", "run=outputs/run", "limit=12", "canary=3", "pages=1", "warmup=1", "data.docvqa.max_new_tokens=3")
EXPORT = Path("outputs/run/export")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with its adapter and its merged weights exported; the folder the command was given in."""
    return after(main, tmp_path_factory.mktemp("exported"), *SMALL, "formats=[adapter,merged]")


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the working directory."""
    return copied(made, tmp_path, monkeypatch)


def export(*words: str) -> None:
    """Export in this process, as the command would after Hydra has composed and checked: that is most of its time."""
    main.__wrapped__(load("export", ExportConfig, [*SMALL, *words]), Job(Path("outputs"), ("scale=tiny",)))  # type: ignore[attr-defined]


def rows() -> dict[str, dict[str, Any]]:
    """The rows of the last table, by format."""
    return {row["format"]: row for row in json.loads((EXPORT / "export.json").read_text())["formats"]}


def visible() -> set[str]:
    """The folders of formats, hidden ones among them."""
    return {path.name for path in EXPORT.iterdir() if path.is_dir()} - {"eval"}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an export that must fail."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def spoiled(source: Any, folder: Path) -> None:
    """The merged model with a layer that has forgotten what it learned."""
    source.write_whole(folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(weights) if name.endswith("layers.0.self_attn.v_proj.weight"))
    weights[name].neg_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_every_format_is_the_run_and_says_so(here: Path) -> None:
    assert visible() == {"adapter", "merged"}
    found = rows()
    assert list(found) == ["run", "adapter", "merged"]
    for word in ("adapter", "merged"):
        assert found[word]["canary"]["equal"] == found[word]["canary"]["questions"] == 3
        (score,) = found[word]["scores"]
        assert score["difference"]["mean"] == 0 and score["mean"] == found["run"]["scores"][0]["mean"]
        assert score["n"] == found["run"]["scores"][0]["n"] <= 12
        assert found[word]["latency"]["n"] == 1 and found[word]["latency"]["p50_ms"] > 0
        assert found[word]["size_mb"] == pytest.approx(loading.size(EXPORT / word) / 1e6, rel=0.1)
        about = json.loads((EXPORT / word / "docvlm.json").read_text())
        assert (about["format"], about["benchmark"], about["trained_on"]) == (word, "docvqa", "docvqa-generated")
    assert found["adapter"]["canary"]["logits"] == 0 < found["merged"]["canary"]["logits"] < 0.001
    assert found["merged"]["base_mb"] is None and found["adapter"]["size_mb"] < found["adapter"]["base_mb"]
    with (EXPORT / "export.csv").open(newline="") as file:
        assert [(row["format"], row["exported"]) for row in csv.DictReader(file)] == [
            ("run", ""), ("adapter", "True"), ("merged", "True")
        ]  # fmt: skip
    assert [path.name for path in Path("outputs").iterdir()] == ["run"], "Hydra's empty folder is gone"


def test_an_export_answers_as_the_run_does(here: Path) -> None:
    page, question = Paper("invoice").open(), "What is the total?"
    run = load_reader("outputs/run").ask(page, question)
    for word in ("adapter", "merged"):
        answer = load_reader(EXPORT / word).ask(page, question)
        assert (answer.text, answer.tokens) == (run.text, run.tokens)
    assert load_reader(EXPORT / "merged").benchmark.name == "docvqa"


def test_the_merged_checkpoint_has_the_layout_of_its_base(here: Path) -> None:
    base, mine = load_file(checkpoint("qwen2vl") / "model.safetensors"), load_file(EXPORT / "merged/model.safetensors")
    assert {name: tensor.shape for name, tensor in mine.items()} == {name: t.shape for name, t in base.items()}
    changed = {name for name in base if not torch.equal(base[name], mine[name])}
    assert changed and all("self_attn" in name for name in changed), "only what LoRA touched"


def test_the_cards_say_which_format(here: Path) -> None:
    for word, library in (("adapter", "peft"), ("merged", "transformers")):
        card = ModelCard.load(EXPORT / word / "README.md")
        assert card.data.library_name == library and f"## Format: {word}" in card.text
        assert "3 of the run's answers" in card.text and ("PeftModel" in card.text) == (word == "adapter")
        (scored,) = card.data.eval_results
        assert scored.metric_value == round(rows()[word]["scores"][0]["mean"], 4)


def test_what_is_there_is_kept_until_something_changes(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, written = rows()["merged"], []
    kept = formats.Format(lambda source, folder: written.append(folder) or source.write_whole(folder))
    monkeypatch.setitem(formats.RECORDS, "merged", kept)
    export("formats=[merged]")
    assert "merged: outputs/run/export/merged is there already" in capsys.readouterr().out
    assert rows()["merged"] == before and written == []
    export("formats=[merged]", "rerun=true")
    assert "is there already" not in capsys.readouterr().out and written == [EXPORT / ".merged.partial"]
    made = json.loads((EXPORT / "merged" / "export.json").read_text())["made_of"]
    assert records.kept(EXPORT / "merged", made) is not None
    assert {"weights", "questions", "tolerance", "versions", "device"} < set(made)
    for name in made:
        assert records.kept(EXPORT / "merged", made | {name: "another"}) is None


def test_a_format_that_is_not_the_run_fails_and_the_others_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(EXPORT)
    monkeypatch.setitem(formats.RECORDS, "merged", formats.Format(spoiled))
    line = refused(capsys, *SMALL, "formats=[merged,adapter]")
    assert "outputs/run/export/merged: " in line and "a logit moved by" in line and "adapter" not in line
    assert visible() == {"adapter"}
    assert rows()["merged"]["reasons"] and not rows()["adapter"]["reasons"]
    wide = "{texts: 0, logits: null, score: 1}"
    export("formats=[merged]", f"tolerance.merged={wide}")
    assert visible() == {"adapter", "merged"}


def test_what_breaks_off_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Any, folder: Path) -> None:
        source.write_whole(folder)
        raise OSError(28, "No space left on device")

    def stopped(source: Any, folder: Path) -> None:
        source.write_whole(folder)
        raise KeyboardInterrupt

    shutil.rmtree(EXPORT / "merged")
    monkeypatch.setitem(formats.RECORDS, "merged", formats.Format(full))
    with pytest.raises(DocvlmError, match=r"cannot be written \(\[Errno 28\] No space .*\); nothing of it is left"):
        export("formats=[merged]")
    assert visible() == {"adapter"}
    monkeypatch.setitem(formats.RECORDS, "merged", formats.Format(stopped))
    with pytest.raises(KeyboardInterrupt):
        export("formats=[merged]")
    assert visible() == {"adapter"}


def test_what_a_killed_export_left_is_said_and_made_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (EXPORT / "merged").rename(EXPORT / ".merged.partial")
    (EXPORT / ".merged.partial" / "model.safetensors").write_bytes(b"half")
    (EXPORT / ".merged.partial.weights").mkdir()
    with pytest.raises(DocvlmError, match=r"cannot be loaded: SafetensorError"):
        load_reader(EXPORT / ".merged.partial")
    export("formats=[merged]")
    said = capsys.readouterr().out
    assert "merged: an export was interrupted and left half a folder, outputs/run/export/.merged.partial" in said
    assert visible() == {"adapter", "merged"}


def test_a_folder_that_is_not_whole_is_one_line(here: Path) -> None:
    (EXPORT / "merged" / "docvlm.json").write_text('{"format": "merged"')
    with pytest.raises(DocvlmError, match=r"docvlm\.json: not readable"):
        load_reader(EXPORT / "merged")
    (EXPORT / "merged" / "docvlm.json").unlink()
    with pytest.raises(DocvlmError, match="give it with its family"):
        load_reader(EXPORT / "merged")
    (EXPORT / "adapter" / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(DocvlmError, match=r"adapter_model\.safetensors: not readable"):
        load_reader(EXPORT / "adapter")


def test_an_export_can_be_evaluated(here: Path) -> None:
    answers = {file: file.read_bytes() for file in (EXPORT / "eval").rglob("predictions.jsonl")}
    assert len(answers) == 2
    for word in ("adapter", "merged"):
        words = ["scale=tiny", f"checkpoint={EXPORT / word}", "limit=12", f"output=table-{word}"]
        cfg = load("evaluate", EvaluateConfig, [*words, "data.docvqa.max_new_tokens=3"])
        evaluate.main.__wrapped__(cfg, Job(Path("outputs")))  # type: ignore[attr-defined]
        (row,) = json.loads(Path(f"table-{word}/table.json").read_text())["rows"]
        assert row["ours"]["headline"] == rows()[word]["scores"][0]["mean"]
        assert row["ours"]["run"] == str(EXPORT / word), "it does not pass for the checkpoint as it comes"
    with pytest.raises(DocvlmError, match="weights of qwen2vl; give model=qwen2vl with it"):
        subjects.configured(replace(cfg, model=replace(cfg.model, family="florence2")), Job(Path("outputs")), None)


def evaluated(*words: str) -> None:
    """Evaluate in this process."""
    given = ["scale=tiny", "data.docvqa.max_new_tokens=3", *words]
    evaluate.main.__wrapped__(load("evaluate", EvaluateConfig, given), Job(Path("outputs"), tuple(given)))  # type: ignore[attr-defined]


def reported() -> tuple[list[dict[str, str]], str]:
    """Rows of the report's main table, and its page."""
    report.main.__wrapped__(load("report", ReportConfig), Job(Path("outputs")))  # type: ignore[attr-defined]
    folder = Path("outputs/report")
    with (folder / "tables/main-generated.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), (folder / "index.html").read_text(encoding="utf-8")


def test_exports_stand_below_their_run_in_the_report(here: Path) -> None:
    """With what the format costs, where both answered the same questions; others are named."""
    evaluated("run=outputs/run", "limit=12", "baseline=true")
    (run, *others), page = reported()
    assert [row["run"] for row in others] == [str(EXPORT / word) for word in ("adapter", "merged")]
    for row in others:
        word = Path(row["run"]).name
        assert (row["model"], row["seeds"], row["to_run"]) == (f"{run['model']}, {word}", "", "0.0")
        assert row["ours"] == run["ours"] and row["difference"] == run["difference"] and row["baseline"], row
    assert scores.EXPORTS in page and run["to_run"] == ""

    answers = Path(rows()["merged"]["scores"][0]["answers"]) / "predictions.jsonl"
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    answers.write_text("".join(json.dumps(row | {"prediction": row["answers"][0]}) + "\n" for row in lines))
    assert float(run["ours"]) < 1 and [row["ours"] for row in reported()[0]] == [run["ours"], run["ours"], "1.0"]

    evaluated(f"checkpoint={EXPORT / 'merged'}", "limit=12", "rerun=true", "output=outputs/again/eval")
    assert [row["ours"] for row in reported()[0]] == [run["ours"]] * 3, "an evaluation of the export is taken"
    shutil.move("outputs/run/eval/table.json", "outputs/run/eval/old.json")
    (row,), page = reported()
    assert row["questions"] == "5", "the run's own test"
    assert f"{EXPORT}/merged: on docvqa-generated, test split, its run was not asked the same questions" in page
    assert "not the best run of its family" not in page


def test_exports_of_a_run_with_another_name_are_found_and_lost_answers_named(here: Path) -> None:
    shutil.rmtree(rows()["merged"]["scores"][0]["answers"])
    shutil.move("outputs/run", "outputs/named")
    _, page = reported()
    where = "outputs/named/export/{}: on docvqa-generated, test split, {}"
    assert where.format("adapter", "its run was not asked the same questions") in page
    assert where.format("merged", "its answers are gone") in page


@pytest.mark.parametrize("word", ["adapter", "merged"])
def test_a_budget_on_the_command_line_is_that_of_exported_weights(word: str, here: Path) -> None:
    def evaluated(*given: str) -> dict[str, Any]:
        words = ["scale=tiny", f"checkpoint={EXPORT / word}", "limit=3", "data.docvqa.max_new_tokens=2", *given]
        cfg, before = load("evaluate", EvaluateConfig, words), set((EXPORT / "eval").rglob("evaluation.json"))
        subject = subjects.configured(cfg, Job(Path("outputs"), tuple(words)), None)
        assert subject.codec is not None
        evaluate.main.__wrapped__(cfg, Job(Path("outputs"), tuple(words)))  # type: ignore[attr-defined]
        (file,) = set((EXPORT / "eval").rglob("evaluation.json")) - before
        found: dict[str, Any] = json.loads(file.read_text())
        assert found["budget"] == asdict(subject.codec().budget), "rows are judged by what answers"
        return found["budget"]

    own = json.loads((EXPORT / word / "docvlm.json").read_text())["budget"]
    assert evaluated() == own
    assert evaluated("budget.max_pixels=30000") == own | {"max_pixels": 30000}


def test_a_budget_that_cannot_be_had_is_one_line(here: Path) -> None:
    def refusal(main: Any, verb: str, schema: Any, *words: str) -> str:
        words = ("scale=tiny", *words)
        with pytest.raises(DocvlmError) as caught:
            main.__wrapped__(load(verb, schema, list(words)), Job(Path("outputs"), words))
        return str(caught.value)

    run, weights = ("run=outputs/run", "budget.max_pixels=30000"), f"checkpoint={EXPORT / 'adapter'}"
    said = "budget.max_pixels: a run is evaluated at the budget it was trained with; drop it"
    for verb, module, schema in (("evaluate", evaluate, EvaluateConfig), ("benchmark", benchmark, BenchmarkConfig)):
        assert refusal(module.main, verb, schema, *run).startswith(said)
        assert refusal(module.main, verb, schema, "best=true", run[1]).startswith(said)
        small = ("budget.max_pixels=100", "budget.min_pixels=10")
        assert "they must rise" in refusal(module.main, verb, schema, weights, *small)


def test_four_bits_need_a_gpu_before_anything_is_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(formats.torch.cuda, "is_available", lambda: False)
    shutil.rmtree(EXPORT)
    line = refused(capsys, *SMALL, "formats=[merged,int4]")
    assert line == "error: formats=int4: outputs/run: it is for CUDA GPUs, and there is none here"
    assert not EXPORT.exists()


def test_a_run_without_an_adapter(here: Path) -> None:
    record = json.loads(Path("outputs/run/checkpoints/best/docvlm.json").read_text())
    record["lora"]["r"] = 0
    Path("outputs/run/checkpoints/best/docvlm.json").write_text(json.dumps(record))
    with pytest.raises(DocvlmError, match=r"formats=adapter: outputs/run: the run has no adapter.*\(lora\.r=0\)"):
        export("formats=[adapter]")


def test_the_page_works(root: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/guide/export.md, block by block; of the commands that differ only in what they make, one runs."""
    page = (root / "docs" / "guide" / "export.md").read_text(encoding="utf-8").replace("outputs/<time>", "outputs/run")
    targets = (root / "Makefile").read_text(encoding="utf-8")
    ran = 0
    Paper("invoice").open().save("invoice.png")
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", page, flags=re.DOTALL):
        if language == "python":
            exec(compile(block, "docs/guide/export.md", "exec"), {})
            assert capsys.readouterr().out.strip()
            continue
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[0] == "make":
                assert f"\n{words[1]}: " in targets
            elif words[:2] == ["pip", "install"]:
                (extra,) = re.findall(r"docvlm\[(\w+)\]", words[2])
                assert f"\n{extra} = [" in (root / "pyproject.toml").read_text(encoding="utf-8")
            elif words[0] == "docvlm-predict":
                if (
                    Path(words[2]).name not in OUTSIDE
                ):  # which `test_openvino_runtime.py` and `test_gguf_runtime.py` ask
                    predict.main(words[1:])
            elif words[:3] == ["python", "-m", "docvlm.export"]:
                rehearse("export", ExportConfig, words[3:], sweep=False)
                if "formats=[adapter,merged]" in words:
                    export(*words[3:])
                    ran += 1
            else:
                assert words[:3] == ["python", "-m", "docvlm.evaluate"]
                rehearse("evaluate", EvaluateConfig, words[3:], sweep=False)
    assert ran == 1


def test_two_exports_into_one_folder(here: Path) -> None:
    with FileLock(EXPORT / ".lock"), pytest.raises(DocvlmError, match="another process is exporting into it"):
        export("formats=[adapter]")
