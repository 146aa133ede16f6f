"""Data sets from the Hugging Face hub, through networks that break off.

What has arrived stays in the cache of `huggingface_hub`, so trying again, here or with the same command, goes on from
there. Importing `datasets` takes seconds, so it happens only here, only when needed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from docvlm.data.benchmark import BENCHMARKS, HubSplit
from docvlm.errors import DocvlmError, causes

if TYPE_CHECKING:
    import datasets

log = logging.getLogger(__name__)
T = TypeVar("T")

WAITS_S = (1.0, 4.0, 10.0)
"""Seconds before each further attempt. `huggingface_hub` has tried single requests again before."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PASSING = frozenset({408, 429})  # HTTP: too slow, too many at once; both are worth another attempt, as 5xx are


def fetched(place: HubSplit, split: str, offline: bool) -> datasets.Dataset:
    """A split from the hub, `split` being its public name. With `offline`, only what `datasets` has in its cache.

    Raises `DocvlmError` naming the repository and the remedy if it cannot be had, or is cached at another commit.
    """
    return _tried(place, split, offline, _table)


def shards(place: HubSplit, split: str) -> list[str]:
    """The addresses (`hf://…`) of a split's parquet files, at a commit. Only their list is fetched.

    Raises as `fetched` does, and `DocvlmError` for a data set that is kept in another form.
    """
    found = _tried(place, split, False, _shards)
    if other := next((file for file in found if not file.endswith(".parquet")), None):
        raise DocvlmError(
            f"data.streaming=true: {place.repo} ({split}) is no parquet on the hub ({other}); leave data.streaming out"
        )
    return found


def _tried(place: HubSplit, split: str, offline: bool, load: Callable[[HubSplit], T]) -> T:
    """What `load` gives, tried again where the network breaks off."""
    if Path(place.repo).exists():  # `datasets` would read that instead
        raise DocvlmError(
            f"data.source=hub: a folder {place.repo} lies here; give data.source=./{place.repo} to read it, or run"
            " elsewhere"
        )
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    if offline:
        # The variable is read at import, which may have happened before.
        datasets.config.HF_HUB_OFFLINE = True
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    # httpx of huggingface_hub 1 and httpx2 of 2 name their errors alike, but they are other classes
    transport: type[Exception] = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    for wait in (*WAITS_S, None):
        try:
            return load(place)
        except (OSError, ValueError, transport, datasets.exceptions.DatasetsError) as error:
            broken = None if offline or huggingface_hub.constants.HF_HUB_OFFLINE else _broken(error)
            if broken is None:
                raise _unavailable(place, split, error, offline) from error
            if wait is None:
                raise _broken_off(place, split, broken) from error
            log.warning("%s (%s): the download broke off (%s); again in %g s", place.repo, split, broken, wait)
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _table(place: HubSplit) -> datasets.Dataset:
    import datasets

    return _of_revision(datasets.load_dataset(**arguments(place)), place)


def _shards(place: HubSplit) -> list[str]:
    """What `load_dataset` would read: the card, or the names of the files, say which files are the split."""
    import datasets

    wanted = arguments(place)
    split = wanted.pop("split")
    files = datasets.load_dataset_builder(**wanted).config.data_files or {}
    if split not in files:
        raise ValueError(f"no files of split {split}; there are {', '.join(map(str, files)) or 'none'}")
    return [str(file) for file in files[split]]


def arguments(place: HubSplit) -> dict[str, Any]:
    """Arguments of `load_dataset`. Undeclared files go to the parquet builder: the card's splits would not fit."""
    if place.files:
        revision = f"@{quote(place.revision, safe='')}" if place.revision else ""
        files = f"hf://datasets/{place.repo}{revision}/{place.files}"
        return {"path": "parquet", "data_files": {place.split: files}, "split": place.split}
    return {"path": place.repo, "name": place.config, "split": place.split, "revision": place.revision}


def _of_revision(table: datasets.Dataset, place: HubSplit) -> datasets.Dataset:
    """The table, if it is of the commit that was asked for.

    Where the hub cannot be reached, `datasets` takes the last commit it has cached, whatever was asked for. Raises
    `DocvlmError` for another one; a branch or a tag says not which commit it is.
    """
    # the cache has a folder for each commit; what is read by files' names (`place.files`) is found by commit anyway
    found = {name for file in table.cache_files if _COMMIT.fullmatch(name := Path(file["filename"]).parent.name)}
    if place.revision is None or not _COMMIT.fullmatch(place.revision) or not found or place.revision in found:
        return table
    raise DocvlmError(
        f"data.source=hub: {place.repo} cannot be had at {place.revision} now; the cache holds {', '.join(found)}; "
        f"{_elsewhere(place)}"
    )


def _broken(error: BaseException) -> str | None:
    """What the network or the server did, where another attempt may end better; None for any other error."""
    found = None
    for link in causes(error):
        kinds = {kind.__name__ for kind in type(link).__mro__}
        text = " ".join(str(link).split())
        if "HfHubHTTPError" in kinds:
            status = getattr(getattr(link, "response", None), "status_code", 0)
            if status not in _PASSING and status < 500:
                return None
            found = f"the hub answered {status}"
        elif "TimeoutException" in kinds or isinstance(link, TimeoutError):
            found = "the hub did not answer in time"
        elif kinds & {"NetworkError", "RemoteProtocolError", "ConnectionError"} or "Consistency check" in text:
            found = text[:120] or type(link).__name__
    return found


def _broken_off(place: HubSplit, split: str, broken: str) -> DocvlmError:
    return DocvlmError(
        f"data.source=hub: the download of {place.repo} ({split}) broke off {len(WAITS_S) + 1} times, last: {broken}; "
        f"what arrived is kept: the same command continues it, or {_elsewhere(place)}"
    )


def _unavailable(place: HubSplit, split: str, error: Exception, offline: bool) -> DocvlmError:
    reason = "offline=true and it is not in the cache" if offline else " ".join(str(error).split())[:160]
    pinned = f" at revision {place.revision}" if place.revision else ""
    drawn = any(one.generator for one in BENCHMARKS.values() if place.repo in one.hub)
    return DocvlmError(
        f"data.source=hub: cannot load {place.repo} ({split}){pinned}: {reason}; {_elsewhere(place)}"
        f"{', or use data.source=generated' * drawn}"
    )


def _elsewhere(place: HubSplit) -> str:
    folder = place.repo.split("/")[-1]
    command = f"hf download {place.repo} --repo-type dataset --local-dir {folder}"
    if place.revision:
        command += f" --revision {place.revision}"
    return f"fetch it where there is a network with `{command}` and give data.source={folder}"
