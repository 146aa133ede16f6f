"""A model that answers questions about pages, in three lines:

    from docvlm import load
    vlm = load("outputs/2026-01-31_12-00-00-000000")
    print(vlm.ask("invoice.png", "What is the total?"))

Whatever was saved with the weights decides how a page is read: budget, dtype, prompt and the wording of the benchmark.
Questions that are asked together share the work on their pages (one prefill; where an encoder reads page and question
together, the vision tower), and get the answers they would get alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from docvlm.answering import runtimes
from docvlm.answering.answer import device as default_device
from docvlm.answering.outside import Outside
from docvlm.data.benchmarks import BENCHMARKS, DEFAULT
from docvlm.data.example import Example, Page
from docvlm.data.loading.packing import by_pages
from docvlm.data.reading import Reading
from docvlm.errors import DocvlmError
from docvlm.runs import finished
from docvlm.selection import Choose, chooser
from docvlm.serving.answers import Answer
from docvlm.serving.pages import PageLike, as_pages
from docvlm.vlms import FAMILIES, embedded, forms, load_family, loading, saved
from docvlm.vlms.codec import Budget
from docvlm.writing import encodable

if TYPE_CHECKING:
    from docvlm.answering.outside import Said
    from docvlm.data.benchmark import Benchmark
    from docvlm.vlms.base import VLM, Generated
    from docvlm.vlms.codec import Codec

TOGETHER = 32  # questions that share one prefill; each holds a copy of its pages' cache


@dataclass(frozen=True, eq=False)
class Reader:
    """A model of one family, `vlm`, and the benchmark whose wording follows a question. `load` makes one.

    `reads`: which pages of a document it is shown, None for those that it was trained to be shown. `choose` is the
    selector that goes with it.
    """

    vlm: VLM | Outside
    benchmark: Benchmark
    reads: Reading | None = None
    choose: Choose | None = None

    @property
    def reading(self) -> Reading:
        """Which pages of a document it is shown."""
        return self.vlm.codec.reading if self.reads is None else self.reads

    @overload
    def ask(
        self,
        page: PageLike | Sequence[PageLike],
        question: str,
        *,
        pages: Sequence[int] | None = None,
        max_new_tokens: int | None = None,
    ) -> Answer: ...

    @overload
    def ask(
        self,
        page: PageLike | Sequence[PageLike],
        question: list[str] | tuple[str, ...],
        *,
        pages: Sequence[int] | None = None,
        max_new_tokens: int | None = None,
    ) -> list[Answer]: ...

    def ask(
        self,
        page: PageLike | Sequence[PageLike],
        question: str | list[str] | tuple[str, ...],
        *,
        pages: Sequence[int] | None = None,
        max_new_tokens: int | None = None,
    ) -> Answer | list[Answer]:
        """The answer to one question about a page, or the answers to several, in their order.

        `page`: a path, bytes or a Pillow image; several are the pages of one document, as are those of a PDF. `pages`
        chooses pages of a PDF, counted from 1. `max_new_tokens`: the longest answer, default the benchmark's. Raises
        `DocvlmError` for a page or a question that cannot be read, or more pages than the model has positions for.
        """
        asked = [question] if isinstance(question, str) else list(question)
        if not asked or not all(each.strip() for each in asked):
            raise DocvlmError("question is empty: write the question")
        if halves := [each for each in asked if not encodable(each)]:
            raise DocvlmError(f"question {halves[0]!r}: holds bytes that are no UTF-8; type it again")
        longest = self.benchmark.max_new_tokens if max_new_tokens is None else max_new_tokens
        if longest < 1:
            raise DocvlmError(f"max_new_tokens={longest}: an answer has at least one token; give 1 or more")
        document = as_pages(page, pages)
        if pages is not None and not any(getattr(one, "number", 0) for one in document):
            raise DocvlmError(
                f"{document[0].name}: pages= chooses pages of a PDF or TIFF, which this is not; leave it out"
            )
        examples = self._examples(document, asked)
        self._check(examples, longest)
        chosen = examples if self.choose is None else self.choose(examples)
        shown = [self.reading.asked(example) for example in chosen]
        read: dict[int, Answer] = {}
        for group in by_pages([one for pages in shown for one in pages]):
            read |= zip(map(id, group), self._read_all(group, longest), strict=True)
        answers = [surest([read[id(one)] for one in pages]) for pages in shown]
        return answers[0] if isinstance(question, str) else answers

    def _read_all(self, examples: Sequence[Example], longest: int) -> list[Answer]:
        starts = range(0, len(examples), TOGETHER)
        return [answer for start in starts for answer in self._read(examples[start : start + TOGETHER], longest)]

    def _examples(self, document: tuple[Page, ...], asked: Sequence[str]) -> list[Example]:
        name, instruction = self.benchmark.name, self.benchmark.instruction
        return [Example(repr(q), q, (), document[0].name, document, name, instruction) for q in asked]

    def _check(self, examples: Sequence[Example], longest: int) -> None:
        """Refuse what the model cannot take, or would take hours or all memory to find out."""
        for example in (shown for one in examples for shown in self.reading.most(one)):
            if (refused := self.vlm.codec.refusal(example, longest)) is not None:
                raise DocvlmError(f"{example.document}: {refused}")

    def _read(self, examples: Sequence[Example], longest: int) -> list[Answer]:
        """Answers to questions about the same pages, from one reading of them."""
        if isinstance(self.vlm, Outside):
            replies = [(example, self.vlm.ask(example, longest)) for example in examples]
            return [_answer(example, said, said.total) for example, said in replies]
        codec = self.vlm.codec
        began = time.perf_counter()
        if len(examples) > 1:
            self.vlm.settle(examples)
        batch = codec.prompt_batch(examples) if len(examples) == 1 else codec.packed_prompt_batch(examples)
        try:
            moved = {name: tensor.to(self.vlm.device) for name, tensor in batch.items()}
            generated = self.vlm.generate(moved, longest)
        except torch.OutOfMemoryError as error:
            what = f"its pages ({len(examples[0].pages)}) and questions ({len(examples)})"
            raise DocvlmError(
                f"{examples[0].document}: {what} do not fit the memory of the GPU; read fewer at a time, or use a"
                " smaller model"
            ) from error
        each = (time.perf_counter() - began) / len(examples)
        return [_answer(example, one, each) for one, example in zip(generated, examples, strict=True)]


def _answer(example: Example, one: Generated | Said, seconds: float) -> Answer:
    names = tuple(page.name for page in example.pages)
    page = example.shown[0] if len(example.shown) == 1 else None
    return Answer(one.text, example.question, names, one.confidence, one.tokens, one.truncated, seconds, page)


def surest(answers: Sequence[Answer]) -> Answer:
    """The most confident answer of those that a question got from the pages of a document; its latency is theirs all.

    Of equal ones the first page's.
    """
    best = max(answers, key=lambda one: one.confidence)
    return replace(best, latency_s=sum(one.latency_s for one in answers))


def load(
    source: str | Path,
    *,
    family: str | None = None,
    benchmark: str | None = None,
    base: str | Path | None = None,
    device: str | None = None,
    offline: bool = False,
) -> Reader:
    """The model in `source`, ready to be asked.

    `source`: the folder of a run, a folder of saved or exported weights (`checkpoints/best`, `export/merged`,
    `export/openvino` and `export/gguf`, which answer in a process of their runtime's own on the processor), or, with
    `family`, a checkpoint: a folder, a hub id, or the word `embedded`. `benchmark`: whose wording questions get,
    default that of the run (`benchmarks.DEFAULT`'s for a mixture, for saved weights without their run and for
    checkpoints). `base`: the checkpoint an adapter was trained on, where it has moved since. `device`: default the
    first CUDA device, else the processor.

    Raises `DocvlmError` where there is no such model or its files are incomplete.
    """
    _check_benchmark(benchmark)
    place = _place(device)
    if family is not None:
        vlm, phrase = _checkpoint(family, str(source), place, offline), DEFAULT.name
    else:
        folder, attn, phrase = _saved(source)
        record = saved.read(folder)
        if (runtime := runtimes.of(record)) is not None:
            return _outside(runtime, folder, device, base, benchmark or phrase)
        if base is None and record["lora"]["r"] and loading.form(record) not in forms.ALONE:
            _check_base(folder, record)
        vlm = loading.load(folder, checkpoint=base, attn=attn, offline=offline)
    return _reader(vlm, place, benchmark or phrase, offline)


def load_codec(
    source: str | Path, *, family: str | None = None, base: str | Path | None = None, offline: bool = False
) -> Codec:
    """The codec of the model that `load` gives for these arguments, without its weights. Raises as `load` does."""
    if family is not None:
        checkpoint = str(embedded.checkpoint(family)) if str(source) == "embedded" else str(source)
        return load_family(family).codec_of(checkpoint, Budget(), offline=offline)
    folder, _, _ = _saved(source)
    record = saved.read(folder)
    if base is None and record["lora"]["r"] and loading.form(record) not in forms.ALONE:
        _check_base(folder, record)
    return loading.codec(folder, checkpoint=base, offline=offline)


def load_base(
    source: str | Path,
    *,
    benchmark: str | None = None,
    base: str | Path | None = None,
    device: str | None = None,
    offline: bool = False,
) -> Reader:
    """The checkpoint that the run in `source` started from, asked as the run is: same budget, dtype and wording.

    Arguments are those of `load`. Raises `DocvlmError` where the checkpoint is not there or is another one.
    """
    _check_benchmark(benchmark)
    place = _place(device)
    folder, attn, phrase = _saved(source)
    record = saved.read(folder)
    if base is None:
        _check_base(folder, record)
    vlm = saved.load_base(folder, checkpoint=base, dtype=saved.dtype_of(record), attn=attn, offline=offline)
    return _reader(vlm, place, benchmark or phrase, offline)


def weights_of(source: str | Path) -> Path:
    """The folder of the weights that `load` reads for the folder of a run, or of saved weights."""
    return _saved(source)[0]


def _reader(vlm: VLM, place: torch.device, benchmark: str, offline: bool) -> Reader:
    choose = chooser(vlm.codec.reading.selection, offline=offline)
    return Reader(vlm.to(place).eval(), BENCHMARKS[benchmark], choose=choose)


def _outside(
    runtime: type[Outside], folder: Path, device: str | None, base: str | Path | None, benchmark: str
) -> Reader:
    """A folder that another runtime answers from, in a process of its own on the processor."""
    if base is not None:
        raise DocvlmError(f"{folder}: a whole model, so {base} is of no use; leave base out")
    if device not in (None, "cpu"):
        raise DocvlmError(f"device={device}: {folder} is for a processor; leave device out, or export merged")
    vlm = runtime(folder)
    return Reader(vlm, BENCHMARKS[benchmark], choose=chooser(vlm.codec.reading.selection, offline=True))


def _check_benchmark(benchmark: str | None) -> None:
    if benchmark is not None and benchmark not in BENCHMARKS:
        raise DocvlmError(f"benchmark={benchmark}: not known; choose one of {', '.join(BENCHMARKS)}")


def _place(device: str | None) -> torch.device:
    """Where a model is to be; known to work before weights load."""
    if device is None:
        return default_device()
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise DocvlmError(f"device={device}: not to be had ({reason}); give cpu, cuda or cuda:1") from error


def _saved(source: str | Path) -> tuple[Path, str, str]:
    """Where the weights of a run or a folder of weights lie, with which attention, and whose wording they learned."""
    folder = Path(source)
    if (folder / saved.RECORD).is_file() or (folder / "adapter_config.json").is_file():
        record = saved.read(folder)
        return folder, "sdpa", str(record["benchmark"]) if "benchmark" in record else DEFAULT.name
    if str(source) == "embedded" or (folder / "config.json").is_file():
        raise DocvlmError(
            f"{source}: a checkpoint, not a run; give it with its family ({' or '.join(FAMILIES)}): --checkpoint and"
            " --family, in Python family=…"
        )
    run = finished.read(folder)
    attn, name = _told(run, "model", "attn"), _told(run, "data", "name")
    return run.folder.best, attn, DEFAULT.name if name == "mix" else name


def _checkpoint(family: str, name: str, place: torch.device, offline: bool) -> VLM:
    """A checkpoint with the budget of its own processor."""
    kind = load_family(family)
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    source = embedded.checkpoint(family) if name == "embedded" else name
    return kind.load(source, Budget(), dtype=dtype, attn="sdpa", offline=offline)


def _check_base(folder: Path, record: dict[str, Any]) -> None:
    recorded = Path(record["checkpoint"])
    if recorded.is_absolute() and not recorded.exists():
        raise DocvlmError(
            f"{folder}: its base {recorded} is not there any more; say where it is now with --base, in Python base=…"
        )


def _told(run: finished.Run, *names: str) -> str:
    """A setting of a run. Raises `DocvlmError` if its manifest does not say."""
    found: Any = run.manifest
    for name in ("config", *names):
        if not isinstance(found, dict) or name not in found:
            raise DocvlmError(f"{run.folder.manifest}: no config.{'.'.join(names)} in it; repeat the run's command")
        found = found[name]
    return str(found)
