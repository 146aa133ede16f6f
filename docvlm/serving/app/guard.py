"""What stands between the network and Gradio: nobody's page, and nobody's request, makes another host be asked.

Gradio fetches a file whose path is an address; here that is refused, since whoever asks would choose what this machine
reaches. A content security policy has the browser refuse in turn whatever the page should try to load from elsewhere.
"""

from __future__ import annotations

import json
from typing import Any

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data: blob:;"
    " form-action 'self'; frame-ancestors 'self'; base-uri 'self'"
)
"""What the browser may load: this server's files. Inline code is how Gradio hands the page its settings."""
HEADERS = ((b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"))
LONGEST_BODY = 1_000_000
"""Bytes of a request that is no upload: questions and the names of files."""


class Guard:
    """An ASGI application: `app` with `HEADERS` on every answer and without requests that name an address to fetch."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and not _is_upload(scope):
            body = await _whole(receive)
            if body is None or _names_an_address(body):
                what = "give a file, not an address" if body is not None else "too long"
                await _refuse(send, what)
                return
            receive = _again(body, receive)

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        await self.app(scope, receive, guarded)


def _is_upload(scope: Any) -> bool:
    """Whether the body is files: Gradio holds them to the size limit and reads nothing else of them."""
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return any(value.startswith(b"multipart/form-data") for value in kinds)


async def _whole(receive: Any) -> bytes | None:
    """The body, or nothing where it is too long."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LONGEST_BODY:
            return None
        if not message.get("more_body", False):
            return body


def _again(body: bytes, receive: Any) -> Any:
    """A `receive` that hands out `body`, and then what comes after it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return waiting.pop() if waiting else await receive()

    return again


def _names_an_address(body: bytes) -> bool:
    """Whether JSON holds a file whose path is an address. What is no JSON is Gradio's to refuse."""
    try:
        left = [json.loads(body)]
    except (ValueError, RecursionError):
        return False
    while left:
        value = left.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and "://" in path:
                return True
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return False


async def _refuse(send: Any, what: str) -> None:
    body = json.dumps({"detail": what}).encode()
    await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
