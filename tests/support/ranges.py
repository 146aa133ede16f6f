"""A folder behind HTTP with byte ranges, and shards of noisy pages to put there; it counts what it gives."""

from __future__ import annotations

import io
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset
from PIL import Image

from tests.support.hub_schemas import DOCVQA, INFOVQA


@dataclass
class Given:
    """What was asked for: (file, first byte, bytes), in order. The next `fail` requests for ranges are told `status`.

    With `status` 0 the connection is closed in the middle of the answer. `ranges=False`: whole files whatever is asked.
    """

    url: str = ""
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    fail: int = 0
    status: int = 500
    ranges: bool = True

    @property
    def bytes(self) -> int:
        return sum(count for _, _, count in self.asked)

    def clear(self) -> None:
        self.asked.clear()


@contextmanager
def serving(folder: Path) -> Iterator[Given]:
    """`folder` on a free port of this machine, with a page of links for each folder in it."""
    given = Given()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a head and its body are two packets: 40 ms an answer

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = folder / self.path.strip("/")
            if path.is_dir():
                names = (f"{p.name}/" if p.is_dir() else p.name for p in path.iterdir())
                return self._send(200, "".join(f'<a href="{name}">{name}</a>' for name in names).encode(), "text/html")
            if not path.is_file():
                return self._send(404, b"")
            size, asked = path.stat().st_size, self.headers.get("Range")
            start, stop, status = 0, size, 200
            if asked is not None and given.ranges and self.command == "GET":
                found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
                assert found is not None
                start, stop, status = int(found[1]), min(int(found[2]) + 1, size), 206
            if self.command == "HEAD":
                return self._send(200, b"", size=size)
            cut = False
            if given.fail:
                given.fail -= 1
                if given.status:
                    return self._send(given.status, b"")
                self.close_connection = cut = True
            else:
                given.asked.append((path.name, start, stop - start))
            with path.open("rb") as file:
                file.seek(start)
                return self._send(status, file.read(stop - start), cut=cut)

        def _send(
            self, status: int, content: bytes, kind: str = "application/octet-stream", cut: bool = False, size: int = -1
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if size < 0 else size))
            self.send_header("Content-Type", kind)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that went away
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    given.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield given
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def noisy(seed: object, side: int = 48) -> bytes:
    """A page that does not compress: about three times `side` squared bytes."""
    made = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(str(seed)).randbytes(3 * side * side)).save(made, "PNG")
    return made.getvalue()


def rows(split: str, pages: int, first: int = 0, side: int = 48, other: str = "") -> Iterator[dict[str, Any]]:
    """Rows of DocVQA, two questions a page, a page a document."""
    for n in range(2 * first, 2 * (first + pages)):
        yield {
            "questionId": f"{split}{n:04d}",
            "question": f"What is {n}?",
            "question_types": ["form"],
            "image": {"bytes": noisy((split, n // 2, other), side), "path": None},
            "docId": 0,
            "ucsf_document_id": f"{split}{n // 2:04d}",
            "ucsf_document_page_no": "1",
            "answers": [str(n)],
            "data_split": split,
        }


def info_rows(split: str, pages: int, first: int = 0, side: int = 48, other: str = "") -> Iterator[dict[str, Any]]:
    """Rows of InfographicVQA, whose columns give a page no id."""
    for n in range(2 * first, 2 * (first + pages)):
        yield {
            "questionId": f"{split}{n:04d}",
            "question": f"How many {n}?",
            "answers": [str(n)],
            "answer_type": ["single span"],
            "image": {"bytes": noisy((split, n // 2, other), side), "path": None},
            "image_url": f"https://example.org/{n // 2}.png",
            "operation/reasoning": ["none"],
            "ocr": "x" * 10_000,
            "data_split": split,
        }


def sharded(
    folder: Path, split: str, pages: int, *, shards: int = 2, group: int = 8, schema: str = "docvqa", **more: Any
) -> int:
    """Write a split of so many pages as shards with row groups of `group` rows. Returns the bytes of all files."""
    folder.mkdir(parents=True, exist_ok=True)
    make, features = (rows, DOCVQA) if schema == "docvqa" else (info_rows, INFOVQA)
    each, total = pages // shards, 0
    for number in range(shards):
        table = Dataset.from_list(list(make(split, each, number * each, **more)), features=features).data.table
        name = folder / f"{split}-{number:05d}-of-{shards:05d}.parquet"
        pq.write_table(table, name, row_group_size=group)
        total += name.stat().st_size
    return total
