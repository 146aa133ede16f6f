"""A folder that `formats=[openvino]` made, answering through OpenVINO GenAI in a process without torch.

Pages are resized here, by the code that training and evaluation resize with: the runtime's own shrinking does not
smooth, and the model reads another page then. The prompt is made here too, so it is that of the run to the token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from docvlm.answering.chat import Reply
from docvlm.answering.elsewhere import Elsewhere
from docvlm.errors import DocvlmError
from docvlm.vlms import loading, saved

if TYPE_CHECKING:
    from docvlm.answering.elsewhere import Answered
    from docvlm.data.example import Example
    from docvlm.data.reading import Reading
    from docvlm.vlms.codec import Budget

WORKER = Path(__file__).with_name("openvino_worker.py")
NEEDS = "openvino_genai"
INSTALL = "pip install openvino-genai"
_LONGEST_ERROR = 300  # characters of what the runtime says
_CHUNK = 1 << 24  # bytes


@dataclass(frozen=True)
class Said:
    """An answer with what is known of it.

    `confidence` is the geometric mean of the probabilities of its tokens, end included: the runtime tells their
    product. Seconds count from the opening of the pages: `prepared` to the request, `first_token`, `total` to the text.
    """

    text: str
    tokens: int
    prompt_tokens: int
    truncated: bool
    confidence: float
    prepared: float
    first_token: float
    total: float


class OpenVino(Elsewhere):
    """The model in `folder`, which results call `named`. `budget` takes the place of the one it was exported with.

    Raises `DocvlmError` where the folder is incomplete, the runtime is missing, or it does not load.
    """

    device, dtype = torch.device("cpu"), torch.float32
    trainable, revision = None, None

    def __init__(self, folder: Path, *, budget: Budget | None = None, named: Path | None = None) -> None:
        record = saved.read(folder)
        if not self.is_one(record):
            raise DocvlmError(f"{folder}: no folder of formats=[{' or '.join(loading.OPENVINO)}]")
        if find_spec(NEEDS) is None:
            raise DocvlmError(f"{folder}: it is answered by OpenVINO GenAI, which is not installed: {INSTALL}")
        self.codec: Any = loading.codec(folder, offline=True, budget=budget)  # of a family that has its graphs
        self.folder, self.checkpoint = folder, str(named or folder)
        self.family, self.quant = str(record["family"]), loading.form(record)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # read where the process ends early
        command = [sys.executable, str(WORKER), str(folder), str(torch.get_num_threads())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, encoding="utf-8"
        )
        self._end = weakref.finalize(self, _ended, self._process)
        self.version = str(self._reply()["version"])

    @staticmethod
    def is_one(record: dict[str, Any]) -> bool:
        """Whether a saved folder's `docvlm.json` is of one that this reads."""
        return loading.form(record) in loading.OPENVINO

    @property
    def described(self) -> dict[str, Any]:
        return {
            "checkpoint": {"name": self.checkpoint, "fingerprint": fingerprint(self.folder)},
            "budget": asdict(self.codec.budget),
            "quant": self.quant,
            "prompt": self.codec.prompt,
            "runtime": f"openvino-genai {self.version}",
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
        prompt, pages = self.codec.chat_and_pages(example)
        images = [
            {"height": page.height, "width": page.width, "pixels": base64.b64encode(page.tobytes()).decode("ascii")}
            for page in pages
        ]
        prepared = time.perf_counter() - began
        found = self._asked({"pages": images, "prompt": prompt, "max_new_tokens": max_new_tokens})
        return Said(
            text=str(found["text"]).strip(),
            tokens=int(found["tokens"]),
            prompt_tokens=int(found["prompt_tokens"]),
            truncated=bool(found["truncated"]),
            confidence=math.exp(found["log_probability"] / max(found["tokens"], 1)),
            prepared=prepared,
            first_token=prepared + float(found["first_token_s"]),
            total=time.perf_counter() - began,
        )

    def memory(self, *, reset: bool = False) -> tuple[float, float]:
        """What its process holds and held at most, in MiB; `reset` starts a new peak."""
        found = self._asked({"memory": "reset" if reset else "peak"})
        return float(found["held"]), float(found["peak"])

    def close(self) -> None:
        """End the process."""
        self._end()

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone() from error
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._gone()
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            said = " ".join(str(found["error"]).split())[-_LONGEST_ERROR:]
            raise DocvlmError(f"{self.folder}: OpenVINO GenAI: {said}; if its files are whole, export it again")
        return found

    def _gone(self) -> DocvlmError:
        """Why there is no answer: the process ended."""
        code = self._process.wait()
        self._errors.seek(0)
        said = " ".join(self._errors.read().decode(errors="replace").split())[-_LONGEST_ERROR:]
        why = "out of memory?" if code == -9 else said or "no message"  # the kernel's signal where memory is full
        return DocvlmError(f"{self.folder}: the process of OpenVINO GenAI ended with code {code} ({why})")


def fingerprint(folder: Path) -> str:
    """16 hex digits of the graphs and weights in a folder."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.xml"), *folder.glob("*.bin")]):
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
