"""Every figure that needs a GPU, in one call of at most nine minutes and without a network.

    python -m bench.gpu --out FOLDER            (one CUDA device; `make bench-gpu`)
    python -m bench.gpu --tiny --device cpu     (the same code on the embedded miniatures, in seconds)

Qwen2-VL-2B and Florence-2-base in their published dimensions with random weights: what is measured is time, memory and
agreement, not answers. Sections run in the order of what they are worth and each has a share of `--seconds`; what a
section leaves goes to the next. Tables are printed row by row and kept in `FOLDER/bench-gpu.json`. A section that fails
says so with its traceback and the others still run; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NEEDED = ("torch", "torchvision", "transformers", "tokenizers", "peft", "safetensors", "PIL", "numpy", "qwen_vl_utils")
PACKAGES = {"PIL": "pillow", "qwen_vl_utils": "qwen-vl-utils"}
SIDE, PRODUCTS = 8192, 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status."""
    options = _options(arguments)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"error: this needs {', '.join(PACKAGES.get(name, name) for name in missing)}; install it first")
        return 2
    began = time.perf_counter()
    import torch
    from transformers.utils.logging import set_verbosity_error

    from bench.gpu import answering, chats, freezing, training
    from bench.gpu.report import Deadline, Report, free
    from bench.gpu.settings import Settings

    set_verbosity_error()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: no CUDA device is at hand; --tiny --device cpu runs the same code on a CPU")
        return 2
    settings = (Settings.small if options.tiny else Settings.full)(device)
    report = Report(options.out, _facts(device, options.tiny))
    sections: dict[str, tuple[float, Callable[[Settings, Report, Deadline], None]]] = {
        "exactness": (0.10, training.exactness),
        "training": (0.32, training.throughput),
        "chats": (0.16, chats.throughput),
        "evaluation": (0.16, answering.throughput),
        "freezing": (0.11, freezing.training),
        "cross-entropy": (0.03, answering.cross_entropy),
        "largest": (0.12, training.largest),
    }
    failed, share = [], 0.0
    for name, (part, section) in sections.items():
        share += part
        try:
            section(settings, report, Deadline(share * options.seconds - (time.perf_counter() - began)))
        except Exception:  # noqa: BLE001  # reported in full, and the other sections still count
            failed.append(name)
            print(f"\nsection {name} failed:\n{traceback.format_exc()}", flush=True)
        free(device)
    report.note("failed", failed)
    report.note("seconds", time.perf_counter() - began)
    print(f"\n{time.perf_counter() - began:.0f} s in all; figures are in {report.path}")
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out = Path(os.environ["OUT"]) if "OUT" in os.environ else Path("outputs/bench-gpu")
    parser.add_argument(
        "--out", type=Path, default=out, help="folder for bench-gpu.json (default $OUT, or %(default)s)"
    )
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="miniatures instead of published dimensions")
    parser.add_argument("--seconds", type=float, default=480, help="what the sections share (default %(default)s)")
    return parser.parse_args(arguments)


def _facts(device: Any, tiny: bool) -> dict[str, Any]:
    """What it was measured on, printed and for the JSON."""
    import torch

    from bench.gpu.report import peak_flops
    from docvlm import machine
    from docvlm.vlms import losses

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = peak_flops(name)
    facts: dict[str, Any] = {
        "device": name,
        "tiny": tiny,
        "peak FLOP/s": peak,
        "measured FLOP/s": _matrix_rate(device, 256 if tiny else SIDE),
        "cross-entropy": losses.describe(device.type, torch.bfloat16),
        "hardware": machine.hardware(device.type),
        "versions": machine.versions(),
        "commit": machine.git_commit(),
    }
    for key in ("device", "cross-entropy", "commit"):
        print(f"{key}: {facts[key]}")
    print(f"bf16 matrix product of side {256 if tiny else SIDE}: {facts['measured FLOP/s'] / 1e12:.4g} TFLOP/s")
    print("versions: " + ", ".join(f"{package} {release}" for package, release in facts["versions"].items()))
    if peak is None:
        print(f"the peak of {name!r} is not in bench/gpu/report.py: MFU stays empty", flush=True)
    return facts


def _matrix_rate(device: Any, side: int) -> float:
    """FLOP/s of a large bf16 product of random numbers: what can be had here of the peak."""
    import torch

    from bench.gpu.report import Deadline, seconds

    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))

    def products() -> None:
        for _ in range(PRODUCTS):
            left @ right

    return PRODUCTS * 2 * side**3 / seconds(products, device, 3, Deadline(5))


if __name__ == "__main__":
    sys.exit(main())
