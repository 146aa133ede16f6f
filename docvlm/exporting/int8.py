"""`int8`: the merged model with the linear layers of its language side in 8 bits, for a CPU (torchao).

Weights have one scale a row, found from the weights alone; activations one a token, found as they come. So products are
of integers, which a CPU does about three times as fast as those of float32 where there are many tokens (docs/LOG.md);
weights alone in 8 bits would have to be put back into floats for every product, and are slower than what they replace.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docvlm.exporting import quantised

if TYPE_CHECKING:
    from docvlm.exporting.source import Source

NEEDS = "torchao"


def missing(source: Source) -> str | None:
    """Why this run or this machine cannot have it; None where it can."""
    return None if find_spec(NEEDS) else "it needs torchao: pip install 'docvlm[export]'"


def write(source: Source, folder: Path) -> None:
    """Weights, config, processor and record into a new `folder`."""
    quantised.write(source, folder, "int8", _settings)


def _settings(untouched: list[str]) -> Any:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8DynamicActivationInt8WeightConfig(version=2), modules_to_not_convert=untouched)
