"""Hydra's and OmegaConf's errors in one line: the key, the value, and what to do.

Their own messages spread over up to ten lines and name the classes of containers. The mistakes people make are few:
a mistyped key, an unknown choice, a value of another type, an unquoted special character, `a=1,2` without `-m`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import Any, get_args, get_origin, get_type_hints

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from docvlm.config import literal
from docvlm.config.base import CONF_DIR, choices_of


def explain(error: BaseException, schema: type[Any]) -> str | None:
    """One line for a Hydra or OmegaConf error, with the nearest key or choice of `schema`; None for any other error."""
    if isinstance(error, OverrideParseException):
        return f"cannot read the override {error.override!r}: {literal.advice(str(error.override), schema)}"
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return None
    text = str(error)
    for pattern, line in _LINES:
        if found := re.search(pattern, text, re.DOTALL):
            return line(found, schema)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException):
        return _omegaconf(cause)
    return " ".join(text.split())


def _omegaconf(error: OmegaConfBaseException) -> str:
    first = (error.msg or str(error)).strip().splitlines()[0]
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}: a value is needed; give {error.full_key}=…"
    if isinstance(error, InterpolationKeyError) and (found := re.search(r"'(.+)\.([^.]+)' not found", first)):
        known = OmegaConf.select(error.parent_node._get_root(), found[1]) if error.parent_node is not None else None
        advice = f"; choose one of {', '.join(known)}" if isinstance(known, DictConfig) else ""
        return f"{error.full_key}: there is no {found[2]!r} in {found[1]}{advice}"
    if isinstance(error, InterpolationKeyError | GrammarParseError):
        return f"{error.full_key}: {first}; '${{' refers to another key, write '\\${{' where a name holds it"
    if "is not a ListConfig" in first:
        return f"{error.full_key}: it takes a list, as in '{error.full_key}=[…]'"
    for omegaconf_name, plain in _TYPES.items():
        if f"could not be converted to {omegaconf_name}" in first:
            return (
                f"{error.full_key}: {first.replace(f'could not be converted to {omegaconf_name}', f'is not {plain}')}"
            )
    return f"{error.full_key or 'config'}: {first}"


def _unknown_key(key: str, schema: type[Any]) -> str:
    group, _, leaf = key.partition(".")
    if group == "hydra":
        return f"{key}: --cfg hydra shows no such key; with a + before it, it is added"
    if group in (entries := _entries(schema)):
        if not leaf:
            return f"{key}: nothing to choose here, it has an entry for each name; give {key}.<name>.<key>=…"
        if leaf in known_keys(entries[group]):
            return f"{key}: {group} has an entry for each name here; give {group}.<name>.{leaf}=…"
        known = [f"{group}.<name>.{name}" for name in known_keys(entries[group])]
        return f"{key}: there is no such key{nearest(key, known)}; --help lists what there is"
    if leaf and key in known_keys(schema):
        having = [name for name in choices_of(group) if _has_key(group, name, leaf)]
        has = f"; {', '.join(f'{group}={name}' for name in having)} have it" if having else ""
        return f"{key}: the chosen {group} has no such key{has}"
    return f"{key}: there is no such key{nearest(key, known_keys(schema))}; --help lists what there is"


def _entries(schema: type[Any]) -> dict[str, Any]:
    """Fields of a schema that hold one group a name, with the schema of each: `data` of a verb with `benchmarks`."""
    hints = {name: get_args(hint) for name, hint in get_type_hints(schema).items() if get_origin(hint) is dict}
    return {name: kinds[1] for name, kinds in hints.items() if dataclasses.is_dataclass(kinds[1])}


def _has_key(group: str, choice: str, key: str) -> bool:
    file = CONF_DIR / group / f"{choice}.yaml"
    return file.is_file() and OmegaConf.select(OmegaConf.load(file), key, throw_on_missing=False) is not None


def _unknown_choice(found: re.Match[str], schema: type[Any]) -> str:
    group, choice = found[1], found[2]
    known = choices_of(group)
    return f"{group}={choice}: there is no such choice{nearest(choice, known)}; choose one of {', '.join(known)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean x?` where something similar is known, else nothing."""
    known = list(known)
    by_leaf = {k.rpartition(".")[2]: k for k in reversed(known)}
    match = difflib.get_close_matches(word, known, 1, 0.6) or [
        by_leaf[leaf] for leaf in difflib.get_close_matches(word.rpartition(".")[2], by_leaf, 1, 0.7)
    ]
    return f" (did you mean {match[0]}?)" if match else ""


def known_keys(schema: type[Any], prefix: str = "") -> list[str]:
    """Dotted names of all fields of a dataclass and of the dataclasses in it, with the groups of `conf/`."""
    keys: list[str] = [] if prefix else [g.name for g in CONF_DIR.iterdir() if g.is_dir()]
    for name, hint in get_type_hints(schema).items():
        keys.append(prefix + name)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            keys += known_keys(hint, f"{prefix}{name}.")
    return keys


_TYPES = {"Integer": "a whole number", "Float": "a number", "bool": "true or false", "Boolean": "true or false"}
_LINES = (
    (r"Could not override '([^']+)'", lambda found, schema: _unknown_key(found[1], schema)),
    (r"Could not find 'hydra/sweeper/optuna'", lambda found, _: (
        "hydra/sweeper=optuna: Optuna's sweeper is not installed; pip install 'docvlm[optuna]'"
    )),
    (r"(?:Could not find|Could not load|Missing) .*hydra/launcher/(?:submitit_)?(slurm|ray)\b", lambda found, _: (
        f"hydra/launcher={found[1]}: its launcher is not installed; pip install 'docvlm[{found[1]}]'"
    )),
    (r"Could not find '([^'/]+)/([^']+)'", _unknown_choice),
    (r"Ambiguous value for argument '(.+?)'\n", lambda found, schema: (
        f"{found[1]}: several values; add -m to run each{literal.one_value(found[1], schema)}"
    )),
    (r"Error merging override (\S+).*?(Value .+?)\n", lambda found, _: f"{found[1]}: {found[2]}"),
    (r"Key '([^']+)' not in '\w+'.*?full_key: (\S+)", lambda found, schema: _unknown_key(found[2], schema)),
)  # fmt: skip
