"""What a command does not need is not imported before it is asked for, and is all there when it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)


def test_metrics_of_other_fields_wait_until_they_are_asked_for() -> None:
    """And the process ends without a word: nanobind would call what is frozen at the end a leak."""
    done = _run(PROGRAM)
    assert done.stdout == "HEAVY []\n"
    assert done.stderr == ""


def test_bitsandbytes_waits_for_its_first_layer() -> None:
    pytest.importorskip("bitsandbytes")
    done = _run(
        "import sys\nfrom docvlm import startup\n"
        "with startup.libraries():\n    import peft\n"
        "print('bitsandbytes.nn' in sys.modules)\n"
        "import bitsandbytes as bnb\nprint(bnb.nn.Linear4bit.__name__)\n"
        "from peft.import_utils import is_bnb_4bit_available\nprint(is_bnb_4bit_available())"
    )
    assert done.stdout.split() == ["False", "Linear4bit", "True"]


def test_reports_and_cards_are_written_without_torch() -> None:
    done = _run(
        "import sys\nimport docvlm.report\nfrom docvlm.reporting.card import card\n"
        "from docvlm.reporting.inputs.gather import gather\nfrom docvlm.reporting.page import render, sections\n"
        "print(sorted({'torch', 'transformers', 'lightning'} & set(sys.modules)))"
    )
    assert done.stdout == "[]\n"
