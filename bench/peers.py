"""The trainers of others on the same weights, questions and steps: Hugging Face `Trainer` and TRL `SFTTrainer`.

Both get what their documentation shows for vision models: a data set of chats with an image column, decoded when a row
is read. `Trainer` gets the usual hand-written collator (chat template a row, pad, labels masked up to the answer;
for Florence-2, which TRL does not train, the one of huggingface.co/blog/finetune-florence2); `SFTTrainer` builds its
own for prompt and completion. Gradient checkpointing, which TRL turns on by default, is off: it would only make it
slower here. Nothing clips, so that a step is the same sum on all sides.

Which questions meet in a step is set from outside (`batches`), since packing compares equal steps only; all else is the
trainer's own loop. `train` is entered anew for each step and timed from the start of its epoch, before the first row is
read, to the end of the optimizer step: what a trainer sets up beforehand is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.models.florence2.modeling_florence2 import shift_tokens_right

from bench import precision
from bench.clock import gradients, now
from docvlm.data.example import Example
from docvlm.data.loading.packing import by_pages
from docvlm.vlms.chat.template import asked
from docvlm.vlms.codec import Codec
from docvlm.vlms.florence2.codec import TASK

IGNORED = -100
LEARNING_RATE = 1e-5
OPTIMIZER = "adamw_torch_fused"  # as `torch.optim.AdamW(fused=True)` on our side


class Watch(TrainerCallback):
    """Seconds from the start of the epoch, before data is asked for, to the end of the optimizer step."""

    began = taken = 0.0

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        _settled()
        self.began = now()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        _settled()
        self.taken = now() - self.began


def _settled() -> None:
    """Wait for the work that was queued on a GPU, where one is in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


class Collator:
    """Chats to tensors as one writes it by hand: template, processor, labels up to the last assistant turn masked.

    That turn begins behind what the template puts between a question and its answer.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        header = asked(processor, 1, "?").rpartition("?")[2]
        self.header = processor.tokenizer(header, add_special_tokens=False)["input_ids"]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        texts = [self.processor.apply_chat_template(row["messages"], tokenize=False) for row in rows]
        images = [row["images"] for row in rows]
        options = {"padding": True, "padding_side": "right", "add_special_tokens": False, "return_tensors": "pt"}
        batch = self.processor(text=texts, images=images, **options)  # the template writes all special tokens
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
        width = len(self.header)
        turns = (batch["input_ids"].unfold(1, width, 1) == torch.tensor(self.header)).all(-1)
        for row, starts in zip(labels, turns, strict=True):
            row[: int(starts.nonzero().max()) + width] = IGNORED
        return {**batch, "labels": labels}


class Florence2Collator:
    """Questions and answers to tensors as the published fine-tuning does, pads left out of the loss."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        texts = [TASK + row["question"] for row in rows]
        images = [row["images"][0] for row in rows]
        batch = self.processor(text=texts, images=images, padding=True, padding_side="right", return_tensors="pt")
        answers = [row["answer"] for row in rows]
        found = self.processor.tokenizer(answers, padding=True, padding_side="right", return_tensors="pt")
        labels = found["input_ids"].masked_fill(found["attention_mask"] == 0, IGNORED)
        return {**batch, "labels": labels}


def chats(examples: Sequence[Example]) -> datasets.Dataset:
    """Questions as both trainers take them: `messages` for the one, `prompt` and `completion` for the other."""
    rows = []
    for example in examples:
        asked = example.question + example.instruction
        turn = [*({"type": "image"} for _ in example.pages), {"type": "text", "text": asked}]
        answer = [{"type": "text", "text": example.target}]
        rows.append(
            {
                "images": [page.name for page in example.pages],
                "question": example.question,
                "answer": example.target,
                "messages": [{"role": "user", "content": turn}, {"role": "assistant", "content": answer}],
                "prompt": [{"role": "user", "content": asked}],
                "completion": [{"role": "assistant", "content": example.target}],
            }
        )
    return datasets.Dataset.from_list(rows).cast_column("images", datasets.List(datasets.Image()))


def chat_a_document(documents: Sequence[Sequence[Example]]) -> datasets.Dataset:
    """Documents as TRL takes them: `images`, and `messages` with a turn a question."""
    rows = []
    for document in documents:
        turns = [((e.question + e.instruction, "user"), (e.target, "assistant")) for e in document]
        messages = [{"role": role, "content": text} for turn in turns for text, role in turn]
        rows.append({"images": [page.name for page in document[0].pages], "messages": messages})
    return datasets.Dataset.from_list(rows).cast_column("images", datasets.List(datasets.Image()))


class _GivenSteps(Trainer):
    """A trainer whose steps are given: `batches` holds the rows of each."""

    batches: Sequence[list[int]] = ()

    def get_train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)


class Peer:
    """One of the trainers with the steps of a cell. `unlearned`: drops the labels of what we do not learn."""

    def __init__(
        self, trainer: Any, steps: Sequence[Sequence[object]], unlearned: Callable[[dict[str, Tensor]], None]
    ) -> None:
        self.trainer, self.unlearned, self.watch = trainer, unlearned, Watch()
        trainer.add_callback(self.watch)
        trainer.remove_callback(PrinterCallback)
        starts = [sum(map(len, steps[:number])) for number in range(len(steps))]
        self.steps = [list(range(start, start + len(step))) for start, step in zip(starts, steps, strict=True)]

    def step(self, number: int) -> float:
        """Take one optimizer step. Returns its seconds."""
        self.trainer.batches = [self.steps[number % len(self.steps)]]
        self.trainer.train()
        return self.watch.taken

    def exact(self) -> tuple[float, dict[str, Tensor]]:
        """Loss (nats a token) and gradients of step 0 in float32, by the trainer's own collator and loss.

        Both trainers take the mean over the labels of the step, as we do; `unlearned` makes them the same ones.
        """
        self.trainer.batches = self.steps[:1]
        batch = next(iter(self.trainer.get_train_dataloader()))
        self.unlearned(batch)
        model: PreTrainedModel | PeftModel = self.trainer.model
        loss = self.trainer.compute_loss(model.train(), dict(batch))
        loss.backward()
        return loss.item(), gradients(model)


def _after_the_end(end: int) -> Callable[[dict[str, Tensor]], None]:
    """Chats: the template's newline after the end token."""

    def drop(batch: dict[str, Tensor]) -> None:
        ends = (batch["labels"] == end).cumsum(1)
        batch["labels"][(ends > 0) & (batch["labels"] != end)] = IGNORED

    return drop


def _the_forced_start(config: Any) -> Callable[[dict[str, Tensor]], None]:
    """Florence-2: the `<s>` that generation forces; the decoder still sees it, as it would by the model's own shift."""

    def drop(batch: dict[str, Tensor]) -> None:
        labels = batch["labels"]
        batch["decoder_input_ids"] = shift_tokens_right(labels, config.pad_token_id, config.decoder_start_token_id)
        labels[:, 0] = IGNORED

    return drop


def settings(folder: Path, device: str = "cpu") -> dict[str, Any]:
    """What both trainers are told; they compute in `precision.DTYPE` on a CPU and in bf16 on a GPU, by autocast."""
    return {
        "output_dir": str(folder),
        "max_steps": 1,
        "use_cpu": device == "cpu",
        "bf16": precision.HALF or device != "cpu",
        "optim": OPTIMIZER,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "remove_unused_columns": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def hugging_face(
    model: PreTrainedModel | PeftModel,
    codec: Codec,
    steps: Sequence[Sequence[Example]],
    folder: Path,
) -> Peer:
    """Hugging Face `Trainer` on a model that chats, with the usual collator."""
    rows = chats([example for step in steps for example in step]).select_columns(["images", "messages"])
    trainer = _trainer(model, rows, Collator(codec.processor), folder)
    return Peer(trainer, steps, _after_the_end(codec.end))


def florence2(
    model: PreTrainedModel | PeftModel, codec: Codec, steps: Sequence[Sequence[Example]], folder: Path
) -> Peer:
    """Hugging Face `Trainer` on Florence-2 with the published collator."""
    rows = chats([example for step in steps for example in step]).select_columns(["images", "question", "answer"])
    trainer = _trainer(model, rows, Florence2Collator(codec.processor), folder)
    return Peer(trainer, steps, _the_forced_start(model.config.text_config))


def _trainer(
    model: PreTrainedModel | PeftModel,
    rows: datasets.Dataset,
    collator: Any,
    folder: Path,
) -> Trainer:
    arguments = TrainingArguments(**settings(folder))
    return _GivenSteps(model=model, args=arguments, train_dataset=rows, data_collator=collator)


def trl(
    model: PreTrainedModel | PeftModel,
    codec: Codec,
    steps: Sequence[Sequence[Example]],
    folder: Path,
    *,
    chat: bool = False,
    device: str = "cpu",
) -> Peer:
    """TRL's `SFTTrainer` with its own collator: a row a question, or one a document.

    Raises `ImportError` where the `bench` extra is not installed.
    """
    from trl import SFTConfig, SFTTrainer

    class GivenStepsSFT(_GivenSteps, SFTTrainer):
        pass

    documents = [by_pages(step) for step in steps]
    if chat:
        rows = chat_a_document([document for step in documents for document in step])
    else:
        asked = chats([example for step in steps for example in step])
        rows = asked.select_columns(["images", "prompt", "completion"])
    trainer = GivenStepsSFT(
        model=model,
        args=SFTConfig(**settings(folder, device), max_length=None, gradient_checkpointing=False),
        train_dataset=rows,
        processing_class=codec.processor,
    )
    return Peer(trainer, documents if chat else steps, _after_the_end(codec.end))
