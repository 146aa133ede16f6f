"""One decision for all processes of a run: which folder it belongs to, and what the audit of its data came to.

Process 0 decides and the others learn of it: through the environment where Lightning starts them, through a key-value
store where torchrun or srun did (they have all been running since the start, each in a Hydra folder of its own).
torchrun brings the store; under srun it is at the address that Lightning's processes meet at, on a port of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment

from docvlm import process
from docvlm.runs.folder import Action, Claim, RunFolder

_PORTS = 10_000  # from the port of Lightning's processes to ours; theirs is between 15 000 and 25 000
_PATIENCE = timedelta(days=1)  # process 0 may open every page first; torchrun ends the others if it fails


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return process.rank() == 0


def agree(decide: Callable[[], Claim]) -> Claim:
    """The claim that process 0 makes with `decide`; the others get it without the lock."""
    if is_main():
        claim = decide()
        tell("RUN", {"folder": str(claim.folder.root.resolve()), "action": claim.action.value})
        return claim
    said = hear("RUN")
    return Claim(RunFolder(Path(said["folder"])), Action(said["action"]), None)


def tell(name: str, value: Any) -> None:
    """Process 0: say `value`, of plain types and some kilobytes at most, to the others."""
    word = json.dumps(value)
    if _together():
        _store().set(name, word)
    else:
        os.environ[f"DOCVLM_{name}"] = word


def hear(name: str) -> Any:
    """The other processes: what process 0 said, or will say."""
    if not _together():
        return json.loads(os.environ[f"DOCVLM_{name}"])
    store = _store()
    store.wait([name], _PATIENCE)
    return json.loads(store.get(name).decode())


def _together() -> bool:
    """Whether all processes run from the start."""
    return process.by_torchrun() or process.by_srun()


@lru_cache(maxsize=1)  # process 0 serves it as long as it lives
def _store() -> dist.Store:
    if process.by_torchrun():
        store, _, _ = next(dist.rendezvous("env://"))
    else:
        at = SLURMEnvironment()
        address, port = at.main_address, at.main_port + _PORTS
        store = dist.TCPStore(address, port, at.world_size(), is_main(), timeout=_PATIENCE, wait_for_workers=False)
    return dist.PrefixStore("docvlm", store)
