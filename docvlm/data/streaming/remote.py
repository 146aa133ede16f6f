"""Bytes of files by range, at an address or on a mount, through connections that break off.

Everything goes through fsspec: `hf://`, `https://`, `s3://` and the file systems of this machine are read by the same
lines. A file system object is never kept: a process that is forked off must not use its parent's connections.
"""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from docvlm.errors import DocvlmError, causes

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)
T = TypeVar("T")

WAITS_S = (1.0, 4.0, 10.0)
"""Seconds before each further attempt at a request."""
PIECE = 32 << 20  # bytes of one request: what is lost when a connection breaks off
GAP = 64 << 10  # bytes that are read on the way rather than asked for apart
_PASSING = frozenset({408, 429})  # HTTP: too slow, too many at once; both are worth another attempt, as 5xx are
_ERRNOS = frozenset({errno.EIO, errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT})  # of a mount whose other end is away
_BROKEN = frozenset(
    {"ConnectionError", "ClientConnectionError", "ClientPayloadError", "NetworkError", "RemoteProtocolError"}
)
"""Classes of aiohttp, httpx and requests, which need not be installed."""
_STATE = ("ETag", "etag", "Last-Modified", "LastModified", "Content-MD5", "md5Hash", "blob_id", "xet_hash", "mtime")
"""What file systems say by which one state of a file is told from the next."""
_COMMIT = re.compile(r"^(hf://(?:datasets/)?[^/@]+/[^/@]+)@[^/]+")
_WHOLE = "support range requests"  # what fsspec says of a server that sends the whole file whatever is asked
LINE = 160  # characters of another library's message


class CutShort(OSError):
    """Fewer bytes came than were asked for."""


def is_address(source: str) -> bool:
    """Whether a source is an address (`https://…`, `hf://…`, `s3://…`) and no path of this machine."""
    return "://" in source


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of an address and its path there. Raises `DocvlmError` where nothing here reads it."""
    import fsspec

    if not is_address(url):  # not by `url_to_fs`, which reads `::` in a path as an instruction
        return fsspec.filesystem("file"), url
    try:
        found: tuple[AbstractFileSystem, str] = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DocvlmError(f"{url}: cannot be read here ({_said(error)}); install what reads it, or mount it") from error
    return found


def find(url: str) -> list[str]:
    """The parquet files at or below an address, in order of their names."""
    return _tried(lambda: _found(url), url)


def _found(url: str) -> list[str]:
    system, path = filesystem(url)
    names = [path] if path.endswith(".parquet") else sorted(system.find(path))
    return [system.unstrip_protocol(name) for name in names if name.endswith(".parquet")]


def state(url: str) -> tuple[int, str]:
    """Size of a file in bytes, and what tells its present content from any other, as far as its keeper says."""
    system, path = filesystem(url)
    about = _tried(lambda: system.info(path), url)
    if not isinstance(about.get("size"), int):
        raise DocvlmError(f"{url}: its server does not say how large it is; download it and give the folder")
    return about["size"], repr([(name, str(about[name])) for name in _STATE if about.get(name) is not None])


def lasting(url: str) -> str:
    """The address of a file without the commit: a file of the hub says itself whether it is another one (`state`)."""
    return _COMMIT.sub(r"\1", url)


class Ranges(io.RawIOBase):
    """A file as a stream of which `hold` fetches parts ahead; what is read beside them is fetched when it is read."""

    def __init__(self, url: str, size: int) -> None:
        super().__init__()
        self.url, self.size = url, size
        self._held: list[tuple[int, bytes]] = []
        self._at = 0

    def hold(self, spans: Sequence[tuple[int, int]]) -> None:
        """Fetch [start, stop) of each of `spans`; those that nearly touch in one go. Raises `DocvlmError`."""
        for start, stop in merged(spans):
            self.put(start, b"".join(_fetched(self.url, self.size, *piece) for piece in _pieces(start, stop)))

    def put(self, start: int, data: bytes) -> None:
        """Bytes from `start` on that are known already."""
        self._held.append((start, data))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        stop = self.size if size is None or size < 0 else min(self._at + size, self.size)
        if self._at >= stop:
            return b""
        data = self._of_held(self._at, stop)
        if data is None:
            data = b"".join(_fetched(self.url, self.size, *piece) for piece in _pieces(self._at, stop))
        self._at += len(data)
        return data

    def _of_held(self, start: int, stop: int) -> bytes | None:
        for at, data in self._held:
            if at <= start and stop <= at + len(data):
                return data[start - at : stop - at]
        return None


def merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, those that are at most `GAP` apart as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if found and start - found[-1][1] <= GAP:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found


def _pieces(start: int, stop: int) -> list[tuple[int, int]]:
    return [(at, min(at + PIECE, stop)) for at in range(start, stop, PIECE)]


def _fetched(url: str, size: int, start: int, stop: int) -> bytes:
    def once() -> bytes:
        system, path = filesystem(url)
        known = {"size": size} if is_address(url) else {}  # else it is asked for again with every range
        with system.open(path, "rb", cache_type="none", **known) as file:
            try:
                file.seek(start)
                data: bytes = file.read(stop - start)
            except ValueError as error:
                if file.seekable() and _WHOLE not in str(error):
                    raise
                raise DocvlmError(
                    f"{url}: its server does not give byte ranges; download it and give the folder"
                ) from error
        if len(data) != stop - start:
            raise CutShort(f"{len(data)} of {stop - start} bytes came")
        return data

    return _tried(once, url)


def _tried(request: Callable[[], T], url: str) -> T:
    """What a request gives. One that breaks off is made again; raises `DocvlmError` where that does not help."""
    for wait in (*WAITS_S, None):
        try:
            return request()
        except DocvlmError:
            raise
        except _errors(url) as error:
            broken = _broken_off(error)
            if broken is None:
                raise DocvlmError(f"{url}: cannot be read ({_said(error)}); check that it is there") from error
            if wait is None:
                raise DocvlmError(
                    f"{url}: reading broke off {len(WAITS_S) + 1} times, last: {broken}; what has arrived is kept, and"
                    " the same command goes on"
                ) from error
            log.warning("%s: reading broke off (%s); again in %g s", url, broken, wait)
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _errors(url: str) -> tuple[type[Exception], ...]:
    """What reading a file may raise; asked for only once something was raised, since importing clients takes time."""
    local = (OSError, ValueError, EOFError, RuntimeError, asyncio.TimeoutError)
    if not is_address(url):
        return local
    import aiohttp
    from huggingface_hub.errors import HfHubHTTPError

    # httpx of huggingface_hub 1 and httpx2 of 2 name their errors alike, but they are other classes
    transport = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    return (*local, aiohttp.ClientError, transport)


def _broken_off(error: BaseException) -> str | None:
    """What the network, the server or a mount did, where another attempt may end better; None for any other error."""
    found = None
    for link in causes(error):
        status = getattr(link, "status", None) or getattr(getattr(link, "response", None), "status_code", None)
        if isinstance(status, int) and status >= 400:
            return f"the server answered {status}" if status in _PASSING or status >= 500 else None
        names = {kind.__name__ for kind in type(link).__mro__}
        if "TimeoutException" in names or isinstance(link, TimeoutError):
            found = "no answer in time"
        elif names & _BROKEN or isinstance(link, CutShort) or (isinstance(link, OSError) and link.errno in _ERRNOS):
            found = _said(link)
    return found


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:LINE] or type(error).__name__
