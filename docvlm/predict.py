"""Answer one question about an image, or about the pages of one document.

    docvlm-predict --run outputs/2026-01-31_12-00-00-000000 --question "What is the total?" invoice.png
    docvlm-predict --checkpoint embedded --family qwen2vl --question "What is the total?" page-1.png page-2.png

Plain flags instead of Hydra's grammar, which gives meaning to characters that questions hold. The pixel budget is the
run's own, or the checkpoint's. Prints the answer, then how long it took: opening the page, encoding it and decoding the
answer, without the time to load the model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from docvlm.errors import DocvlmError, one_line_errors
from docvlm.vlms import FAMILIES

if TYPE_CHECKING:
    from docvlm.data.benchmark import Benchmark
    from docvlm.data.example import Example
    from docvlm.vlms.base import VLM, Generated

PHRASE = "docvqa"  # whose wording a question gets where no run says otherwise


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the flags, load, ask, print."""
    flags = _flags(argv)
    for image in flags.images:
        if not image.is_file():
            raise DocvlmError(f"{image}: {'a folder' if image.is_dir() else 'no such file'}; give an image file")
    if not flags.question.strip():
        raise DocvlmError("--question is empty: write the question, in quotes")
    vlm, benchmark = _from_run(flags) if flags.run is not None else _from_checkpoint(flags)
    example = _example(flags.question, flags.images, benchmark)
    answer, seconds = ask(vlm, example, flags.max_new_tokens or benchmark.max_new_tokens)
    print(answer.text)
    print(f"latency {seconds:.3f} s on {vlm.device.type}")
    if answer.truncated:
        print("the answer was cut by --max-new-tokens; give more")


def ask(vlm: VLM, example: Example, max_new_tokens: int) -> tuple[Generated, float]:
    """The answer to one question, and the seconds from opening its pages to the decoded text."""
    began = time.perf_counter()
    batch = {name: tensor.to(vlm.device) for name, tensor in vlm.codec.prompt_batch([example]).items()}
    answer = vlm.generate(batch, max_new_tokens)[0]
    return answer, time.perf_counter() - began


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, example = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "docvlm-predict", description=about, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--run", type=Path, metavar="DIR", help="a folder that docvlm.train left")
    weights.add_argument("--checkpoint", metavar="NAME", help="a folder, a hub id, or the word embedded; with --family")
    parser.add_argument("--family", choices=FAMILIES, help="whose checkpoint it is")
    parser.add_argument("--question", required=True, metavar="TEXT")
    parser.add_argument("--max-new-tokens", type=_positive, metavar="N", help="longest answer; default the benchmark's")
    parser.add_argument("--offline", action="store_true", help="use nothing from the network")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="the page, or the pages in their order")
    flags = parser.parse_args(argv)
    if flags.checkpoint is not None and flags.family is None:
        parser.error("--checkpoint needs --family")
    if flags.run is not None and flags.family is not None:
        parser.error("--family goes with --checkpoint; a run knows its own")
    return flags


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: give a number of 1 or more")
    return int(text)


def _from_run(flags: argparse.Namespace) -> tuple[VLM, Benchmark]:
    """The weights of a run, and the benchmark it learned from (DocVQA for a mixture)."""
    from docvlm.evaluation import predict, runs, subjects

    run = runs.read(flags.run)
    name = run.manifest["config"]["data"]["name"]
    benchmark = _benchmark(PHRASE if name == "mix" else name)
    return subjects.of_run(run, None, flags.offline).load().to(predict.device()), benchmark


def _from_checkpoint(flags: argparse.Namespace) -> tuple[VLM, Benchmark]:
    """A checkpoint with the budget of its own processor."""
    from docvlm.evaluation import predict, subjects
    from docvlm.vlms.codec import Budget

    device = predict.device()
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    subject = subjects.of_checkpoint(flags.family, flags.checkpoint, Budget(), dtype, "sdpa", None, flags.offline)
    return subject.load().to(device), _benchmark(PHRASE)


def _benchmark(name: str) -> Benchmark:
    benchmark: Benchmark = import_module(f"docvlm.data.{name}").BENCHMARK
    return benchmark


def _example(question: str, images: Sequence[Path], benchmark: Benchmark) -> Example:
    from docvlm.data.example import Example
    from docvlm.data.pages import FilePage

    pages = tuple(FilePage(str(image)) for image in images)
    return Example("question", question, (), images[0].name, pages, benchmark.name, benchmark.instruction)


if __name__ == "__main__":
    main()
