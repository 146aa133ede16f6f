"""Text as it was typed: what Hydra's grammar would change or refuse is quoted before Hydra sees it.

The grammar reads `2024_10` as 202410, `7e25814` as infinity and `true` as True, wherever it stands, and refuses names
with other letters than ASCII's, `#`, `(`, `[` or a second `=`. The schema says which keys hold text. Of those a number
or truth value is quoted where it would not come back as its own characters, alone, in a list and in a sweep; a value
that the grammar refuses is quoted whole where it can mean one thing only. `null` stays null, functions and
interpolations stay what they are, and what is quoted already is left alone: the words may be read twice.
"""

from __future__ import annotations

import dataclasses
import shlex
import types
from collections.abc import Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from antlr4 import CommonTokenStream, InputStream
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import create_functions
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Override,
    OverrideType,
    Quote,
    QuotedString,
    Transformer,
    ValueType,
)
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser

from docvlm.config.data import DataConf

_CARRYING = {"choice", "shuffle", "tag"}  # functions whose arguments become values as they are
_BLANKS = " \t"  # what the grammar takes for white space
_FENCES = set("'\"()[]{}\\")  # beside a comma these leave open what belongs together


def as_typed(words: Sequence[str], schema: type[Any]) -> list[str]:
    """Overrides whose text survives Hydra's grammar. A word that nothing can be done about is returned as it is."""
    return [_as_typed(word, schema) for word in words]


def quoted(text: str, quote: Quote = Quote.single) -> str:
    """`text` as Hydra's grammar reads it back, to the character."""
    return QuotedString(text, quote).with_quotes()


def advice(word: str, schema: type[Any]) -> str:
    """What to write in a shell instead of a word that cannot be read: it can be pasted as it stands."""
    head, equals, value = word.partition("=")
    if not equals:
        return "write key=value"
    if not _reads(f"{head}=x"):
        return f"{head!r} is no key; --help lists what there is"
    hint = hint_of(head.lstrip("+"), schema)
    if _is_list(hint):
        inner = value.removeprefix("[").removesuffix("]")
        items = ",".join(quoted(item.strip(_BLANKS).strip("'\""), Quote.double) for item in inner.split(","))
        return f"quote each item, as in {shlex.quote(f'{head}=[{items}]')}"
    if hint is not str:
        return "its brackets, quotes or commas do not match"
    return f"for one value write {_double_quoted(head, value)}; to sweep, quote each value"


def one_value(word: str, schema: type[Any]) -> str:
    """How a word with several values is written as one, as the end of a line; "" for a key that only takes one."""
    head, _, value = word.partition("=")
    hint = hint_of(head.lstrip("+"), schema)
    if hint is str:
        found = _visited(word, HydraOverrideVisitor(create_functions()))
        if found is not None and isinstance(several := found.value(), ChoiceSweep):  # without quotes of ours or theirs
            value = ",".join(str(getattr(one, "text", one)) for one in several.list)
        return f", or, for one with commas, write {_double_quoted(head, value)}"
    return f", or write {shlex.quote(f'{head}=[{value}]')} for one list" if _is_list(hint) else ""


def _double_quoted(head: str, value: str) -> str:
    return shlex.quote(f"{head}={quoted(value, Quote.double)}")


def hint_of(key: str, schema: type[Any]) -> Any:
    """The type that the schema gives a dotted key, without None; None where it knows no such key."""
    first, _, rest = key.partition(".")
    hint: Any = schema
    if first == "hydra":
        hint, key = HydraConf, rest
    for part in key.split("."):
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            # the parts of a mixture are dictionaries in the schema, since they are filled in where they are used
            parts = hint is DataConf and part == "parts"
            hint = dict[str, DataConf] if parts else _without_none(get_type_hints(hint).get(part))
        elif get_origin(hint) is dict:
            hint = _without_none(get_args(hint)[1])
        else:
            return None
    return hint


def _as_typed(word: str, schema: type[Any]) -> str:
    head, equals, value = word.partition("=")
    if not equals or head.startswith("~"):
        return word
    hint = hint_of(head.lstrip("+"), schema)
    if not _reads(word):
        word = _made_readable(head, value, hint)
    if hint is str or _is_list(hint) or (get_origin(hint) is dict and get_args(hint)[1] is str):
        return _numbers_as_text(word, one=hint is str)
    return word


def _made_readable(head: str, value: str, hint: Any) -> str:
    """The word with what the grammar refuses in quotes, or unchanged where that could mean several things."""
    word = f"{head}={value}"
    if not _reads(f"{head}=x"):
        return word
    opening, inner, closing = "", value, ""
    if hint is not str and value[:1] in ("[", "{"):
        if not (_is_list(hint) and value[:1] == "[" and value[-1] == "]"):
            return word
        opening, inner, closing = "[", value[1:-1], "]"
    if (opening or "," in inner) and _FENCES & set(inner):
        return word
    pieces = [piece if _reads(f"{head}={piece}") else quoted(piece.strip(_BLANKS)) for piece in inner.split(",")]
    made = f"{head}={opening}{','.join(pieces)}{closing}"
    return made if _reads(made) else word


def _numbers_as_text(word: str, *, one: bool) -> str:
    """Quotes around numbers and truth values that would not come back as typed. `one`: a list is no value here."""
    visitor = _Literals()
    found = _visited(word, visitor)
    if found is None or found.type is OverrideType.DEL:
        return word
    value = found.value()
    if one and found.value_type is ValueType.ELEMENT and isinstance(value, list | dict):
        head, _, text = word.partition("=")
        return word if text.strip()[-1] == ")" else f"{head}={quoted(text)}"  # a function may have made the list
    for start, stop, safe in reversed(visitor.spans):
        word = f"{word[:start]}{safe}{word[stop:]}"
    return word


class _Literals(HydraOverrideVisitor):
    """Finds the values that would not come back as they are written: where they stand, and what to write instead.

    Hydra takes the quotes off the arguments of a function and writes its values into the cells' overrides without any.
    So those get two pairs: the inner one is read when a cell is composed.
    """

    def __init__(self) -> None:
        super().__init__(create_functions())
        self.spans: list[tuple[int, int, str]] = []
        self.within = 0  # functions

    def visitPrimitive(self, ctx: OverrideParser.PrimitiveContext) -> Any:
        value = super().visitPrimitive(ctx)
        text = value.text if isinstance(value, QuotedString) else ctx.getText().strip(_BLANKS)
        lost = isinstance(value, bool | int | float) and str(value) != text
        if self.within and isinstance(value, QuotedString):
            lost = Transformer.str(text) == text and not _reads(f"x={text}", str)
        if lost:
            safe = quoted(quoted(text), Quote.double) if self.within else quoted(text)
            self.spans.append((ctx.start.start, ctx.stop.stop + 1, safe))
        return value

    def visitFunction(self, ctx: OverrideParser.FunctionContext) -> Any:
        before = list(self.spans)
        self.within += 1
        value = super().visitFunction(ctx)
        self.within -= 1
        if ctx.getChild(0).getText() not in _CARRYING:
            self.spans = before  # `range(1,3)` and casts need numbers
        return value


def _visited(word: str, visitor: HydraOverrideVisitor) -> Override | None:
    """The parsed override, or None where the grammar refuses it (Hydra's own parser takes no visitor)."""
    listener = HydraErrorListener()
    lexer = OverrideLexer(InputStream(word))
    parser = OverrideParser(CommonTokenStream(lexer))
    for part in (lexer, parser):
        part.removeErrorListeners()
        part.addErrorListener(listener)
    try:
        found = visitor.visit(parser.override())
    except HydraException:
        return None
    assert isinstance(found, Override)
    return found


def _reads(word: str, kind: type[Any] = object) -> bool:
    """Whether Hydra's grammar takes the word, and reads a value of this kind from it."""
    found = _visited(word, HydraOverrideVisitor(create_functions()))
    return found is not None and isinstance(found.value(), kind)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        kept = [one for one in get_args(hint) if one is not type(None)]
        return kept[0] if len(kept) == 1 else hint
    return hint


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is list and get_args(hint) == (str,)
