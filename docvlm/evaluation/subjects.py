"""What is evaluated: a run's saved weights, a checkpoint as it comes, or a model that is served elsewhere.

Each knows how to load and where answers go.

A run brings everything that decides its answers (family, budget, dtype, attention), so that it is evaluated exactly
as it was trained; its base is loaded with the same settings, so that the difference is what was learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.evaluation.predict import device
from docvlm.evaluation.runs import Run

if TYPE_CHECKING:
    from docvlm.config import BenchmarkConfig, EvaluateConfig
    from docvlm.evaluation.endpoint import Endpoint
    from docvlm.vlms.base import VLM

ZERO_SHOT = Path("outputs") / "zero-shot"
_CHUNK = 1 << 24  # bytes


@dataclass(frozen=True)
class Subject:
    """One set of weights. `place(model)` is the folder its answers go below; `described` goes into every result.

    `endpoint` is where they are served, if they are not to be loaded here; then `family` is their name there, since
    what they are made of nobody says.
    """

    title: str
    family: str
    load: Callable[[], VLM]
    place: Callable[[Any], Path]
    described: dict[str, Any]
    endpoint: Endpoint | None = None

    def ready(self) -> VLM | Endpoint:
        """What answers: the weights, on the device where answers are generated, or the endpoint."""
        return self.load().to(device()) if self.endpoint is None else self.endpoint


def of_run(run: Run, output: Path | None, offline: bool) -> Subject:
    """The weights a run reports."""
    from docvlm.vlms import adapter

    attn = run.manifest["config"]["model"]["attn"]

    def load() -> VLM:
        dtype = _dtype(adapter.read(run.folder.best)["dtype"])
        return adapter.load(run.folder.best, dtype=dtype, attn=attn, offline=offline)

    described = {"run": str(run.folder.root), "trained_on": run.trained_on, "status": run.status}
    return Subject("ours", run.family, load, lambda vlm: output or run.folder.root / "eval", described)


def base_of(run: Run, output: Path | None, offline: bool) -> Subject:
    """The checkpoint a run started from, with the run's budget and dtype."""
    from docvlm.vlms import adapter
    from docvlm.vlms.codec import Budget

    record = adapter.read(run.folder.best)
    budget, dtype = Budget(**record["budget"]), record["dtype"]
    attn = run.manifest["config"]["model"]["attn"]
    return of_checkpoint(run.family, record["checkpoint"], budget, dtype, attn, output, offline)


def configured(cfg: EvaluateConfig | BenchmarkConfig, output: Path | None) -> Subject:
    """The checkpoint the config names, with the config's budget."""
    from docvlm.vlms.codec import Budget

    model = cfg.model
    name = cfg.checkpoint or model.checkpoint
    budget = Budget(**asdict(cfg.budget))
    return of_checkpoint(model.family, name, budget, model.dtype, model.attn, output, cfg.offline)


def of_checkpoint(
    family: str, checkpoint: str, budget: Any, dtype: str, attn: str, output: Path | None, offline: bool
) -> Subject:
    """A checkpoint as it comes: a folder, a hub id, or the word `embedded`."""
    from docvlm.vlms import embedded, load_family
    from docvlm.vlms.checkpoint import fingerprint

    def load() -> VLM:
        source = str(embedded.checkpoint(family)) if checkpoint == "embedded" else checkpoint
        return load_family(family).load(source, budget, dtype=_dtype(dtype), attn=attn, offline=offline)

    def place(vlm: VLM) -> Path:
        return (output or ZERO_SHOT) / f"{family}-{fingerprint(vlm.checkpoint)[:8]}"

    return Subject("zero-shot", family, load, place, {"run": None, "trained_on": None, "status": None})


def served(cfg: EvaluateConfig, output: Path | None) -> Subject:
    """The model of an endpoint, which has been asked what it serves."""
    from docvlm.evaluation import endpoint

    found = endpoint.connected(cfg)
    address, name = found.chat.endpoint, found.chat.served
    described = {"run": None, "trained_on": None, "status": None, "endpoint": address, "served": name}

    def load() -> VLM:
        raise AssertionError(f"{name} is asked at {address}, not loaded")

    place = output or endpoint.folder(name)
    return Subject(f"at {address}", name, load, lambda _: place, described, endpoint=found)


def identity(subject: Subject, model: VLM | Endpoint, data: dict[str, Any]) -> str:
    """8 hex digits of all that decides the answers: weights, budget, dtype, prompt, and `data` (questions, limits).

    Of a served model its address and name stand for its weights, which nobody can see.
    """
    from docvlm.evaluation.endpoint import Endpoint
    from docvlm.vlms.checkpoint import fingerprint

    if isinstance(model, Endpoint):
        return hashlib.sha256(repr((model.described, data)).encode()).hexdigest()[:8]
    vlm = model
    digest = hashlib.sha256(repr((subject.family, vlm.codec.budget, str(vlm.dtype), vlm.codec.prompt, data)).encode())
    digest.update(fingerprint(vlm.checkpoint).encode())
    if subject.described["run"] is not None:
        for file in sorted((Path(subject.described["run"]) / "checkpoints" / "best").glob("*.safetensors")):
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()[:8]


def _dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)
