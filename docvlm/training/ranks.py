"""One decision for all processes of a run: which folder it belongs to.

Process 0 decides and the others learn of it: through the environment where Lightning starts them, through torchrun's
key-value store where torchrun did (they have all been running since the start, each in a Hydra folder of its own).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from docvlm.training.folder import Action, Claim, RunFolder

_VARIABLE = "DOCVLM_RUN"


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def agree(decide: Callable[[], Claim]) -> Claim:
    """The claim that process 0 makes with `decide`; the others get it without the lock."""
    torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if is_main():
        claim = decide()
        word = json.dumps({"folder": str(claim.folder.root.resolve()), "action": claim.action.value})
        if torchrun:
            _store().set(_VARIABLE, word)
        else:
            os.environ[_VARIABLE] = word
        return claim
    word = _store().get(_VARIABLE).decode() if torchrun else os.environ[_VARIABLE]
    said = json.loads(word)
    return Claim(RunFolder(Path(said["folder"])), Action(said["action"]), None)


def _store() -> dist.Store:
    store, _, _ = next(dist.rendezvous("env://"))
    return dist.PrefixStore("docvlm", store)
