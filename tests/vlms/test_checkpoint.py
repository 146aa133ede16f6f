"""Checkpoints that are not what they should be: each is one line that names the folder, before anything trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from docvlm.errors import DocvlmError
from docvlm.vlms import load_family
from docvlm.vlms.checkpoint import licence
from docvlm.vlms.codec import Budget
from tests.support.tiny import MINIATURES, checkpoint


def test_an_unknown_family_is_one_line() -> None:
    with pytest.raises(DocvlmError, match=r"model.family=gpt: not known; choose one of qwen2vl, qwen3vl, florence2"):
        load_family("gpt")


@pytest.mark.parametrize(("family", "other"), [MINIATURES, (*reversed(MINIATURES),)])
def test_a_checkpoint_of_another_family_is_one_line(family: str, other: str) -> None:
    with pytest.raises(DocvlmError, match=f"but family {family} needs"):
        load_family(family).load(checkpoint(other), Budget(), offline=True)


def test_an_unknown_hub_id_offline_is_one_line() -> None:
    with pytest.raises(DocvlmError, match=r"model.checkpoint=nobody/nothing: not a folder here .* offline"):
        load_family("qwen2vl").load("nobody/nothing", Budget(), offline=True)


def spoiled(family: str, tmp_path: Path) -> Path:
    folder = tmp_path / "spoiled"
    shutil.copytree(checkpoint(family), folder)
    return folder


@pytest.mark.parametrize("family", MINIATURES)
def test_a_spoiled_checkpoint_is_one_line(family: str, tmp_path: Path) -> None:
    def said(folder: Path, words: str) -> None:
        with pytest.raises(DocvlmError, match=words) as caught:
            load_family(family).load(folder, Budget(), offline=True)
        assert "\n" not in str(caught.value) and "model.checkpoint=" in str(caught.value)

    folder = spoiled(family, tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "norm" in name)
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors", {"format": "pt"})
    said(folder, "1 weights are missing, the first is ")
    save_file(weights | {name: torch.zeros(3)}, folder / "model.safetensors", {"format": "pt"})
    said(folder, "cannot be loaded")
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    said(folder, "cannot be loaded")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    said(folder, "safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    said(folder, "brings its own code")
    (folder / "config.json").write_text("{")
    said(folder, "cannot be loaded")
    (folder / "config.json").unlink()
    said(folder, "no config.json")
    (folder / "adapter_config.json").write_text("{}")
    said(folder, "an adapter: give its run")
    said(folder / "tokenizer.json", "not a folder")
    said(tmp_path / "absent", "not a folder")


@pytest.mark.parametrize("family", MINIATURES)
def test_a_checkpoint_without_its_processor_is_one_line(family: str, tmp_path: Path) -> None:
    files = {"processor_config.json": "image processor", "tokenizer.json": "knows no letters"}
    files |= (
        {"chat_template.jinja": "chat_template"} if family == "qwen2vl" else {"tokenizer_config.json": "image_token"}
    )
    for file, said in files.items():
        folder = spoiled(family, tmp_path / file)
        (folder / file).unlink()
        with pytest.raises(DocvlmError, match=said):
            load_family(family).load(folder, Budget(), offline=True)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("license: mit", ("mit", None, None)),
        ("license: other\nlicense_name: own\nlicense_link: LICENSE", ("other", "own", "LICENSE")),
        ("license: [mit, apache-2.0]", ("other", "mit, apache-2.0", None)),
        ("license: [mit]", ("mit", None, None)),
        ("tags: [x]", (None, None, None)),
        ("license: 3", (None, None, None)),
        ("license: [", (None, None, None)),
    ],
)
def test_a_checkpoint_s_card_says_its_licence(head: str, said: tuple[str | None, ...], tmp_path: Path) -> None:
    assert set(licence(tmp_path, offline=True).values()) == {None}, "there is no card"
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# A model\n")
    assert tuple(licence(tmp_path, offline=True).values()) == said
