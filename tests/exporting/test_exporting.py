"""The parts of an export: merging in both families, quantised weights read back, the canary, the verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from docvlm import load as load_reader
from docvlm.answering import answer as predict
from docvlm.config import ToleranceConf
from docvlm.errors import DocvlmError
from docvlm.exporting import canary, formats, gguf, openvino
from docvlm.exporting.canary import Comparison, Reply
from docvlm.exporting.source import Source
from docvlm.exporting.verdict import beyond, declared
from docvlm.runs.finished import Run
from docvlm.runs.folder import RunFolder
from docvlm.vlms import loading, saved
from docvlm.vlms.base import VLM
from docvlm.vlms.trainable import Lora
from tests.support.tiny import Paper, checkpoint, example, load
from tests.vlms.test_saved_weights import BUDGETS, EXAMPLES, SETTINGS, trained

FAMILIES = ("qwen2vl", "florence2")


def source(folder: Path, family: str, freeze: float = 100, lora: Lora | None = None) -> Source:
    """What an export reads of a run that learned in some large steps."""
    saved.save(trained(family, freeze, lora or Lora(r=4)), folder / "checkpoints" / "best")
    manifest = {"config": {"model": {"attn": "sdpa"}}, "data": {"benchmark": "docvqa-generated"}}
    return Source(Run(RunFolder(folder), manifest, {}), "docvqa", True)


@pytest.mark.parametrize(
    ("family", "freeze", "lora"),
    [("qwen2vl", *SETTINGS[1]), ("florence2", *SETTINGS[1]), ("florence2", *SETTINGS[3])],
    ids=["qwen2vl-lora+vision", "florence2-lora+vision", "florence2-full-66"],
)
def test_merged_weights_are_the_run(family: str, freeze: float, lora: Lora, tmp_path: Path) -> None:
    run = source(tmp_path / "run", family, freeze, lora)
    formats.RECORDS["merged"].write(run, tmp_path / "merged")
    before, after = saved.load(run.best, offline=True), loading.load(tmp_path / "merged")
    batch, prompts = before.codec.train_batch(EXAMPLES), before.codec.prompt_batch(EXAMPLES)
    assert after.codec.budget == before.codec.budget == BUDGETS[family]
    assert torch.allclose(before.loss(batch)[0], after.loss(batch)[0], atol=1e-5)
    assert after.generate(prompts, 8) == before.generate(prompts, 8)
    assert not torch.allclose(load(family, BUDGETS[family]).loss(batch)[0], after.loss(batch)[0], atol=1e-2)
    mine, base = load_file(tmp_path / "merged/model.safetensors"), load_file(checkpoint(family) / "model.safetensors")
    assert {name: tensor.shape for name, tensor in mine.items()} == {name: t.shape for name, t in base.items()}
    assert (formats.RECORDS["adapter"].missing(run) is None) == (lora.r > 0)


def test_merged_weights_have_the_dtype_of_the_run(tmp_path: Path) -> None:
    run = source(tmp_path / "run", "qwen2vl")
    record = run.record | {"dtype": "bfloat16"}
    (run.best / "docvlm.json").write_text(json.dumps(record))
    formats.RECORDS["merged"].write(run, tmp_path / "merged")
    exact = run.whole().bare.state_dict()
    stored = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    name = next(name for name in stored if name.endswith("layers.0.self_attn.q_proj.weight"))
    whole = next(
        tensor for key, tensor in exact.items() if key.endswith("language_model.layers.0.self_attn.q_proj.weight")
    )
    assert torch.equal(stored[name], whole.to(torch.bfloat16)), "rounded once, after the sum"
    assert loading.load(tmp_path / "merged").dtype == torch.bfloat16


def test_an_adapter_names_no_path_of_this_machine(tmp_path: Path) -> None:
    run = source(tmp_path / "run", "qwen2vl")
    config = json.loads((run.best / "adapter_config.json").read_text())
    formats.RECORDS["adapter"].write(run, tmp_path / "one")
    assert json.loads((tmp_path / "one" / "adapter_config.json").read_text()) == config
    (run.best / "docvlm.json").write_text(json.dumps(run.record | {"checkpoint": "embedded"}))
    formats.RECORDS["adapter"].write(run, tmp_path / "two")
    assert json.loads((tmp_path / "two" / "adapter_config.json").read_text()) == config | {
        "base_model_name_or_path": None
    }


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_what_leaves_may_be_read_by_whom_the_umask_lets(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        run = source(tmp_path / "run", "qwen2vl")
        for word in ("adapter", "merged"):  # the others write as merged does, through saved.complete
            formats.RECORDS[word].write(run, tmp_path / word)
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"adapter_model.safetensors", "model.safetensors"}
    wrong = {str(path): oct(path.stat().st_mode) for path in files if path.stat().st_mode & 0o777 != 0o666 & ~umask}
    assert not wrong


def kinds(vlm: VLM) -> dict[str, str]:
    """The class of every linear layer's weight, by the layer's name."""
    linear = [(name, module) for name, module in vlm.bare.named_modules() if isinstance(module, nn.Linear)]
    return {name: type(module.weight).__name__ for name, module in linear}


@pytest.mark.parametrize("family", FAMILIES)
def test_eight_bits_are_read_back_and_answer_nearly_alike(family: str, tmp_path: Path) -> None:
    pytest.importorskip("torchao", reason="needs the extra: pip install 'docvlm[export]'")
    run = source(tmp_path / "run", family)
    formats.RECORDS["merged"].write(run, tmp_path / "merged")
    formats.RECORDS["int8"].write(run, tmp_path / "int8")
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".weights")] == []
    before, after = loading.load(tmp_path / "merged"), loading.load(tmp_path / "int8")
    found = kinds(after)
    assert {kind for name, kind in found.items() if name.startswith(after.about.language)} == {"Int8Tensor"}
    assert {kind for name, kind in found.items() if not name.startswith(after.about.language)} == {"Parameter"}
    batch = before.codec.train_batch(EXAMPLES)
    with torch.no_grad():
        exact, rounded = float(before.loss(batch)[0]), float(after.loss(batch)[0])
    assert 0 < abs(exact - rounded) < 0.05 * exact
    size = {word: (tmp_path / word / "model.safetensors").stat().st_size for word in ("merged", "int8")}
    assert size["int8"] < 0.75 * size["merged"]
    assert not [file for file in (tmp_path / "int8").iterdir() if file.suffix in (".bin", ".pt", ".pkl", ".py")]


@pytest.mark.parametrize("family", FAMILIES)
def test_four_bits_are_read_back(family: str, tmp_path: Path) -> None:
    """Where bitsandbytes is installed, also on a CPU, which it can do although the export is refused there."""
    pytest.importorskip("bitsandbytes", reason="needs the extra: pip install 'docvlm[gpu]'")
    run = source(tmp_path / "run", family)
    formats.RECORDS["int4"].write(run, tmp_path / "int4")
    vlm = loading.load(tmp_path / "int4").to(predict.device())
    assert {kind for name, kind in kinds(vlm).items() if name.startswith(vlm.about.language)} == {"Params4bit"}
    assert {kind for name, kind in kinds(vlm).items() if not name.startswith(vlm.about.language)} == {"Parameter"}
    prompts = {name: tensor.to(vlm.device) for name, tensor in vlm.codec.prompt_batch(EXAMPLES).items()}
    assert len(vlm.generate(prompts, 4)) == len(EXAMPLES)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = source(tmp_path / "run", "qwen2vl")
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    monkeypatch.setattr(openvino, "find_spec", lambda name: None)
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert formats.chosen(None, run) == (
        ["adapter", "merged"],
        {
            "int8": "it needs torchao: pip install 'docvlm[export]'",
            "int4": "it is for CUDA GPUs, and there is none here",
            **dict.fromkeys(
                ("openvino", "openvino_int4"), f"it needs {', '.join(openvino.PACKAGES)}: {openvino.INSTALL}"
            ),
            "gguf": "it needs gguf, xllamacpp: pip install 'docvlm[gguf]'",
        },
    )
    with pytest.raises(DocvlmError, match=r"formats=int8: .* it needs torchao"):
        formats.chosen(["int8"], run)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    assert formats.chosen(None, run)[1]["int4"] == "it needs bitsandbytes: pip install 'docvlm[gpu]'"


def reply(text: str, *steps: list[float]) -> Reply:
    return Reply(text, torch.tensor(steps))


def test_logits_count_until_two_answers_part() -> None:
    before = [reply("ab", [0.0, 1.0], [2.0, 0.0], [0.0, 9.0]), reply("a", [1.0, 0.0])]
    same = canary.compare(before, before)
    assert (same.questions, same.equal, same.share, same.logits, same.example) == (2, 2, 1.0, 0.0, "")
    parted = [reply("ac", [0.0, 1.25], [0.0, 0.5], [99.0, 0.0]), before[1]]
    found = canary.compare(before, parted)
    assert (found.equal, found.share, found.logits, found.example) == (1, 0.5, 2.0, "'ac' for 'ab'")
    shorter = [reply("a", [0.0, 1.5]), before[1]]
    assert canary.compare(before, shorter).logits == 0.5
    assert canary.compare(before, [reply("ab", [0.0, float("nan")], [2.0, 0.0], [0.0, 9.0]), before[1]]).logits == inf


def test_the_canary_is_one_question_of_each_of_many_documents() -> None:
    examples = [replace(example(number), document=f"d{number // 2}") for number in range(20)]
    assert [one.question_id for one in canary.chosen(examples, 5)] == ["q0", "q4", "q8", "q12", "q16"]
    assert len(canary.chosen(examples, 99)) == 10


@pytest.mark.parametrize("family", FAMILIES)
def test_the_canary_keeps_the_logits_of_every_step(family: str) -> None:
    vlm = load(family, BUDGETS[family])
    (first, second) = canary.ask(vlm, EXAMPLES[:2], 4)
    assert canary.compare([first, second], canary.ask(vlm, EXAMPLES[:2], 4)).logits == 0
    (answer,) = vlm.generate(vlm.codec.prompt_batch(EXAMPLES[:1]), 4)
    assert first.text == answer.text and len(first.logits) == answer.tokens
    assert first.logits.shape[1] == vlm.bare.config.get_text_config().vocab_size
    with torch.no_grad():
        vlm.bare.get_output_embeddings().weight.mul_(1.5)
    assert canary.compare([first, second], canary.ask(vlm, EXAMPLES[:2], 4)).logits > 0


def test_the_verdict() -> None:
    tolerance = ToleranceConf(texts=0.75, logits=0.1, score=0.02)
    fine = Comparison(questions=4, equal=3, logits=0.05, example="")

    def score(moved: float) -> dict[str, Any]:
        return {"benchmark": "docvqa", "metric": "anls", "difference": {"mean": moved}}

    assert beyond(tolerance, fine, [score(0.02), score(-0.02)]) == []
    few = replace(fine, equal=2, example="'b' for 'a'")
    assert beyond(tolerance, few, []) == ["2 of 4 canary answers are equal, 75% must be: 'b' for 'a'"]
    far = replace(fine, logits=0.5)
    assert beyond(tolerance, far, []) == ["a logit moved by 0.5, at most 0.1 is allowed"]
    assert beyond(replace(tolerance, logits=None), far, []) == []
    assert beyond(tolerance, fine, [score(0.0), score(0.03)]) == ["anls on docvqa moved by +0.030, at most 0.02"]
    assert len(beyond(tolerance, replace(far, equal=0), [score(-0.5)])) == 3
    both = {"merged": tolerance, "merged_16bit": replace(tolerance, logits=2.0), "int8": tolerance}
    assert declared(both, "merged", torch.float32).logits == declared(both, "int8", torch.bfloat16).logits == 0.1
    assert declared(both, "merged", torch.bfloat16).logits == declared(both, "merged", torch.float16).logits == 2.0


ALONE = """
import importlib.util, json, sys
from PIL import Image
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

assert importlib.util.find_spec("docvlm") is None, "this environment has docvlm"
folder, base, page, question, family = sys.argv[1:]
net = AutoModelForImageTextToText.from_pretrained(base or folder, use_safetensors=True)
if base:
    net = PeftModel.from_pretrained(net, folder)
processor = AutoProcessor.from_pretrained(folder)
text = "<DocVQA>" + question
if family == "qwen2vl":
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
inputs = processor(text=[text], images=[Image.open(page)], return_tensors="pt")
ids = net.eval().generate(**inputs, max_new_tokens=12)
if family == "qwen2vl":
    ids = ids[:, inputs["input_ids"].shape[1]:]
print(json.dumps(processor.batch_decode(ids, skip_special_tokens=True)[0].strip()))
"""


@pytest.fixture(scope="module")
def without_docvlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has every package of this one but docvlm."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "docvlm" not in entry.name and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_export_answers_in_an_environment_without_docvlm(
    family: str, without_docvlm: Path, tmp_path: Path
) -> None:
    run = source(tmp_path / "run", family)
    Paper("invoice").open().save(tmp_path / "invoice.png")
    question = "What is the total?"
    words = ["adapter", "merged", *(["int8"] if formats.RECORDS["int8"].missing(run) is None else [])]
    for word in words:
        formats.RECORDS[word].write(run, tmp_path / word)
        reader = load_reader(tmp_path / word)
        ours = reader.ask(tmp_path / "invoice.png", question, max_new_tokens=12).text
        asked = question + ("" if family == "florence2" else reader.benchmark.instruction)
        base = str(checkpoint(family)) if word == "adapter" else ""
        command = [without_docvlm, "-c", ALONE, tmp_path / word, base, tmp_path / "invoice.png", asked, family]
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, env=clean)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == ours != "", word
