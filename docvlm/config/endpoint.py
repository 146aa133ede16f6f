"""What a command can be told of a model that is served elsewhere, and values with which nothing can be asked."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

from docvlm.config.base import need


class Asks(Protocol):
    """A config with an endpoint: its address, the model's name there, and how it is asked."""

    endpoint: str | None
    served: str | None
    concurrency: int
    timeout: float
    retries: int


def check_endpoint(cfg: Asks) -> None:
    """Raise `DocvlmError` for the first impossible value of `endpoint` and of what goes with it."""
    need(cfg.served is None or cfg.endpoint is not None, "served", cfg.served, "a model of endpoint=URL; give that too")
    if cfg.endpoint is None:
        return
    _address(cfg.endpoint)
    need(cfg.served != "", "served", "''", "the model's name at the endpoint, or null for the only one there")
    need(cfg.concurrency >= 1, "concurrency", cfg.concurrency, "1 or more documents that are asked about at once")
    need(cfg.timeout > 0, "timeout", cfg.timeout, "seconds, above 0")
    need(cfg.retries >= 0, "retries", cfg.retries, "0 or more tries after the first")


def _address(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        wanted = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number
        wanted = False
    shown = endpoint.rpartition("@")[2]  # what stands before it is a secret
    need(wanted, "endpoint", shown, "give the address of an OpenAI-compatible API, such as http://localhost:8000/v1")
    bare = "@" not in parts.netloc and not parts.query and not parts.fragment
    advice = "an address is written into results; give it without user, key or query, and the key in DOCVLM_API_KEY"
    need(bare, "endpoint", shown.partition("?")[0], advice)
