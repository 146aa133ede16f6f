"""docvlm: fine-tune and evaluate vision-language models on document question answering.

Ask a model in three lines (`docvlm.serving.reader`):

    from docvlm import load
    vlm = load("outputs/2026-01-31_12-00-00-000000")
    print(vlm.ask("invoice.png", "What is the total?"))
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from docvlm.version import __version__

if TYPE_CHECKING:
    from docvlm.errors import DocvlmError
    from docvlm.serving.answers import Answer
    from docvlm.serving.reader import Reader, load

__all__ = ["Answer", "DocvlmError", "Reader", "__version__", "load"]

_HOMES = {
    "Answer": "docvlm.serving.answers",
    "DocvlmError": "docvlm.errors",
    "Reader": "docvlm.serving.reader",
    "load": "docvlm.serving.reader",
}

# Where torchao is installed, Transformers imports it, and torch warns twice at every start of what torchao does there.
logging.getLogger("torch.utils._pytree").addFilter(lambda record: "Enum subclass" not in record.getMessage())


def __getattr__(name: str) -> Any:
    """Names of the Python API, imported when they are first used: `import docvlm` itself takes no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'docvlm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
