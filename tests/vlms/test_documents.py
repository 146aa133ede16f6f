"""Documents of several pages: what sharing gives is what one by one gives, whatever their number and budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from docvlm.data.example import Example
from docvlm.data.reading import Reading, numbered
from docvlm.errors import DocvlmError
from docvlm.vlms import saved
from docvlm.vlms.codec import Budget, Stored
from docvlm.vlms.feature_store import FeatureStore
from docvlm.vlms.prepare import apply
from docvlm.vlms.trainable import Lora
from tests.data.test_packing import embedded, gradients, prepared
from tests.support.tiny import Paper, example, load

SIDE = 28
COUNTS = (1, 2, 3, 5, 8)


def document(count: int, questions: int = 2) -> list[Example]:
    """Questions about so many pages of different sizes."""
    pages = tuple(Paper(f"{count}-{n}", 84 + 28 * (n % 3), 56 + 28 * (n % 2)) for n in range(count))
    asked = [example(10 * count + n, pages=pages) for n in range(questions)]
    return [replace(one, question=f"What is on page {n + 1}?") for n, one in enumerate(asked)]


def mixed(*, say_numbers: bool) -> list[Example]:
    asked = [one for count in COUNTS for one in document(count)]
    return [numbered(one) for one in asked] if say_numbers else asked


@pytest.mark.parametrize("say_numbers", [False, True], ids=["plain", "numbered"])
@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl"])
def test_loss_and_gradients_of_one_to_eight_pages(family: str, say_numbers: bool) -> None:
    vlm = prepared(family, 100, Lora(4))
    asked = mixed(say_numbers=say_numbers)
    plain_loss, plain = gradients(vlm, vlm.codec.train_batch(asked))
    packed_loss, packed = gradients(vlm, vlm.codec.packed_batch(asked))
    assert packed_loss == pytest.approx(plain_loss, rel=2e-6)
    away = sum((packed[name] - gradient).square().sum() for name, gradient in plain.items())
    assert away <= 1e-10 * sum(gradient.square().sum() for gradient in plain.values())


@pytest.mark.parametrize("family", ["qwen2vl", "qwen3vl"])
def test_answers_of_one_to_eight_pages(family: str) -> None:
    vlm = embedded(family)
    asked = mixed(say_numbers=True)
    alone = [vlm.generate(vlm.codec.prompt_batch([one]), 6)[0] for one in asked]
    assert vlm.generate(vlm.codec.eval_batch(asked).prompts, 6) == alone


def test_lengths_are_the_tokens_of_rows() -> None:
    codec = load("qwen2vl").codec
    for say_numbers in (False, True):
        for asked in mixed(say_numbers=say_numbers):
            sized = replace(asked, pages=tuple(Sized(page.name, page.width, page.height) for page in papers(asked)))
            found = codec.lengths([sized])
            assert int(found.pages[0] + found.own[0]) == codec.train_batch([asked])["input_ids"].shape[1]


class Sized(Paper):
    """A page that says its size, as pages in files do."""

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


def papers(asked: Example) -> list[Paper]:
    return [page for page in asked.pages if isinstance(page, Paper)]


def page_sizes(codec: object, asked: Example) -> list[int]:
    """Pixels of each page as the model sees it."""
    grid = codec.prompt_batch([asked])["image_grid_thw"]  # type: ignore[attr-defined]
    return [int(one) * 14 * 14 for one in grid.prod(-1)]


def test_a_budget_of_documents_is_shared_by_their_pages() -> None:
    pages = tuple(Paper(f"p{n}", 560, 560) for n in range(4))
    codec = load("qwen2vl", Budget(784, 300_000, document_pixels=200_000)).codec
    asked = example(0, pages=pages)
    assert all(size <= 50_000 for size in page_sizes(codec, asked))
    assert sum(page_sizes(codec, asked)) > 150_000, "and it is used"
    (alone,) = page_sizes(codec, replace(asked, pages=pages[:1]))
    assert 50_000 < alone <= 200_000
    sized = replace(asked, pages=tuple(Sized(p.name, 560, 560) for p in pages))
    assert int(codec.lengths([sized]).pages[0]) < sum(page_sizes(codec, asked)) // SIDE**2 + 40


def test_documents_of_different_length_share_a_batch_at_their_own_budgets() -> None:
    vlm = load("qwen2vl", Budget(784, 300_000, document_pixels=60_000))
    apply(vlm, 100, Lora(4))
    asked = mixed(say_numbers=False)
    plain_loss, _ = gradients(vlm, vlm.codec.train_batch(asked))
    assert gradients(vlm, vlm.codec.packed_batch(asked))[0] == pytest.approx(plain_loss, rel=2e-6)


def test_a_stored_page_is_of_the_budget_it_was_shown_at(tmp_path: Path) -> None:
    """The same page stands alone and in a document of four: the store must not mix the two."""
    vlm = load("qwen2vl", Budget(784, 300_000, document_pixels=60_000))
    apply(vlm, 100, Lora(4))
    page = Paper("shared", 280, 280)
    alone = example(0, pages=(page,))
    together = example(1, pages=(page, *(Paper(f"other{n}", 280, 280) for n in range(3))))
    wanted = [gradients(vlm, vlm.codec.packed_batch([one]))[0] for one in (alone, together)]
    store = FeatureStore(tmp_path, 1 << 30)
    vlm.codec.stored = Stored(store, torch.float32, torch.float32)
    for _ in range(2):  # computed and kept, then read
        found = [gradients(vlm, vlm.codec.packed_batch([one]))[0] for one in (alone, together)]
        assert found == pytest.approx(wanted, rel=2e-6)
        store.flush()
    assert "features" in vlm.codec.packed_batch([together])


def test_more_pages_than_the_budget_has_tokens_is_one_line() -> None:
    codec = load("qwen2vl", Budget(784, 300_000, document_pixels=2000)).codec
    asked = example(0, pages=tuple(Sized(f"p{n}", 280, 280) for n in range(3)))
    refused = codec.refusal(asked, 8)
    assert refused is not None and "document_pixels" in str(refused) and "\n" not in str(refused)
    with pytest.raises(DocvlmError, match=r"budget\.document_pixels=100"):
        load("qwen2vl", Budget(784, 300_000, document_pixels=100))


def test_how_documents_were_read_is_saved_with_the_weights(tmp_path: Path) -> None:
    vlm = load("qwen2vl", Budget(784, 300_000, document_pixels=60_000))
    apply(vlm, 100, Lora(4))
    vlm.codec.reading = Reading("best", page_numbers=True)
    saved.save(vlm, tmp_path / "best")
    again = saved.load(tmp_path / "best")
    assert again.codec.reading == Reading("best", page_numbers=True)
    assert again.codec.budget.document_pixels == 60_000
    again.set_budget(Budget(784, 100_000))
    assert again.codec.reading.pages == "best", "another budget is no other reading"
