"""Facts about pages in a small SQLite file, which any number of processes share. May be deleted at any time."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sqlite3
import warnings
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from docvlm.errors import DocvlmError
from docvlm.writing import discard, unwritable

WAIT = 60.0  # seconds that another process may take to write
_REVISION = 1  # of what is found of a page


def recipe() -> str:
    """What facts depend on beside the pages: another Pillow may take other files."""
    said = repr((_REVISION, importlib.metadata.version("pillow")))
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


class Kept:
    """One table, made by `schema`, in `folder`/`name`-<recipe>.sqlite."""

    def __init__(self, folder: Path, name: str, schema: str) -> None:
        self.file = folder / f"{name}-{recipe()}.sqlite"
        self._schema = schema

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of `rows`, in one transaction. Raises `DocvlmError` if it cannot be written."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.file, timeout=WAIT)) as base, base:
                base.execute(self._schema)
                base.executemany(statement, rows)
        except (OSError, sqlite3.Error) as error:
            raise unwritable(f"data.cache_folder: {self.file}", error) from error

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query; none where there is no file yet, or a damaged one, which is begun anew."""
        if not self.file.exists() or not self.file.stat().st_size:
            return []
        try:
            with closing(sqlite3.connect(self.file, timeout=WAIT)) as base:
                return base.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # another process is about to make it
                return []
            raise DocvlmError(
                f"data.cache_folder: {self.file} cannot be read ({error}); mend it or name another folder"
            ) from error
        except sqlite3.DatabaseError as error:
            warnings.warn(f"{self.file}: damaged ({error!r}); every page is read again", stacklevel=3)
            discard(self.file)
            return []
