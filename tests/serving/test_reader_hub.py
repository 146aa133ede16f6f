"""Weights and data from a stand-in of the hub: what was named and nothing else is read, and lost connections go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from docvlm.data.benchmarks.docvqa import BENCHMARK, DocVQA
from docvlm.data.sources import snapshots
from docvlm.errors import DocvlmError
from docvlm.vlms import load_family
from docvlm.vlms.codec import Budget
from tests.support import downloads
from tests.support.downloads import Place
from tests.support.hub_schemas import DOCVQA, docvqa_rows, parquet
from tests.support.tiny import checkpoint

REPO, DATA = "someone/a-model", "HuggingFaceM4/DocumentVQA"
BUDGET = Budget(min_pixels=784, max_pixels=65536)
PARTS = ("model.safetensors", "config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # of docvlm and of huggingface_hub
    monkeypatch.chdir(tmp_path)
    with downloads.served(monkeypatch, tmp_path / "cache") as here:
        yield here


def data_files(word: str) -> dict[str, bytes]:
    folder = Path(f"made {word}")
    for split in ("train", "validation"):
        rows = [{**row, "answers": [word]} for row in docvqa_rows(split, 10)]
        parquet(folder, f"{split}-00000-of-00001.parquet", DOCVQA, iter(rows))
    return {f"data/{file.name}": file.read_bytes() for file in folder.iterdir()} | {"README.md": b"# Data\n"}


def two_commits(place: Place) -> tuple[str, str]:
    first, second = (place.publish(f"datasets/{DATA}", data_files(word)) for word in ("first", "second"))
    return first, second


def test_a_revision_of_the_data_is_what_is_read(place: Place) -> None:
    first, _ = two_commits(place)
    assert DocVQA(DATA).test[0].answers == ("second",)
    assert DocVQA(DATA, revision=first).test[0].answers == ("first",)


@pytest.mark.parametrize("why", ["offline", "the hub is down"])
def test_another_commit_in_the_cache_is_not_taken_for_the_one_that_was_named(
    place: Place, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    first, second = two_commits(place)
    DocVQA(DATA).setup("test")
    if why == "offline":
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    else:
        place.fails[""] = 10**6
    with pytest.raises(DocvlmError, match=rf"cannot be had at {first} now; the cache holds {second}; fetch it"):
        DocVQA(DATA, revision=first, offline=why == "offline").setup("test")


def test_a_folder_of_the_repositorys_name_is_not_taken_for_the_hub(place: Place) -> None:
    two_commits(place)
    Path(DATA).mkdir(parents=True)
    with pytest.raises(DocvlmError, match=rf"a folder {DATA} lies here; give data.source=./{DATA}"):
        snapshots.hub_rows(DATA, BENCHMARK, "validation", False)


@pytest.mark.parametrize("how", ["breaks", "fails"])
def test_data_that_breaks_off_is_fetched_on(place: Place, how: str) -> None:
    place.publish(f"datasets/{DATA}", data_files("it"))
    getattr(place, how)["validation-00000-of-00001.parquet"] = 2
    assert DocVQA(DATA).test[0].answers == ("it",)
    assert getattr(place, how)["validation-00000-of-00001.parquet"] == 0


def published_model(place: Place) -> None:
    files = [file for file in checkpoint("qwen2vl").iterdir() if file.is_file()]
    place.publish(f"models/{REPO}", {file.name: file.read_bytes() for file in files})


@pytest.mark.parametrize("how", ["breaks", "fails"])
@pytest.mark.parametrize("file", PARTS)
def test_a_checkpoint_that_breaks_off_is_the_whole_one_in_the_end(place: Place, how: str, file: str) -> None:
    published_model(place)
    whole = load_family("qwen2vl").load(checkpoint("qwen2vl"), BUDGET)
    getattr(place, how)[f"/{file}"] = 2
    fetched = load_family("qwen2vl").load(REPO, BUDGET)
    assert fetched.bare.generation_config.to_dict() == whole.bare.generation_config.to_dict()
    assert fetched.codec.processor.chat_template == whole.codec.processor.chat_template


@pytest.mark.parametrize("file", PARTS)
def test_a_checkpoint_that_breaks_off_for_good_is_one_line(place: Place, file: str) -> None:
    published_model(place)
    place.fails[f"/{file}"] = 10**6
    with pytest.raises(DocvlmError, match=r"broke off 4 times, .* the same command continues it"):
        load_family("qwen2vl").load(REPO, BUDGET)
