"""How large a model sees a page, in the words of `budgets=[…]`: `1003520`, `768x768` (height x width).

A number is in the term that the model's processor knows: pixels, or pixels of the longer side, or tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from docvlm.errors import DocvlmError
from docvlm.vlms.codec import Budget

SHARES = (1.0, 0.5, 0.25)  # of the model's own pixels, where nobody says which budgets
TERMS = {"max_pixels": "pixels", "longest_edge": "pixels of the longer side", "max_tiles": "tiles"}
ONE_SIZE = "own"  # of a processor that reads every page at one size


def word(budget: Budget) -> str:
    """What stands beside a point: a number in the model's own term, or height x width."""
    if (term := _term(budget)) is not None:
        return str(getattr(budget, term))
    return ONE_SIZE if budget.height is None else f"{budget.height}x{budget.width}"


def chosen(words: Sequence[str] | None, own: Budget) -> list[Budget]:
    """The budgets that words mean for a model with the budget `own`; without words its own, a half and a quarter.

    A page is never enlarged beyond `own`'s smallest size by a smaller budget: `min_pixels` follows `max_pixels` down.
    Raises `DocvlmError` for pixels where the family needs height and width, or the other way round.
    """
    if words is None:
        return list(dict.fromkeys(_shared(own, share) for share in SHARES))
    return [_parsed(text, own) for text in words]


def _term(budget: Budget) -> str | None:
    return next((term for term in TERMS if getattr(budget, term) is not None), None)


def _parsed(text: str, own: Budget) -> Budget:
    height, by, width = text.partition("x")
    if (term := _term(own)) is not None:
        if by:
            raise DocvlmError(f"budgets={text}: this model takes a number of {TERMS[term]}, such as {word(own)}")
        return _at(term, int(text), own)
    if own.height is None:
        raise DocvlmError(f"budgets={text}: this model reads every page at one size; leave budgets out")
    if not by:
        raise DocvlmError(f"budgets={text}: this model takes height x width, such as {word(own)}")
    return Budget(height=int(height), width=int(width))


def _shared(own: Budget, share: float) -> Budget:
    """`own` at a share of its pixels."""
    if (term := _term(own)) is not None:
        of_side = share**0.5 if term == "longest_edge" else share
        return _at(term, max(1, int(getattr(own, term) * of_side)), own)
    if own.height is None or own.width is None:
        return own
    return Budget(height=round(own.height * share**0.5), width=round(own.width * share**0.5))


def _at(term: str, most: int, own: Budget) -> Budget:
    if term != "max_pixels":
        return replace(own, **{term: most})
    assert own.min_pixels is not None
    return replace(own, min_pixels=min(own.min_pixels, most), max_pixels=most)
