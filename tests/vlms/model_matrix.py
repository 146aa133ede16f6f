"""Which model types work with `model=chat`: every verb on a tiny random checkpoint of each, and the table of the docs.

    python -m tests.vlms.model_matrix [--write] [NAME ...]     these types, all where none is named

A miniature has the classes, the processor and the chat template of its type. It is trained for two steps with LoRA and
for two with `freeze=66`, both behind the proof of every run; a run that is killed after one step goes on and must end
with the same weights; run and checkpoint are evaluated; plain Transformers and PEFT read both runs and must give the
answers in `predictions.jsonl` and the loss in `epochs.csv`; adapter and merged weights are exported, each compared with
the run. Nothing here knows a version of Transformers: what the installed one lacks says so in its row.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import html
import io
import json
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText
from transformers.utils import logging

from docvlm import evaluate, export, train
from docvlm.config import EvaluateConfig, ExportConfig, Job, TrainConfig
from docvlm.config.compose import load
from docvlm.data.benchmarks import folder
from docvlm.data.example import Example
from docvlm.data.loading.packing import IGNORED
from docvlm.errors import DocvlmError, one_line
from docvlm.files import write_whole
from docvlm.scoring import predictions
from docvlm.tables import Column, Table, show, to_markdown
from docvlm.training.module import AnswerModule
from docvlm.vlms import saved
from tests.support.architectures import ARCHITECTURES, Architecture, checkpoint
from tests.support.runs import Killed, kill, on_call, rows
from tests.support.tiny import Paper
from tests.vlms.test_chat import plain_answers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "models.md"
MARKS = ("<!-- made by python -m tests.vlms.model_matrix --write -->", "<!-- end -->")
EXAMPLES = {
    "qwen3_vl": "Qwen3-VL-2B",
    "qwen3_5": "Qwen3.5",
    "qwen2_5_vl": "Qwen2.5-VL",
    "qwen2_vl": "Qwen2-VL-2B",
    "smolvlm": "SmolVLM2",
    "idefics3": "Granite-Docling-258M, Idefics3",
    "granite_docling": "granite-for-docling-500m",
    "lighton_ocr": "LightOnOCR",
    "glm_ocr": "GLM-OCR",
    "paddleocr_vl": "PaddleOCR-VL",
    "got_ocr2": "GOT-OCR2",
    "lfm2_vl": "LFM2-VL",
    "internvl": "InternVL",
    "llava_onevision": "LLaVA-OneVision",
    "fast_vlm": "FastVLM",
    "mistral3": "Mistral Small 3.1",
    "gemma3": "Gemma 3",
    "paligemma": "PaliGemma 2",
}
"""A published model of each type."""
YES = "yes"
COLUMNS = (
    Column("type", "model type", kind="text"),
    Column("example", "such as", kind="text"),
    Column("works", "works", kind="text"),
    Column("budget", "page budget", kind="text"),
    Column("shared", "questions share their page", kind="text"),
    Column("packages", "needs", kind="text"),
)
SPLITS = {"train": ("a", "b"), "val": ("c",), "test": ("d", "ef")}
"""Documents, a page a letter; each has two questions."""
TOKENS = 4  # of an answer
_SMALL = (
    "scale=tiny", "model=chat", "data=folder", "data.source=pages", "data.batch_size=2",
    f"data.max_new_tokens={TOKENS}", "trainer.max_epochs=1", "trainer.max_steps=2", "trainer.accumulate_grad_batches=1",
    "trainer.checkpoint_every_n_steps=1", "lora.r=4", "optim.lr=0.01", "trainer.precision=32-true",
)  # fmt: skip
_AGAIN = ("scale=tiny", "data.folder.source=pages", f"data.folder.max_new_tokens={TOKENS}", "benchmarks=[folder]")


class Broken(AssertionError):
    """A step that ran, but came to something else than it must."""


@dataclass(frozen=True)
class Verbs:
    """The public commands, on one checkpoint, in the working directory."""

    checkpoint: Path

    def train(self, name: str, *more: str) -> Path:
        """Two steps; the folder they are to go to, unless the command continues another run."""
        run = _made(f"outputs/{name}")
        cfg = load("train", TrainConfig, [f"model.checkpoint={self.checkpoint}", *_SMALL, *more])
        train.main.__wrapped__(cfg, Job(run, more))  # type: ignore[attr-defined]
        return run

    def evaluate(self, *words: str) -> None:
        """Score a run or a checkpoint on the test split."""
        cfg = load("evaluate", EvaluateConfig, [*_AGAIN, *words])
        evaluate.main.__wrapped__(cfg, Job(_made("outputs/evaluated"), words))  # type: ignore[attr-defined]

    def export(self, *words: str) -> None:
        """Make artefacts, each of which is read back and compared with the run."""
        cfg = load("export", ExportConfig, [*_AGAIN, "canary=4", "pages=1", "warmup=1", *words])
        export.main.__wrapped__(cfg, Job(_made("outputs/exported"), words))  # type: ignore[attr-defined]


def _made(name: str) -> Path:
    folder = Path(name).resolve()
    folder.mkdir(parents=True)
    return folder


def through(checkpoint: Path) -> None:
    """Every step of the matrix, in the working directory. Raises what a verb raises, or `Broken`."""
    verbs = Verbs(checkpoint)
    _draw()
    run = verbs.train("lora")
    _same_numbers(run)
    _continues(verbs, run)
    _same_numbers(verbs.train("vision", "freeze=66"))
    verbs.evaluate(f"run={run}", "baseline=false")
    verbs.evaluate("model=chat", f"model.checkpoint={checkpoint}", "output=zero-shot")
    verbs.export(f"run={run}", "formats=[adapter,merged]")


def _documents(split: str) -> list[Example]:
    instruction = folder.BENCHMARK.instruction
    return [
        Example(
            f"{document}{number}",
            f"What is in line {number}{' or below' * number}?",
            (f"{number}.5",),
            document,
            tuple(Paper(f"{split} {page}", 280 - 80 * place, 168 + 40 * place) for place, page in enumerate(document)),
            "folder",
            instruction,
        )
        for document in SPLITS[split]
        for number in range(2)
    ]


def _draw() -> None:
    """`pages/`: a folder of one's own, with documents of one page and of two."""
    place, lines = _made("pages"), []
    for split in SPLITS:
        for example in _documents(split):
            names = [f"{page.name}.png" for page in example.pages]
            for page, name in zip(example.pages, names, strict=True):
                page.open().save(place / name)
            row = {"image": names, "question": example.question, "answers": list(example.answers), "split": split}
            lines.append(row | {"question_id": example.question_id, "doc_id": example.document})
    (place / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))


def _same_numbers(run: Path) -> None:
    """Answers in `predictions.jsonl` and loss in `epochs.csv` are those of plain Transformers and PEFT."""
    best = run / "checkpoints" / "best"
    base = json.loads((best / "adapter_config.json").read_text())["base_model_name_or_path"]
    net = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), best).eval()
    found = {one.question_id: one.prediction for one in predictions.read(run / "predictions.jsonl")}
    answered = [found[example.question_id] for example in _documents("test")]
    expected = plain_answers(net, best, _documents("test"), TOKENS)
    if answered != expected:
        raise Broken(f"predictions.jsonl has {answered}, plain Transformers and PEFT answer {expected}")
    loss, plain = float(rows(run)[-1]["val_loss"]), _plain_loss(net, best)
    if abs(loss - plain) > 1e-4 * plain:
        raise Broken(f"epochs.csv has a val loss of {loss}, in plain Transformers and PEFT it is {plain}")


@torch.inference_mode()
def _plain_loss(net: torch.nn.Module, best: Path) -> float:
    """Mean cross-entropy (nats) of the answer tokens of val, a question at a time."""
    codec, lost, count = saved.load(best, offline=True).codec, 0.0, 0
    for example in _documents("val"):
        batch = codec.train_batch([example])
        labels = batch.pop("labels")[:, 1:]
        said = net(**batch).logits[:, :-1].mT
        lost += float(torch.nn.functional.cross_entropy(said, labels, ignore_index=IGNORED, reduction="sum"))
        count += int((labels != IGNORED).sum())
    return lost / count


def _continues(verbs: Verbs, run: Path) -> None:
    """The same training, killed in its second step: the same command goes on to the same weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AnswerModule, "training_step", on_call(2, kill, AnswerModule.training_step))
        with contextlib.suppress(Killed):
            verbs.train("killed")
    killed = Path("outputs/killed")
    record = json.loads((killed / "result.json").read_text())
    (killed / "result.json").write_text(json.dumps(record | {"status": "running"}))  # a real kill writes nothing
    verbs.train("again")
    first, second = (load_file(one / "checkpoints/best/adapter_model.safetensors") for one in (run, killed))
    if first.keys() != second.keys() or not all(weight.equal(second[name]) for name, weight in first.items()):
        raise Broken("a run that was killed and continued has other weights than one that was not")


def row(architecture: Architecture) -> dict[str, str]:
    """What the table says of a model type. Raises what is neither a line for the user nor a success."""
    said = io.StringIO()
    if architecture.missing:
        return without(architecture, architecture.missing)
    base = checkpoint(architecture.model_type)
    with tempfile.TemporaryDirectory(prefix="docvlm-matrix-") as place, pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        try:
            with contextlib.redirect_stdout(said):
                through(base)
        except DocvlmError as error:
            return without(architecture, str(error))
        kept = json.loads(Path("outputs/lora/checkpoints/best/docvlm.json").read_text())
    terms = [f"`{term}`" for term, value in kept["budget"].items() if value is not None]
    seen = {"works": YES, "budget": ", ".join(terms) or "one size", "shared": _shared(said.getvalue())}
    return without(architecture, "") | seen


def without(architecture: Architecture, reason: str) -> dict[str, str]:
    """The row of a type that does not work, and why."""
    name, packages = architecture.model_type, ", ".join(f"`{package}`" for package in architecture.packages)
    known = {"type": f"`{name}`", "example": EXAMPLES[name], "packages": packages}
    return known | {"works": f"no: {reason}", "budget": "", "shared": ""}


def _shared(said: str) -> str:
    """What a run printed about questions that share a page."""
    line = re.search(r"^pages are (.*?shared.*?)(?: by their questions)? \((.*)\)$", said, re.MULTILINE)
    if line is None:
        return YES
    reason = re.sub(r" would be .* in place of .*", " would be another", line[2])  # of random weights
    return f"{'no' if line[1] == 'not shared' else 'in training only'}: {reason}"


def table(found: Sequence[dict[str, str]]) -> Table:
    """One row a model type."""
    return Table("models", "Model types that `model=chat` was tried on", COLUMNS, found)


def versions() -> str:
    """What the table holds for."""
    return ", ".join(f"{name} {version(name)}" for name in ("transformers", "peft", "torch"))


def on_page() -> dict[str, dict[str, str]]:
    """The rows of the page, by model type."""
    lines = [line.strip("| ").split(" | ") for line in _parts()[1].splitlines() if line.startswith("| `")]
    keys = [column.key for column in COLUMNS]
    return {cells[0].strip("`"): dict(zip(keys, map(html.unescape, cells), strict=True)) for cells in lines}


def _parts() -> tuple[str, str, str]:
    """The page before, within and after the marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    made, _, after = rest.partition(MARKS[1])
    return before, made, after


def write(found: Sequence[dict[str, str]]) -> None:
    """Put rows into the page's table. Those of other types stay where they were made with the same versions."""
    before, made, after = _parts()
    there = on_page() if versions() in made else {}
    there |= {row["type"].strip("`"): row for row in found}
    kept = [there[name] for name in ARCHITECTURES if name in there]
    text = f"{datetime.date.today()}, {versions()}:\n\n{to_markdown(table(kept))}"
    write_whole(PAGE, lambda file: file.write(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}"))


def main(arguments: list[str] | None = None) -> int:
    """Try the types one after the other, print the table, write it if asked. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.vlms.model_matrix", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="model types; all where none is named")
    parser.add_argument("--write", action="store_true", help=f"put them into the table of docs/reference/{PAGE.name}")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(ARCHITECTURES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: no miniature of it; there are {', '.join(ARCHITECTURES)}")
    if options.write and options.names and versions() not in _parts()[1]:
        parser.error(f"--write with some types: the page's table is not of {versions()}; write all")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found, broken = [], 0
    for name in options.names or ARCHITECTURES:
        began = time.perf_counter()
        try:
            found.append(row(ARCHITECTURES[name]))
        except Exception as error:  # noqa: BLE001  # reported in full, and the other types still count
            traceback.print_exc()
            broken += 1
            found.append(without(ARCHITECTURES[name], one_line(f"{type(error).__name__}: {error}")))
        if options.write:
            write(found)
        print(f"{name}: {found[-1]['works']} ({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
    show(table(found))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
