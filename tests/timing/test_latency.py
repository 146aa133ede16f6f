"""Timing on a known clock, the search for the largest batch, budgets as words, the frontier: checked by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from docvlm.data.generated import documents
from docvlm.errors import DocvlmError
from docvlm.timing import budgets, timed_pages
from docvlm.timing.capacity import largest
from docvlm.timing.frontier import pareto
from docvlm.timing.latency import measure, timed
from docvlm.vlms.base import Generated
from docvlm.vlms.codec import Budget
from tests.support.tiny import Paper, example, load


class Watch:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fake:
    """A model that takes a second to open its pages, one for each forced token and the first, and then `slow` more."""

    watch: Watch
    forced_tokens: int = 0
    asked: int = 0
    device = torch.device("cpu")

    def __post_init__(self) -> None:
        self.head = torch.nn.Identity()
        self.bare, self.codec = self, self

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def prompt_batch(self, examples: Any) -> dict[str, torch.Tensor]:
        self.watch.now += 1
        return {"attention_mask": torch.ones(len(examples), 7)}

    def generate(self, batch: dict[str, torch.Tensor], max_new_tokens: int) -> list[Generated]:
        self.asked += 1
        for _ in range(self.forced_tokens + 1):
            self.watch.now += 1
            self.head(batch["attention_mask"])
        self.watch.now += self.asked
        self.head(batch["attention_mask"])
        return [Generated("x", 3, False, 1.0)] * len(batch["attention_mask"])


def run(fake: Fake, questions: int, batch: int = 1, warmup: int = 1) -> Any:
    pages = [example(number) for number in range(questions)]
    return measure(fake, pages, batch, warmup=warmup, max_new_tokens=4, clock=fake.watch)  # type: ignore[arg-type]


def test_percentiles_are_exact_on_a_known_clock() -> None:
    found = run(Fake(Watch()), 20)  # the warm-up is the first of 21 answers, which take 3, 4, …, 23 s
    assert (found.n, found.batch) == (20, 1)
    assert found.p50_ms == pytest.approx(13_500)
    assert found.p95_ms == pytest.approx(22_050)  # between the 19th and the 20th of 4, …, 23
    assert found.mean_ms == pytest.approx(13_500)
    assert found.prepare_p50_ms == pytest.approx(1_000)
    assert found.first_token_p50_ms == found.first_token_p95_ms == pytest.approx(2_000)
    assert found.tokens_per_s == pytest.approx(2 * 20 / sum(range(2, 22)))  # two tokens after the first of three
    assert found.pages_per_s == pytest.approx(20 / sum(range(4, 24)))
    assert (found.prompt_tokens, found.new_tokens) == (7, 3)


def test_few_timings_have_no_95th_percentile_and_forced_tokens_are_no_answer() -> None:
    found = run(Fake(Watch(), forced_tokens=1), 7, batch=2, warmup=3)
    assert (found.n, found.p95_ms, found.first_token_p95_ms) == (3, None, None), "the seventh fills no batch"
    assert found.first_token_p50_ms == pytest.approx(3_000)
    assert found.p50_ms == pytest.approx(3_000 + 4_000), "two batches of warm-up: the timed ones are 3, 4, 5"
    with pytest.raises(ValueError, match="3 examples do not fill a batch of 4"):
        run(Fake(Watch()), 3, batch=4)


@pytest.mark.parametrize("family", ["qwen2vl", "florence2"])
@pytest.mark.parametrize("forced", [False, True])
def test_the_first_token_of_a_real_model_lies_between_page_and_text(family: str, forced: bool) -> None:
    vlm = load(family)
    if forced and family == "florence2":
        vlm.bare.generation_config.forced_bos_token_id = vlm.codec.bos
        vlm.set_budget(vlm.codec.budget)
        assert vlm.forced_tokens == 1
    calls = []
    handle = vlm.bare.get_output_embeddings().register_forward_hook(lambda *_: calls.append(1))
    found = timed(vlm, [example(1), example(2)], 3)
    handle.remove()
    assert 0 < found.prepared < found.first_token < found.total
    assert 2 <= found.new_tokens <= 6 and found.questions == 2
    assert len(calls) <= 3 + vlm.forced_tokens, "a call of the projection is a token: the hook counts tokens"
    assert not vlm.bare.get_output_embeddings()._forward_hooks, "the hook is gone"


def out_of_memory_at(size: int) -> Any:
    def attempt(asked: int) -> float:
        if asked >= size:
            raise torch.OutOfMemoryError
        return 100.0 + asked

    return attempt


def test_doubling_ends_where_memory_does() -> None:
    found = largest(out_of_memory_at(8), 64, None)
    assert (found.batch, found.bound) == (4, "out of memory at 8")
    assert found.tried == {1: 101.0, 2: 102.0, 4: 104.0}
    with pytest.raises(DocvlmError, match="not even one page fits"):
        largest(out_of_memory_at(1), 64, None)


def test_doubling_ends_at_the_largest_allowed_and_at_a_limit_before_it_is_reached() -> None:
    assert largest(out_of_memory_at(99), 6, None).tried.keys() == {1, 2, 4, 6}
    assert largest(out_of_memory_at(99), 6, None).bound == "max_batch=6"
    assert largest(out_of_memory_at(99), 1, None).batch == 1
    asked: list[int] = []

    def attempt(size: int) -> float:
        asked.append(size)
        return 100.0 * size

    found = largest(attempt, 64, 1000.0)
    assert asked == [1, 2, 4, 8], "16 was predicted to take 1600 and not tried"
    assert (found.batch, found.bound) == (8, "memory limit: 16 would take about 1.56 of 0.98 GiB")
    found = largest(attempt, 64, 150.0)
    assert (found.batch, found.bound) == (1, "memory limit: 2 took 0.20 of 0.15 GiB")
    assert largest(attempt, 64, 50.0).batch == 1, "one page is always answered"


def test_the_frontier_is_what_nothing_beats() -> None:
    assert pareto([(1, 0.5), (2, 0.7), (3, 0.6), (3, 0.7), (0.5, 0.4)]) == (True, True, False, False, True)
    assert pareto([(1, 0.5), (1, 0.5), (1, 0.4)]) == (True, True, False), "equal points do not beat each other"
    assert pareto([(1, 0.0)]) == (True,)


def test_budgets_as_words() -> None:
    qwen, florence = Budget(min_pixels=784, max_pixels=65536), Budget(height=168, width=280)
    assert [budgets.word(b) for b in budgets.chosen(None, qwen)] == ["65536", "32768", "16384"]
    assert [budgets.word(b) for b in budgets.chosen(None, florence)] == ["168x280", "119x198", "84x140"]
    assert budgets.chosen(["400"], qwen) == [Budget(min_pixels=400, max_pixels=400)]
    encoded = replace(qwen, jpeg_quality=85)
    smaller = [replace(encoded, min_pixels=400, max_pixels=400), replace(encoded, min_pixels=784, max_pixels=900)]
    assert budgets.chosen(["400", "900"], encoded) == smaller
    assert budgets.chosen(["84x140"], florence) == [Budget(height=84, width=140)]
    with pytest.raises(DocvlmError, match="budgets=400: this model takes height x width, such as 168x280"):
        budgets.chosen(["400"], florence)
    with pytest.raises(DocvlmError, match="budgets=84x140: this model takes a number of pixels, such as 65536"):
        budgets.chosen(["84x140"], qwen)


def test_budgets_in_the_terms_of_a_checkpoint_s_own_processor() -> None:
    edge, tiles, fixed = Budget(longest_edge=2048), Budget(max_tiles=12), Budget()
    assert [budgets.word(b) for b in budgets.chosen(None, edge)] == ["edge2048", "edge1448", "edge1024"]
    assert [budgets.word(b) for b in budgets.chosen(None, tiles)] == ["tiles12", "tiles6", "tiles3"]
    assert [budgets.word(b) for b in budgets.chosen(None, fixed)] == ["one size"]
    assert budgets.chosen(["edge768"], edge) == [Budget(longest_edge=768)]
    assert budgets.chosen(["tiles4"], tiles) == [Budget(max_tiles=4)]
    for own, given, line in (
        (edge, "768", "budgets=768: this model takes edgeN, such as edge2048"),
        (edge, "tiles4", "budgets=tiles4: this model takes edgeN, such as edge2048"),
        (tiles, "84x140", "budgets=84x140: this model takes tilesN, such as tiles12"),
        (fixed, "edge768", "budgets=edge768: this model reads every page at one size; leave budgets out"),
        (Budget(height=168, width=280), "edge768", "budgets=edge768: this model takes height x width"),
        (Budget(min_pixels=784, max_pixels=65536), "edge768", "budgets=edge768: this model takes a number of pixels"),
    ):
        with pytest.raises(DocvlmError, match=line):
            budgets.chosen([given], own)


def test_timed_pages_are_single_distinct_and_files(tmp_path: Path) -> None:
    drawn = [e for document in documents("docvqa", "test", 3, "tiny", 0) for e in document]
    found = timed_pages.alone(drawn, 2, tmp_path)
    firsts = [next(e for e in drawn if e.document == one.document).question_id for one in found]
    assert [e.question_id for e in found] == firsts
    assert len({e.document for e in found}) == 2 and timed_pages.sizes(found) == [(280, 168)] * 2
    assert all(Path(e.pages[0].name).suffix == ".png" and Path(e.pages[0].name).exists() for e in found)
    assert found[0].pages[0].open().tobytes() == drawn[0].pages[0].open().tobytes(), "the pixels are the drawn ones"
    own = example(1)
    assert timed_pages.alone([own], 5, tmp_path)[0].pages == own.pages, "a page that exists is left as it is"
    pages = (Paper("a"), Paper("b"))
    several = [example(1, pages=pages), replace(example(2, pages=pages), answer_pages=(2,))]
    found = timed_pages.alone(several, 5, tmp_path)
    assert [one.pages for one in found] == [pages[:1], pages[1:]], "the first page, or that with the answer"
    assert timed_pages.alone([*several, own], 5, tmp_path) == [own], "documents of one page where there are some"
