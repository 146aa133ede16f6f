"""`conf/data/`: one benchmark's pages and questions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docvlm.config.base import ReadOnly, need
from docvlm.data.benchmarks import BENCHMARKS
from docvlm.data.generated.page import ENGLISH, names, spoken
from docvlm.data.reading import PAGES
from docvlm.data.streaming.remote import is_address
from docvlm.data.streaming.settings import WINDOWS


@dataclass
class DataConf(ReadOnly):
    """`conf/data/`: one benchmark, a folder of one's own, or the mixture. Fields that are None are not passed on."""

    _target_: str
    name: str
    source: str | None
    preset: str
    seed: int
    batch_size: int | None
    batch_tokens: int | None
    eval_batch_size: int
    num_workers: int
    limit_train: int | None
    limit_val: int | None
    limit_test: int | None
    val_fraction: float
    offline: bool
    test_fraction: float | None = None
    split_seed: int | None = None
    metric: str | None = None
    max_new_tokens: int | None = None
    revision: str | None = None
    packing: str = "on"
    pages: str | None = None
    page_numbers: bool | None = None
    join_pages: bool | None = None
    languages: list[str] | None = None
    streaming: bool | None = None
    cache_folder: str = ".pages"
    cache_gb: float = 10.0
    window_gb: float = 1.0
    parts: dict[str, Any] | None = None
    weights: dict[str, float] | None = None


def check_data(data: DataConf, key: str) -> None:
    """Raise `DocvlmError` for the first impossible value of the benchmark's data that stands at `key`."""
    own = data.name in BENCHMARKS and not BENCHMARKS[data.name].published
    advice = "say where the pages are: hub, generated, or a folder"
    if own:
        advice = "give your own folder, which holds qa.jsonl or qa.csv and the images"
    need(bool(data.source), f"{key}.source", data.source, advice)
    repository = not own and re.fullmatch(r"[\w.-]+/[\w.-]+", str(data.source))
    address = is_address(str(data.source))
    if address:
        need(bool(data.streaming), f"{key}.source", data.source, f"an address is read with {key}.streaming=true only")
    elif data.source not in ("hub", "generated") and not repository:  # the benchmark knows its repositories
        advice = "there is no such file or folder; give hub, generated, or a path that exists"
        need(Path(str(data.source)).expanduser().exists(), f"{key}.source", data.source, advice)
    if data.revision is not None:
        need(bool(data.revision.strip()), f"{key}.revision", "''", "a commit, branch or tag of the data set, or null")
        remote = data.source == "hub" or (repository and not Path(str(data.source)).exists())
        advice = f"only data sets of the hub have revisions, and {key}.source={data.source} is none; leave it out"
        need(bool(remote), f"{key}.revision", data.revision, advice)
    if data.streaming:
        _check_streaming(data, key)
    if data.languages is not None and list(data.languages) != [ENGLISH]:
        _check_languages(data, key)
    need(data.preset in ("tiny", "full"), f"{key}.preset", data.preset, "choose tiny or full")
    advice = f"choose {', '.join(PAGES)}, or null: all, or as the model was trained"
    need(data.pages is None or data.pages in PAGES, f"{key}.pages", data.pages, advice)
    need(0 <= data.val_fraction < 1, f"{key}.val_fraction", data.val_fraction, "a share from 0 to below 1")
    need(data.num_workers >= 0, f"{key}.num_workers", data.num_workers, "0 or more processes")
    both = (data.batch_size is None) == (data.batch_tokens is None)
    advice = f"give one of it and {key}.batch_tokens={data.batch_tokens}, and null for the other"
    need(not both, f"{key}.batch_size", data.batch_size, advice)
    for name in ("batch_size", "batch_tokens", "eval_batch_size", "limit_train", "limit_val", "limit_test"):
        value = getattr(data, name)
        need(value is None or value >= 1, f"{key}.{name}", value, "1 or more" + ", or null for all" * ("limit" in name))
    for name, weight in (data.weights or {}).items():
        left_out = name in BENCHMARKS and weight == 1  # the yaml's own weight of a part that ~data.parts.NAME left out
        known = name in (data.parts or {}) or left_out
        need(known, f"{key}.weights.{name}", weight, f"the parts are {', '.join(data.parts or {})}")
        need(weight > 0, f"{key}.weights.{name}", weight, f"above 0; ~{key}.parts.{name} leaves a part out")


def _check_streaming(data: DataConf, key: str) -> None:
    """Raise `DocvlmError` where there is nothing to stream, or no room for it."""
    drawn = f"pages of {key}.source=generated are drawn where they are needed; leave it out"
    need(data.source != "generated", f"{key}.streaming", "true", drawn)
    need(bool(data.cache_folder.strip()), f"{key}.cache_folder", "''", "name a folder")
    need(data.window_gb > 0, f"{key}.window_gb", data.window_gb, "above 0")
    advice = f"at least {WINDOWS} times {key}.window_gb={data.window_gb:g}, or row groups are fetched again and again"
    need(data.cache_gb >= WINDOWS * data.window_gb, f"{key}.cache_gb", data.cache_gb, advice)


def _check_languages(data: DataConf, key: str) -> None:
    """Raise `DocvlmError` where pages are not drawn, or not in these languages."""
    languages = list(data.languages or ())
    shown, known = f"[{','.join(languages)}]", spoken(data.name) if data.name in names() else (ENGLISH,)
    advice = (
        f"pages are drawn in other languages only with {key}.source=generated, and it is {data.source}; leave it out"
    )
    need(data.source == "generated", f"{key}.languages", shown, advice)
    advice = f"each once, out of those that data={data.name} is drawn in: {', '.join(known)}"
    fine = bool(languages) and len(set(languages)) == len(languages) and set(languages) <= set(known)
    need(fine, f"{key}.languages", shown, advice)
