"""What a command does not need is not imported before it is asked for, and is all there when it is."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, sys
from docvlm import startup

with startup.libraries():
    assert not gc.isenabled()
    import lightning.pytorch
    import peft
    from docvlm.metrics.torch import StringMetric

assert gc.isenabled() and gc.get_freeze_count() > 100_000
names = ("torchmetrics.functional", "torchmetrics.classification", "scipy.signal", "bitsandbytes.nn")
print("HEAVY", [name for name in names if name in sys.modules])

import torchmetrics
from torchmetrics import Metric, MeanMetric
assert issubclass(StringMetric, Metric) and issubclass(MeanMetric, Metric) and Metric is torchmetrics.metric.Metric
assert torchmetrics.functional.text.char_error_rate(["ab"], ["ac"]) == 0.5
assert not hasattr(torchmetrics, "no_such_metric") and torchmetrics.__version__.count(".") == 2

if "bitsandbytes" in sys.modules:  # where it is installed
    import bitsandbytes as bnb
    from peft.import_utils import is_bnb_4bit_available
    assert bnb.nn.Linear4bit.__name__ == "Linear4bit" and is_bnb_4bit_available()
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)


def test_what_is_not_used_waits_until_they_are_asked_for() -> None:
    """And nanobind calls nothing a leak at the end, as it would what is still frozen then.

    bitsandbytes may say a line of its own: where a processor has avx512_bf16, that the package `kernels` is missing.
    """
    done = _run(PROGRAM)
    assert done.stdout == "HEAVY []\n"
    assert "leak" not in done.stderr


def test_reports_and_cards_are_written_without_torch() -> None:
    done = _run(
        "import sys\nimport docvlm.report\nfrom docvlm.reporting.card import card\n"
        "from docvlm.reporting.inputs.gather import gather\nfrom docvlm.reporting.page import render, sections\n"
        "print(sorted({'torch', 'transformers', 'lightning'} & set(sys.modules)))"
    )
    assert done.stdout == "[]\n"
