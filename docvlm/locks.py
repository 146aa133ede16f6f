"""Locks between processes, also of several nodes: `flock`s, which end with the process that holds them.

A file system that has none is refused: there filelock (4.2) would take the existence of a file for a lock (ENOSYS),
which outlives whoever was killed, or end in the system's words. One that has them for the node alone (NFS mounted with
`nolock` or `local_lock=flock`, Lustre with `localflock`) is told of, once.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm import process
from docvlm.errors import DocvlmError
from docvlm.writing import written

if TYPE_CHECKING:
    from filelock import FileLock

MOUNTS = Path("/proc/self/mountinfo")
_OF_THIS_NODE = {"nfs": ("nolock", "local_lock=flock", "local_lock=all"), "lustre": ("localflock",)}
_OCTAL = re.compile(r"\\([0-7]{3})")  # how mountinfo writes a space
_KNOWN: set[int] = set()  # devices that have locks


def lock(path: Path, timeout: float = -1) -> FileLock:
    """The lock in a file, not yet taken; its folder is made. `timeout` in seconds, below 0: as long as it takes.

    Raises `DocvlmError` where the file system has no locks or the folder cannot be written.
    """
    from filelock import FileLock  # commands that take none do without the import

    with written(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    check(path.parent)
    return FileLock(path, timeout=timeout)


def check(folder: Path) -> None:
    """Raise `DocvlmError` where the file system of a folder has no locks, or nothing can be written there.

    Each file system is asked once. One with locks of this node alone is told of by the first process of a run.
    """
    with written(folder):
        device = folder.stat().st_dev
        if device in _KNOWN:
            return
        _try(folder)
    _KNOWN.add(device)
    if (option := of_this_node(folder)) and process.rank() == 0:
        print(
            f"{folder}: mounted with {option}: its locks are seen on this node alone, so commands on other nodes may"
            " write the same files at the same time",
            flush=True,
        )


def _try(folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows, where filelock asks otherwise
        return
    with tempfile.TemporaryFile(dir=folder, prefix=".flock-") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DocvlmError(
                f"{folder}: its file system has no locks ({error.strerror}), so two commands would write over each"
                " other; mount it with them (NFS 4, Lustre with -o flock), or give a folder elsewhere"
            ) from error


def of_this_node(folder: Path) -> str:
    """The option of the mount that a folder is on by which locks stay on this node; "" where there is none."""
    if not MOUNTS.exists():  # macOS
        return ""
    found, where = "", folder.resolve()
    longest = Path("/")
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), before.split()[4]))
        if where.is_relative_to(point) and point.is_relative_to(longest):
            kind, *_, options = after.split()
            longest = point
            local = _OF_THIS_NODE.get(kind.rstrip("4"), ())
            found = next((option for option in options.split(",") if option in local), "")
    return found
