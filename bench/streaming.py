"""What streaming reads and holds, beside the way of `datasets`: bytes, requests, disk, seconds; over HTTP on loopback.

    python -m bench.streaming --pages 400 --cache 0.2      a set of drawn pages in parquet, a cache of a fifth of it
    python -m bench.streaming --files 4000                 a folder of small pages, as on a mount: starts

Every line is one step of a run, in this order. Bytes and requests are counted by the server, for files by the kernel
(`rchar` of /proc/self/io: also what the page cache has); `of the set` is bytes over those of all files. Seconds are of
this machine and of loopback, where a network would be slower: bytes are what counts.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.benchmarks.folder import Folder
from docvlm.data.example import EvalBatch, Example
from docvlm.data.generated import documents
from docvlm.data.loading.datamodule import BenchmarkDataModule
from docvlm.data.reading import ALL_PAGES
from tests.support.hub_schemas import DOCVQA
from tests.support.ranges import Given, serving

ROWS = 32  # of a row group
SHARDS = 4
HEAD = "| step | s | requests | MB asked for | of the set | MB on disk |\n|---|---:|---:|---:|---:|---:|"
MB = 1e6


class Opening:
    """A codec that opens pages and makes nothing of them."""

    reading = ALL_PAGES

    def train_batch(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Each page of the batch, decoded."""
        return {"sizes": [page.open().size for e in {e.pages: e for e in examples}.values() for page in e.pages]}

    packed_batch = train_batch

    def eval_batch(self, examples: Sequence[Example], *, packed: bool = True) -> EvalBatch:
        """The same."""
        return EvalBatch(tuple(examples), self.train_batch(examples), {})


def made(folder: Path, split: str, role: Any, pages: int, preset: str) -> None:
    """Shards of DocVQA's schema with so many drawn pages, each stored with every one of its questions."""
    from datasets import Dataset

    folder.mkdir(parents=True, exist_ok=True)
    drawn = documents("docvqa", role, pages, preset, 0)
    for shard in range(SHARDS):
        rows = list(_rows(split, drawn[shard::SHARDS]))
        table = Dataset.from_list(rows, features=DOCVQA).data.table
        pq.write_table(table, folder / f"{split}-{shard:05d}-of-{SHARDS:05d}.parquet", row_group_size=ROWS)


def _rows(split: str, drawn: Sequence[Sequence[Example]]) -> Iterator[dict[str, Any]]:
    for questions in drawn:
        kept = io.BytesIO()
        questions[0].pages[0].open().save(kept, "PNG")
        for example in questions:
            yield {
                "questionId": example.question_id,
                "question": example.question,
                "question_types": list(example.question_types),
                "image": {"bytes": kept.getvalue(), "path": None},
                "docId": 0,
                "ucsf_document_id": f"{split}-{example.document}",
                "ucsf_document_page_no": "1",
                "answers": list(example.answers),
                "data_split": split,
            }


def size_of(folder: Path, pattern: str = "*") -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file() and not path.is_symlink())


class Steps:
    """The table: a line for each step, with what the server gave for it and what is on disk after it."""

    def __init__(self, given: Given, whole: int) -> None:
        self.given, self.whole = given, whole
        print(HEAD)

    def step(self, name: str, do: Callable[[], object], disk: Path) -> None:
        """Do it, print its line."""
        self.given.clear()
        began = time.perf_counter()
        do()
        seconds, read = time.perf_counter() - began, self.given.bytes
        cells = [f"{seconds:.1f}", str(len(self.given.asked)), f"{read / MB:.1f}", f"{read / self.whole:.2f}"]
        print(f"| {name} | {' | '.join(cells)} | {size_of(disk) / MB:.1f} |", flush=True)


def streamed(url: str, folder: Path, cache: int) -> BenchmarkDataModule:
    """The set as a run has it, with a cache of so many bytes and windows of a third of it."""
    return DocVQA(
        url, streaming=True, cache_folder=str(folder), cache_gb=cache / 1e9, window_gb=cache / 3e9, codec=Opening(),
        batch_size=8, eval_batch_size=8, val_fraction=0.05,
    )  # fmt: skip


def main() -> None:
    """Draw, serve, read, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=400, help="pages of train; an eighth as many to report on")
    parser.add_argument("--cache", type=float, default=0.2, help="cache as a share of the set")
    parser.add_argument("--preset", choices=("tiny", "full"), default="full")
    parser.add_argument("--files", type=int, help="instead: a folder of so many small pages")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        if flags.files:
            _files(Path(name), flags.files)
        else:
            _measure(Path(name), flags.pages, flags.cache, flags.preset)


def _measure(folder: Path, pages: int, share: float, preset: str) -> None:
    import datasets

    made(folder / "set" / "DocVQA", "train", "train", pages, preset)
    made(folder / "set" / "DocVQA", "validation", "test", max(pages // 8, SHARDS), preset)
    whole = size_of(folder / "set")
    cache = int(share * whole)
    datasets.disable_progress_bars()
    print(f"{pages} pages of train, {whole / MB:.1f} MB in {2 * SHARDS} files; cache {cache / MB:.1f} MB\n")
    with serving(folder / "set") as given:
        steps = Steps(given, whole)
        files = {
            split: [f"{given.url}/DocVQA/{path.name}" for path in sorted((folder / "set" / "DocVQA").glob(f"{split}*"))]
            for split in ("train", "validation")
        }
        copy = folder / "datasets"
        steps.step("`datasets`: copy", lambda: _copied(files, copy), copy)
        _steps(steps, given.url, folder / "kept", cache)


def _files(folder: Path, count: int) -> None:
    """Starts of a folder of own pages, as they are and as they are remembered."""
    source, draw = folder / "set", random.Random(0)
    source.mkdir()
    for number in range(count):
        pixels = Image.frombytes("L", (96, 96), draw.randbytes(96 * 96))
        pixels.save(source / f"{number}.png")
    rows = ({"image": f"{n}.png", "question": "What?", "answers": [str(n)]} for n in range(count))
    (source / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = size_of(source, "*.png")
    print(f"{count} pages, {whole / MB:.1f} MB\n\n| start | s | MB read | of the set |\n|---|---:|---:|---:|")
    for number in range(4):
        streaming = number > 1
        name = f"{('first', 'second')[number % 2]}, streaming {'on' if streaming else 'off'}"
        data = Folder(str(source), streaming=streaming, cache_folder=str(folder / "kept"))
        before, began = _read_by_now(), time.perf_counter()
        data.setup()
        seconds, read = time.perf_counter() - began, _read_by_now() - before
        print(f"| {name} | {seconds:.1f} | {read / MB:.1f} | {read / whole:.2f} |", flush=True)


def _read_by_now() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def _copied(files: dict[str, list[str]], copy: Path) -> None:
    """All files, downloaded and turned into Arrow. Not `load_dataset`, which counts the load at a server."""
    import datasets
    import huggingface_hub

    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = False  # the server is this process
    datasets.config.DOWNLOADED_DATASETS_PATH = copy / "downloads"
    for split, names in files.items():
        datasets.Dataset.from_parquet(names, split=split, cache_dir=str(copy))


def _steps(steps: Steps, url: str, kept: Path, cache: int) -> None:
    first, again = streamed(url, kept, cache), streamed(url, kept, cache)
    steps.step("streaming: first start", first.setup, kept)
    steps.step("streaming: second start", again.setup, kept)
    loader: Any = again.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        steps.step(f"streaming: epoch {epoch}", lambda: list(loader), kept)
        steps.step("streaming: validation", lambda: list(again.val_dataloader()), kept)
    steps.step("streaming: test", lambda: list(again.test_dataloader()), kept)
    pages = size_of(kept, "*.pack") + size_of(kept, "*.page")
    print(f"\nkept: {pages / MB:.1f} MB of pages, {(size_of(kept) - pages) / MB:.2f} MB of questions, footers, index")


if __name__ == "__main__":
    main()
