"""A vision tower entered after its frozen prefix, on what that prefix made of a page before.

The library's own forward stays in charge: while `entered`, the prefix's modules hand their input on and the last of
them gives the stored activations, as do those whose output is read beside it (`VLM.kept_of_prefix`), so that positions,
windows and stages are the tower's. Nothing is approximated: the
blocks behind the prefix get the very tensor they would have got (tests/vlms). Cost: a prefix's output is
larger than a tower's, up to four patches for one token, which is why reading it is timed before it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def entered(prefix: Sequence[nn.Module], given: Mapping[nn.Module, Tensor]) -> Iterator[None]:
    """Within, the modules of `prefix` compute nothing: each gives what is `given` for it, or hands its input on."""

    def hand_on(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden

    def give(activations: Tensor) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: activations

    own = [module.__dict__.get("forward") for module in prefix]
    try:
        for module in prefix:
            module.forward = give(given[module]) if module in given else hand_on
        yield
    finally:
        for module, forward in zip(prefix, own, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward


@contextmanager
def observed(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Within, collects what each of `modules` gives, in the order in which they compute."""
    seen: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda *called: seen.append(called[-1])) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
