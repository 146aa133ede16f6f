"""A stand-in for the Hugging Face hub: the part of its HTTP API through which huggingface_hub sends and reads a model.

It keeps what arrives in memory, demands the token on every request, and can be told to fail. Endpoints are those that
huggingface_hub 2.4 calls with Xet switched off: create, info, card validation, preupload, LFS batch, upload, commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from transformers.utils import hub as transformers_hub

TOKEN = "hf_a-token-that-must-not-be-seen"
LARGE = 4096  # bytes from which on a file goes to large file storage
COMMIT = "c0ffee" + "0" * 34
_FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Hub:
    """What the server was asked and what it holds. `fail` answers a path ending with a status or, as 0, not at all.

    `models` holds folders by name and revision, `name@revision`. The connection is reset in the middle of the answers
    to the next `resets` requests for weights, and the `busy` after them are told to come back later.
    """

    url: str = ""
    fail: dict[str, int] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    models: dict[str, Path] = field(default_factory=dict)
    resets: int = 0
    busy: int = 0

    def file(self, path: str) -> tuple[bytes | None, str]:
        """The content of a file of a model, or the hub's word for why there is none."""
        asked = _FILE.fullmatch(path)
        assert asked is not None
        found = [
            folder
            for name, folder in self.models.items()
            if name == f"{asked['name']}@{asked['revision']}"
            or (asked["revision"] == COMMIT and name.startswith(f"{asked['name']}@"))
        ]
        folder = found[0] if found else None
        if folder is None:
            return None, "RevisionNotFound"
        file = folder / asked["file"]
        return (file.read_bytes(), "") if file.is_file() else (None, "EntryNotFound")

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.private:
                return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
            self.private[name] = asked["visibility"] == "private"
            return 200, {"url": f"{self.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/storage/"):
            self.objects[path.rpartition("/")[2]] = body
            return 200, {}
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"objects": [self._object(one) for one in json.loads(body)["objects"]]}
        if "/preupload/" in path:
            return 200, {"files": [self._mode(one) for one in json.loads(body)["files"]]}
        if "/commit/" in path:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            return 200, self._commit(name, [json.loads(line) for line in body.splitlines()])
        name = path.removeprefix("/api/models/")
        asked, _, revision = name.partition("/revision/")
        if f"{asked}@{revision}" in self.models:
            return 200, {"id": asked, "private": False, "sha": COMMIT, "tags": [], "siblings": []}
        if method == "GET" and name in self.private:
            return 200, {"id": name, "private": self.private[name], "sha": "0" * 40, "tags": [], "siblings": []}
        return 404, {"error": f"no such thing as {path}"}

    def _object(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "actions": {"upload": {"href": f"{self.url}/storage/{one['oid']}"}}}

    def _mode(self, one: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if one["size"] > LARGE else "regular"
        return {"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        head, *operations = lines
        self.commits.append(head["value"]["summary"])
        for one in operations:
            value = one["value"]
            if one["key"] == "lfsFile":
                content = self.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"] and len(content) == value["size"]
                self.files[value["path"]] = content
            else:
                assert (one["key"], value["encoding"]) == ("file", "base64")
                self.files[value["path"]] = base64.b64decode(value["content"])
        return {"commitUrl": f"{self.url}/{name}/commit/abc", "commitOid": "abc", "success": True}


@contextmanager
def served() -> Iterator[Hub]:
    """The stand-in on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = self.path.partition("?")[0]
            hub.requests.append(f"{self.command} {path}")
            status = next((code for end, code in hub.fail.items() if path.endswith(end)), None)
            if status == 0:
                time.sleep(3)
            if status is None and not path.startswith("/storage/") and not self._known():
                status = 401
            code, answer = hub.answer(self.command, path, body) if not status else (status, {"error": "told to fail"})
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if not _FILE.fullmatch(path):
                return self.respond()
            hub.requests.append(f"{self.command} {path}")
            content, missing = hub.file(path)
            weights = path.endswith(".safetensors") and self.command == "GET"
            if weights and not hub.resets and hub.busy:
                hub.busy -= 1
                content, status = b"later", 503
            else:
                status = 200 if content is not None else 404
            body = content or b""
            self.send_response(status)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if missing:
                self.send_header("X-Error-Code", missing)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return None
            if weights and hub.resets and status == 200:
                hub.resets -= 1
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                time.sleep(0.3)  # what was sent arrives before the reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return None
            self.wfile.write(body)
            return None

        do_HEAD = do_GET
        do_POST = do_PUT = respond

        def _known(self) -> bool:
            return self.headers["Authorization"] == f"Bearer {TOKEN}"

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def asked(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """huggingface_hub and Transformers in this process ask `url`, and keep what they get in `cache`, empty so far.

    They forget it afterwards: Transformers has one client for the endpoint of its first request, and huggingface_hub
    keeps connections. A later test would ask a server that is gone, for 23 s a request, or one that still answers.
    """
    settings = {"ENDPOINT": url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HUB_CACHE": str(cache)}
    settings["HUGGINGFACE_CO_URL_TEMPLATE"] = url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in settings.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", url)
    monkeypatch.setattr(transformers_hub, "_hf_api", None)
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()
