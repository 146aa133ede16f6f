"""Prints of pages, and how far pairs of them agree, kept between runs in one JSON file.

Many processes may use it: it is read whole, and replaced whole by a rename after what others have added since was read
again, so a reader sees one state or the next. Two that write in the same instant may lose what one of them added; that
costs opening those pages again, never a wrong answer, since every entry is named after its content. May be deleted at
any time. About 350 bytes a page; over `LIMIT` entries the oldest go.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from docvlm.data import pages, pixels
from docvlm.data.leakage import hashes as prints
from docvlm.data.leakage import prefilter, registration
from docvlm.data.leakage.hashes import Print
from docvlm.errors import DocvlmError
from docvlm.writing import discard, unwritable

LIMIT = 200_000


def recipe() -> str:
    """What the entries depend on beside the pages: another recipe begins another file."""
    sources = [Path(str(module.__file__)).read_bytes() for module in (prints, prefilter, registration, pages, pixels)]
    decoders = [importlib.metadata.version(package).encode() for package in ("pillow", "imagehash")]
    return hashlib.blake2b(b"".join(sources + decoders), digest_size=8).hexdigest()


class PrintStore:
    """Prints by the key of their page, and agreements by pair of pixel hashes, in `folder`/prints-<recipe>.json."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"prints-{recipe()}.json"
        self._state = self._read()
        self._changed = False

    def prints(self, keys: Iterable[str]) -> dict[str, Print]:
        """What is known of these."""
        rows = self._state["prints"]
        return {key: Print(rows[key][0], tuple(rows[key][1:])) for key in keys if key in rows}

    def add_prints(self, found: Mapping[str, Print]) -> None:
        """Add what is not there."""
        self._add("prints", {key: [one.pixels, *one.hashes] for key, one in found.items()})

    def agreement(self, one: Print, other: Print) -> float | None:
        """How far two pages agree, if it has been looked at."""
        found: float | None = self._state["pairs"].get(_pair(one, other))
        return found

    def add_agreements(self, found: Mapping[tuple[Print, Print], float]) -> None:
        """Add what is not there."""
        self._add("pairs", {_pair(*pair): share for pair, share in found.items()})

    def save(self) -> None:
        """Write it if anything is new. Raises `DocvlmError` if it cannot be written."""
        if not self._changed:
            return
        part = self.file.with_suffix(f".{os.getpid()}.part")
        others = self._read()
        state = {name: _newest({**others[name], **self._state[name]}) for name in ("prints", "pairs")}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(state, separators=(",", ":")), encoding="utf-8")
            part.replace(self.file)
        except OSError as error:
            discard(part)
            raise unwritable(f"features_folder: {self.file}", error) from error
        self._changed = False

    def _add(self, name: str, rows: Mapping[str, Any]) -> None:
        new = {key: value for key, value in rows.items() if key not in self._state[name]}
        self._state[name].update(new)
        self._changed = self._changed or bool(new)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            state = json.loads(self.file.read_text(encoding="utf-8"))
            return {"prints": dict(state["prints"]), "pairs": dict(state["pairs"])}
        except FileNotFoundError:
            pass
        except OSError as error:
            raise DocvlmError(
                f"features_folder: {self.file} cannot be read ({error.strerror}); mend it or name another folder"
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            warnings.warn(f"{self.file}: damaged ({error!r}); the pages are opened again", stacklevel=3)
        return {"prints": {}, "pairs": {}}


def _pair(one: Print, other: Print) -> str:
    return f"{one.pixels}:{other.pixels}"


def _newest(rows: dict[str, Any]) -> dict[str, Any]:
    return dict(list(rows.items())[-LIMIT:])
