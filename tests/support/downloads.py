"""A stand-in for the Hugging Face hub as a place to download from: repositories with revisions, and lost connections.

The endpoints are those that huggingface_hub 2.4 and datasets 5.2 ask for files, with Xet switched off. It can be told
to break off in the middle of a file, or to answer 503, so many times.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import datasets
import huggingface_hub
import pytest

from tests.support import hub


@dataclass
class Place:
    """Commits by `models/owner/name`, oldest first, each with its files; `main` is the newest.

    `breaks` says how often a file of that name ends in its middle, `fails` how often a request for it is answered 503.
    `given` has the name of each file that was asked for and the bytes that were.
    """

    url: str = ""
    commits: dict[str, dict[str, Mapping[str, bytes]]] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    fails: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    given: list[tuple[str, int]] = field(default_factory=list)

    def publish(self, repo: str, files: Mapping[str, bytes]) -> str:
        """A new commit. Returns its hash."""
        commits = self.commits.setdefault(repo, {})
        sha = hashlib.sha1(f"{repo} {len(commits)}".encode()).hexdigest()
        commits[sha] = dict(files)
        return sha

    def once(self, counts: dict[str, int], path: str) -> bool:
        """Whether a failure of this file is due, which it then is no more."""
        name = next((name for name, left in counts.items() if path.endswith(name) and left > 0), None)
        if name is not None:
            counts[name] -= 1
        return name is not None

    def found(self, repo: str, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        commits = self.commits[repo] if repo in self.commits else {}
        sha = list(commits)[-1] if revision == "main" and commits else revision
        return (sha, commits[sha]) if sha in commits else None

    def api(self, path: str, body: bytes, *, recursive: bool) -> Any:
        """The answer of `/api/…` as JSON; None for 404."""
        kind, owner, name, *rest = path.removeprefix("/api/").split("/")
        word, revision = [*rest, "", ""][:2] if rest else ("revision", "main")
        here = self.found(f"{kind}/{owner}/{name}", revision or "main")
        if here is None:
            return None
        sha, files = here
        entries = [_entry(path, content) for path, content in files.items()]
        if word == "tree":
            below = "".join(f"{part}/" for part in rest[2:] if part)
            inside = [entry for entry in entries if entry["path"].startswith(below)]
            direct = [entry for entry in inside if recursive or "/" not in entry["path"].removeprefix(below)]
            names = {entry["path"].removeprefix(below).partition("/")[0] for entry in inside if entry not in direct}
            return [*(_folder(f"{below}{name}") for name in sorted(names)), *direct] or None
        if word == "paths-info":
            asked = set(json.loads(body)["paths"])
            folders = {one.rpartition("/")[0] for one in files}
            found = [entry for entry in entries if entry["path"] in asked]
            return found + [_folder(one) for one in asked & folders]
        siblings = [{"rfilename": one} for one in files]
        return {"id": f"{owner}/{name}", "sha": sha, "private": False, "tags": [], "downloads": 0, "siblings": siblings}


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


def _range(asked: str | None, length: int) -> tuple[int, int]:
    """First byte and the one after the last of what `Range` asks for."""
    first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1 if last else length


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Place]:
    """The stand-in on a free port, and the libraries of this process set to it, with an empty cache."""
    place = Place()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = unquote(self.path.partition("?")[0])
            place.requests.append(f"{self.command} {path}")
            if self.command == "GET" and place.once(place.fails, path):
                self.answer(503, b"busy")
            elif path.startswith("/api/"):
                found = place.api(path, body, recursive="recursive=true" in self.path.lower())
                known = self.headers_of(found, "EntryNotFound" if "/tree/" in path else "RevisionNotFound")
                self.answer(404 if found is None else 200, json.dumps(found or {"error": "none"}).encode(), known)
            else:
                self.file(path)

        do_GET = do_HEAD = do_POST = respond

        def headers_of(self, found: object, otherwise: str) -> dict[str, str]:
            missing = {"X-Error-Code": otherwise} if found is None else {}
            return {"Content-Type": "application/json"} | missing

        def file(self, path: str) -> None:
            first, _, rest = path.strip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            here = place.found(first if first.startswith("datasets/") else f"models/{first}", revision)
            if here is None or name not in here[1]:
                missing = (
                    {"X-Error-Code": "EntryNotFound"} if here is not None else {"X-Error-Code": "RevisionNotFound"}
                )
                self.answer(404, b"", missing | ({} if here is None else {"X-Repo-Commit": here[0]}))
                return
            sha, content = here[0], here[1][name]
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
            start, stop = _range(self.headers["Range"], len(content))
            part = stop - start < len(content)
            if part:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            half = self.command == "GET" and place.once(place.breaks, path)
            place.given += [(name, stop - start)] * (self.command == "GET")
            self.answer(206 if part else 200, content[start:stop], headers, half=half)

        def answer(
            self, status: int, content: bytes, headers: Mapping[str, str] | None = None, *, half: bool = False
        ) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if half else content)
            if half:  # a reset, not an orderly end
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    place.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    settings = {"HF_ENDPOINT": place.url, "HF_HUB_OFFLINE": False, "HF_DATASETS_CACHE": cache / "datasets"}
    for name, value in settings.items():
        monkeypatch.setattr(datasets.config, name, value)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with hub.asked(place.url, cache / "hub", monkeypatch):
            huggingface_hub.HfFileSystem.clear_instance_cache()
            yield place
    finally:
        server.shutdown()
        server.server_close()
