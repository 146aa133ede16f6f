"""The server behind the page: a local address, no foreign host, and nothing left behind.

Gradio's own `launch` asks its servers for a newer version and for share links; the page is mounted into a plain ASGI
application instead, which uvicorn serves from a socket that was bound before any weight was loaded.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from docvlm.errors import DocvlmError
from docvlm.serving.app.guard import Guard

if TYPE_CHECKING:
    import gradio as gr
    import uvicorn

GOODBYE = 1  # seconds that open connections are given at the end


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `host`:`port` (0: a free one). Raises `DocvlmError` where that cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # now, since two sockets with SO_REUSEADDR may share a port until one of them listens
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            message = f"--host {host}: {error.strerror}; give 127.0.0.1 for this machine only, 0.0.0.0 for any address"
        else:
            message = f"--port {port}: {error.strerror}; give another, or 0 for any that is free"
        raise DocvlmError(message) from error
    return listener


def address(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


@contextmanager
def uploads() -> Iterator[str]:
    """A folder for what is uploaded and shown; it goes at the end. Gradio reads its name when a page is built."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="docvlm-app-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield folder
        finally:
            del os.environ["GRADIO_TEMP_DIR"]
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def server(page: gr.Blocks, most_bytes: int) -> uvicorn.Server:
    """A server of `page`, to be run with `run(sockets=[listener])`. Larger uploads than `most_bytes` are refused."""
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    from docvlm.serving.app.theme import STYLE, theme

    app = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        max_file_size=most_bytes,
        theme=theme(),
        css_paths=STYLE,
    )
    config = uvicorn.Config(Guard(app), log_level="warning", timeout_graceful_shutdown=GOODBYE, ws="none")

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # pages that are still open are cut, which uvicorn reports with a traceback each
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    return Server(config)
