"""A model that is served elsewhere (vLLM, or any server with OpenAI's chat completions), asked over HTTP.

    from docvlm.answering.chat import Chat, data_url
    served = Chat("http://localhost:8000/v1")
    print(served.ask([data_url(Image.open("invoice.png"))], "What is the total?", 32).text)

One question is one request: the pages as PNG, which loses nothing, then the text, greedily decoded. `requests` does the
HTTP (qwen-vl-utils brings it anyway) and urllib3's `Retry` the waiting, with the proxies and certificates of the
environment; `openai` would be one more dependency for these two calls. A key is read from the environment and goes into
the header of a request and nowhere else. Cost: a page is packed once a document, and sent once a question.
"""

from __future__ import annotations

import base64
import io
import math
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import MaxRetryError, ReadTimeoutError
from urllib3.util import Retry

from docvlm.errors import DocvlmError

if TYPE_CHECKING:
    from PIL.Image import Image

    from docvlm.answering.structured import Structured

KEY = "DOCVLM_API_KEY"
"""The environment variable with the key of an endpoint. Not OPENAI_API_KEY, which is not any server's to see."""
CONNECT = 10.0  # seconds to reach a server that is there
LONGEST_WAIT = 60.0  # seconds between two tries, whatever a server asks for
SHOWN = 200  # characters of what a server says
AGAIN = (429, 500, 502, 503, 504)  # may be right the next time
MISSING = (404, 405)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its text, whether `max_tokens` cut it, and the seconds it took, all tries included.

    `confidence` is the mean probability of its tokens, as of `docvlm.vlms.base.Generated`; None where the server says
    none.
    """

    text: str
    truncated: bool
    latency_s: float
    confidence: float | None = None


def data_url(page: Image) -> str:
    """An image as a message holds it."""
    file = io.BytesIO()
    page.save(file, "PNG", compress_level=1)  # about as small as the default for scans, and faster
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def messages(pages: Sequence[str], text: str) -> list[dict[str, Any]]:
    """What is asked: one turn of the user's, the pages (`data_url`) and then the text."""
    images = [{"type": "image_url", "image_url": {"url": page}} for page in pages]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


class Chat:
    """One model of one endpoint, such as `http://localhost:8000/v1`; safe to use from several threads.

    `served` is its name there; None: the only one there is. `timeout` is in seconds a try, `retries` the tries after
    the first (time-outs, lost connections, 429 and 5xx; waits double, and a server's Retry-After is kept to a minute).
    Raises `DocvlmError`, one line with the endpoint and what to do, where it cannot be reached, wants another key, or
    does not serve the model. `logprobs`: ask for what `confidence` is made from, which some servers refuse.
    """

    def __init__(
        self,
        endpoint: str,
        served: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 5,
        logprobs: bool = True,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.timeout, self.retries, self.logprobs = timeout, retries, logprobs
        self._key = _key()
        self._threads = threading.local()
        self.served = self._found(served)

    def ask(self, pages: Sequence[str], text: str, max_tokens: int, structured: Structured | None = None) -> Reply:
        """The answer to `text` about `pages` (`data_url`), at most `max_tokens` long; greedy.

        It is one of those that `structured` allows, or the beginning of one and `truncated`. Raises `DocvlmError`.
        """
        body = {
            "model": self.served,
            "messages": messages(pages, text),
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        if self.logprobs:
            body["logprobs"] = True
        if structured is not None:
            body |= structured.request
        if not hasattr(self._threads, "session"):
            self._threads.session = _session(self._key, self.retries)  # a session is not to be shared
        began = time.perf_counter()
        response = self._send(self._threads.session, "POST", "chat/completions", self.retries + 1, body)
        seconds = time.perf_counter() - began
        if response.status_code in MISSING:
            raise self._error(f"{self._said(response)}; give the model with served=…, and an address that ends in /v1")
        reply = self._reply(response, seconds)
        return reply if structured is None else self._held_to(structured, reply)

    def _found(self, served: str | None) -> str:
        """The model to ask, if the endpoint has it; asked before anything else, so that mistakes cost no time."""
        with _session(self._key, 0) as session:
            response = self._send(session, "GET", "models", 1)
        if response.status_code in MISSING:  # not every server lists its models
            if served is None:
                raise self._error(f"no list of models there ({response.status_code}); check the address (/v1?)")
            return served
        try:
            names = [str(model["id"]) for model in response.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            line = f"no list of models there, but {self._shown(response)}; give the address of an OpenAI-compatible API"
            raise self._error(line) from error
        if served is None and len(names) == 1:
            return names[0]
        if served not in names:
            what = f"{len(names)} models" if served is None else f"no model {served!r}"
            raise self._error(f"{what} there; choose with served=…: {', '.join(names) or 'none is served'}")
        return served

    def _send(
        self, session: requests.Session, method: str, path: str, tries: int, body: dict[str, Any] | None = None
    ) -> requests.Response:
        """A response that is right (200), or says that there is no such thing; anything else is an error."""
        limits = (min(CONNECT, self.timeout), self.timeout)
        try:
            found = session.request(method, f"{self.endpoint}/{path}", json=body, timeout=limits, allow_redirects=False)
        except requests.RequestException as error:
            raise self._error(self._lost(error, tries)) from error
        if found.status_code not in (200, *MISSING):
            raise self._error(self._refused(found, tries))
        return found

    def _lost(self, error: requests.RequestException, tries: int) -> str:
        cause: object = error.args[0] if error.args else error
        if isinstance(cause, MaxRetryError):
            cause = cause.reason
        if isinstance(error, requests.ReadTimeout) or isinstance(cause, ReadTimeoutError):
            often = f" in any of {tries} tries" if tries > 1 else ""
            return f"no answer within {self.timeout:g} s{often}; raise timeout=…, or lower concurrency=…"
        return f"cannot be reached ({self._short(str(cause))}); is the server running, and is this its address?"

    def _refused(self, response: requests.Response, tries: int) -> str:
        status = response.status_code
        if status in (401, 403):
            which = "the key" if self._key is None else "another key"
            return f"refused ({status}: {self._said(response)}); give {which} in the environment variable {KEY}"
        if 300 <= status < 400:
            to = response.headers["Location"] if "Location" in response.headers else "nowhere"
            return f"points elsewhere ({status}, to {self._short(to)}); give that address"
        if status in AGAIN:
            often = f"{tries} tries" if tries > 1 else "one try"
            return f"{status} after {often}: {self._said(response)}; wait, or lower concurrency=…"
        return f"refused the request ({status}): {self._said(response)}"

    def _reply(self, response: requests.Response, seconds: float) -> Reply:
        try:
            choice = response.json()["choices"][0]
            content, reason = choice["message"]["content"], choice["finish_reason"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise self._error(f"its answer is no chat completion: {self._shown(response)}") from error
        if not isinstance(content, str):  # an answer of no characters is one; no answer is none
            raise self._error(
                f"an answer without text (finish_reason {reason}); a model that reasons first needs more tokens:"
                " raise data.<benchmark>.max_new_tokens, or serve it without reasoning"
            )
        return Reply(content.strip(), reason == "length", seconds, _confidence(choice))

    def _held_to(self, structured: Structured, reply: Reply) -> Reply:
        """The reply, of it the part that is scored. Raises `DocvlmError` for what the server was told not to say."""
        why = structured.why_not(reply.text)
        if why is None:
            return replace(reply, text=structured.answer(reply.text))
        if reply.truncated and structured.begun(reply.text):
            return reply
        (field,) = structured.request
        raise self._error(
            f"an answer that {why}: {self._short(reply.text)!r}; the server does not hold to {field} in a request"
        )

    def _said(self, response: requests.Response) -> str:
        """What a server says is wrong: OpenAI's `error.message`, vLLM's and FastAPI's forms, else the text itself."""
        try:
            found = response.json()
        except ValueError:
            return self._shown(response)
        for name in ("error", "message", "detail"):
            while isinstance(found, dict) and name in found:
                found = found[name]
        return self._short(found) if isinstance(found, str) else self._shown(response)

    def _shown(self, response: requests.Response) -> str:
        return self._short(response.text) or f"{response.status_code} {response.reason}"

    def _short(self, text: str) -> str:
        """One line of `text` without the key, which a server may repeat."""
        line = " ".join(text.split())
        if self._key is not None:
            line = line.replace(self._key, "…")
        return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"

    def _error(self, text: str) -> DocvlmError:
        return DocvlmError(f"endpoint={self.endpoint}: {text}")


class _Bearer(AuthBase):
    """Sets the key's header; without a key it keeps `requests` from looking into ~/.netrc for another."""

    def __init__(self, key: str | None) -> None:
        self.key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.key is not None:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


class _Patient(Retry):
    """Waits as long as a server asks for, up to a minute: some ask for hours."""

    def __repr__(self) -> str:  # urllib3 logs it: Retrying (4 more tries) after …
        return f"{self.total} more tries"

    def parse_retry_after(self, retry_after: str) -> float:
        return min(super().parse_retry_after(retry_after), LONGEST_WAIT)


def _session(key: str | None, retries: int) -> requests.Session:
    session = requests.Session()
    session.auth = _Bearer(key)
    again = _Patient(
        total=retries,
        allowed_methods=None,  # asking twice does no harm
        status_forcelist=AGAIN,
        raise_on_status=False,
        backoff_factor=0.5,
        backoff_max=LONGEST_WAIT,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again))
    return session


def _confidence(choice: dict[str, Any]) -> float | None:
    """The mean probability of the tokens of an answer; vLLM counts its end token, as docvlm does."""
    tokens = (choice.get("logprobs") or {}).get("content")
    return sum(math.exp(token["logprob"]) for token in tokens) / len(tokens) if tokens else None


def _key() -> str | None:
    key = os.environ[KEY].strip() if KEY in os.environ else ""
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise DocvlmError(f"{KEY}: holds characters that no key has (a line break, a space?); set it again")
    return key or None
