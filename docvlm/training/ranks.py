"""One decision for all processes of a run: which folder it belongs to, and what the audit of its data came to.

Process 0 decides and the others learn of it: through the environment where Lightning starts them, through torchrun's
key-value store where torchrun did (they have all been running since the start, each in a Hydra folder of its own).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from docvlm.runs.folder import Action, Claim, RunFolder

_PATIENCE = timedelta(days=1)  # process 0 may open every page first; torchrun ends the others if it fails


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


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
    if _by_torchrun():
        _store().set(name, word)
    else:
        os.environ[f"DOCVLM_{name}"] = word


def hear(name: str) -> Any:
    """The other processes: what process 0 said, or will say."""
    if not _by_torchrun():
        return json.loads(os.environ[f"DOCVLM_{name}"])
    store = _store()
    store.wait([name], _PATIENCE)
    return json.loads(store.get(name).decode())


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _store() -> dist.Store:
    store, _, _ = next(dist.rendezvous("env://"))
    return dist.PrefixStore("docvlm", store)
