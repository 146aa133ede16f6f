"""What vLLM serves in these tests: two runs of different rank, one of them merged, and two that it cannot take.

They are skipped where `make test-serve` has not made vLLM's environment. What a server in bf16 answers otherwise is
listed at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docvlm import evaluate, export, train
from docvlm.data.generated.page import documents
from docvlm.files import part_of_name
from docvlm.scoring.predictions import Prediction, read
from docvlm.vlms import embedded
from tests.evaluation.test_evaluate import table
from tests.serving.test_serve_page import commands
from tests.support.vllm import CannotServe, program

QUESTIONS = 150
BASE = str(embedded.checkpoint("qwen2vl"))
LEARNED = ("data.limit_train=400", "data.limit_val=20", "data.limit_test=8")
HARDLY = ("data.limit_train=16", "data.limit_val=4", "data.limit_test=4", "trainer.max_epochs=1")
RUNS = {
    "r16": (*LEARNED, "lora.r=16"),
    "r64": (*LEARNED, "lora.r=64"),
    "freeze66": (*HARDLY, "freeze=66"),
    "dora": (*HARDLY, "lora.use_dora=true"),
}
OURS = {
    "outputs/<time>/export/merged": "outputs/r16/export/merged",
    "invoices=outputs/<time>/checkpoints/best": "invoices=outputs/r16/checkpoints/best",
    "Qwen/Qwen2-VL-2B-Instruct": BASE,
    "served=Qwen/Qwen2-VL-2B-Instruct": f"served={BASE}",
    '{"min_pixels": 200704, "max_pixels": 1003520}': '{"min_pixels": 784, "max_pixels": 65536}',
}
"""What stands for the page's names and numbers, which are those of a full-size run."""

_otherwise: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "vllm":
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every answer that another engine gave otherwise."""
    if _otherwise:
        terminalreporter.section("answers of vLLM that differ")
        for line in _otherwise:
            terminalreporter.write_line(line)


@dataclass(frozen=True)
class Made:
    """The folder with the runs in `outputs/`."""

    folder: Path

    def local(self, run: str | None, *words: str) -> list[Prediction]:
        """The answers of a run as docvlm gives them; None: of the base."""
        asked = () if run is None else (f"run=outputs/{run}", "baseline=false")
        return _evaluated(self.folder / "local" / str(run), *asked, *words)

    def served(self, url: str, name: str, *words: str) -> list[Prediction]:
        """The answers of what is served under that name."""
        return _evaluated(
            self.folder / "served" / part_of_name(name),
            f"endpoint={url}",
            f"served={name}",
            "rerun=true",
            "timeout=600",
            *words,
        )


def _evaluated(place: Path, *words: str) -> list[Prediction]:
    """In the order of the questions' ids. What is there in `place` is not asked again, unless `words` say so."""
    evaluate.main(["scale=tiny", f"limit={QUESTIONS}", f"output={place}", *words])
    (row,) = table(place)
    return sorted(read(Path(row["ours"]["folder"]) / "predictions.jsonl"), key=lambda one: one.question_id)


def differences(title: str, here: list[Prediction], there: list[Prediction]) -> list[str]:
    """The questions whose answers are not the same, a line each; remembered for the end."""
    assert [one.key for one in here] == [one.key for one in there]
    found = [
        f"{title}: {ours.question_id}: {theirs.prediction!r} for {ours.prediction!r} (confidence {ours.confidence})"
        for ours, theirs in zip(here, there, strict=True)
        if ours.prediction != theirs.prediction
    ]
    _otherwise.append(f"{title}: {len(here) - len(found)} of {len(here)} answers are the same")
    _otherwise.extend(found)
    return found


@pytest.fixture(scope="session")
def vllm() -> Path:
    """The `vllm` command."""
    try:
        return program()
    except CannotServe as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def made(vllm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in RUNS.items():
            train.main(["model=qwen2vl", "scale=tiny", *words, f"hydra.run.dir=outputs/{name}"])
        export.main(["run=outputs/r16", "formats=[merged]", "scale=tiny", "limit=8", "canary=4", "pages=1", "warmup=1"])
        _odd_pages(folder / "odd")
    yield Made(folder)


@pytest.fixture
def here(made: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The same, as the working directory; nobody has set a key."""
    monkeypatch.chdir(made.folder)
    monkeypatch.delenv("DOCVLM_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return made


@pytest.fixture(scope="session")
def page(root: Path) -> str:
    return (root / "docs" / "guide" / "serve.md").read_text(encoding="utf-8")


def serve(page: str, lora: bool) -> list[str]:
    """The words of the page's `vllm serve`, of a base with an adapter or of a merged model, with the names of here."""
    (found,) = [words for words in commands(page, "vllm", "serve") if ("--enable-lora" in words) is lora]
    return [OURS.get(word, word) for word in found[1:]]


def _odd_pages(folder: Path) -> None:
    """Questions about pages whose sides are no multiples of 28, and about two pages at once."""
    folder.mkdir()
    rows = []
    for number in range(8):
        examples = documents("docvqa", "test", 9, "tiny", 0)[number]
        name = f"{number}.png"
        size = (283 - 3 * number, 171 + 5 * number)
        examples[0].pages[0].open().convert("RGB").resize(size).save(folder / name)
        other = [f"{number - 1}.png"] if number % 2 else []
        for example in examples:
            about = {"question": example.question, "answers": list(example.answers), "doc_id": str(number)}
            rows.append(about | {"question_id": example.question_id, "image": [name, *other]})
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
