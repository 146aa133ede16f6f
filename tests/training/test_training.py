"""The module, its optimizer and its evaluation: what one step does, and what a score is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from docvlm.config import LoraConf
from docvlm.data.loading.datamodule import BenchmarkDataModule
from docvlm.data.reading import ALL_PAGES
from docvlm.errors import DocvlmError
from docvlm.scoring.predictions import Prediction
from docvlm.scoring.score import with_scores
from docvlm.training.evaluation import Tally, judge
from docvlm.training.module import AnswerModule
from docvlm.training.optim import OptimPartials, warmup_cosine
from docvlm.vlms.codec import Codec
from docvlm.vlms.prepare import apply
from tests.support import tiny

EXAMPLES = [tiny.example(number) for number in range(4)]


def optim(lr: float = 1e-2, vision_lr: float = 1e-3) -> OptimPartials:
    return OptimPartials(
        partial(torch.optim.SGD), partial(warmup_cosine, warmup=0.0), {"language": lr, "vision": vision_lr}
    )


def module(family: str = "qwen2vl", freeze: float = 100, dropout: float = 0.0, **options: Any) -> AnswerModule:
    vlm = tiny.load(family)
    torch.manual_seed(0)  # now: the first call makes the checkpoint, which draws too
    apply(vlm, freeze, LoraConf(r=4, dropout=dropout))
    return AnswerModule(vlm, optim(), metrics={"docvqa": "anls"}, max_new_tokens=2, **options)


def fit(module: AnswerModule, batch_size: int, accumulate: int = 1, **options: Any) -> Trainer:
    """Learn from EXAMPLES once, in their order."""
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(module, datamodule=Ordered(module.vlm.codec, batch_size))
    return trainer


class Ordered(LightningDataModule):
    """EXAMPLES in their order."""

    def __init__(self, codec: Codec, batch_size: int) -> None:
        super().__init__()
        self.codec, self.batch_size = codec, batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(EXAMPLES, self.batch_size, collate_fn=self.codec.train_batch)  # type: ignore[arg-type]


def learned(module: AnswerModule) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}


def test_accumulation_changes_nothing_although_answers_differ_in_length() -> None:
    whole, parts = module(), module()
    before = learned(whole)
    fit(whole, 4)
    fit(parts, 1, accumulate=4)
    assert whole.train_loss == pytest.approx(parts.train_loss, rel=1e-5)
    moved = 0.0
    for name, weight in learned(whole).items():
        moved = max(moved, float((weight - before[name]).abs().max()))
        torch.testing.assert_close(weight, learned(parts)[name], rtol=1e-3, atol=1e-6)
    assert moved > 1e-5


def test_the_loss_of_a_step_is_the_mean_over_its_answer_tokens() -> None:
    one = module()
    with torch.no_grad():
        total, tokens = one.vlm.loss(one.vlm.codec.train_batch(EXAMPLES))
    fit(one, 4)
    assert one.train_loss == pytest.approx(float(total) / tokens, rel=1e-5)


def test_groups_have_their_own_rates_and_frozen_weights_stay() -> None:
    one = module(freeze=50)
    frozen = {name: p.detach().clone() for name, p in one.named_parameters() if not p.requires_grad}
    trainer = fit(one, 4)
    groups = trainer.optimizers[0].param_groups
    assert [(group["name"], group["initial_lr"]) for group in groups] == [("language", 1e-2), ("vision", 1e-3)]
    assert sum(p.numel() for group in groups for p in group["params"]) == one.vlm.trainable.count  # type: ignore[union-attr]
    assert all(torch.equal(p, frozen[name]) for name, p in one.named_parameters() if name in frozen)


def test_a_fused_optimizer_in_mixed_precision_is_clipped() -> None:
    """Lightning's own clipping refuses the two together."""
    one = module()
    assert one.optim is not None
    one.optim = replace(one.optim, optimizer=partial(torch.optim.SGD, fused=True))
    before = learned(one)
    fit(one, 4, gradient_clip_val=1e-3, precision="bf16-mixed")
    moved = sum(float((weight - before[name]).square().sum()) for name, weight in learned(one).items()) ** 0.5
    assert moved == pytest.approx(1e-2 * 1e-3, rel=1e-2), "one step of the rate times the clipped norm"


def test_what_learns_is_in_training_mode_and_what_is_frozen_is_not() -> None:
    one = module(freeze=100)
    one.vlm.eval()
    modes: list[tuple[bool, bool]] = []
    loss = one.vlm.loss

    def watched(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        bare = one.vlm.bare
        modes.append((bare.model.language_model.training, bare.model.visual.blocks[0].training))
        return loss(batch)

    one.vlm.loss = watched  # type: ignore[method-assign]
    fit(one, 4)
    assert modes == [(True, False)]


def test_dropout_depends_on_seed_and_position_only() -> None:
    first, second, other = (module(dropout=0.5, seed=seed) for seed in (1, 1, 2))
    fit(first, 4)
    torch.rand(17)  # moves the global stream
    fit(second, 4)
    fit(other, 4)
    assert all(torch.equal(weight, learned(second)[name]) for name, weight in learned(first).items())
    assert any(not torch.equal(weight, learned(other)[name]) for name, weight in learned(first).items())


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_lower() -> None:
    one = module()
    with torch.no_grad():
        next(iter(one.vlm.trainable.language.values())).fill_(math.nan)  # type: ignore[union-attr]
    with pytest.raises(DocvlmError, match=r"step 0: the training loss is nan; lower optim\.lr"):
        fit(one, 4)


def test_a_checkpoint_of_other_weights_is_refused() -> None:
    one = module()
    checkpoint = {"state_dict": dict(one.state_dict())}
    one.on_save_checkpoint(checkpoint)
    assert set(checkpoint["state_dict"]) == set(learned(one))
    del checkpoint["state_dict"][next(iter(checkpoint["state_dict"]))]
    with pytest.raises(DocvlmError, match=r"last\.ckpt: holds .* weights but .* learn here"):
        one.on_load_checkpoint(checkpoint)


def test_warmup_rises_and_cosine_falls_to_nearly_nothing() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_cosine(optimizer, total=20, warmup=0.2)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.05


def prediction(question_id: str, text: str, answer: str, benchmark: str = "docvqa") -> Prediction:
    return Prediction(question_id, f"doc {question_id}", benchmark, "", (), "?", text, (answer,))


def test_a_split_is_scored_only_if_every_question_was_answered_once() -> None:
    examples = [tiny.example(number) for number in range(3)]
    answers = [prediction(example.question_id, "3", example.target) for example in examples]
    metrics = {"docvqa": "anls"}
    found = Tally(metrics, answers[::-1]).finish(examples, ALL_PAGES)
    assert [p.question_id for p in found.predictions] == ["q0", "q1", "q2"]
    for wrong in (answers[:2], [*answers, answers[0]], [*answers[:2], answers[0]]):
        with pytest.raises(DocvlmError, match="came from a split of 3"):
            Tally(metrics, list(wrong)).finish(examples, ALL_PAGES)


def test_a_mixture_judges_each_question_by_its_own_metric() -> None:
    near = [prediction("1", "104", "100", "chartqa"), prediction("2", "104", "100", "docvqa")]
    metric, interval, scores = judge(with_scores(near), {"docvqa": "anls", "chartqa": "relaxed_accuracy"})
    assert metric == "anls + relaxed_accuracy"
    assert scores["chartqa"].headline == 1.0
    assert scores["docvqa"].headline == pytest.approx(2 / 3)
    assert interval.mean == pytest.approx((1 + 2 / 3) / 2)
    assert interval.low < interval.mean < interval.high


def test_scores_do_not_depend_on_the_batch_size() -> None:
    """Per-example records, not means of batch means: 3 questions in batches of 2 and of 3 score alike."""

    def evaluated(batch_size: int) -> tuple[float, float]:
        one, data = module(), Given(EXAMPLES[:3], batch_size)
        data.codec = one.vlm.codec
        Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False).validate(
            one, datamodule=data, verbose=False
        )
        assert one.evaluation is not None and one.evaluation.loss is not None
        return one.evaluation.interval.mean, one.evaluation.loss

    assert evaluated(2) == pytest.approx(evaluated(3), rel=1e-5)


class Given(BenchmarkDataModule):
    """Validation examples that are there already."""

    def __init__(self, examples: Sequence[Any], batch_size: int) -> None:
        super().__init__("generated", name="docvqa", eval_batch_size=batch_size)
        self._splits = {"val": list(examples)}
