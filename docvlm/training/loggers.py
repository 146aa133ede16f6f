"""Weights & Biases, where it is asked for: offline unless there is a key and a network is allowed.

Online without a key it would stop a run to ask for one. An offline run can be sent later with `wandb sync`.
"""

from __future__ import annotations

import netrc
import os
import socket
from pathlib import Path
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger

from docvlm.errors import DocvlmError

HOST = "https://api.wandb.ai"


def wandb(*, save_dir: str, group: str | None, project: str, offline: bool, name: str | None = None) -> WandbLogger:
    """A logger under `save_dir`; `group` joins the cells of a sweep. Raises `DocvlmError` if wandb is not installed."""
    quiet = offline or not (_has_key() and _reachable())
    try:
        return WandbLogger(
            project=project,
            name=name,
            group=group,
            save_dir=save_dir,
            offline=quiet,
            log_model=False,
            reinit="finish_previous",
        )
    except ModuleNotFoundError as error:
        raise DocvlmError("logger=wandb: the package is not installed; pip install wandb, or logger=csv") from error


def _host() -> str:
    address = os.environ["WANDB_BASE_URL"] if "WANDB_BASE_URL" in os.environ else HOST
    host = urlparse(address).hostname
    if host is None:
        raise DocvlmError(f"WANDB_BASE_URL={address}: not an address; it looks like {HOST}")
    return host


def _reachable() -> bool:
    try:
        socket.create_connection((_host(), 443), timeout=3).close()
    except OSError:  # no network: the run goes on, and the logger says that it is offline
        return False
    return True


def _has_key() -> bool:
    if "WANDB_API_KEY" in os.environ:
        return True
    file = Path.home() / ".netrc"
    try:
        return file.exists() and netrc.netrc(str(file)).authenticators(_host()) is not None
    except netrc.NetrcParseError as error:
        raise DocvlmError(f"{file}: cannot be read ({error}); mend it, or logger=csv") from error
