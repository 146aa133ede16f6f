"""Weights from a hub: the revision that was named and no other, downloads that break off, and how little is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docvlm.config import AuditConfig, EvaluateConfig, ExportConfig, TrainConfig
from docvlm.config.compose import load
from docvlm.errors import DocvlmError
from docvlm.vlms import checkpoint as checkpoints
from docvlm.vlms import load_family, saved
from docvlm.vlms.checkpoint import fingerprint
from docvlm.vlms.codec import Budget
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from tests.support import hub
from tests.support.tiny import MINIATURES, checkpoint, example

NAME = "somebody/small"


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub.Hub]:
    """huggingface_hub in this process, set to the stand-in, with an empty cache and no waiting between tries."""
    monkeypatch.setattr(checkpoints, "WAITS_S", (0.0, 0.0))
    monkeypatch.setenv("HF_TOKEN", hub.TOKEN)
    with hub.served() as server, hub.asked(server.url, tmp_path / "cache", monkeypatch):
        yield server


@pytest.mark.parametrize("family", MINIATURES)
def test_the_revision_that_was_named_is_what_is_read(family: str, online: hub.Hub, tmp_path: Path) -> None:
    online.models[f"{NAME}@pinned"] = checkpoint(family)
    vlm = load_family(family).load(NAME, Budget(), revision="pinned")
    files = [request.split("/resolve/")[1] for request in online.requests if "/resolve/" in request]
    assert files and not [file for file in files if file.partition("/")[0] not in ("pinned", hub.COMMIT)]
    assert not [one for one in online.requests if "/main" in one]
    assert fingerprint(NAME, "pinned") == fingerprint(checkpoint(family))

    apply(vlm, 100, Lora(r=4))
    saved.save(vlm, tmp_path / "best")
    assert json.loads((tmp_path / "best" / "docvlm.json").read_text())["revision"] == "pinned"
    assert json.loads((tmp_path / "best" / "adapter_config.json").read_text())["revision"] == "pinned"
    again = saved.load(tmp_path / "best", offline=True)
    assert (again.checkpoint, again.revision) == (NAME, "pinned"), "there is no main in the cache"
    prompts = vlm.codec.prompt_batch([example(0)])
    assert again.generate(prompts, 4) == vlm.eval().generate(prompts, 4)
    with pytest.raises(DocvlmError, match=rf"model.checkpoint={NAME} model.revision=other: .*"):
        load_family(family).load(NAME, Budget(), revision="other")


def test_a_record_without_a_revision_still_loads(tmp_path: Path) -> None:
    vlm = load_family("qwen2vl").load(checkpoint("qwen2vl"), Budget(), offline=True)
    apply(vlm, 100, Lora(r=4))
    saved.save(vlm, tmp_path / "best")
    file = tmp_path / "best" / "docvlm.json"
    record = json.loads(file.read_text())
    assert record.pop("revision") is None
    file.write_text(json.dumps(record))
    assert saved.load(tmp_path / "best", offline=True).revision is None


REFUSED: list[tuple[str, Any, str, str]] = [
    ("train", TrainConfig, "model.size=embedded", "embedded is not on the hub"),
    ("train", TrainConfig, "model.checkpoint=.", ". is not on the hub"),
    ("audit", AuditConfig, "model.checkpoint=.", ". is not on the hub"),
    ("evaluate", EvaluateConfig, "checkpoint=.", ". is not on the hub"),
    ("evaluate", EvaluateConfig, "run=.", "run=. brings its own weights"),
    ("evaluate", EvaluateConfig, "best=true", "best=True brings its own weights"),
    ("export", ExportConfig, "model.checkpoint=a/b", "brings its own"),
]


@pytest.mark.parametrize(("verb", "schema", "word", "said"), REFUSED)
def test_a_revision_of_what_is_not_on_the_hub_is_one_line(verb: str, schema: Any, word: str, said: str) -> None:
    cfg = load(verb, schema, ["scale=tiny", "model.revision=v1", word])
    with pytest.raises(DocvlmError) as caught:
        cfg.check()
    assert str(caught.value).startswith("model.revision=v1: ") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_revision_of_a_hub_id_passes() -> None:
    load("train", TrainConfig, ["scale=tiny", "model.revision=v1", "model.checkpoint=a/b"]).check()


def test_a_download_that_breaks_off_is_continued(online: hub.Hub) -> None:
    online.models[f"{NAME}@main"] = checkpoint("qwen2vl")
    online.resets, online.busy = 1, 1
    load_family("qwen2vl").load(NAME, Budget())
    assert (online.resets, online.busy) == (0, 0)
    asked = [one for one in online.requests if one.startswith("GET") and one.endswith("/tokenizer.json")]
    assert len(asked) == 1, "what is complete is not read again"


def test_a_download_that_keeps_breaking_off_is_one_line(online: hub.Hub) -> None:
    online.models[f"{NAME}@main"] = checkpoint("qwen2vl")
    online.busy = 1000
    said = rf"^model.checkpoint={NAME}: its download from the hub broke off 3 times, at last with status 503; the same"
    with pytest.raises(DocvlmError, match=said) as caught:
        load_family("qwen2vl").load(NAME, Budget())
    assert "\n" not in str(caught.value) and online.busy == 997
    online.busy = 0
    load_family("qwen2vl").load(NAME, Budget())


def test_a_model_that_is_not_there_is_asked_for_once(online: hub.Hub) -> None:
    with pytest.raises(DocvlmError, match=f"model.checkpoint={NAME}: not a folder here and not to be had from the hub"):
        load_family("qwen2vl").load(NAME, Budget())
    assert len([one for one in online.requests if one.endswith("/config.json")]) == 1
