"""How large a model sees a page, in the words of `budgets=[…]`.

`1003520`: at most so many pixels; `768x768`: height x width; and in the terms of a checkpoint's own processor
`edge1536`, pixels of the longer side, and `tiles12`, pieces that a page is cut into.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from docvlm.errors import DocvlmError
from docvlm.vlms.codec import Budget

SHARES = (1.0, 0.5, 0.25)  # of the model's own pixels, where nobody says which budgets
TERMS = {"max_pixels": "", "longest_edge": "edge", "max_tiles": "tiles"}
"""What stands before the number, by the key of `budget`."""
ONE_SIZE = "one size"  # of a processor that reads every page at one


def word(budget: Budget) -> str:
    """What stands beside a point: a number with the model's own term, or height x width."""
    if (term := _term(budget)) is not None:
        return f"{TERMS[term]}{getattr(budget, term)}"
    return ONE_SIZE if budget.height is None else f"{budget.height}x{budget.width}"


def chosen(words: Sequence[str] | None, own: Budget) -> list[Budget]:
    """The budgets that words mean for a model with the budget `own`; without words its own, a half and a quarter.

    A page is never enlarged beyond `own`'s smallest size by a smaller budget: `min_pixels` follows `max_pixels` down.
    Raises `DocvlmError` for a word in other terms than the model's.
    """
    if words is None:
        return list(dict.fromkeys(_shared(own, share) for share in SHARES))
    return [_parsed(text, own) for text in words]


def _term(budget: Budget) -> str | None:
    return next((term for term in TERMS if getattr(budget, term) is not None), None)


def _parsed(text: str, own: Budget) -> Budget:
    term = _term(own)
    if term is None and own.height is None:
        raise DocvlmError(f"budgets={text}: this model reads every page at one size; leave budgets out")
    form = r"(\d+)x(\d+)" if term is None else TERMS[term] + r"(\d+)"
    if (found := re.fullmatch(form, text)) is None:
        takes = "height x width" if term is None else "a number of pixels" if not TERMS[term] else TERMS[term] + "N"
        raise DocvlmError(f"budgets={text}: this model takes {takes}, such as {word(own)}")
    if term is None:
        return Budget(height=int(found[1]), width=int(found[2]))
    return _at(term, int(found[1]), own)


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
