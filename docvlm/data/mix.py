"""Several benchmarks as one: learn from all, score each by its own metric.

`weights` are passes over a benchmark in one epoch: 1 is every question once, 0.5 a new half each epoch, 2 every
question twice. Evaluation splits are simply one after the other; their examples keep their benchmark's label.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from docvlm.data import docvqa
from docvlm.data.benchmark import Role
from docvlm.data.datamodule import DocumentDataModule
from docvlm.data.example import Example
from docvlm.errors import DocvlmError


class Mix(DocumentDataModule):
    """Splits and loaders of several data modules (`parts`, by name); each keeps its own source and limits."""

    benchmark = docvqa.BENCHMARK

    def __init__(
        self,
        source: str | None = None,
        *,
        parts: Mapping[str, DocumentDataModule],
        weights: Mapping[str, float],
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
        self.max_new_tokens = max(part.max_new_tokens for part in parts.values())
        for part in self.parts.values():
            part.quarantine = part.reader.quarantine = self.quarantine

    @property
    def label(self) -> str:
        return "+".join(part.label for part in self.parts.values())

    @property
    def metrics(self) -> dict[str, str]:
        return {part.label: part.metric for part in self.parts.values()}

    def leave_out(self, documents: Collection[tuple[str, str]]) -> None:
        """Out of train of every part: `weights` count what is left of it."""
        for part in self.parts.values():
            part.leave_out(documents)
        self._splits.pop("train", None)

    def _split(self, role: Role) -> list[Example]:
        if role not in self._splits:
            self._splits[role] = [example for part in self.parts.values() for example in part._split(role)]
        return self._splits[role]

    def _parts(self) -> Sequence[tuple[int, float]]:
        return tuple((len(part.train), self.weights[name]) for name, part in self.parts.items())
