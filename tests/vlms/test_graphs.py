"""The parts of a model for another runtime are the model: Qwen2-VL's with masks and a cache, Florence-2's three."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Florence2ForConditionalGeneration, Qwen2VLForConditionalGeneration

from docvlm.errors import DocvlmError
from docvlm.vlms.florence2.graphs import graphs as florence_graphs
from docvlm.vlms.qwen2vl.graphs import Graph, graphs
from tests.support.tiny import Paper, checkpoint, example, load

GRIDS = ((4, 6), (8, 2))  # rows and columns of patches


@pytest.fixture(scope="module")
def net() -> Any:
    return Qwen2VLForConditionalGeneration.from_pretrained(checkpoint("qwen2vl"), dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def parts(net: Any) -> dict[str, Graph]:
    return graphs(net)


def angles(rows: int, columns: int, half: int, merge: int = 2) -> Tensor:
    """What OpenVINO GenAI gives the tower: row and column of each patch, in blocks that are merged, times frequencies.

    Its theta is 10 000 for every checkpoint.
    """
    inverse = 10000.0 ** (-torch.arange(half // 2) / (half // 2))
    blocks = [(row, column) for row in range(0, rows, merge) for column in range(0, columns, merge)]
    places = [(row + i, column + j) for row, column in blocks for i in range(merge) for j in range(merge)]
    return torch.tensor([[*(row * inverse).tolist(), *(column * inverse).tolist()] for row, column in places])


@torch.no_grad()
def test_the_tower_reads_pages_as_the_model_does(net: Any, parts: dict[str, Graph]) -> None:
    counts = [rows * columns for rows, columns in GRIDS]
    pixels = torch.randn(sum(counts), parts["vision_embeddings"].example[0].shape[1])
    tower = parts["vision_embeddings_merger"]
    half = tower.shapes["rotary_pos_emb"][1]
    mask = torch.block_diag(*(torch.ones(count, count) for count in counts)).log()[None]  # 0 within, -inf between
    turned = torch.cat([angles(*grid, half) for grid in GRIDS])
    mine = tower.module(parts["vision_embeddings"].module(pixels), mask, turned)
    grid = torch.tensor([[1, rows, columns] for rows, columns in GRIDS])
    theirs = torch.cat(tuple(net.model.get_image_features(pixels, grid).pooler_output))
    assert torch.allclose(mine, theirs, atol=1e-4) and mine.shape == (
        sum(counts) // 4,
        net.config.text_config.hidden_size,
    )
    assert not torch.allclose(
        tower.module(parts["vision_embeddings"].module(pixels), mask * 0, turned * 0), theirs, atol=1e-2
    )


@torch.no_grad()
def test_the_language_side_goes_on_from_its_cache(net: Any, parts: dict[str, Graph]) -> None:
    graph, text = parts["language"], net.config.text_config
    embeddings = torch.randn(2, 7, text.hidden_size)
    positions = torch.stack(
        [torch.arange(7).expand(2, 7), torch.tensor([0, 1, 1, 2, 2, 3, 4]).expand(2, 7), torch.arange(7).expand(2, 7)]
    )
    hidden = net.model.language_model(
        inputs_embeds=embeddings, position_ids=positions, use_cache=False
    ).last_hidden_state
    whole = net.lm_head(hidden)
    heads, head = graph.example[3].shape[1], graph.example[3].shape[3]
    cache = [torch.zeros(2, heads, 0, head) for _ in graph.cached]
    for first, last in ((0, 5), (5, 6), (6, 7)):
        seen = torch.ones(2, last, dtype=torch.long)
        logits, *cache = graph.module(seen, positions[:, :, first:last], embeddings[:, first:last], *cache)
        assert torch.allclose(logits, whole[:, first:last], atol=1e-3)
    assert all(state.shape == (2, heads, 7, head) for state in cache) and len(cache) == 2 * text.num_hidden_layers
    assert list(graph.shapes)[3:] == [f"past_key_values.{name}" for name in graph.cached]
    assert graph.outputs == ("logits", *(f"present.{name}" for name in graph.cached))


def test_attention_with_windows_is_refused(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ["sliding_attention", *net.config.text_config.layer_types[1:]]
    monkeypatch.setattr(net.config.text_config, "layer_types", kinds)
    with pytest.raises(DocvlmError, match="layer_types has sliding_attention; only full_attention is read"):
        graphs(net)


@torch.no_grad()
def test_a_page_a_question_and_steps_are_florence(monkeypatch: pytest.MonkeyPatch) -> None:
    net: Any = Florence2ForConditionalGeneration.from_pretrained(checkpoint("florence2"), dtype=torch.float32).eval()
    codec, asked = load("florence2").codec, example(0, pages=(Paper("invoice", 500, 340),))
    images = codec.processor.image_processor
    monkeypatch.setattr(images, "image_mean", [0.4, 0.5, 0.6])  # no channel like another
    parts = florence_graphs(net, codec.processor)
    assert [name for name, graph in parts.items() if graph.language] == ["encoder", "decoder"]
    ids, (page,) = codec.ids_and_pages(asked)
    pixels = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8).reshape(parts["vision"].shapes["pixels"])
    batch = codec.prompt_batch([asked])
    features = parts["vision"].module(pixels)
    assert torch.allclose(features, net.model.get_image_features(batch["pixel_values"]).pooler_output, atol=1e-4)
    cross = parts["encoder"].module(features, torch.tensor([ids]))
    said = torch.tensor([[2, 0, 11, 7, 13, 9]])
    whole = net(**batch, decoder_input_ids=said).logits
    decoder = parts["decoder"]
    cache = [torch.zeros(1, *keys.shape[1:2], 0, keys.shape[3]) for keys in cross]
    for first, last in ((0, 2), (2, 5), (5, 6)):
        logits, *cache = decoder.module(said[:, first:last], *cross, *cache)
        assert torch.allclose(logits[:, 0], whole[:, last - 1], atol=1e-3)
    assert list(decoder.shapes) == [
        "input_ids",
        *parts["encoder"].outputs,
        *(f"past_key_values.{n}" for n in decoder.cached),
    ]
    assert whole.std() > 1 and not torch.allclose(whole[:, 1], whole[:, 4], atol=0.1)
