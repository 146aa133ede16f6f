"""What is evaluated: a run's saved weights, a checkpoint as it comes, or a model that is served elsewhere.

Each knows how to load and where answers go.

A run brings everything that decides its answers (family, budget, dtype, attention), so that it is evaluated exactly
as it was trained; its base is loaded with the same settings, so that the difference is what was learned. So does a
folder of saved or exported weights.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.answering.answer import device
from docvlm.data.reading import ALL_PAGES, Reading
from docvlm.errors import DocvlmError
from docvlm.runs.finished import Run
from docvlm.vlms.families import called

if TYPE_CHECKING:
    from docvlm.answering.elsewhere import Elsewhere
    from docvlm.answering.endpoint import Endpoint
    from docvlm.answering.outside import Outside
    from docvlm.config import BenchmarkConfig, BudgetConf, EvaluateConfig, Job
    from docvlm.vlms.base import VLM
    from docvlm.vlms.codec import Budget, Codec

ZERO_SHOT = Path("outputs") / "zero-shot"
_CHUNK = 1 << 24  # bytes
_WEIGHTS = ("*.safetensors", "openvino_*", "*.gguf")


@dataclass(frozen=True)
class Subject:
    """One set of weights. `place(model)` is the folder its answers go below; `described` goes into every result.

    `weights` is the folder of what was learned, where there is one beside the checkpoint. `checkpoint` is what results
    call the checkpoint where that is not what it is loaded from. `endpoint` is where weights are served that are not
    to be loaded here; then `family` is their name there, since what they are made of nobody says. `codec` gives what
    reads questions for them before they are loaded, where they are.
    """

    title: str
    family: str
    load: Callable[[], VLM | Outside]
    place: Callable[[Any], Path]
    described: dict[str, Any]
    weights: Path | None = None
    checkpoint: str | None = None
    endpoint: Endpoint | None = None
    codec: Callable[[], Codec] | None = None

    def ready(self) -> VLM | Elsewhere:
        """What answers: the weights, on the device where answers are generated, or a model elsewhere."""
        from docvlm.answering.elsewhere import Elsewhere

        if self.endpoint is not None:
            return self.endpoint
        model = self.load()
        return model if isinstance(model, Elsewhere) else model.to(device())

    def vlm(self) -> VLM:
        """The weights, on the device where answers are generated. Raises `DocvlmError` where torch runs none."""
        from docvlm.answering.outside import Outside

        model = self.load()
        if isinstance(model, Outside):
            model.close()
            raise DocvlmError(
                f"{model.checkpoint}: {model.label} runs it, which is measured at its export (export.json there); here"
                " give a run, or what Transformers reads"
            )
        return model.to(device())


def of_run(run: Run, output: Path | None, offline: bool) -> Subject:
    """The weights a run reports."""
    from docvlm.vlms import loading, saved

    attn = run.manifest["config"]["model"]["attn"]

    def load() -> VLM:
        dtype = _dtype(saved.read(run.folder.best)["dtype"])
        return saved.load(run.folder.best, dtype=dtype, attn=attn, offline=offline)

    def codec() -> Codec:
        return loading.codec(run.folder.best, offline=offline)

    described = {"run": str(run.folder.root), "trained_on": run.trained_on, "status": run.status}
    place = output or run.folder.root / "eval"
    return Subject("ours", run.model, load, lambda vlm: place, described, run.folder.best, codec=codec)


def of_saved(
    folder: Path,
    output: Path | None,
    offline: bool,
    *,
    attn: str = "sdpa",
    named: Path | None = None,
    budget: Budget | None = None,
) -> Subject:
    """A folder that a run or an export saved. `named` is what results call it, where it is not its final place yet.

    `budget` takes the place of the one it was saved with. Raises `DocvlmError` if it holds no complete record.
    """
    from docvlm.answering import runtimes
    from docvlm.vlms import forms, loading, saved

    record, named = saved.read(folder), named or folder
    word = loading.form(record)
    described = {"run": str(named), "trained_on": record["trained_on"] if word else None, "status": word or "saved"}
    whole = word in forms.ALONE

    def load() -> VLM | Outside:
        if (runtime := runtimes.of(record)) is not None:
            return runtime(folder, budget=budget, named=named)
        vlm = loading.load(folder, attn=attn, offline=offline)
        if budget is not None:
            vlm.set_budget(budget)
        return vlm

    def codec() -> Codec:
        return loading.codec(folder, offline=offline, budget=budget)

    place = output or named.parent / "eval"
    name = str(named) if whole else None
    family = called(record["family"], record["checkpoint"])
    return Subject(word or "saved", family, load, lambda vlm: place, described, folder, name, codec=codec)


def base_of(run: Run, output: Path | None, offline: bool) -> Subject:
    """The checkpoint a run started from, with the run's budget and dtype, in 4 bits where the run had it so."""
    from docvlm.vlms import saved
    from docvlm.vlms.codec import Budget

    record = saved.read(run.folder.best)
    saved.check_embedded(run.folder.best, record)
    budget, dtype = Budget(**record["budget"]), record["dtype"]
    attn = run.manifest["config"]["model"]["attn"]
    base = record["checkpoint"]
    held: dict[str, Any] = {"quant": record["quant"], "revision": record["revision"]}
    reading = Reading.of(record["reading"])
    subject = of_checkpoint(run.family, base, budget, dtype, attn, output, offline, reading=reading, **held)
    return replace(subject, family=run.model)


def configured(cfg: EvaluateConfig | BenchmarkConfig, job: Job, output: Path | None) -> Subject:
    """The checkpoint the config names, with the config's budget.

    Saved and exported weights bring their own, of which the command can change any key that it sets itself.
    """
    from docvlm.vlms import saved
    from docvlm.vlms.codec import Budget

    model = cfg.model
    name = cfg.checkpoint or model.checkpoint
    if (folder := Path(name).expanduser()).joinpath(saved.RECORD).is_file():
        record = saved.read(folder)
        if record["family"] != model.family:
            family = record["family"]
            raise DocvlmError(f"checkpoint={name}: weights of {family}; give model={family} with it")
        return of_saved(folder, output, cfg.offline, budget=changed(Budget(**record["budget"]), cfg.budget, job))
    budget = Budget(**asdict(cfg.budget))
    return of_checkpoint(
        model.family, name, budget, model.dtype, model.attn, output, cfg.offline, revision=model.revision
    )


def changed(own: Budget, given: BudgetConf, job: Job) -> Budget:
    """A budget with what the command says of it, where it does: the config's other values are the scale's defaults."""
    return replace(own, **{key: getattr(given, key) for key in job.told("budget")})


def keep_budget(job: Job) -> None:
    """Raise `DocvlmError` where the command gives a run another budget: its score is that of how it was trained."""
    if told := job.told("budget"):
        raise DocvlmError(
            f"budget.{told[0]}: a run is evaluated at the budget it was trained with; drop it, or give the run's"
            " weights in place of run or best: checkpoint=RUN/checkpoints/best"
        )


def of_checkpoint(
    family: str,
    checkpoint: str,
    budget: Any,
    dtype: str,
    attn: str,
    output: Path | None,
    offline: bool,
    quant: str = "none",
    revision: str | None = None,
    reading: Reading = ALL_PAGES,
) -> Subject:
    """A checkpoint as it comes: a folder, a hub id, or the word `embedded`."""
    from docvlm.vlms import embedded, load_family
    from docvlm.vlms.checkpoint import fingerprint

    kind = load_family(family)
    source = str(embedded.checkpoint(family)) if checkpoint == "embedded" else os.path.expanduser(checkpoint)

    def load() -> VLM:
        vlm = kind.load(source, budget, dtype=_dtype(dtype), attn=attn, offline=offline, quant=quant, revision=revision)
        vlm.codec.reading = reading
        return vlm

    def codec() -> Codec:
        found = kind.codec_of(source, budget, offline=offline, revision=revision)
        found.reading = reading
        return found

    def place(vlm: VLM) -> Path:
        return (output or ZERO_SHOT) / f"{family}-{fingerprint(vlm.checkpoint, vlm.revision)[:8]}"

    return Subject(
        "zero-shot",
        called(family, checkpoint),
        load,
        place,
        {"run": None, "trained_on": None, "status": None},
        codec=codec,
    )


def served(cfg: EvaluateConfig, output: Path | None) -> Subject:
    """The model of an endpoint, which has been asked what it serves."""
    from docvlm.answering import endpoint

    return of_endpoint(endpoint.connected(cfg), output)


def of_endpoint(found: Endpoint, output: Path | None) -> Subject:
    """A model that is asked at an endpoint."""
    from docvlm.answering import endpoint

    address, name = found.chat.endpoint, found.chat.served
    described = {"run": None, "trained_on": None, "status": None, "endpoint": address, "served": name}

    def load() -> VLM:
        raise AssertionError(f"{name} is asked at {address}, not loaded")

    place = output or endpoint.folder(name)
    return Subject(f"at {address}", name, load, lambda _: place, described, endpoint=found)


def identity(subject: Subject, model: VLM | Elsewhere, data: dict[str, Any]) -> str:
    """8 hex digits of all that decides the answers: weights, how they are held, budget, prompt, `data` (questions).

    A model elsewhere says what decides its answers; of a served one that is its name, for nobody sees its weights.
    """
    from docvlm.answering.elsewhere import Elsewhere
    from docvlm.vlms.checkpoint import fingerprint

    if isinstance(model, Elsewhere):
        return hashlib.sha256(repr((model.described, data)).encode()).hexdigest()[:8]
    vlm = model
    held = str(vlm.dtype) if vlm.quant == "none" else f"{vlm.dtype} {vlm.quant}"
    digest = hashlib.sha256(repr((vlm.family, vlm.codec.budget, held, vlm.codec.prompt, data)).encode())
    digest.update(fingerprint(vlm.checkpoint, vlm.revision).encode())
    if subject.weights is not None:
        for chunk in contents(subject.weights):
            digest.update(chunk)
    return digest.hexdigest()[:8]


def contents(folder: Path) -> Iterator[bytes]:
    """All bytes of the weights in `folder`, in the order of their files' names."""
    for file in sorted(one for pattern in _WEIGHTS for one in folder.glob(pattern)):
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk


def _dtype(name: str) -> Any:
    import torch

    return getattr(torch, name)
