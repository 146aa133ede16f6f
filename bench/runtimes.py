"""One model through the runtimes that an export can have: how long a question takes, and what memory, on a processor.

    python -m bench.runtimes --tokens 256 --new 16
    python -m bench.runtimes --tokens 960 --new 32
    python -m bench.runtimes --model florence2

Random weights of Qwen2-VL-2B's widths (605 M parameters: 9 blocks of its language side, 7 of its tower, a small
vocabulary) or of Florence-2-base (231 M), so every answer has `--new` tokens; a prompt is a page of `--tokens`, 577 of
Florence-2, and some 40 more. A run of one step is trained in float32 and one in bf16, and exported with
`docvlm.export`, whose figures these are: the median of pages that are asked alone, from opening the file to the text,
and the peak of the process meanwhile (which for torch has loaded other formats before). It needs
`docvlm[export,openvino,gguf]`. 12 GB of disk for a while.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench import dimensions, models, pages
from bench.sweep import own_pages

DTYPES = {"float32": "32-true", "bfloat16": "bf16-mixed"}
FORMATS = {"float32": "merged,int8,openvino,openvino_int4,gguf", "bfloat16": "merged"}
NAMES = {
    ("float32", "merged"): "transformers, float32",
    ("bfloat16", "merged"): "transformers, bf16",
    ("float32", "int8"): "torchao, int8",
    ("float32", "openvino"): "OpenVINO, int8",
    ("float32", "openvino_int4"): "OpenVINO, int4",
    ("float32", "gguf"): "llama.cpp, q8_0",
}
BLOCKS, TOWER = 9, 7
SIDES = {"florence2": {"mid": {"height": 768, "width": 768}, "tiny": {"height": 168, "width": 280}}}
"""Pixels of every page, of the families that have one size."""
TOKENS = {"mid": 577, "tiny": 61}
"""What those are in tokens."""
ANY = "{texts: 0.0, logits: null, score: 1.0}"  # answers of random weights: what is packed may say something else


def main() -> None:
    """Build, train, export, and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m bench.runtimes", description=__doc__)
    parser.add_argument("--model", choices=tuple(BUILD), default="qwen2vl")
    parser.add_argument("--tokens", type=int, help="of a page of qwen2vl (256)")
    parser.add_argument("--new", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--size", choices=("mid", "tiny"), default="mid", help="tiny: the path, not the figures")
    parser.add_argument("--pages", type=int, default=5)
    options = parser.parse_args()
    if options.tokens is not None and options.model in SIDES:
        parser.error(f"--tokens {options.tokens}: pages of {options.model} are all of one size; leave it out")
    options.tokens = options.tokens or (TOKENS[options.size] if options.model in SIDES else 256)
    with tempfile.TemporaryDirectory(prefix="bench-runtimes-") as name:
        folder = Path(name)
        count = BUILD[options.model](folder / "model", options.size)
        counts = {"train": 1, "val": 1, "test": max(2, options.pages // 4)}
        own_pages(folder / "pages", options.tokens, counts, "full" if options.size == "mid" else "tiny")
        rows: dict[str, list[dict[str, Any]]] = {}
        for number in range(options.rounds):
            for dtype in DTYPES:
                for row in exported(folder, dtype, number, options):
                    if (shown := NAMES.get((dtype, row["format"]))) is not None:
                        rows.setdefault(shown, []).append(row)
    shape = f"{options.tokens} page tokens, {options.new} new, {torch.get_num_threads()} threads"
    print(f"{count / 1e6:.0f} M parameters, {shape}\n")
    print(table(rows))


def qwen2vl(folder: Path, size: str) -> int:
    """Write the random checkpoint. Returns its number of parameters."""
    small, processor = models.untrained("qwen2vl")
    if size == "mid":
        models.learn_words(processor.tokenizer, pages.words("full"), models.VOCABULARY)
        config = dimensions.qwen2vl_2b(small.config)
        config.text_config.vocab_size, config.text_config.num_hidden_layers = models.VOCABULARY, BLOCKS
        config.text_config.layer_types = ["full_attention"] * BLOCKS
        config.vision_config.depth = TOWER
    else:
        config = small.config
    return _written(folder, small, processor, config)


def florence2(folder: Path, size: str) -> int:
    """As `qwen2vl`. Tokens of the published vocabulary beyond the tokenizer's have no text."""
    small, processor = models.untrained("florence2")
    config = small.config
    if size == "mid":
        models.learn_words(processor.tokenizer, pages.words("full"), models.VOCABULARY)
        config = dimensions.florence2_base(config)
    small.generation_config.forced_bos_token_id = processor.tokenizer.bos_token_id  # as in the published checkpoints
    return _written(folder, small, processor, config)


BUILD = {"qwen2vl": qwen2vl, "florence2": florence2}


def _written(folder: Path, small: Any, processor: Any, config: Any) -> int:
    torch.manual_seed(0)
    net = type(small)(config)
    net.generation_config = small.generation_config
    net.generation_config.eos_token_id = small.generation_config.pad_token_id  # an answer is as long as it may be
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return sum(parameter.numel() for parameter in net.parameters())


def _budget(options: argparse.Namespace) -> list[str]:
    if options.model in SIDES:
        return [f"budget.{name}={side}" for name, side in SIDES[options.model][options.size].items()]
    budget = pages.budget(options.tokens)
    return [f"budget.min_pixels={budget.min_pixels}", f"budget.max_pixels={budget.max_pixels}"]


def exported(folder: Path, dtype: str, number: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train one step and export: what the export measured of each format."""
    run = folder / f"run-{dtype}"
    shared = ["scale=tiny", f"data.source={folder / 'pages'}", f"data.max_new_tokens={options.new}", "offline=true"]
    if not run.exists():
        command(
            *("docvlm.train", f"model={options.model}", "data=folder", *shared, "rerun=true", f"hydra.run.dir={run}"),
            *(f"model.checkpoint={folder / 'model'}", f"model.dtype={dtype}", f"trainer.precision={DTYPES[dtype]}"),
            *_budget(options),
            *("trainer.max_steps=1", "data.batch_size=1", "data.eval_batch_size=1", "callbacks=none"),
        )
    out = folder / f"export-{dtype}-{number}"
    kept = [f"data.folder.{word.removeprefix('data.')}" for word in shared[1:3]]
    formats = FORMATS[dtype].removesuffix("" if options.model == "qwen2vl" else ",gguf")
    loose = [f"tolerance.{name}={ANY}" for name in (*formats.split(","), "merged_16bit")]
    command(
        *("docvlm.export", f"run={run}", "scale=tiny", f"formats=[{formats}]", f"output={out}", *kept, *loose),
        *("benchmarks=[folder]", "limit=4", "canary=1", f"pages={options.pages}", "warmup=1", "offline=true"),
    )
    rows: list[dict[str, Any]] = json.loads((out / "export.json").read_text())["formats"]
    return alike(rows, options.new)


def alike(rows: list[dict[str, Any]], new: int) -> list[dict[str, Any]]:
    """The rows. Raises `RuntimeError` where one answered in fewer tokens than `new`: its time is of less work."""
    for row in rows:
        if row["latency"]["new_tokens"] != new:
            raise RuntimeError(f"{row['format']}: answers of {row['latency']['new_tokens']} tokens, not of {new}")
    return rows


def command(*words: str) -> None:
    """Run one of docvlm's commands. Raises `RuntimeError` with what it said where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """A row a runtime; ratios are medians over rounds."""
    lines = ["| runtime | ms a question | × float32 | × bf16 | peak MB | of float32's |", "|---|---|---|---|---|---|"]
    plain, half = (_times(rows[name]) for name in ("transformers, float32", "transformers, bf16"))
    most = statistics.median(row["latency"]["peak_memory_mb"] for row in rows["transformers, float32"])
    for name, found in rows.items():
        times, peak = _times(found), statistics.median(row["latency"]["peak_memory_mb"] for row in found)
        ratios = [statistics.median(a / b for a, b in zip(other, times, strict=True)) for other in (plain, half)]
        cells = [name, f"{statistics.median(times):.0f}", *(f"{one:.1f}" for one in ratios), f"{peak:.0f}"]
        lines.append(f"| {' | '.join([*cells, f'{peak / most:.2f}'])} |")
    return "\n".join(lines)


def _times(rows: Sequence[dict[str, Any]]) -> list[float]:
    return [row["latency"]["p50_ms"] for row in rows]


if __name__ == "__main__":
    main()
