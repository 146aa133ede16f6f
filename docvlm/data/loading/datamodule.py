"""From `data.source` to batches: the `LightningDataModule` of a benchmark, and what it shares with a mixture of them.

Splits are read when they are first asked for (evaluation never downloads the train split), as examples without
pixels; pages are decoded in workers by the model's codec. What is evaluated, limited or held out depends on
`split_seed` alone, so that runs with different training seeds answer the same questions; the order of training
depends on (seed, epoch) alone.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from docvlm.data import splits
from docvlm.data.benchmark import BENCHMARKS, GENERATED, Benchmark, Role
from docvlm.data.example import EvalBatch, Example
from docvlm.data.generated import documents
from docvlm.data.generated.languages.known import ENGLISH
from docvlm.data.loading.batching import cost, page_groups
from docvlm.data.loading.codec import Codec
from docvlm.data.loading.samplers import Batches, EvalBatches, PageLoader, ResumableLoader, TrainBatches
from docvlm.data.loading.windows import Homes, homes_of
from docvlm.data.page_ids import content_of
from docvlm.data.reading import ALL_PAGES, BEST, NONE, Reading, Selection, page_counts, recalled
from docvlm.data.rows import BadRow
from docvlm.data.sources.quarantine import Quarantine
from docvlm.data.sources.reader import Reader
from docvlm.data.sources.remembered import Remembered
from docvlm.data.streaming.index import Look
from docvlm.data.streaming.packs import GB
from docvlm.data.streaming.settings import Streaming, account
from docvlm.errors import DocvlmError
from docvlm.metrics import METRICS

ROLES: dict[str | None, tuple[Role, ...]] = {
    None: ("train", "val", "test"),
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
}
DRAWN: dict[Role, int] = {"train": 1000, "val": 100, "test": 150}
"""How many documents are drawn where no limit says otherwise."""
FEWEST_QUESTIONS = 2
"""A generated document has 2 to 6 questions: this many documents a limit needs at most."""


Choose = Callable[[Sequence[Example]], list[Example]]


class DocumentDataModule(LightningDataModule):
    """Splits and loaders. `codec` must be set before a loader is asked for.

    A training batch holds `batch_size` questions or, where that is None, as many as `batch_tokens` padded tokens hold.
    `packing` ("on" or "off") shares a page between the questions of a batch: it changes speed and nothing else.
    `pages` and `page_numbers` say how documents of several pages are read (`docvlm.data.reading`); None: as the model
    was trained. `limit_*` count questions and take whole documents. `val_fraction` is the share of train that selects,
    where the source has no validation split of its own; `test_fraction` the share that reports, where own pages come
    without splits. `languages` are those of generated pages. Bad rows go to `quarantine_report` (JSONL). `name` is the
    word of the command line. With `streaming` pages stay where they are: row groups of parquet come into
    `cache_folder`, which holds `cache_gb`, and are read in windows of `window_gb` (`loading.windows`); what is found of
    pages in files is kept there. Raises `DocvlmError` for a source that cannot be read; see `sources.recognise`.
    """

    max_new_tokens_key: ClassVar[str] = "data.max_new_tokens"
    max_new_tokens: int

    def __init__(
        self,
        source: str | None = None,
        *,
        seed: int = 0,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        eval_batch_size: int = 8,
        num_workers: int = 0,
        limit_train: int | None = None,
        limit_val: int | None = None,
        limit_test: int | None = None,
        val_fraction: float = 0.05,
        offline: bool = False,
        preset: str = "tiny",
        quarantine_report: Path | str | None = None,
        codec: Codec | None = None,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        packing: str = "on",
        revision: str | None = None,
        languages: Sequence[str] | None = None,
        name: str = "",
        pages: str | None = None,
        page_numbers: bool | None = None,
        streaming: bool = False,
        cache_folder: str = ".pages",
        cache_gb: float = 10.0,
        window_gb: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= test_fraction <= 1 or not 0 <= val_fraction <= 1:
            raise DocvlmError(
                f"data.val_fraction={val_fraction}, data.test_fraction={test_fraction}: give shares from 0 to 1"
            )
        if revision is not None and source == "generated":
            raise DocvlmError(f"data.revision={revision}: generated pages have no revisions; give data.source=hub")
        languages = tuple(languages or (ENGLISH,))
        if languages != (ENGLISH,) and source != "generated":
            raise DocvlmError(
                f"data.languages=[{','.join(languages)}]: pages of data.source={source} are in the languages they are"
                " in; leave it out, or give data.source=generated"
            )
        if streaming and source == "generated":
            raise DocvlmError("data.streaming=true: generated pages are drawn where they are needed; leave it out")
        self.streaming = Streaming.of(cache_folder, cache_gb, window_gb) if streaming else None
        self.window_gb = window_gb
        self.name = name
        self.source = source
        self.languages = languages
        self.offline = offline
        self.revision = revision
        self.seed = seed
        self.batch_size = 8 if batch_size is None and batch_tokens is None else batch_size
        self.batch_tokens = batch_tokens
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.limits: dict[Role, int | None] = {"train": limit_train, "val": limit_val, "test": limit_test}
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.preset = preset
        remembered = None if self.streaming is None else Remembered(self.streaming.folder)
        self.quarantine = Quarantine(Path(quarantine_report) if quarantine_report else None, remembered=remembered)
        self.codec = codec
        self.split_seed = split_seed
        self.packing = packing == "on"
        self.pages, self.page_numbers = pages, page_numbers
        self.selection: Selection | None = None  # who chooses pages, where the command says it
        self.choose: Choose | None = None  # what a selector does with examples
        self._chosen: dict[tuple[str, str], Example] = {}
        self._trained = ALL_PAGES
        self.audited: dict[str, Any] = {}  # what an audit of leakage found and took out, for the manifest
        self._splits: dict[Role, list[Example]] = {}

    @property
    @abstractmethod
    def metrics(self) -> dict[str, str]:
        """The headline metric of every benchmark label among the examples (several for a mixture)."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What results are called."""

    @property
    @abstractmethod
    def published(self) -> bool:
        """Whether all splits are a publisher's, from the hub or a download: not drawn pages, not own ones."""

    @abstractmethod
    def unread(self) -> list[str]:
        """Question files beside those that were read."""

    @abstractmethod
    def _split(self, role: Role) -> list[Example]:
        """The examples of a split, read once."""

    @abstractmethod
    def _parts(self) -> Sequence[tuple[int, float]]:
        """Questions of train, and passes over them in an epoch, of every part."""

    @property
    def train(self) -> list[Example]:
        return self._split("train")

    @property
    def val(self) -> list[Example]:
        return self._split("val")

    @property
    def test(self) -> list[Example]:
        return self._split("test")

    @property
    def reading(self) -> Reading:
        """How documents of several pages are read: as this module was told, else as the model was trained."""
        return Reading(
            self._trained.pages if self.pages is None else self.pages,
            self._trained.page_numbers if self.page_numbers is None else self.page_numbers,
            self._trained.selection if self.selection is None else self.selection,
        )

    def gate(self, codec: Codec | None, look: Look | None = None) -> None:
        """Say which model will be asked, before a split is read: a row that it cannot take is quarantined then.

        Without one (answers come from a server, or nothing is asked) rows are judged by what every model needs. `look`
        is shown pages that are streamed when they are read for the first time.
        """
        if self.streaming is not None:
            self.streaming.look = look
        if self._splits:
            raise RuntimeError("a split has been read already; call gate first")
        self.codec = codec
        if codec is not None:
            self._trained = codec.reading
        self.quarantine.refusal = None if codec is None else self._refusal

    def _refusal(self, example: Example) -> BadRow | None:
        """Why the model cannot take what it would be shown of an example."""
        codec, longest = self._codec(), self.max_new_tokens
        return next(filter(None, (codec.refusal(one, longest) for one in self.reading.most(example))), None)

    def account(self) -> list[str]:
        """Lines on what was read: rows, what became of those that are not asked, answers beyond the limit."""
        lines = [] if self.source == "generated" else [str(self.quarantine), *self.unread()]
        return [*lines, *self._streamed(), *self._overlong(), *self._documents()]

    def _streamed(self) -> list[str]:
        return account([example for split in self._splits.values() for example in split], self.window_gb)

    def _overlong(self) -> list[str]:
        """How many questions have no accepted answer that fits `max_new_tokens`, and what would fit."""
        if self.codec is None:
            return []
        asked = [example for role in self._splits for example in self._splits[role]]
        # an answer is at most as many tokens as it has bytes: few have to be counted
        most = self.max_new_tokens
        long = [e for e in asked if min(len(answer.encode()) for answer in e.answers) > most]
        counts = iter(self.codec.answer_lengths([answer for example in long for answer in example.answers]))
        shortest = [min(next(counts) for _ in example.answers) for example in long]
        if not (beyond := [count for count in shortest if count > most]):
            return [f"answers: all of {len(asked)} questions have one within max_new_tokens={most}"]
        return [
            f"answers: {len(beyond)} of {len(asked)} questions have none within max_new_tokens={most}, so no answer to"
            f" them can be right; the longest needs {max(beyond)}: set {self.max_new_tokens_key}={max(beyond)}"
        ]

    def _documents(self) -> list[str]:
        """What documents of several pages cost, and which of their pages are shown; none where all have one."""
        asked = [example for role in self._splits for example in self._splits[role]]
        if self.codec is None or not (counts := page_counts(asked)):
            return []
        asked = self.shown(asked)
        reading = self.reading
        firsts = {one.pages: one for example in asked for one in reading.asked(example)}
        pages = self.codec.lengths(list(firsts.values())).pages
        each = max(int(count) // len(one.pages) for count, one in zip(pages, firsts.values(), strict=True))
        how = reading.pages if reading.one_by_one else f"{reading.pages}, at most {int(max(pages))} tokens together"
        lines = [f"pages: {counts}; at most {each} tokens a page; data.pages={how}"]
        if (selection := reading.selection).name != NONE:
            found, known = recalled(asked)
            held = f", which hold the answer of {found} of {known} questions that say where it is" if known else ""
            lines.append(f"selector: {selection.name} hands on {selection.pages} of a document's pages{held}")
        if "train" in self._splits and (silent := sum(not reading.learned(example) for example in self.train)):
            count = len(self.train)
            lines.append(f"learned from: {count - silent} of {count} train questions; {silent} do not say answer_page")
        return lines

    def leave_out_pages(self, reasons: Mapping[str, str]) -> None:
        """Quarantine the questions about pages, by name, that turned out to be unreadable when they were decoded."""
        for role, examples in self._splits.items():
            self._splits[role] = self.quarantine.leave_out(examples, reasons, f"{self.source} ({role})")

    def setup(self, stage: str | None = None) -> None:
        """Read the splits a stage needs; all of them without a stage. Reading twice costs nothing."""
        for role in ROLES[stage]:
            self._split(role)

    def fingerprint(self, roles: Sequence[Role] = ROLES[None]) -> str:
        """Content hash of the splits: questions, answers, documents and pages, wherever they are stored."""
        content = hashlib.blake2b(digest_size=16)
        for role in roles:
            content.update(f"[{role}]".encode())
            for example in self._split(role):
                content.update(repr(content_of(example)).encode())
                if role == "train" and self.reading.pages == BEST:  # then the page of the answer is what is learned
                    content.update(repr(example.answer_pages).encode())
        return content.hexdigest()

    def filled(self, role: Role) -> list[Example]:
        """A split that must have questions. Raises `DocvlmError` that says what there is and what to change."""
        examples = self._split(role)
        if not examples:
            found = ", ".join(f"{other} {len(split)}" for other, split in self._splits.items())
            name = str(self.name)  # Lightning's own attribute may be None
            known = BENCHMARKS[name].without_train if role == "train" and name in BENCHMARKS else ""
            remedy = f"give a source with that split, or change data.limit_{role} or data.val_fraction"
            raise DocvlmError(
                f"data.source={self.source}: no {role} questions for data={self.name} (found: {found}); "
                f"{known or remedy}"
            )
        return examples

    def leave_out(self, documents: Collection[tuple[str, str]]) -> None:
        """Take (benchmark, document) pairs out of train, and with them out of the fingerprint."""
        self._splits["train"] = [e for e in self.train if (e.benchmark, e.document) not in documents]

    def learned(self) -> list[Example]:
        """What is learned from: the examples of train as the model is shown them. Raises `DocvlmError` for none."""
        train = self.filled("train")
        if not (found := self._learned(train)):
            raise DocvlmError(
                f"data.pages={self.reading.pages}: not one of {len(train)} train questions says which page holds its"
                " answer (answer_page); name it in the data, or take data.pages=each"
            )
        return found

    def _learned(self, examples: Sequence[Example]) -> list[Example]:
        reading = self.reading
        return [one for example in self.shown(examples) for one in reading.learned(example)]

    def asked_of(
        self, examples: Sequence[Example], role: Role, selection: Selection, choose: Choose | None
    ) -> DocumentDataModule:
        """This module with `examples` as the only split, `role`, of whose pages `choose` hands some on."""
        found = copy(self)
        found._splits, found._chosen = {role: list(examples)}, {}
        found.selection, found.choose = selection, choose
        return found

    def shown(self, examples: Sequence[Example]) -> list[Example]:
        """The examples with the pages that a selector leaves; as they are without one."""
        if self.choose is None:
            return list(examples)
        if fresh := [e for e in examples if (e.benchmark, e.question_id) not in self._chosen]:
            self._chosen |= {(e.benchmark, e.question_id): e for e in self.choose(fresh)}
        return [self._chosen[e.benchmark, e.question_id] for e in examples]

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled pages with their questions, sharing them if `packing`; starts again where a checkpoint left off."""
        codec, examples = self._codec(), self.learned()
        dataset = Batches(examples, codec.packed_batch if self.packing else codec.train_batch)
        return ResumableLoader(dataset, sampler=self.train_batches(dataset), **self._loading())

    def train_batches(self, dataset: Dataset[Any]) -> TrainBatches:
        """Which examples of train make up which batch."""
        examples = self.learned()
        return TrainBatches(
            dataset,
            self.batch_size,
            self.seed,
            parts=self._parts(),
            groups=page_groups(examples),
            batch_tokens=self.batch_tokens,
            lengths=None if self.batch_tokens is None else self._codec().lengths(examples),
            epochs=1 if self.trainer is None else int(self.trainer.max_epochs or 1),
            homes=self._homes(examples),
            **self._ranks(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return self.answer_dataloader(self.filled("val"))

    def test_dataloader(self) -> DataLoader[Any]:
        return self.answer_dataloader(self.filled("test"))

    def answer_dataloader(self, examples: Sequence[Example]) -> DataLoader[Any]:
        """`codec.eval_batch` of these examples as the model is shown them, longest first (streamed: in each window).

        An interrupted evaluation asks for what is left.
        """
        examples = [one for example in self.shown(examples) for one in self.reading.asked(example)]
        dataset = Batches(examples, partial(self._codec().eval_batch, packed=self.packing))
        groups = page_groups(examples)
        lengths = [cost(example, group) for example, group in zip(examples, groups, strict=True)]
        homes = self._homes(examples)
        sampler = EvalBatches(dataset, self.eval_batch_size, lengths=lengths, homes=homes, **self._ranks())
        return PageLoader(dataset, sampler=sampler, **self._loading())

    def one_asked(self, examples: Sequence[Example]) -> EvalBatch:
        """The first question that is asked of these examples, as a batch."""
        asked = (one for example in examples for one in self.reading.asked(self.shown([example])[0]))
        return self._codec().eval_batch([next(asked)], packed=self.packing)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Tensors of an `EvalBatch` move, its examples stay; Lightning itself refuses frozen records."""
        if not isinstance(batch, EvalBatch):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        prompts, labelled = (
            {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
            for tensors in (batch.prompts, batch.labelled)
        )
        return replace(batch, prompts=prompts, labelled=labelled)

    def _homes(self, examples: Sequence[Example]) -> Homes | None:
        return homes_of(examples, int(self.window_gb * GB))

    def _codec(self) -> Codec:
        if self.codec is None:
            raise RuntimeError("set data.codec = vlm.codec before asking for a loader")
        return self.codec

    def _ranks(self) -> dict[str, int]:
        if self.trainer is None:
            return {"num_replicas": 1, "rank": 0}
        return {"num_replicas": self.trainer.world_size, "rank": self.trainer.global_rank}

    def _loading(self) -> dict[str, Any]:
        return {
            "batch_size": None,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }


class BenchmarkDataModule(DocumentDataModule):
    """One benchmark: the class's own, or that which `name` says (a name in `docvlm.data.benchmarks.BENCHMARKS`).

    `join_pages`: rows of own pages that have one `doc_id` ask about all its pages. `metric` and `max_new_tokens` take
    the place of the benchmark's own headline and longest answer.
    """

    benchmark: Benchmark

    def __init__(
        self,
        source: str | None = None,
        *,
        name: str = "",
        metric: str | None = None,
        max_new_tokens: int | None = None,
        join_pages: bool = False,
        **shared: Any,
    ) -> None:
        if not hasattr(type(self), "benchmark"):
            self.benchmark = BENCHMARKS[name]
        own = self.benchmark
        if source == "generated" and not own.generator and own.published:
            at = "data.source=hub or a path to them" if own.hub else "data.source=DIR with its download"
            raise DocvlmError(f"data.source=generated: no pages are drawn for data={own.name}; give {at}")
        if not own.published and (source == "hub" or (source == "generated" and not own.generator)):
            raise DocvlmError(
                f"data.source={source}: data={own.name} reads own pages; give data.source=DIR with qa.jsonl"
            )
        if metric is not None and metric not in METRICS:
            raise DocvlmError(f"data.metric={metric}: unknown; use {' or '.join(METRICS)}")
        super().__init__(source, name=own.name, **shared)
        self.metric = metric or own.metric
        self.max_new_tokens = max_new_tokens or own.max_new_tokens
        self.reader = Reader(
            own,
            source,
            self.offline,
            self.quarantine,
            revision=self.revision,
            join_pages=join_pages,
            streaming=self.streaming,
        )

    @property
    def metrics(self) -> dict[str, str]:
        return {self.label: self.metric}

    @property
    def label(self) -> str:
        """The benchmark, and where its pages come from if not from its publisher."""
        return f"{self.benchmark.name}{GENERATED}" if self.source == "generated" else self.reader.label

    @property
    def published(self) -> bool:
        return self.reader.published

    def unread(self) -> list[str]:
        if self.source == "generated":
            return []
        lines = [self.reader.of_pages] if self.reader.of_pages else []
        if not (names := self.reader.unread):
            return lines
        return [*lines, f"not read: {', '.join(names)} (data.source={self.source} means {self.reader.meant})"]

    def _split(self, role: Role) -> list[Example]:
        if role not in self._splits:
            if self.source == "generated":
                self._splits[role] = self._generated(role)
            else:
                limited = splits.limit(self._unlimited(role), self.limits[role], self.split_seed)
                self._splits[role] = limited if self.streaming is None else self.streaming.sparse(limited)
        return self._splits[role]

    def _generated(self, role: Role) -> list[Example]:
        limit = self.limits[role]
        count = DRAWN[role] if limit is None else math.ceil(limit / FEWEST_QUESTIONS)
        drawn = documents(self.benchmark.name, role, count, self.preset, self.split_seed, self.languages)
        kept = drawn if limit is None else splits.fitting(drawn, limit)
        return [replace(e, benchmark=self.label) for document in kept for e in document]

    def _unlimited(self, role: Role) -> list[Example]:
        """A role's examples: its published split, or a slice of train to select by where the source has none."""
        public = self.benchmark.public
        if not self.reader.has_splits:
            return self._dealt(role)
        if role == "test":
            return self.reader.examples(public["test"])
        if "val" in public and (selecting := self.reader.examples(public["val"])):
            return selecting if role == "val" else self.reader.examples(public["train"])
        rest, held = splits.holdout(self.reader.examples(public["train"]), self.val_fraction, self.split_seed)
        return held if role == "val" else rest

    def _dealt(self, role: Role) -> list[Example]:
        """Own pages without splits: whole documents dealt out by their hash."""
        rest, test = splits.holdout(self.reader.examples(None), self.test_fraction, self.split_seed)
        if role == "test":
            return test
        share = self.val_fraction / (1 - self.test_fraction) if self.test_fraction < 1 else 0.0
        train, val = splits.holdout(rest, min(share, 1.0), self.split_seed)
        return val if role == "val" else train

    def _parts(self) -> Sequence[tuple[int, float]]:
        return ((len(self.learned()), 1.0),)
