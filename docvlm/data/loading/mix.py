"""Several benchmarks as one: learn from all, score each by its own metric.

`weights` are passes over a benchmark in one epoch: 1 is every question once, 0.5 a new half each epoch, 2 every
question twice. Evaluation splits are simply one after the other; their examples keep their benchmark's label.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from docvlm.data.benchmark import Role
from docvlm.data.example import Example
from docvlm.data.loading.codec import Codec
from docvlm.data.loading.datamodule import BenchmarkDataModule, DocumentDataModule
from docvlm.data.sources.ownership import OtherRows
from docvlm.data.streaming.index import Look
from docvlm.errors import DocvlmError


class Mix(DocumentDataModule):
    """Splits and loaders of several data modules (`parts`, by name); each keeps its own source and limits."""

    def __init__(
        self,
        source: str | None = None,
        *,
        parts: Mapping[str, BenchmarkDataModule],
        weights: Mapping[str, float],
        max_new_tokens: int | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(source, **shared)
        unknown = sorted(set(weights) - set(parts))
        if unknown or not parts:
            raise DocvlmError(
                f"data.weights: no part called {', '.join(unknown)}; parts are {', '.join(parts) or 'none'}"
            )
        if any(weight < 0 for weight in weights.values()):
            raise DocvlmError(f"data.weights={dict(weights)}: passes over a benchmark cannot be negative")
        self.parts = dict(parts)
        self.weights = {name: weights[name] if name in weights else 1.0 for name in parts}
        self.max_new_tokens = max_new_tokens or max(part.max_new_tokens for part in parts.values())
        for part in self.parts.values():
            self.quarantine.remembered = self.quarantine.remembered or part.quarantine.remembered
            part.quarantine = part.reader.quarantine = self.quarantine
            if part.streaming is not None:  # all parts have the one cache
                part.streaming.splits *= len(parts)

    @property
    def label(self) -> str:
        return "+".join(part.label for part in self.parts.values())

    @property
    def metrics(self) -> dict[str, str]:
        return {part.label: part.metric for part in self.parts.values()}

    @property
    def published(self) -> bool:
        return all(part.published for part in self.parts.values())

    def gate(self, codec: Codec | None, look: Look | None = None) -> None:
        """The same for every part; an answer may be as long as that of the part with the longest."""
        super().gate(codec, look)
        for part in self.parts.values():
            part.codec = codec
            if part.streaming is not None:
                part.streaming.look = look

    def unread(self) -> list[str]:
        """Those of every part."""
        return [line for part in self.parts.values() for line in part.unread()]

    def account(self) -> list[str]:
        """All parts share one quarantine; drawn parts have no rows."""
        drawn = all(part.source == "generated" for part in self.parts.values())
        return [
            *([] if drawn else [str(self.quarantine)]),
            *self.unread(),
            *self._streamed(),
            *self._overlong(),
            *self._documents(),
        ]

    def leave_out_pages(self, reasons: Mapping[str, str]) -> None:
        """Out of every split of every part."""
        for part in self.parts.values():
            part.leave_out_pages(reasons)
        self._splits = {role: [e for part in self.parts.values() for e in part._split(role)] for role in self._splits}

    def leave_out(self, documents: Collection[tuple[str, str]]) -> None:
        """Out of train of every part: `weights` count what is left of it."""
        for part in self.parts.values():
            part.leave_out(documents)
        self._splits.pop("train", None)

    def _split(self, role: Role) -> list[Example]:
        if role not in self._splits:
            self._splits[role] = [example for name in self.parts for example in self._part(name, role)]
        return self._splits[role]

    def _part(self, name: str, role: Role) -> list[Example]:
        """A split of a part. Raises `DocvlmError` where its source lacks it, or there is nothing to learn from."""
        part = self.parts[name]
        remedy = f"leave the part out with ~data.parts.{name}, or say where it is with data.parts.{name}.source=DIR"
        try:
            found = part._split(role)
        except OtherRows as error:
            raise DocvlmError(
                f"data=mix: {name} is missing in data.source={part.source} ({error}); {remedy}"
            ) from error
        if role == "train" and not found and self.weights[name]:
            raise DocvlmError(f"data=mix: no train questions of {name} in data.source={part.source}; {remedy}")
        return found

    def _parts(self) -> Sequence[tuple[int, float]]:
        return tuple((len(self._learned(part.train)), self.weights[name]) for name, part in self.parts.items())
