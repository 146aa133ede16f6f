"""Data sets of the hub: downloads that break off go on, and revisions are what was asked for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub.utils import hf_raise_for_status

from docvlm.data.benchmarks.chartqa import ChartQA
from docvlm.data.benchmarks.docvqa import REVISION, DocVQA
from docvlm.data.benchmarks.infovqa import InfoVQA
from docvlm.data.sources import download
from docvlm.errors import DocvlmError
from tests.support.hub_schemas import DOCVQA, docvqa_rows, parquet

# whole answers say that the connection closes, or the client may ask again on one that is just closing
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
TORN = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives these answers in turn, the last one for good, and closes the connection after each."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed: the test is over
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(answers[min(len(asked), len(answers)) - 1])

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/file", asked
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """`load_dataset` asks `url` by the client of `huggingface_hub` first, and fails as `datasets` does."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(download, "WAITS_S", (0.0, 0.01))
    parquet(tmp_path / "rows", "x.parquet", DOCVQA, docvqa_rows("x", 4))
    real = datasets.load_dataset
    state: dict[str, Any] = {"url": None, "wrapped": True, "asked": []}

    def load_dataset(**arguments: Any) -> Any:
        state["asked"].append(arguments)
        if state["url"]:
            try:
                hf_raise_for_status(huggingface_hub.get_session().get(state["url"]))
            except Exception as error:
                if state["wrapped"]:
                    raise datasets.exceptions.DatasetGenerationError("An error occurred") from error
                raise
        return real("parquet", data_files={"x": str(tmp_path / "rows" / "x.parquet")}, split="x")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return state


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("first", [TORN, BUSY, b""], ids=["torn", "503", "reset"])
def test_a_download_that_breaks_off_goes_on(first: bytes, wrapped: bool, hub: dict[str, Any]) -> None:
    with answering(first, first, GOOD) as (hub["url"], asked):
        hub["wrapped"] = wrapped
        assert len(DocVQA("hub").test) == 8
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "reason"), [(TORN, "without sending complete"), (BUSY, "answered 503")], ids=["torn", "503"]
)
def test_one_that_breaks_off_every_time_is_one_line(answer: bytes, reason: str, hub: dict[str, Any]) -> None:
    with answering(answer) as (hub["url"], asked), pytest.raises(DocvlmError) as caught:
        DocVQA("hub").setup("test")
    assert len(asked) == 3 and "\n" not in str(caught.value)
    assert f"{reason}" in str(caught.value) and "the same command continues it" in str(caught.value)
    assert "lmms-lab/DocVQA (validation) broke off 3 times" in str(caught.value)


@pytest.mark.parametrize("wrapped", [True, False])
def test_what_is_not_there_is_asked_for_once(wrapped: bool, hub: dict[str, Any]) -> None:
    with answering(ABSENT) as (hub["url"], asked), pytest.raises(DocvlmError, match="cannot load lmms-lab/DocVQA"):
        hub["wrapped"] = wrapped
        DocVQA("hub").setup("test")
    assert len(asked) == 1


def test_a_revision_is_asked_for_in_place_of_the_benchmark_s_own(hub: dict[str, Any]) -> None:
    for revision in (None, "v2"):
        assert DocVQA("hub", revision=revision).test
    assert [asked["revision"] for asked in hub["asked"]] == [REVISION, "v2"]
    with pytest.raises(DocvlmError):  # the rows are those of DocVQA
        ChartQA("hub", revision="refs/pr/1").setup("test")
    assert hub["asked"][-1]["revision"] == "refs/pr/1"
    place = InfoVQA.benchmark.hub["lmms-lab/DocVQA"]["train"]
    with pytest.raises(DocvlmError):
        InfoVQA("hub", revision="refs/pr/1").setup("fit")
    assert place.revision is None
    files = "hf://datasets/lmms-lab/DocVQA@refs%2Fpr%2F1/InfographicVQA/train-*.parquet"
    assert hub["asked"][-1]["data_files"] == {"train": files}


def test_a_revision_of_what_lies_here_is_refused(tmp_path: Path) -> None:
    parquet(tmp_path, "validation.parquet", DOCVQA, docvqa_rows("val", 2))
    with pytest.raises(DocvlmError, match=r"data\.revision=v2: only data sets of the hub"):
        DocVQA(str(tmp_path), revision="v2").setup("test")
    with pytest.raises(DocvlmError, match=r"data\.revision=v2: generated pages"):
        DocVQA("generated", revision="v2")
