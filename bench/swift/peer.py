"""ms-swift with one chat a page on the same weights, pages and questions, in a process that waits between its steps.

What its documentation says for LoRA beside a frozen tower: `swift sft` with a row a page, `messages` of all its
questions and `images`. Rows are encoded before the training (`--lazy_tokenize false`), so a step does not open pages.
`--packing true`, which it advises, wants flash attention (4.6.0, `swift/arguments/sft_args.py`), which no CPU has: a
chat a row is padded instead. It has a time and no loss to compare; its memory is another process's.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from bench import precision
from bench.peers import LEARNING_RATE
from bench.swift import environment
from docvlm.data.example import Example
from docvlm.data.loading.packing import by_pages

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "USE_HF": "1",
    "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9",  # files there are listed before a training from local folders too
    "TOKENIZERS_PARALLELISM": "false",
}


class Swift:
    """A training of ms-swift that takes a step when it is told to. Use it in a `with`, or its process stays.

    `processor` says how large pages are: the checkpoint's own would make them smaller, whatever MAX_PIXELS says.
    `tokens` are those of each step's batch. Raises `CannotCompare` where there is no environment, `RuntimeError` with
    the end of its log where it ends early.
    """

    def __init__(
        self, checkpoint: Path, processor: Any, rank: int, steps: Sequence[Sequence[Example]], folder: Path
    ) -> None:
        self.checkpoint, self.processor, self.rank, self.folder = checkpoint, processor, rank, folder
        self.chats = [by_pages(step) for step in steps]
        self.tokens: list[int] = []

    def __enter__(self) -> Swift:
        if (python := environment.python()) is None:
            home = environment.folder()
            raise environment.CannotCompare(f"no ms-swift in {home}; python -m bench.swift puts it there")
        (self.folder / "model").mkdir(parents=True)
        for file in (*self.checkpoint.glob("*.safetensors"), self.checkpoint / "config.json"):
            (self.folder / "model" / file.name).symlink_to(file.resolve())
        self.processor.save_pretrained(self.folder / "model")
        (self.folder / "chats.jsonl").write_text(
            "".join(_row(chat) for step in self.chats for chat in step), encoding="utf-8"
        )
        self.log = self.folder / "log.txt"
        asked, self._ask = os.pipe()
        self._said, taken = os.pipe()
        image = self.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        turns = {"TURNS_ASKED": str(asked), "TURNS_TAKEN": str(taken), "TURNS_IMAGE_TOKEN": str(image)}
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", "swift.cli.sft", *self._words()],
                stdout=log,
                stderr=log,
                env=clean | SETTINGS | turns | threads,
                pass_fds=(asked, taken),
            )
        os.close(asked)
        os.close(taken)
        self._answers = os.fdopen(self._said)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._ask)
        self._answers.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._process.kill()
        self._process.wait()

    def step(self, number: int) -> float:
        """Take one optimizer step, the next of the given ones. Returns its seconds."""
        with suppress(BrokenPipeError):
            os.write(self._ask, b"step\n")
        if not (line := self._answers.readline()):
            raise RuntimeError(f"ms-swift ended:\n{self.log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
        answer = json.loads(line)
        self.tokens.append(answer["tokens"])
        return float(answer["seconds"])

    def _words(self) -> list[str]:
        size = len(self.chats[0])
        return [
            *("--model", str(self.folder / "model"), "--model_type", "qwen2_vl", "--template", "qwen2_vl"),
            *("--dataset", str(self.folder / "chats.jsonl"), "--split_dataset_ratio", "0"),
            *("--tuner_type", "lora", "--lora_rank", str(self.rank), "--lora_alpha", str(2 * self.rank)),
            *("--lora_dropout", "0", "--target_modules", "q_proj", "k_proj", "v_proj", "o_proj"),
            *("--freeze_vit", "true", "--freeze_aligner", "true", "--attn_impl", "sdpa"),
            *("--torch_dtype", str(precision.DTYPE).removeprefix("torch."), "--bf16", str(precision.HALF).lower()),
            *("--fp16", "false", "--use_cpu", "true", "--gradient_checkpointing", "false"),
            *("--lazy_tokenize", "false", "--dataset_shuffle", "false", "--train_dataloader_shuffle", "false"),
            *("--per_device_train_batch_size", str(size), "--gradient_accumulation_steps", "1"),
            *("--max_steps", "10000", "--learning_rate", str(LEARNING_RATE), "--lr_scheduler_type", "constant"),
            *("--optim", "adamw_torch_fused", "--weight_decay", "0", "--warmup_ratio", "0", "--max_grad_norm", "0"),
            *("--save_strategy", "no", "--logging_steps", "10000", "--report_to", "none", "--eval_strategy", "no"),
            *("--dataloader_num_workers", "0", "--dataset_num_proc", "1", "--output_dir", str(self.folder / "out")),
            *("--external_plugins", str(Path(__file__).with_name("turns.py")), "--callbacks", "turns"),
        ]


def _row(chat: Sequence[Example]) -> str:
    """A page with all its questions, as ms-swift reads it."""
    turns = [turn for e in chat for turn in (("user", e.question + e.instruction), ("assistant", e.target))]
    marks = "<image>" * len(chat[0].pages)
    messages = [{"role": role, "content": text} for role, text in turns]
    messages[0]["content"] = marks + messages[0]["content"]
    return json.dumps({"messages": messages, "images": [page.name for page in chat[0].pages]}) + "\n"
