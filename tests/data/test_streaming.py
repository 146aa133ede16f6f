"""Streamed pages: the rows and batches of a copy on disk, each row group fetched once, whatever breaks off between."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest

from docvlm.data.benchmarks.docvqa import DocVQA
from docvlm.data.benchmarks.folder import Folder
from docvlm.data.benchmarks.infovqa import InfoVQA
from docvlm.data.loading import datamodule
from docvlm.data.loading.ahead import Ahead
from docvlm.data.loading.datamodule import BenchmarkDataModule
from docvlm.data.loading.mix import Mix
from docvlm.data.loading.samplers import epoch_order
from docvlm.data.loading.windows import homes_of
from docvlm.data.pages import BytesPage
from docvlm.data.streaming import index, packs, remote
from docvlm.data.streaming.page import StreamedPage
from docvlm.errors import DocvlmError
from tests.data.test_loaders import Killed, NumberCodec, Recorder, trainer
from tests.support import downloads
from tests.support.downloads import Place
from tests.support.hub_schemas import parquet
from tests.support.ranges import Given, noisy, serving, sharded

PAGE = 7100  # bytes of a page, about
GROUP = 4 * PAGE
CACHE_GB = 8 * GROUP / 1e9
WINDOW_GB = 3 * GROUP / 1e9
"""A cache of 8 row groups and windows of 3, beside 10 row groups of train and 4 of test."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pages of train in 10 row groups, 16 of validation in 4."""
    made = tmp_path_factory.mktemp("shards")
    sharded(made / "DocVQA", "train", 40)
    sharded(made / "DocVQA", "validation", 16)
    return made


@pytest.fixture
def given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    """The folder behind HTTP."""
    monkeypatch.setattr(remote, "WAITS_S", (0.0, 0.01))
    with serving(folder) as served:
        yield served


def streamed(source: str | Path, cache: Path, kind: type[BenchmarkDataModule] = DocVQA, **more: Any) -> Any:
    settings: dict[str, Any] = {"cache_gb": CACHE_GB, "window_gb": WINDOW_GB, "val_fraction": 0.2, "seed": 7}
    settings |= {"batch_size": 4, "eval_batch_size": 3, "codec": NumberCodec(), **more}
    return kind(str(source), streaming=True, cache_folder=str(cache), **settings)


def row_groups(given: Given) -> Counter[tuple[str, int]]:
    """How often each row group was asked for: each begins elsewhere in its file."""
    return Counter((name, start) for name, start, count in given.asked if count > 2 * PAGE)


@pytest.mark.parametrize(("kind", "schema"), [(DocVQA, "docvqa"), (InfoVQA, "infovqa")])
def test_rows_are_those_of_a_copy_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BenchmarkDataModule], schema: str
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split in ("train", "validation"):
        sharded(tmp_path / "set" / kind.benchmark.folder, split, 8, schema=schema)
    copied = kind(str(tmp_path / "set"), val_fraction=0.2)
    here = streamed(tmp_path / "set", tmp_path / "here", kind)
    with serving(tmp_path / "set") as given:
        there = streamed(given.url, tmp_path / "there", kind)
        assert there.fingerprint() == here.fingerprint() == copied.fingerprint()
    assert there.train[0].pages[0] is there.train[1].pages[0] and there.published and there.label == copied.label
    pixels = [[e.pages[0].open().tobytes() for e in data.test] for data in (here, there, copied)]
    assert pixels[0] == pixels[1] == pixels[2]


def test_a_second_start_reads_nothing(given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(streamed(given.url, tmp_path).train) == 64
    assert "10 of 10 row groups" in capsys.readouterr().out and set(row_groups(given).values()) == {1}
    given.clear()
    assert len(streamed(given.url, tmp_path).train) == 64
    assert not given.asked and not capsys.readouterr().out


def test_questions_are_read_without_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sharded(tmp_path / "DocVQA", "validation", 16, side=256)
    seen: list[int] = []
    monkeypatch.setattr(index, "_pass", lambda *_: seen.append(given.bytes))
    with serving(tmp_path) as given, pytest.raises(KeyError):
        streamed(given.url, tmp_path / "cache", cache_gb=0.01).test.count(None)
    assert 0 < seen[0] < 0.15 * whole  # two footers and what lies beside them


def test_an_epoch_fetches_each_row_group_once(given: Given, tmp_path: Path) -> None:
    """Where three windows fit: a batch may read of one, the next is here, and the one after it is on its way."""
    data = streamed(given.url, tmp_path, cache_gb=9 * GROUP / 1e9)
    loader = data.train_dataloader()
    for epoch in range(2):
        list(data.test_dataloader())  # pushes row groups of train out
        given.clear()
        loader.sampler.set_epoch(epoch)
        assert sorted(i for batch in loader for i in batch["ids"].tolist()) == sorted(
            float(e.answers[0]) for e in data.train
        )
        counts = row_groups(given)
        homes = {(e.pages[0].shard.url, e.pages[0].group) for e in data.train}
        assert set(counts.values()) == {1} and len(homes) - 9 <= len(counts) <= len(homes)
        assert data.streaming.store.held() <= data.streaming.cache


def test_an_evaluation_fetches_each_row_group_once(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "cost", lambda example, _: (zlib.crc32(example.document.encode()),))
    data = streamed(given.url, tmp_path, cache_gb=2 * GROUP / 1e9, window_gb=GROUP / 1e9)
    data.setup()
    list(data.answer_dataloader(data.train))  # pushes the row groups of test out
    given.clear()
    asked = [e.question_id for batch in data.test_dataloader() for e in batch.examples]
    assert sorted(asked) == sorted(e.question_id for e in data.test)
    assert set(row_groups(given).values()) == {1} and len(row_groups(given)) == 4


def test_pages_of_sparse_row_groups_are_kept_by_themselves(given: Given, tmp_path: Path) -> None:
    data = streamed(given.url, tmp_path, val_fraction=0.1, cache_gb=16 * GROUP / 1e9)
    assert len(data.val) == 8 and all(e.pages[0].single for e in data.val)
    assert not any(e.pages[0].single for e in data.test)
    first = [e.question_id for batch in data.val_dataloader() for e in batch.examples]
    assert len(list(tmp_path.glob("*.page"))) == 4
    clear(tmp_path)
    given.clear()
    assert [e.question_id for batch in data.val_dataloader() for e in batch.examples] == first and not given.asked
    harmed = next(iter(tmp_path.glob("*.page")))
    harmed.write_bytes(harmed.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="damaged page"):
        assert [e.pages[0].open().size for e in data.val] == [(48, 48)] * 8
    assert (
        len(row_groups(given)) == 1
        and data.fingerprint() == streamed(given.url, tmp_path, val_fraction=0.1).fingerprint()
    )


def test_a_disk_that_is_full_before_the_cache_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the setting that is too large for it, and leaves no half page."""

    def no_room(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = streamed(folder, tmp_path)
    monkeypatch.setattr(packs.os, "fsync", no_room)
    with pytest.raises(DocvlmError, match=r"data\.cache_gb=0\.000\d+: the disk of .* is full before that"):
        data.train[0].pages[0].open()
    assert not list(tmp_path.glob("*.part"))


def test_parts_of_a_mixture_share_what_is_kept_by_itself(folder: Path, tmp_path: Path) -> None:
    """As many pages of each as leave room for those of the others."""

    def alone(**parts: BenchmarkDataModule) -> list[int]:
        Mix(parts=parts, weights={}, batch_size=4)
        return [sum(e.pages[0].single for e in part.val) for part in parts.values()]

    def part() -> BenchmarkDataModule:
        return streamed(folder, tmp_path, val_fraction=0.1, cache_gb=9 * GROUP / 1e9)

    assert alone(one=part()) == [2 * count for count in alone(one=part(), other=part())[:1]] and alone(one=part()) > [0]


def test_pages_by_themselves_take_a_share_of_the_cache(folder: Path, tmp_path: Path) -> None:
    store = streamed(folder, tmp_path).streaming.store
    for number in range(40):
        content = bytes([number]) * PAGE
        store.single(packs.digest_of(content), lambda content=content: content)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.page")) <= packs.SINGLE * store.limit + PAGE
    assert store.held() <= store.limit


@pytest.mark.parametrize("tokens", [None, 60])
def test_windows_are_a_function_of_seed_and_epoch(folder: Path, tmp_path: Path, tokens: int | None) -> None:
    data = streamed(folder, tmp_path, **({} if tokens is None else {"batch_tokens": tokens, "batch_size": None}))
    data.codec, data.trainer = Measuring(), SimpleNamespace(max_epochs=2, world_size=1, global_rank=0)
    sampler, again = (data.train_dataloader().sampler for _ in range(2))
    epochs = []
    for epoch in (0, 1):
        for each in (sampler, again):
            each.set_epoch(epoch)
        epochs.append(list(dict.fromkeys(i for batch in sampler for i in batch)))  # to fill steps some come twice
        assert epochs[-1] == list(dict.fromkeys(i for batch in again for i in batch))
    assert epochs[0] != epochs[1] and sorted(epochs[0]) == sorted(epochs[1]) == list(range(len(data.train)))
    homes = homes_of(data.train, int(WINDOW_GB * 1e9))
    assert homes is not None
    first_visits = [list(dict.fromkeys(homes.of[np.array(order)].tolist())) for order in epochs]
    windows = [{frozenset(visits[n : n + 3]) for n in range(0, 9, 3)} for visits in first_visits]
    assert windows[0] != windows[1]  # other row groups together, not only in another order
    for order in epochs:
        visited = homes.of[np.array(order)]
        span = [np.flatnonzero(visited == home) for home in range(len(homes.sizes))]
        per_window = 3 * 8 + 4  # rows of three row groups, and a batch that begins in the window before
        assert all(places[-1] - places[0] < per_window for places in span)
        assert len(set(visited[:24].tolist())) > 1  # mixed, not one row group after the other


class Measuring(NumberCodec):
    """A codec that knows how long examples are."""

    def lengths(self, examples: Sequence[Any]) -> Any:
        from docvlm.data.loading.batching import Lengths

        return Lengths(np.full(len(examples), 10), np.arange(len(examples)) % 5 + 1, shared=True)


def test_what_is_not_streamed_is_spread_over_the_windows(folder: Path, tmp_path: Path) -> None:
    train = streamed(folder, tmp_path).train
    beside = [BytesPage(f"own {n}", b"") for n in range(40)]
    examples = [*train, *(replace(train[0], pages=(page,)) for page in beside)]
    homes = homes_of(examples, int(WINDOW_GB * 1e9))
    groups = np.arange(len(examples))
    order = epoch_order(((len(examples), 1.0),), 7, 0, groups.tolist())
    assert homes is not None
    windows = homes.ordered(order, groups, 7, 0)
    assert sorted(np.concatenate(windows).tolist()) == list(range(len(examples)))
    assert all(sum(i >= len(train) for i in window) for window in windows)
    assert homes_of(examples[len(train) :], 1) is None


def test_row_groups_are_fetched_ahead_and_not_too_far(given: Given, tmp_path: Path) -> None:
    data = streamed(given.url, tmp_path, val_fraction=0.0)
    sampler = data.train_dataloader().sampler
    needs, limit = sampler.needs()
    assert len(needs) == len({(page.shard.key, page.group) for _, page in needs}) == 10 and needs[0][0] == 0
    clear(tmp_path)
    given.clear()
    with Ahead(needs, limit) as ahead:
        settled(ahead, 1 + 3)  # that of the first step, and a window beyond it
        assert len(row_groups(given)) == 4
        ahead.reach(needs[-1][0])
        ahead.join(10)
    assert len(row_groups(given)) < 10 and not ahead.is_alive()  # those of steps that are over are not fetched
    sampler.resume(0, needs[-1][0])
    assert [page for _, page in sampler.needs()[0]][-1] == needs[-1][1] and len(sampler.needs()[0]) <= 4


def settled(ahead: Ahead, count: int) -> None:
    """Wait until so many row groups are dealt with, then a little longer for one too many."""
    end = time.monotonic() + 30
    while ahead._done < count and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    assert ahead._done == count


def test_what_cannot_be_fetched_ahead_is_left_to_its_step(
    given: Given, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = streamed(given.url, tmp_path)
    needs, limit = data.train_dataloader().sampler.needs()
    clear(tmp_path)
    given.fail = 100
    with caplog.at_level(logging.WARNING), Ahead(needs, limit) as ahead:
        ahead.join(10)
    assert "while reading ahead" in caplog.text
    with pytest.raises(DocvlmError, match="reading broke off"):
        list(data.train_dataloader())
    given.fail = 0
    assert len(list(data.train_dataloader())) == 16


def clear(cache: Path) -> None:
    """No row group is here any more."""
    for pack in cache.glob("*.pack"):
        pack.unlink()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_goes_on_with_the_batches_it_had_not_seen(
    folder: Path, tmp_path: Path, workers: int
) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    plain = Recorder()
    trainer(tmp_path, enable_checkpointing=False).fit(plain, streamed(folder, tmp_path / "cache"))
    saved = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=1, save_top_k=-1, filename="{step}")
    killed = Recorder(kill_at=21)  # in the middle of epoch 1
    with pytest.raises(Killed):
        trainer(tmp_path, callbacks=[saved]).fit(killed, streamed(folder, tmp_path / "cache", num_workers=workers))
    resumed = Recorder()
    trainer(tmp_path, enable_checkpointing=False).fit(
        resumed, streamed(folder, tmp_path / "other", num_workers=workers), ckpt_path=tmp_path / "kept" / "step=21.ckpt"
    )
    assert killed.seen + resumed.seen == plain.seen and len(plain.seen) == 48


def test_a_first_pass_that_is_killed_goes_on(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if (child := os.fork()) == 0:
        count = 0

        def die(pages: Sequence[BytesPage], pool: Executor) -> None:
            nonlocal count
            count += 1
            if count == 4:
                os._exit(9)  # as SIGKILL does: nothing is cleared up

        data = streamed(folder, tmp_path)
        data.gate(None, die)
        try:
            data.train.count(None)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    shown: list[int] = []
    data = streamed(folder, tmp_path)
    data.gate(None, lambda pages, pool: shown.append(len(pages)))
    assert len(data.train) == 64 and shown == [4] * 7  # row groups of four pages
    assert "(7 of 10 row groups)" in capsys.readouterr().out


def test_who_comes_second_waits_for_what_the_first_finds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = streamed(folder, tmp_path), streamed(folder, tmp_path)
    entered, go = threading.Event(), threading.Event()

    def hold(pages: Sequence[BytesPage], pool: Executor) -> None:
        entered.set()
        assert go.wait(30)

    first.gate(None, hold)
    second.gate(None, lambda pages, pool: pytest.fail("a page was read twice"))
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(lambda: first.test)
        assert entered.wait(30)
        other = pool.submit(lambda: second.test)
        said, end = "", time.monotonic() + 30
        while "another process reads the pages" not in said and time.monotonic() < end:
            time.sleep(0.01)
            said += capsys.readouterr().out
        go.set()
        assert "another process reads the pages" in said
        assert [e.question_id for e in one.result()] == [e.question_id for e in other.result()]


def test_a_damaged_index_is_begun_anew(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = streamed(folder, tmp_path).fingerprint()
    (file,) = tmp_path.glob("index-*.sqlite")
    file.write_bytes(b"no database, but long enough to be read as one" * 10)
    capsys.readouterr()
    with pytest.warns(UserWarning, match="every page is read again"):
        assert streamed(folder, tmp_path).fingerprint() == before
    assert "10 of 10 row groups" in capsys.readouterr().out


@pytest.mark.parametrize("status", [500, 0])
def test_a_server_that_fails_is_asked_again(
    given: Given, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    page = streamed(given.url, tmp_path).train[-1].pages[0]
    clear(tmp_path)
    given.fail, given.status = 2, status
    with caplog.at_level(logging.WARNING):
        assert page.open().size == (48, 48)
    assert caplog.text.count("train-00001-of-00002.parquet: reading broke off") == 2


def test_a_server_that_goes_on_failing_is_one_line(given: Given, tmp_path: Path) -> None:
    data = streamed(given.url, tmp_path)
    data.test.count(None)
    clear(tmp_path)
    given.fail = 100
    with pytest.raises(DocvlmError, match=r"validation-0000\d-of-00002.parquet: reading broke off 3 times.*500"):
        list(data.test_dataloader())
    given.fail = 0
    assert len(list(data.test_dataloader())) == 11


@pytest.mark.parametrize("harm", ["cut", "turned", "emptied", "another's"])
def test_a_damaged_pack_is_fetched_again(folder: Path, tmp_path: Path, harm: str) -> None:
    data = streamed(folder, tmp_path)
    pages = list(dict.fromkeys(e.pages[0] for e in data.test))
    before = [page.open().tobytes() for page in pages]
    for pack in tmp_path.glob("*.pack"):
        content = bytearray(pack.read_bytes())
        content[-100] ^= 1
        other = content[:16] + content[16:].replace(b'"cells"', b'"cellz"', 1)  # JSON, but none of ours
        harmed = {"cut": content[:-1], "turned": content, "emptied": b"", "another's": other}
        (tmp_path / "harmed").write_bytes(harmed[harm])
        (tmp_path / "harmed").replace(pack)  # another file: of this one the header is known
    with pytest.warns(UserWarning, match="fetched again"):
        assert [page.open().tobytes() for page in pages] == before
    assert [page.open().tobytes() for page in pages] == before


def test_processes_share_the_cache(folder: Path, tmp_path: Path) -> None:
    data = streamed(folder, tmp_path, cache_gb=2 * GROUP / 1e9, window_gb=GROUP / 1e9)
    pages = list(dict.fromkeys(e.pages[0] for e in [*data.train, *data.test]))
    (tmp_path / "left.part").write_bytes(bytes(GROUP))  # of a process that was killed
    children = []
    for child in range(3):
        if (number := os.fork()) == 0:
            try:
                order = np.random.default_rng(child).permutation(len(pages))
                os._exit(0 if all(pages[i].stream().read(4) == b"\x89PNG" for i in order) else 2)
            finally:
                os._exit(1)  # whatever was raised
        children.append(number)
    assert [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children] == [0, 0, 0]
    assert 0 < data.streaming.store.held() <= data.streaming.cache and not list(tmp_path.glob("*.part"))


def test_a_file_that_takes_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    sharded(tmp_path / "set", "validation", 8, side=160)
    data = streamed(tmp_path / "set", tmp_path / "cache", cache_gb=1e-2)
    page, before = data.test[0].pages[0], data.fingerprint(["test"])
    assert isinstance(page, StreamedPage)
    clear(tmp_path / "cache")
    sharded(tmp_path / "set", "validation", 8, side=160, other="s")
    with pytest.raises(DocvlmError, match="holds other pages than when it was read first"):
        page.open()
    again = streamed(tmp_path / "set", tmp_path / "cache", cache_gb=1e-2)
    assert again.test[0].pages[0].open().size == (160, 160) and again.fingerprint(["test"]) == before


@pytest.mark.parametrize("at", ["address", "folder"])
def test_a_file_that_is_replaced_before_its_pages_are_read_is_no_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    sharded(tmp_path / "set" / "DocVQA", "validation", 8)
    read = index._pass

    def replaced(*wanted: Any) -> None:
        sharded(tmp_path / "set" / "DocVQA", "validation", 8, side=49, other="new")
        read(*wanted)

    with serving(tmp_path / "set") as given, monkeypatch.context() as meanwhile:
        source = given.url if at == "address" else tmp_path / "set"
        meanwhile.setattr(index, "_pass", replaced)
        with pytest.raises(DocvlmError, match=r"00000-of-00002.parquet: .*changed"):
            streamed(source, tmp_path / "cache").test.count(None)
        meanwhile.undo()
        assert streamed(source, tmp_path / "cache").test[0].pages[0].open().size == (49, 49)


def _refused(name: str) -> Callable[..., Any]:
    return {
        "drawn": lambda url, folder, cache: streamed("generated", cache),
        "small": lambda url, folder, cache: streamed(folder, cache, cache_gb=1e-9).test,
        "offline": lambda url, folder, cache: streamed(url, cache, offline=True).test,
        "plain": lambda url, folder, cache: DocVQA(url).test,
        "other": lambda url, folder, cache: streamed(url, cache, InfoVQA).test,
        "nothing": lambda url, folder, cache: streamed(f"{url}/nothing", cache).test,
        "protocol": lambda url, folder, cache: streamed("nowhere://there", cache).test,
    }[name]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("drawn", "data.streaming=true: generated pages are drawn"),
        ("small", r"data.cache_gb=1e-09: .*row groups of up to.*give data.cache_gb=0.001 or more"),
        ("offline", "offline=true forbids it"),
        ("plain", "an address is read with data.streaming=true only"),
        ("other", "the rows of docvqa .*give data=docvqa"),
        ("nothing", "nothing"),
        ("protocol", "nowhere://there: cannot be read here"),
    ],
)
def test_what_cannot_be_streamed_is_refused(given: Given, folder: Path, tmp_path: Path, name: str, line: str) -> None:
    with pytest.raises(DocvlmError, match=line):
        _refused(name)(given.url, folder, tmp_path)


def test_a_server_without_ranges_is_refused(given: Given, tmp_path: Path) -> None:
    given.ranges = False
    with pytest.raises(DocvlmError, match="its server does not give byte ranges; download it and give the folder"):
        streamed(given.url, tmp_path).test.count(None)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    """A stand-in for the hub, with lmms-lab/DocVQA at two commits."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # of docvlm and of huggingface_hub
    monkeypatch.chdir(tmp_path)
    with downloads.served(monkeypatch, tmp_path / "cache") as here:
        for word in ("first", "second"):
            for split in ("train", "validation"):
                sharded(tmp_path / word / "DocVQA", split, 8, side=160, other=word)
            files = {f"DocVQA/{file.name}": file.read_bytes() for file in (tmp_path / word / "DocVQA").iterdir()}
            here.publish("datasets/lmms-lab/DocVQA", files | {"README.md": CARD.encode()})
        yield here


CARD = """---
configs:
- config_name: DocVQA
  data_files:
  - {split: validation, path: DocVQA/validation-*}
  - {split: train, path: DocVQA/train-*}
---
"""


def test_pages_of_the_hub_stay_there(place: Place, tmp_path: Path) -> None:
    first, second = place.commits["datasets/lmms-lab/DocVQA"]
    data = streamed("hub", tmp_path / "kept", cache_gb=0.01, revision=first)
    copied = DocVQA("hub", revision=first, val_fraction=0.2)
    assert data.published and data.label == "docvqa"
    assert {e.pages[0].shard.url for e in data.test} == {
        f"hf://datasets/lmms-lab/DocVQA@{first}/DocVQA/validation-0000{n}-of-00002.parquet" for n in (0, 1)
    }
    assert data.fingerprint() == copied.fingerprint()
    place.given.clear()
    again = streamed("hub", tmp_path / "kept", cache_gb=0.01, revision=first)
    again.setup()
    assert not [name for name, _ in place.given if name.endswith(".parquet")]
    clear(tmp_path / "kept")
    shards = [name for name in place.commits["datasets/lmms-lab/DocVQA"][first] if "validation" in name]
    place.breaks = dict.fromkeys(shards, 1)  # each breaks off once
    assert [e.pages[0].open().size for e in again.test] == [(160, 160)] * 16
    parts = [count for name, count in place.given if name in shards]
    assert len(parts) == 4 and parts[0] == parts[1]  # one row group a shard, each asked for twice
    newest = streamed("hub", tmp_path / "kept", cache_gb=0.01, revision="main")
    assert second in newest.test[0].pages[0].shard.url
    assert newest.test[0].pages[0].content != data.test[0].pages[0].content


def test_a_commit_that_leaves_a_file_as_it_is_costs_nothing(place: Place, tmp_path: Path) -> None:
    before = streamed("hub", tmp_path / "kept", cache_gb=0.01, revision="main").test[0].pages[0]
    third = place.publish("datasets/lmms-lab/DocVQA", [*place.commits["datasets/lmms-lab/DocVQA"].values()][1])
    place.given.clear()
    page = streamed("hub", tmp_path / "kept", cache_gb=0.01, revision="main").test[0].pages[0]
    assert third in page.shard.url and (page.content, page.shard.key) == (before.content, before.shard.key)
    assert page.open().size == (160, 160) and not [n for n, _ in place.given if n.endswith(".parquet")]


def test_a_set_that_is_no_parquet_on_the_hub_is_refused(place: Place, tmp_path: Path) -> None:
    files = {f"DocVQA/{split}-0.jsonl": b"{}" for split in ("train", "validation")}
    place.publish("datasets/lmms-lab/DocVQA", files | {"README.md": CARD.encode()})
    with pytest.raises(DocvlmError, match=r"lmms-lab/DocVQA .* is no parquet on the hub .*leave data.streaming out"):
        streamed("hub", tmp_path / "kept", revision="main").test.count(None)


def test_files_that_a_card_does_not_declare_are_streamed_too(place: Place, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        sharded(tmp_path / "made" / "InfographicVQA", split, 8, schema="infovqa")
    card = CARD.replace("DocVQA", "InfographicVQA").replace("  - {split: train, path: InfographicVQA/train-*}\n", "")
    files = {f"InfographicVQA/{f.name}": f.read_bytes() for f in (tmp_path / "made" / "InfographicVQA").iterdir()}
    place.publish("datasets/lmms-lab/DocVQA", files | {"README.md": card.encode()})
    data = streamed("hub", tmp_path / "kept", InfoVQA)
    assert (len(data.train) + len(data.val), len(data.test)) == (16, 16)
    assert data.fingerprint() == InfoVQA("hub", val_fraction=0.2).fingerprint()


@pytest.mark.parametrize("at", ["folder", "address"])
def test_own_pages_in_tables_are_streamed(tmp_path: Path, at: str) -> None:
    rows = [{"image": {"bytes": noisy(n), "path": None}, "question": f"{n}?", "answers": [str(n)]} for n in range(8)]
    kinds = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "answers": [datasets.Value("string")]}
    )
    for split in ("train", "val", "test"):
        parquet(tmp_path / "my_set", f"{split}.parquet", kinds, iter(rows))
    with serving(tmp_path) as given:
        source = f"{given.url}/my_set" if at == "address" else str(tmp_path / "my_set")
        data = streamed(source, tmp_path / "kept", Folder, cache_gb=0.001, window_gb=0.0001)
        assert [len(data.train), len(data.val), len(data.test)] == [8, 8, 8] and data.label == "folder-my_set"
        assert data.train[3].document == data.train[3].pages[0].digest[:12] and not data.published
        assert data.train[3].pages[0].open().size == (48, 48)


def test_a_table_with_names_of_files_needs_the_files(tmp_path: Path) -> None:
    (tmp_path / "my_set").mkdir()
    (tmp_path / "my_set" / "1.png").write_bytes(noisy(1))
    kinds = datasets.Features(dict.fromkeys(("image", "question", "answers"), datasets.Value("string")))
    row = {"image": "1.png", "question": "?", "answers": "1"}
    parquet(tmp_path / "my_set", "test.parquet", kinds, iter([row]))
    assert streamed(tmp_path / "my_set", tmp_path / "kept", Folder).test[0].pages[0].open().size == (48, 48)
    with serving(tmp_path) as given, pytest.raises(DocvlmError, match="files beside a table at an address"):
        streamed(f"{given.url}/my_set", tmp_path / "kept", Folder).test.count(None)
