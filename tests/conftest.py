"""What every test starts from: no network, one thread a worker, and the same random numbers every time."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from docvlm import startup
from tests.support import config_files

if TYPE_CHECKING:
    from docvlm.serving.reader import Reader
    from tests.support.served import Served

# Set on import, before a test module imports torch or a Hugging Face library: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

LONGEST = (
    *("what_goes_in", "inputs", "config_command", "sweep_again", "rows_changed", "chat", "many_pages", "feature_store"),
    *("beside", "report", "config", "bench", "full_disk", "packing", "evaluate", "docs", "saved_weights", "benchmark"),
    *("chat_downstream", "export", "generated", "literal", "repository", "extension_family", "trainable", "bench_gpu"),
    *("reader_hub", "runs_of_before", "selectors", "resume", "queue", "exporting", "train", "endpoint", "app_browser"),
    *("model_matrix", "quick_start", "launched", "sweep_state"),
)
"""The files that take longest, `test_` and `.py` left out."""

startup.defer()  # as every command does
gc.disable()  # what is imported for the tests stays
config_files.remember()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first (`--no-loadscope-reorder`): else one worker ends with several of them alone."""
    place = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_collection_finish() -> None:
    """Leave all that was imported out of garbage collections: looking through it was a fifth of some tests' time."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter clear up as it always does."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def seed() -> int:
    """The seed of the test: `random` and, where they are loaded, numpy and torch are seeded with it."""
    value = 0
    random.seed(value)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(value)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(value)
    return value


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def reader() -> Reader:
    """The embedded Qwen2-VL, ready to be asked. All tests share it: do not change it."""
    from docvlm.serving.reader import load

    return load("embedded", family="qwen2vl")


@pytest.fixture
def server(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The embedded model behind HTTP; the working directory is empty, and nobody has set a key."""
    from tests.support.served import serving

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DOCVLM_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(reader) as served:
        yield served
