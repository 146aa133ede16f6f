"""How many pixels of a page a model sees, in the words of `budgets=[…]`: `1003520`, `768x768` (height x width)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from docvlm.errors import DocvlmError
from docvlm.vlms.codec import Budget

SHARES = (1.0, 0.5, 0.25)  # of the model's own pixels, where nobody says which budgets


def word(budget: Budget) -> str:
    """What stands beside a point: the most pixels, or height x width."""
    return f"{budget.height}x{budget.width}" if budget.max_pixels is None else str(budget.max_pixels)


def chosen(words: Sequence[str] | None, own: Budget) -> list[Budget]:
    """The budgets that words mean for a model with the budget `own`; without words its own, a half and a quarter.

    A page is never enlarged beyond `own`'s smallest size by a smaller budget: `min_pixels` follows `max_pixels` down.
    Raises `DocvlmError` for pixels where the family needs height and width, or the other way round.
    """
    if words is None:
        return list(dict.fromkeys(_shared(own, share) for share in SHARES))
    return [_parsed(text, own) for text in words]


def _parsed(text: str, own: Budget) -> Budget:
    height, by, width = text.partition("x")
    if own.max_pixels is None:
        if not by:
            raise DocvlmError(f"budgets={text}: this family takes height x width, such as {word(own)}")
        return Budget(height=int(height), width=int(width))
    if by:
        raise DocvlmError(f"budgets={text}: this family takes a number of pixels, such as {word(own)}")
    return _pixels(int(text), own)


def _shared(own: Budget, share: float) -> Budget:
    if own.max_pixels is not None:
        return _pixels(int(own.max_pixels * share), own)
    assert own.height is not None and own.width is not None
    return Budget(height=round(own.height * share**0.5), width=round(own.width * share**0.5))


def _pixels(most: int, own: Budget) -> Budget:
    assert own.min_pixels is not None
    return replace(own, min_pixels=min(own.min_pixels, most), max_pixels=most)
