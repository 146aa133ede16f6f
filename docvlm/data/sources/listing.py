"""What lies in a folder, without what file managers and archivers leave there beside the files that were meant.

macOS writes `._train.parquet` beside `train.parquet` on other file systems and `__MACOSX/` into archives, Windows
`Thumbs.db` and `desktop.ini`, download tools hidden folders: their names look like data, their content is none. The
folder that was named is taken as it is, whatever it is called.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_SHADOWS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def shadow(name: str) -> bool:
    """Whether a file or folder of this name is left over by a program, and not put there by a person."""
    return name.startswith(".") or name.lower() in _SHADOWS


def walk(root: Path, deepest: int | None = None) -> Iterator[Path]:
    """The files below `root` in order of their folders and names, at most `deepest` folders down (None: all).

    A link to a folder is followed where `deepest` keeps it from leading round in a circle.
    """
    for folder, folders, names in os.walk(root, followlinks=deepest is not None):
        place = Path(folder)
        down = len(place.relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not shadow(name)) if down != deepest else []
        yield from (place / name for name in sorted(names) if not shadow(name))


def folders(root: Path) -> list[Path]:
    """The folders right below `root`, in order of their names."""
    return sorted(path for path in root.iterdir() if not shadow(path.name) and path.is_dir())
