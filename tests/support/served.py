"""A stand-in for vLLM: a local HTTP server that answers with a model that is loaded here, and can be made to fail.

It holds a client to the protocol: a request that vLLM would refuse, or that says anything else than what an evaluation
should say (another model, sampling, pages that are no PNG), is refused here with OpenAI's kind of error.
"""

from __future__ import annotations

import base64
import io
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image
from rapidfuzz.fuzz import ratio

from docvlm.config import EvaluateConfig, Job
from docvlm.config.compose import load
from docvlm.evaluate import main
from docvlm.serving.reader import Reader

Fault = Callable[["Handler", int], bool]
"""Called with the number of the request for an answer, counted from 1: True if it has answered in the model's place."""


@dataclass
class Served:
    """What the server serves, how it fails, and what it was asked. `most` is how many requests it held at once.

    `knows` are the fields of a request about what an answer may be that it holds to; it passes over any other, as
    servers do. `cut`: it ends such an answer after so many characters, as a limit on tokens does.
    """

    reader: Reader
    names: tuple[str, ...] = ("tiny",)
    key: str | None = None
    fault: Fault = lambda handler, number: False
    lists: bool = True  # whether GET /v1/models is there
    knows: tuple[str, ...] = ("structured_outputs", "response_format")
    cut: int | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[Image.Image, str]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    requests: int = 0
    most: int = 0
    url: str = ""
    _held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, pages: list[Image.Image], text: str, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion. The text is the whole prompt: the wording of a benchmark is the client's to add."""
        reader = replace(self.reader, benchmark=replace(self.reader.benchmark, instruction=""))
        with self._lock:
            self.asked.append((pages[0], text))
            self.bodies.append(body)
            found = reader.ask(pages, text, max_new_tokens=body["max_tokens"])
        said = self._structured(found.text, body)
        if said != found.text and self.cut is not None:
            return completion(said[: self.cut], "length")
        logprob = math.log(found.confidence) if "logprobs" in body else None
        return completion(said, "length" if found.truncated else "stop", logprob)

    def _structured(self, text: str, body: dict[str, Any]) -> str:
        """The text in the form that a request wants: the choice that is next to it, or JSON around it."""
        asked = {name: body[name] for name in self.knows if name in body}
        if "structured_outputs" in asked:
            choices: list[str] = asked["structured_outputs"]["choice"]
            return max(choices, key=lambda choice: ratio(choice, text))
        if "response_format" in asked:
            assert asked["response_format"]["type"] == "json_schema"
            wanted = asked["response_format"]["json_schema"]["schema"]["properties"]
            values = {"string": text, "integer": len(text)}
            return json.dumps({name: values[one["type"]] for name, one in wanted.items()}, indent=1)
        return text

    @contextmanager
    def held(self) -> Iterator[int]:
        """Count a request while it is being answered; its number."""
        with self._lock:
            self.requests += 1
            self._held += 1
            self.most, number = max(self.most, self._held), self.requests
        try:
            yield number
        finally:
            with self._lock:
                self._held -= 1


def completion(text: str | None, reason: str = "stop", logprob: float | None = None) -> dict[str, Any]:
    """An answer as OpenAI writes it; with `logprob`, that of its tokens."""
    message = {"role": "assistant", "content": text}
    tokens = None if logprob is None else {"content": [{"token": text, "logprob": logprob, "top_logprobs": []}]}
    choice = {"index": 0, "message": message, "logprobs": tokens, "finish_reason": reason}
    return {"object": "chat.completion", "choices": [choice]}


class Handler(BaseHTTPRequestHandler):
    """OpenAI's two paths."""

    protocol_version = "HTTP/1.1"
    served: Served

    def do_GET(self) -> None:
        if self._allowed() and self.path == "/v1/models" and self.served.lists:
            self.reply(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.served.names]})
        elif self._allowed():
            self.fail(404, "Not Found")
        else:
            self.fail(401, "Unauthorized")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            self.fail(401, f"Incorrect API key provided: {self.headers['Authorization']}")
            return
        with self.served.held() as number:
            if self.served.fault(self, number):
                return
            if self.path != "/v1/chat/completions":
                self.fail(404, "Not Found")
            elif body["model"] not in self.served.names:
                self.fail(404, f"The model `{body['model']}` does not exist.")
            else:
                self._complete(body)

    def _complete(self, body: dict[str, Any]) -> None:
        try:
            assert body["temperature"] == 0, "an evaluation decodes greedily"
            (message,) = body["messages"]
            *images, text = message["content"]
            assert (message["role"], text["type"]) == ("user", "text")
            pages = [_decoded(image["image_url"]["url"]) for image in images if image["type"] == "image_url"]
            assert pages and len(pages) == len(images)
        except (AssertionError, KeyError, ValueError) as error:
            self.fail(400, f"{type(error).__name__}: {error}")
        else:
            self.reply(200, self.served.answer(pages, text["text"], body))

    def _allowed(self) -> bool:
        given = self.headers["Authorization"]
        self.served.keys.add(given)
        return self.served.key is None or given == f"Bearer {self.served.key}"

    def reply(self, status: int, body: dict[str, Any] | str, **headers: str) -> bool:
        """Answer with JSON, or with the text as it is; True, for a fault that is this."""
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)
        return True

    def fail(self, status: int, message: str, **headers: str) -> bool:
        """Answer with an error as OpenAI writes it."""
        return self.reply(status, {"error": {"message": message, "type": "error"}}, **headers)

    def hang_up(self) -> bool:
        """Close the connection without an answer."""
        self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _decoded(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a request that hangs on purpose does not hold the test up
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is what some tests are about."""


@contextmanager
def serving(reader: Reader, **options: Any) -> Iterator[Served]:
    """A server on a free local port, at `url`."""
    served = Served(reader, **options)
    handler = type("BoundHandler", (Handler,), {"served": served})
    with _Server(("127.0.0.1", 0), handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def after(number: int, fault: Fault) -> Fault:
    """A fault that begins once `number` answers have been asked for."""
    return lambda handler, count: count > number and fault(handler, count)


def late(seconds: float) -> Fault:
    """Every other answer comes later, so that answers overtake each other."""

    def fault(handler: Handler, number: int) -> bool:
        time.sleep(seconds * (number % 2))
        return False

    return fault


def evaluate(url: str | None, **changes: Any) -> Path:
    """Evaluate as the command does once Hydra, which takes most of its time, has made a folder; where results are."""
    folder = Path("outputs") / "now"
    folder.mkdir(parents=True)
    try:
        main.__wrapped__(config(endpoint=url, **changes), Job(folder))  # type: ignore[attr-defined]
    finally:
        if folder.exists():
            folder.rmdir()
    return Path("outputs") / "endpoint" / "tiny"


def config(**changes: Any) -> EvaluateConfig:
    """The config of an evaluation at tiny scale."""
    return replace(_composed(), **changes)


@lru_cache
def _composed() -> EvaluateConfig:
    return load("evaluate", EvaluateConfig, ["scale=tiny", "limit=8"])
