"""Permissions of what leaves: a saved folder is read by whoever the umask lets, a server under another name as well."""

from __future__ import annotations

import os
from pathlib import Path


def follow_umask(folder: Path) -> None:
    """Give every file below `folder` the mode of a file that `open` makes. Raises `OSError` where that is refused.

    safetensors 0.8 writes its files with mode 0600, which only the user who trained could read.
    """
    umask = os.umask(0o077)  # it can only be read by setting it; what another thread makes meanwhile stays closed
    os.umask(umask)
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o666 & ~umask)
