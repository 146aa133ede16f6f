"""The rank ablation as one writes it with TRL: a loop over ranks, `SFTTrainer`, answers by `generate` one by one.

`python -m bench.peer_sweep --checkpoint DIR --pages DIR --out DIR --ranks 16 32 64`: for each rank the same work as a
cell of docvlm's sweep. The model is loaded anew (SDPA, in `precision.DTYPE`), val is answered before training and after
every epoch, the adapter is saved every epoch, test is answered at the end. Questions come shuffled, four a step.
Nothing resumes, nothing is proved and no score has an interval: that is the convenience docvlm's command pays for in
its time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import AutoProcessor, PreTrainedModel, Qwen2VLForConditionalGeneration, TrainerCallback

from bench import precision
from bench.peers import LEARNING_RATE, OPTIMIZER, chats
from docvlm.data.benchmarks import BENCHMARKS
from docvlm.data.example import Example
from docvlm.data.pages import FilePage

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]


def read(folder: Path, split: str) -> list[Example]:
    """The questions of a split of a folder with `qa.jsonl`."""
    lines = [json.loads(line) for line in (folder / "qa.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        Example(
            question_id=str(number),
            question=line["question"],
            answers=tuple(line["answers"]),
            document=line["image"],
            pages=(FilePage(str(folder / line["image"])),),
            benchmark="folder",
            instruction=BENCHMARKS["folder"].instruction,
        )
        for number, line in enumerate(lines)
        if line["split"] == split
    ]


@torch.no_grad()
def answers(net: Any, processor: Any, examples: Sequence[Example], longest: int) -> list[str]:
    """Greedy answers, one question at a time, as the published Quick Start has it."""
    net.eval()
    texts = []
    for example in examples:
        turn = [{"type": "image"}, {"type": "text", "text": example.question + example.instruction}]
        chat = processor.apply_chat_template([{"role": "user", "content": turn}], add_generation_prompt=True)
        with Image.open(example.pages[0].name) as page, precision.autocast():
            inputs = processor(text=[chat], images=[page.convert("RGB")], return_tensors="pt")
            ids = net.generate(**inputs, max_new_tokens=longest, do_sample=False)
        texts.append(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


class AfterEveryEpoch(TrainerCallback):
    """Answers val, as docvlm's sweep does."""

    def __init__(self, processor: Any, examples: Sequence[Example], longest: int) -> None:
        self.processor, self.examples, self.longest = processor, examples, longest

    def on_epoch_end(self, *args: Any, model: PreTrainedModel, **kwargs: Any) -> None:
        answers(model, self.processor, self.examples, self.longest)
        model.train()


def reader(options: argparse.Namespace) -> Any:
    """The processor, told how large a page may be: by default it would shrink pages to its checkpoint's own budget."""
    processor = AutoProcessor.from_pretrained(options.checkpoint)
    processor.image_processor.size = {"shortest_edge": options.min_pixels, "longest_edge": options.max_pixels}
    return processor


def train(options: argparse.Namespace, rank: int) -> list[str]:
    """One cell: the answers to test after three epochs. Raises `ImportError` without the `bench` extra."""
    from trl import SFTConfig, SFTTrainer

    torch.manual_seed(options.seed)
    processor = reader(options)
    net = Qwen2VLForConditionalGeneration.from_pretrained(
        options.checkpoint, dtype=precision.DTYPE, attn_implementation="sdpa"
    )
    adapted = get_peft_model(net, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS))
    val = read(options.pages, "val")
    answers(adapted, processor, val, options.new_tokens)
    trainer = SFTTrainer(
        model=adapted,
        args=SFTConfig(
            output_dir=str(options.out / f"r{rank}"),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=4,
            use_cpu=True,
            bf16=precision.HALF,
            optim=OPTIMIZER,
            learning_rate=LEARNING_RATE,
            save_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            max_length=None,
            gradient_checkpointing=False,
            seed=options.seed,
        ),
        train_dataset=chats(read(options.pages, "train")).select_columns(["images", "prompt", "completion"]),
        processing_class=processor,
        callbacks=[AfterEveryEpoch(processor, val, options.new_tokens)],
    )
    trainer.train()
    return answers(trainer.model, processor, read(options.pages, "test"), options.new_tokens)


def page_tokens(options: argparse.Namespace) -> int:
    """How many tokens the first page of test is here: as many as it is for docvlm, or the work is not the same."""
    processor = reader(options)
    with Image.open(read(options.pages, "test")[0].pages[0].name) as page:
        inputs = processor(text=[processor.image_token], images=[page.convert("RGB")], return_tensors="pt")
    return int((inputs["input_ids"] == processor.image_token_id).sum())


def main() -> None:
    """Train every rank, and print how many questions of test each answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pages", type=Path, required=True, help="a folder with qa.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--min-pixels", type=int, required=True)
    parser.add_argument("--max-pixels", type=int, required=True)
    parser.add_argument("--ranks", type=int, nargs="+", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=12)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    print(f"{page_tokens(options)} tokens a page", flush=True)
    for rank in options.ranks:
        print(f"rank {rank}: {len(train(options, rank))} questions of test answered", flush=True)


if __name__ == "__main__":
    main()
