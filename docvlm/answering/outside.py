"""A folder of an export that a runtime without torch answers from, in a process of its own.

Pages are resized here, by the code that training and evaluation resize with: what runtimes do with a page that is too
large, or whose sides are no multiples of a patch, makes another page of it. The prompt is made here too, so it is that
of the run to the token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import torch

from docvlm.answering.chat import Reply
from docvlm.answering.elsewhere import Elsewhere
from docvlm.errors import DocvlmError
from docvlm.vlms import loading, saved

if TYPE_CHECKING:
    from PIL.Image import Image

    from docvlm.answering.elsewhere import Answered
    from docvlm.data.example import Example
    from docvlm.data.reading import Reading
    from docvlm.vlms.codec import Budget

WORKER = Path(__file__).with_name("runtime_worker.py")
_LONGEST_ERROR = 300  # characters of what the runtime says
_CHUNK = 1 << 24  # bytes


@dataclass(frozen=True)
class Said:
    """An answer with what is known of it.

    Seconds count from the opening of the pages: `prepared` to the request, `first_token`, `total` to the text.
    """

    text: str
    tokens: int
    prompt_tokens: int
    truncated: bool
    confidence: float
    prepared: float
    first_token: float
    total: float


class Outside(Elsewhere):
    """The model in `folder`, which results call `named`. `budget` takes the place of the one it was exported with.

    Raises `DocvlmError` where the folder is incomplete, the runtime is missing, or it does not load.
    """

    word: ClassVar[str]
    """What the worker calls the runtime."""
    label: ClassVar[str]
    """What people call it."""
    forms: ClassVar[tuple[str, ...]]
    """The formats that it reads."""
    module: ClassVar[str]
    """The module that it is in."""
    package: ClassVar[str]
    """What is installed to have it."""
    weights: ClassVar[tuple[str, ...]]
    """Patterns of the files that decide its answers."""

    device, dtype = torch.device("cpu"), torch.float32
    trainable, revision = None, None

    def __init__(self, folder: Path, *, budget: Budget | None = None, named: Path | None = None) -> None:
        record = saved.read(folder)
        if loading.form(record) not in self.forms:
            raise DocvlmError(f"{folder}: no folder of formats=[{' or '.join(self.forms)}]")
        if find_spec(self.module) is None:
            raise DocvlmError(
                f"{folder}: it is answered by {self.label}, which is not installed: pip install {self.package}"
            )
        self.folder, self.checkpoint = folder, str(named or folder)
        self.family, self.quant = str(record["family"]), loading.form(record)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # read where the process ends early
        self._load_codec(budget)
        self._start()

    def _load_codec(self, budget: Budget | None) -> None:
        self.codec: Any = loading.codec(self.folder, offline=True, budget=budget)  # of a family that this can have

    @abstractmethod
    def _settings(self) -> Sequence[int]:
        """What the worker is told beside the folder and the threads."""

    @property
    def described(self) -> dict[str, Any]:
        return {
            "checkpoint": {"name": self.checkpoint, "fingerprint": fingerprint(self.folder, self.weights)},
            "budget": asdict(self.codec.budget),
            "quant": self.quant,
            "prompt": self.codec.prompt,
            "runtime": f"{self.package} {self.version}",
        }

    def check(self, reading: Reading) -> None:
        """It reads documents in every way: prompts are made here, and it says how sure it is."""

    def answers(self, examples: Sequence[Example], max_new_tokens: int) -> Iterator[Answered]:
        for example in examples:
            said = self.ask(example, max_new_tokens)
            yield [(example, Reply(said.text, said.truncated, said.total, said.confidence))]

    def ask(self, example: Example, max_new_tokens: int) -> Said:
        """One question about its pages. Raises `DocvlmError` where the runtime cannot answer it."""
        began = time.perf_counter()
        prompt, pages = self._prepared(example, max_new_tokens)
        images = [
            {"height": page.height, "width": page.width, "pixels": base64.b64encode(page.tobytes()).decode("ascii")}
            for page in pages
        ]
        prepared = time.perf_counter() - began
        found = self._asked({"pages": images, "prompt": prompt, "max_new_tokens": max_new_tokens})
        if "error" in found:
            raise DocvlmError(
                f"{self.folder}: {self.label} cannot answer question {example.question_id}: {_end_of(found['error'])};"
                " leave it out, or ask an export that Transformers reads (formats=[merged])"
            )
        return Said(
            text=self._text(found),
            tokens=int(found["tokens"]),
            prompt_tokens=int(found["prompt_tokens"]),
            truncated=bool(found["truncated"]),
            confidence=float(found["confidence"]),
            prepared=prepared,
            first_token=prepared + float(found["first_token_s"]),
            total=time.perf_counter() - began,
        )

    def _prepared(self, example: Example, max_new_tokens: int) -> tuple[Any, Sequence[Image]]:
        """What the worker takes for a prompt, here the chat of an example as text, and its resized pages."""
        prompt, pages = self.codec.chat_and_pages(example)
        return prompt, pages

    def _text(self, found: Mapping[str, Any]) -> str:
        """The answer, of what the worker says."""
        return str(found["text"]).strip()

    def memory(self, *, reset: bool = False) -> tuple[float, float]:
        """What its process holds and held at most, in MiB; `reset` starts a new peak."""
        found = self._asked({"memory": "reset" if reset else "peak"})
        return float(found["held"]), float(found["peak"])

    def close(self) -> None:
        """End the process."""
        self._end()

    def _start(self) -> None:
        told = [self.folder, torch.get_num_threads(), *self._settings()]
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), self.word, *map(str, told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        self._end = weakref.finalize(self, _ended, self._process)
        found = self._reply()
        if "error" in found:
            raise DocvlmError(
                f"{self.folder}: {self.label}: {_end_of(found['error'])}; if its files are whole, export it again"
            )
        self.version = str(found["version"])

    def _asked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What its process says to a request. One that was ended is started again."""
        if not self._end.alive:
            self._start()
        assert self._process.stdin is not None
        awaited = True
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            found = self._reply()
            awaited = False
        except DocvlmError:  # it has ended
            awaited = False
            raise
        except BrokenPipeError as error:  # no other OSError: whoever waits may raise a TimeoutError
            awaited = False
            raise self._gone() from error
        finally:
            if awaited:  # nobody waits any more, and a reply would pass for the next request's
                self._process.kill()
                self.close()
        return found

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        found: dict[str, Any] = json.loads(line)
        return found

    def _gone(self) -> DocvlmError:
        """Why there is no answer: the process ended."""
        code = self._process.wait()
        self._errors.seek(0)
        said = _end_of(self._errors.read().decode(errors="replace"))
        why = "out of memory?" if code == -9 else said or "no message"  # the kernel's signal where memory is full
        return DocvlmError(f"{self.folder}: the process of {self.label} ended with code {code} ({why})")


def _end_of(said: object) -> str:
    """The end of what a runtime says, in one line."""
    return " ".join(str(said).split())[-_LONGEST_ERROR:]


def fingerprint(folder: Path, patterns: Sequence[str]) -> str:
    """16 hex digits of the files in a folder that match."""
    digest = hashlib.sha256()
    for file in sorted(file for pattern in patterns for file in folder.glob(pattern)):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def _ended(process: subprocess.Popen[str]) -> None:
    """Let the worker end: it does when nothing more can come."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
