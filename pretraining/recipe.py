"""Train an embedded checkpoint from scratch to reading: `python -m pretraining qwen2vl`.

A curriculum from one line to two to whole pages; each page carries its full transcription and up to four questions,
which is dense supervision for the price of one page. Muon for matrices, AdamW for the rest; every stage
warms up, and the late ones end in a linear fall of the rate, which brings more than as many steps without. Seeded;
every batch is a pure function of its step, and `state.pt` lets an interrupted run continue. `--continue-from DIR`
begins at a later stage, from the weights of a checkpoint. Cost: docs/LOG.md has the curves.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from pretraining.architecture import set_vision_theta, untrained
from pretraining.attention import compile_blocks, fast_vision, mixed
from pretraining.batches import BATCHERS, Answers
from pretraining.layouts import draw
from pretraining.muon import Muon
from pretraining.pages import BasePage
from pretraining.placing import Placement
from pretraining.positions import show_positions

MIXTURE = {"form": 0.2, "invoice": 0.14, "table": 0.32, "chart": 0.14, "board": 0.1, "note": 0.1}
PUBLISHED = 10_000.0  # theta of Qwen2-VL's vision tower


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum: page size in characters, how many steps, pages a step, share of plain-line pages.

    `read` is the share of pages that are transcribed too, `questions` how many of a page's questions are asked;
    `positions` begins the stage by making positions heard (module `positions`); `rate` multiplies the
    learning rates, which fall linearly over the last `fall` of the stage's steps. `weight_decay` is Muon's, against
    the growth of matrices that nothing else holds. `slips` is the share of pages with two entries only, on which
    looking up is learned first. `moved` is the share of pages that lie off the character grid
    (module `placing`), further and further during the first two fifths of the first stage that has any.
    `theta` is the base of the vision tower's rotary frequencies where the family has them: a low one is learned faster.
    `averaged`: the weights at the stage's end count in the mean of several that becomes the checkpoint.
    """

    columns: int
    rows: int
    steps: int
    batch: int
    lines: float
    read: float = 1.0
    questions: int = 4
    positions: bool = False
    rate: float = 1.0
    fall: float = 0.0
    weight_decay: float = 0.0
    slips: float = 0.0
    moved: float = 0.0
    theta: float | None = None
    averaged: bool = False


_FLORENCE2_END = Stage(20, 6, 700, 16, 0.0, read=0.3, questions=6, rate=0.35, fall=1.0, weight_decay=0.1, moved=0.35)
STAGES = {
    "qwen2vl": (
        Stage(8, 1, 300, 96, 1.0, theta=100.0),
        Stage(20, 2, 200, 48, 1.0, theta=100.0),
        Stage(20, 6, 5000, 24, 0.1, fall=0.55, theta=100.0),
        # off the grid, which one reads only after one has read on it
        Stage(20, 6, 3500, 24, 0.1, rate=0.8, fall=0.6, weight_decay=0.1, moved=0.65, theta=100.0),
        # the published theta, which vLLM, OpenVINO and transformers before 5.6 take whatever the config says
        Stage(20, 6, 400, 16, 0.1, rate=0.3, fall=1.0, weight_decay=0.1, moved=0.65, theta=PUBLISHED),
        Stage(20, 6, 450, 16, 0.1, rate=0.3, fall=1.0, weight_decay=0.1, moved=0.65, theta=PUBLISHED, averaged=True),
        Stage(20, 6, 240, 16, 0.1, rate=0.25, fall=1.0, weight_decay=0.1, moved=0.8, theta=PUBLISHED, averaged=True),
    ),
    "florence2": (
        Stage(8, 1, 300, 96, 1.0),
        Stage(20, 2, 200, 48, 1.0),
        Stage(20, 6, 2500, 16, 0.1),
        # transcriptions are most of the tokens, and read well by now: here the questions are learned
        Stage(20, 6, 500, 16, 0.0, read=0.3, questions=6, positions=True, rate=0.5),
        Stage(20, 6, 1500, 16, 0.0, read=0.3, questions=6, rate=0.5, fall=1.0, slips=0.35),
        # once more from a high rate, and falling all the way, with the matrices held
        Stage(20, 6, 4200, 16, 0.0, read=0.3, questions=6, rate=0.5, fall=1.0, weight_decay=0.1, slips=0.1),
        # off the grid, and then back towards it: the first two alone took .05 from tables on the grid
        Stage(20, 6, 1800, 16, 0.05, read=0.6, questions=5, rate=0.6, weight_decay=0.1, moved=0.65),
        Stage(20, 6, 1800, 16, 0.0, read=0.35, questions=6, rate=0.6, fall=1.0, weight_decay=0.1, moved=0.65),
        _FLORENCE2_END,
        replace(_FLORENCE2_END, steps=500, moved=0.2, averaged=True),
        replace(_FLORENCE2_END, steps=450, moved=0.1, averaged=True),
    ),
}


class Stream(Dataset[dict[str, Any]]):
    """Batch `i` of the curriculum, the same in every process."""

    def __init__(self, batcher: Any, stages: tuple[Stage, ...], seed: int) -> None:
        self.batcher, self.stages, self.seed = batcher, stages, seed

    def __len__(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def first_step(self, stage: int) -> int:
        """The step at which stage number `stage` begins, counted from 0."""
        return sum(earlier.steps for earlier in self.stages[:stage])

    def place(self, step: int) -> tuple[Stage, int]:
        """The part of the curriculum a step belongs to, and its number within that part."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(step)

    def pages(self, step: int) -> list[BasePage]:
        """The pages of one step, with the questions that are asked and whether they are transcribed."""
        stage, place = self.place(step)
        rng = Random(f"{self.seed}-{step}")
        kinds = [
            "lines"
            if rng.random() < stage.lines
            else "slip"
            if stage.slips and rng.random() < stage.slips
            else _kind(rng)
            for _ in range(stage.batch)
        ]
        pages = [draw(self.seed, step * 1000 + i, kind, stage.columns, stage.rows) for i, kind in enumerate(kinds)]
        for page in pages:
            page.questions = page.questions[: stage.questions]
            page.transcribed = page.kind == "lines" or stage.read == 1.0 or rng.random() < stage.read
            if stage.moved and rng.random() < stage.moved:
                first = next(stage for stage in self.stages if stage.moved)
                strength = min(1.0, (place + 1) / (0.4 * stage.steps)) if stage is first else 1.0
                page.placement = Placement.drawn(rng, page.canvas.image().size, strength)
        return pages

    def __getitem__(self, step: int) -> dict[str, Any]:
        torch.set_num_threads(1)
        return self.batcher(self.pages(step))


def _kind(rng: Random) -> str:
    return rng.choices([*MIXTURE], [*MIXTURE.values()])[0]


def rate(step: int, stage: Stage, warmup: int = 50) -> float:
    """Multiplier of the learning rates at a step of a stage: warm-up, constant, then down to 2 % of it."""
    left = (stage.steps - step) / (stage.fall * stage.steps) if stage.fall else 1.0
    return stage.rate * min((step + 1) / warmup, 1.0, max(0.02, left))


def optimizers(net: torch.nn.Module, muon: float, adamw: float) -> list[torch.optim.Optimizer]:
    """Muon on the hidden matrices, AdamW on embeddings, convolutions, norms and biases."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in net.named_parameters():
        hidden = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name and "shared" not in name
        (matrices if hidden else rest).append(parameter)
    return [
        Muon(matrices, lr=muon),
        torch.optim.AdamW(rest, lr=adamw, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def correct(answers: Answers) -> dict[str, list[bool]]:
    """Per kind, whether every token of an answer is the argmax: exactly when greedy decoding would spell it."""
    hits = answers.logits.argmax(-1) == answers.labels
    wrong = Counter(answers.owner[~hits].tolist())
    out: dict[str, list[bool]] = defaultdict(list)
    for index, kind in enumerate(answers.kinds):
        out[kind].append(wrong[index] == 0)
    return out


@torch.no_grad()
def evaluate(batcher: Any, pages: int = 48, moved: float = 0.0, seed: int = 10_000_019) -> dict[str, float]:
    """Exact match per kind on pages no training step draws, `pages` of each kind with all their questions.

    `moved`: how far off the grid the pages lie, from 0 to 1 (`Placement.drawn`).
    """
    found: dict[str, list[bool]] = defaultdict(list)
    for kind in MIXTURE:
        for start in range(0, pages, 16):
            drawn = [draw(seed, start + i, kind) for i in range(min(16, pages - start))]
            for index, page in enumerate(drawn if moved else [], start):
                size = page.canvas.image().size
                page.placement = Placement.drawn(Random(f"{seed}-{index}-{kind}"), size, moved)
            with mixed():
                answers = batcher.answers(batcher(drawn))
            for name, hits in correct(answers).items():
                found[name] += hits
    return {kind: round(sum(hits) / len(hits), 4) for kind, hits in sorted(found.items())}


def train(
    family: str,
    out: Path,
    seed: int,
    stages: tuple[Stage, ...],
    muon: float,
    adamw: float,
    compiled: bool,
    source: Path | None = None,
    stage: int = 0,
) -> None:
    """Run or continue the recipe; leaves `log.jsonl`, `state.pt` and the checkpoint in `out`.

    With `source`, the folder of a checkpoint, it begins from those weights at number `stage` of the stages, from 0.
    """
    torch.manual_seed(seed)
    net, processor = untrained(family)
    if source is not None:
        net = type(net).from_pretrained(source, dtype=torch.float32, local_files_only=True)
    fast_vision(net)
    kind = BATCHERS[family]
    batcher, stream = kind(net, processor), Stream(kind(_ConfigOnly(net.config), processor), stages, seed)
    groups = optimizers(net, muon, adamw)
    out.mkdir(parents=True, exist_ok=True)
    first, state = stream.first_step(stage), out / "state.pt"
    if state.exists():
        first = _resumed(state, net, groups)
    loader = DataLoader(stream, batch_size=None, sampler=range(first, len(stream)), num_workers=1, prefetch_factor=4)
    net.train()
    started, tokens, hits, pages, losses = time.perf_counter(), 0, 0, 0, 0.0
    for step, batch in enumerate(loader, start=first):
        if compiled and step == max(first, len(stream) - stages[-1].steps):
            compile_blocks(net)  # the earlier stages are over before a compilation would pay
        now, place = stream.place(step)
        if now.theta is not None and (place == 0 or step == first):
            set_vision_theta(net, now.theta)
        if now.positions and place == 0:
            print(json.dumps({"step": step, "tower_std": show_positions(net, batch["pixel_values"])}), flush=True)
            groups = optimizers(net, muon, adamw)  # what they remember is of another model
        for optimizer, lr in zip(groups, (muon, adamw), strict=True):
            optimizer.param_groups[0]["lr"] = lr * rate(place, now)
        groups[0].param_groups[0]["weight_decay"] = now.weight_decay
        with mixed():
            answers = batcher.answers(batch)
        loss = torch.nn.functional.cross_entropy(answers.logits, answers.labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in groups:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if now.averaged and place == now.steps - 1:
            torch.save(net.state_dict(), _end(out, step + 1))
        tokens += len(answers.labels)
        hits += int((answers.logits.argmax(-1) == answers.labels).sum())
        pages += len(set(answers.owner.tolist()))
        losses += loss.item()
        if (step + 1) % 50 == 0:
            row: dict[str, Any] = {
                "step": step + 1,
                "seconds": round(time.perf_counter() - started, 1),
                "loss": round(losses / 50, 4),
                "token_accuracy": round(hits / tokens, 4),
                "branches": pages,
            }
            if (step + 1) % 500 == 0:
                row |= evaluate(batcher)
                row["moved"] = evaluate(batcher, moved=1.0)
                save(net, processor, out / "checkpoint")
            if (step + 1) % 100 == 0:
                _keep(state, net, groups, step + 1)
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
            tokens = hits = pages = 0
            losses = 0.0
    ends = [stream.first_step(number + 1) for number, one in enumerate(stages) if one.averaged and number >= stage]
    if ends:
        net.load_state_dict(_mean([torch.load(_end(out, end), weights_only=True) for end in ends]))
    _finish(out, batcher, len(stream))
    save(net, processor, out / "checkpoint")


def _end(out: Path, step: int) -> Path:
    """Where the weights at the end of a stage are kept until they are averaged."""
    return out / f"end-{step}.pt"


def _mean(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Each weight's mean: ends of one fine-tuning lie around a better one (Izmailov 2018, arXiv:1803.05407)."""
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def _finish(out: Path, batcher: Any, steps: int) -> None:
    """The final figures, printed and logged: 200 unseen pages a kind, on the grid and displaced."""
    final = evaluate(batcher, pages=200) | {"moved": evaluate(batcher, pages=200, moved=1.0)}
    print(json.dumps({"final": final}), flush=True)
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": steps, "final": final}) + "\n")


def _keep(state: Path, net: torch.nn.Module, groups: list[torch.optim.Optimizer], step: int) -> None:
    """What the next start of the same command continues from."""
    part = state.with_suffix(".partial")
    torch.save({"net": net.state_dict(), "optimizers": [o.state_dict() for o in groups], "step": step}, part)
    part.replace(state)


def _resumed(state: Path, net: torch.nn.Module, groups: list[torch.optim.Optimizer]) -> int:
    """Put back what `_keep` wrote; returns the step to go on with."""
    saved = torch.load(state, weights_only=True)
    net.load_state_dict(saved["net"])
    for optimizer, content in zip(groups, saved["optimizers"], strict=True):
        optimizer.load_state_dict(content)
    return int(saved["step"])


class _ConfigOnly:
    """Stands in for the model in loader workers, which need its config and none of its weights."""

    def __init__(self, config: Any) -> None:
        self.config = config


def save(net: Any, processor: Any, folder: Path) -> None:
    """Write a Transformers checkpoint with its processor; weights in bf16, half the size, that load as float32."""
    net.save_pretrained(folder, state_dict={name: weight.bfloat16() for name, weight in net.state_dict().items()})
    processor.save_pretrained(folder)


def main() -> None:
    """Command line of `make base`."""
    parser = argparse.ArgumentParser(
        prog="python -m pretraining", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", choices=sorted(STAGES))
    parser.add_argument("--out", type=Path, required=True, help="folder for log, state and checkpoint")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--muon", type=float, default=0.02, help="learning rate of the hidden matrices")
    parser.add_argument("--adamw", type=float, default=3e-3, help="learning rate of everything else")
    parser.add_argument("--pages", type=int, default=None, help="steps of the last stage, whole pages")
    parser.add_argument("--continue-from", type=Path, metavar="DIR", help="checkpoint to begin from, at --stage")
    parser.add_argument("--stage", type=int, default=None, help="with --continue-from: stage to begin at (last)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile (it needs a C++ compiler)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stages = STAGES[options.family]
    if options.pages is not None:
        last = stages[-1]
        stages = (*stages[:-1], replace(last, steps=options.pages))
    begin = 0
    if options.continue_from is not None:
        begin = len(stages) - 1 if options.stage is None else options.stage - 1
    elif options.stage is not None:
        parser.error("--stage: only with --continue-from DIR; drop it, or name the checkpoint to begin from")
    if not 0 <= begin < len(stages):
        parser.error(f"--stage {options.stage}: {options.family} has stages 1 to {len(stages)}")
    train(
        options.family,
        options.out,
        options.seed,
        stages,
        options.muon,
        options.adamw,
        compiled=not options.no_compile,
        source=options.continue_from,
        stage=begin,
    )
