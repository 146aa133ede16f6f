"""A family from outside the package: the files of docs/extend/family.md as they stand there, and its commands."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops

from docvlm import benchmark, evaluate, export, predict, registry, report, train
from docvlm.config.entry import _help
from docvlm.errors import DocvlmError
from docvlm.runs import finished
from docvlm.vlms import FAMILIES, load_family, saved
from docvlm.vlms.codec import Budget
from tests.support.tiny import Paper, checkpoint, example

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "family.md"
FILES = re.compile(r"^`(docvlm_ext/\S+)`\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = re.compile(r"^python -m docvlm\.(\w+) (.*)$", re.MULTILINE)
TRAINED = (
    "scale=tiny", "data.limit_train=8", "data.limit_val=4", "data.limit_test=8", "data.batch_size=4",
    "data.max_new_tokens=2", "trainer.max_epochs=1", "features=off",
)  # fmt: skip
SMALL = {
    "train": TRAINED,
    "evaluate": ("scale=tiny", "limit=8", "data.docvqa.max_new_tokens=2"),
    "export": ("scale=tiny", "limit=8", "canary=2", "pages=1", "warmup=1", "data.docvqa.max_new_tokens=2"),
    "report": (),
}
ADVICE = "add extensions=[docvlm_ext.scribe] (docvlm-predict, docvlm-app: --extensions docvlm_ext.scribe;"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the page was followed, from its files to its last command."""
    folder, before = tmp_path_factory.mktemp("scribe"), list(registry._loaded)
    text = PAGE.read_text(encoding="utf-8")
    for name, content in FILES.findall(text):
        folder.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        folder.joinpath(name).write_text(content, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        for verb, words in COMMANDS.findall(text):
            untrained = [f"model.checkpoint={checkpoint('qwen2vl')}"] if verb == "train" else []
            import_module(f"docvlm.{verb}").main([*shlex.split(words), *SMALL[verb], *untrained])
        yield folder
    forget(folder)
    registry._loaded[:] = before


@pytest.fixture
def elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder for somebody who has not named the extension."""
    monkeypatch.delitem(FAMILIES._records, "scribe")
    return here


def forget(folder: Path) -> None:
    FAMILIES._records.pop("scribe")
    for name in [name for name in sys.modules if name.partition(".")[0] == "docvlm_ext"]:
        del sys.modules[name]


def run_of(folder: Path) -> Path:
    return next((folder / "outputs").glob("*/manifest.json")).parent


def failure(capsys: pytest.CaptureFixture[str], main: object, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])  # type: ignore[operator]
    assert ended.value.code == 1
    return capsys.readouterr().err.strip()


def test_the_page_writes_four_files_and_runs_five_commands(here: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(FILES.findall(text)) == 4 and [verb for verb, _ in COMMANDS.findall(text)] == [
        "train", "train", "evaluate", "export", "report"
    ]  # fmt: skip


def test_a_run_records_its_family_and_its_extensions(here: Path) -> None:
    manifest = json.loads((run_of(here) / "manifest.json").read_text())
    assert manifest["family"] == "scribe" and manifest["config"]["extensions"] == ["docvlm_ext.scribe"]
    assert manifest["code"]["revisions"]["vlms.scribe"] == 1 and "vlms.qwen2vl" not in manifest["code"]["revisions"]
    assert manifest["trainable"]["lora_r"] == 8, "its own yaml"
    targets = json.loads((run_of(here) / "checkpoints" / "best" / "adapter_config.json").read_text())["target_modules"]
    assert "q_proj" in targets and "k_proj" not in targets, "its own record"


def test_both_cells_of_the_sweep_finish(here: Path) -> None:
    cells = sorted((here / "multirun").glob("*/*/result.json"))
    assert [json.loads(cell.read_text())["status"] for cell in cells] == ["finished"] * 2


def test_its_pages_are_grey(here: Path) -> None:
    codec = load_family("scribe").codec_of(checkpoint("qwen2vl"), Budget(), offline=True)
    red, green, blue = codec._resized(Coloured("red")).split()  # type: ignore[attr-defined]
    assert ImageChops.difference(red, green).getbbox() is None is ImageChops.difference(green, blue).getbbox()
    plain = load_family("qwen2vl").codec_of(checkpoint("qwen2vl"), Budget(), offline=True)
    one = example(0, pages=(Coloured("red"),))
    seen = [each.prompt_batch([one])["pixel_values"] for each in (codec, plain)]
    assert not torch.equal(*seen), "training and evaluation see what the codec makes"


class Coloured(Paper):
    def open(self) -> Image.Image:
        return Image.new("RGB", (self.width, self.height), "orange")


def test_the_report_and_the_cards_call_it_by_its_label(here: Path) -> None:
    page = (here / "outputs" / "report" / "index.html").read_text(encoding="utf-8")
    assert "LoRA rank: Scribe on docvqa-generated" in page
    folder = Path(json.loads((run_of(here) / "manifest.json").read_text())["checkpoint"]["name"]).name
    assert f"Scribe {folder} LoRA r=8" in page, "its checkpoint's name"
    for card in ((here / "outputs/report/cards/scribe-tiny/README.md"), *here.glob("**/export/adapter/README.md")):
        text = card.read_text(encoding="utf-8")
        assert "# Scribe" in text and "- scribe" in text and "Qwen2VLForConditionalGeneration" in text
        assert "--extensions docvlm_ext.scribe" in text


def test_an_exported_adapter_knows_what_reads_it(here: Path) -> None:
    (adapter,) = here.glob("**/adapter/docvlm.json")
    assert saved.read(adapter.parent)["extensions"] == ["docvlm_ext.scribe"]


def test_help_and_mistakes_name_its_yaml(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "model=chat|florence2|qwen2vl|qwen3vl|scribe" in _help("train", "")
    assert "did you mean scribe?" in failure(capsys, train.main, "model=scrib", "extensions=[docvlm_ext.scribe]")


@pytest.mark.parametrize("main", [evaluate.main, export.main, benchmark.main])
def test_a_run_of_an_unknown_family_names_the_extension(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], main: object
) -> None:
    line = failure(capsys, main, f"run={run_of(elsewhere)}", "scale=tiny")
    assert line.startswith(f"error: run={run_of(elsewhere)}: its family scribe is not known here; {ADVICE}")


def test_a_choice_of_runs_leaves_an_unknown_family_out_and_says_so(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.main(["output=other"])
    said = capsys.readouterr().out
    assert (
        f"left out: {Path('outputs') / run_of(elsewhere).name}: its family scribe is not known here; {ADVICE}" in said
    )
    assert "is not known here" in (elsewhere / "other" / "index.html").read_text(encoding="utf-8")
    line = failure(capsys, evaluate.main, "best=true", "scale=tiny")
    assert line.startswith("error: no finished run at scale=tiny")


def test_plain_flags_take_extensions(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Paper("invoice").open().save("invoice.png")
    asked = ["--run", str(run_of(elsewhere)), "--question", "What is the total?", "--max-new-tokens", "2"]
    assert ADVICE in failure(capsys, predict.main, *asked, "invoice.png")
    with pytest.raises(DocvlmError, match="family scribe is not known here"):
        saved.read(run_of(elsewhere) / "checkpoints" / "best")
    for name in [name for name in sys.modules if name.startswith("docvlm_ext")]:
        monkeypatch.delitem(sys.modules, name)
    predict.main([*asked, "--extensions", "docvlm_ext.scribe", "invoice.png"])
    assert len(capsys.readouterr().out.splitlines()) == 1, "an answer"


def test_finished_runs_are_found_as_any_others(here: Path) -> None:
    assert {run.family for run in finished.finished()} == {"scribe"}
