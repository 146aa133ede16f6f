"""A stand-in for the Hugging Face hub: the part of its HTTP API through which huggingface_hub publishes a model.

It keeps what arrives in memory, demands the token on every request, and can be told to fail. Endpoints are those that
huggingface_hub 2.4 calls with Xet switched off: create, info, card validation, preupload, LFS batch, upload, commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_a-token-that-must-not-be-seen"
LARGE = 4096  # bytes from which on a file goes to large file storage


@dataclass
class Hub:
    """What the server was asked and what it holds. `fail` answers a path ending with a status or, as 0, not at all."""

    url: str = ""
    fail: dict[str, int] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)

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

        do_GET = do_POST = do_PUT = respond

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
