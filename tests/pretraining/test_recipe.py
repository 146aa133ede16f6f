"""The embedded recipe: shared-page batches equal plain ones, pages are the same everywhere, the schedule."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file
from transformers import Qwen2VLConfig

from docvlm.data.example import Example
from docvlm.vlms import embedded, load_family
from docvlm.vlms.base import VLM
from docvlm.vlms.codec import Budget
from docvlm.vlms.embedded import checkpoint
from pretraining import recipe
from pretraining.architecture import set_vision_theta, untrained
from pretraining.attention import fast_vision
from pretraining.batches import BATCHERS, READ, Answers, Qwen2VLBatcher, branches
from pretraining.layouts import KINDS, draw
from pretraining.muon import Muon
from pretraining.placing import Placement
from pretraining.positions import show_positions
from pretraining.recipe import STAGES, Stage, Stream, correct, evaluate, rate
from tests.support.tiny import MINIATURES

BUDGETS = {"qwen2vl": Budget(min_pixels=3136, max_pixels=200_000), "florence2": Budget(height=168, width=280)}


FLOORS = {
    "qwen2vl": {"form": 0.78, "invoice": 0.92, "table": 0.88, "chart": 0.82, "read": 0.9},
    "florence2": {"form": 0.7, "invoice": 0.88, "table": 0.45, "chart": 0.6, "read": 0.8},
}


@dataclass(frozen=True)
class Drawn:
    """A base page as the `Page` of an example."""

    seed: int
    kind: str

    @property
    def name(self) -> str:
        return f"base page {self.seed} {self.kind}"

    def open(self) -> Image:
        return draw(self.seed, 0, self.kind).image()


@pytest.fixture(scope="module", params=sorted(MINIATURES))
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    for part in untrained(request.param):
        part.save_pretrained(folder)
    return load_family(request.param).load(folder, BUDGETS[request.param], offline=True).eval()


def answer_losses(answers: Answers) -> dict[int, float]:
    """Summed loss of each answer, by its index in `kinds`."""
    losses = torch.nn.functional.cross_entropy(answers.logits, answers.labels, reduction="none")
    return {index: losses[answers.owner == index].sum().item() for index in range(len(answers.kinds))}


@torch.no_grad()
def test_shared_pages_give_the_loss_of_plain_sequences(vlm: VLM) -> None:
    """Every branch of a shared page costs what the question alone costs through the public model."""
    batcher = BATCHERS[vlm.family](vlm.net, vlm.codec.processor)
    pages = [draw(seed, 0, kind) for seed, kind in enumerate(KINDS)]
    for number, page in enumerate(pages):
        page.questions, page.transcribed = page.questions[:3], number != 1
    shared = answer_losses(batcher.answers(batcher(pages)))
    plain = []
    for seed, (kind, page) in enumerate(zip(KINDS, pages, strict=True)):
        for branch, ask, answer in branches(page):
            example = Example("q", ask, (answer,), "d", (Drawn(seed, kind),), "base")
            if vlm.family == "florence2":
                example = Example("q", ask.split("\n")[0], (answer,), "d", (Drawn(seed, kind),), "base")
            plain.append((branch != "read", vlm.loss(vlm.codec.train_batch([example]))[0].item()))
    if vlm.family == "florence2":  # its rows are sorted: transcriptions first
        plain.sort(key=lambda pair: pair[0])
    assert list(shared.values()) == pytest.approx([loss for _, loss in plain], rel=2e-5)


@torch.no_grad()
def test_fast_vision_changes_no_number() -> None:
    torch.manual_seed(0)
    net, processor = untrained("qwen2vl")
    batcher = Qwen2VLBatcher(net, processor)
    batch = batcher([draw(1, 0, "form"), draw(2, 0, "table")])
    before = batcher.answers(batch).logits
    fast_vision(net)
    assert torch.allclose(batcher.answers(batch).logits, before, atol=2e-5)


def test_a_page_is_the_same_everywhere_and_answers_stand_on_it() -> None:
    for kind in KINDS:
        first, again = draw(3, 7, kind), draw(3, 7, kind)
        assert first.image().tobytes() == again.image().tobytes()
        assert first.questions == again.questions
        assert draw(3, 8, kind).transcription != first.transcription
        for _, answer in first.questions:
            assert answer in first.transcription


def test_a_step_of_the_curriculum_is_a_function_of_its_number() -> None:
    net, processor = untrained("qwen2vl")
    stages = STAGES["qwen2vl"]
    stream = Stream(Qwen2VLBatcher(net, processor), stages, seed=5)
    assert torch.equal(stream[3]["input_ids"], stream[3]["input_ids"])
    assert not torch.equal(stream[3]["labels"], stream[4]["labels"])
    assert [len(stream.pages(step)) for step in (0, stages[0].steps)] == [stages[0].batch, stages[1].batch]
    assert READ in processor.tokenizer.decode(stream[0]["input_ids"][0])
    last = Stream(None, STAGES["florence2"], seed=5).pages(sum(stage.steps for stage in STAGES["florence2"]) - 1)
    assert 0 < sum(page.transcribed for page in last) < len(last) and max(len(page.questions) for page in last) > 4


def test_a_placed_page_keeps_all_its_text_and_leaves_the_grid() -> None:
    """Every character is still on the page: what is dark weighs as much, less the scale."""
    page = draw(3, 7, "lines", 20, 6)
    page.canvas = replaced = type(page.canvas)(20, 6)  # without noise, whose sum is not ink
    for row in range(6):
        replaced.text(row, 0, "M" * 20)
    image = page.image()
    ink = (255 - np.asarray(image, np.float64)).sum()
    for number in range(40):
        page.placement = Placement.drawn(Random(number), image.size, 1.0)
        placed = page.image()
        assert placed.size == image.size
        kept = (255 - np.asarray(placed, np.float64)).sum() / (page.placement.across * page.placement.down)
        assert kept == pytest.approx(ink, rel=0.03)
        assert abs(np.asarray(placed, np.int16) - np.asarray(image, np.int16)).mean() > 5
    page.placement = Placement.drawn(Random(1), image.size, 0.0)
    assert np.array_equal(np.asarray(page.image()), np.asarray(image))


def test_pages_lie_further_and_further_off_the_grid() -> None:
    stages = (Stage(20, 6, 100, 24, 0.1, moved=0.5),)
    stream = Stream(None, stages, seed=5)
    turns = [
        [abs(page.placement.turn) for page in stream.pages(step) if page.placement is not None] for step in (0, 99)
    ]
    assert max(turns[0]) < 0.1 < max(turns[1])
    assert 4 < len(turns[1]) < 20
    assert all(page.placement is None for page in Stream(None, STAGES["florence2"], seed=5).pages(0))


def test_later_stages_begin_as_far_off_the_grid_as_the_one_before_ended() -> None:
    stages = (Stage(20, 6, 100, 24, 0.1, moved=0.5), Stage(20, 6, 100, 24, 0.1, moved=0.5))
    stream = Stream(None, stages, seed=5)
    assert stream.first_step(1) == 100
    first = [abs(page.placement.turn) for page in stream.pages(100) if page.placement is not None]
    assert max(first) > 0.5


def test_the_recipe_goes_on_from_a_checkpoint_at_a_later_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the last stage is trained, with its theta; the config that is saved says so."""
    torch.manual_seed(3)
    source, out = tmp_path / "source", tmp_path / "out"
    for part in untrained("qwen2vl"):
        part.save_pretrained(source)
    stages = (Stage(8, 1, 7, 2, 1.0, theta=100.0), Stage(8, 1, 2, 2, 1.0, rate=0.01, theta=300.0))
    monkeypatch.setitem(recipe.STAGES, "qwen2vl", stages)
    monkeypatch.setattr(recipe, "evaluate", lambda *_, **__: {})
    command = ["recipe", "qwen2vl", "--out", str(out), "--no-compile"]
    monkeypatch.setattr("sys.argv", [*command, "--continue-from", str(source)])
    threads = torch.get_num_threads()
    recipe.main()
    torch.set_num_threads(threads)
    assert json.loads((out / "log.jsonl").read_text()) == {"step": 9, "final": {"moved": {}}}
    config = json.loads((out / "checkpoint" / "config.json").read_text())["vision_config"]
    assert config["rope_parameters"]["rope_theta"] == 300.0
    before, after = (load_file(place / "model.safetensors") for place in (source, out / "checkpoint"))
    name = "model.layers.0.self_attn.q_proj.weight"
    assert 0 < (before[name] - after[name].float()).abs().max() < 0.01
    refusals = {"only with --continue-from": ["--stage", "2"], "1 to 2": ["--continue-from", "x", "--stage", "3"]}
    for said, wrong in refusals.items():
        monkeypatch.setattr("sys.argv", [*command, *wrong])
        with pytest.raises(SystemExit):
            recipe.main()
        assert said in capsys.readouterr().err


def test_the_checkpoint_is_the_mean_of_the_ends_that_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = tuple(Stage(8, 1, 2, 2, 1.0, averaged=counts) for counts in (False, True, True))
    monkeypatch.setattr(recipe, "evaluate", lambda *_, **__: {})
    recipe.train("qwen2vl", tmp_path, 1, stages, 0.02, 3e-3, compiled=False)
    ends = [torch.load(tmp_path / f"end-{step}.pt", weights_only=True) for step in (4, 6)]
    assert not (tmp_path / "end-2.pt").exists()
    saved = load_file(tmp_path / "checkpoint" / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    first, second = (end["model.language_model.layers.0.self_attn.q_proj.weight"] for end in ends)
    assert not torch.equal(first, second)
    assert torch.equal(saved, ((first + second) / 2).bfloat16())


def test_the_shipped_vision_tower_turns_by_the_published_theta() -> None:
    """vLLM, OpenVINO's exporter and transformers before 5.6 take no other, whatever the config says."""
    config = json.loads((embedded.checkpoint("qwen2vl") / "config.json").read_text())
    default = Qwen2VLConfig().vision_config.rope_parameters
    assert config["vision_config"]["rope_parameters"] == default == {"rope_type": "axial", "rope_theta": 10_000.0}
    assert recipe.STAGES["qwen2vl"][-1].theta == 10_000.0


@torch.no_grad()
def test_another_theta_is_heard_and_stands_in_the_config() -> None:
    torch.manual_seed(0)
    net, processor = untrained("qwen2vl")
    batcher = Qwen2VLBatcher(net, processor)
    batch = batcher([draw(1, 0, "form")])
    published = batcher.answers(batch).logits
    set_vision_theta(net, 100.0)
    assert net.config.to_dict()["vision_config"]["rope_parameters"]["rope_theta"] == 100.0
    assert not torch.allclose(batcher.answers(batch).logits, published, atol=1e-4)
    set_vision_theta(net, 10_000.0)
    assert torch.equal(batcher.answers(batch).logits, published)


def test_rate_warms_up_holds_and_decays() -> None:
    stage = Stage(20, 6, 1000, 16, 0.0, rate=0.5, fall=0.25)
    rates = [rate(step, stage) for step in range(1000)]
    assert rates[0] == pytest.approx(0.5 / 50)
    assert rates[50] == rates[700] == 0.5
    assert rates[900] == pytest.approx(0.2)
    assert rates[-1] == pytest.approx(0.01)


def test_muon_steps_as_pytorchs_does() -> None:
    """Apart from the rounding of bf16, in which PyTorch's orthogonalises."""
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((8, 24), (24, 8), (8, 24), (16, 16))]
    theirs = [torch.nn.Parameter(one.detach().clone()) for one in ours]
    before = [one.detach().clone() for one in ours]
    settings: dict[str, float] = {"lr": 0.1, "momentum": 0.95, "weight_decay": 0.1}
    mine, reference = Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        mine.step()
        reference.step()
    for one, other, start in zip(ours, theirs, before, strict=True):
        assert (one - other).norm() < 0.03 * (other - start).norm()


def test_an_answer_is_correct_only_when_all_its_tokens_are() -> None:
    logits = torch.eye(4)[[0, 1, 2, 3]]
    answers = Answers(logits, torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 1, 1]), ["form", "form"])
    assert correct(answers) == {"form": [True, False]}


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(FLOORS))
def test_the_embedded_checkpoint_reads(family: str) -> None:
    """Exact match on pages no training step has drawn; the floors lie well under what `make base` logged."""
    vlm = load_family(family).load(checkpoint(family), BUDGETS[family], offline=True).eval()
    batcher = BATCHERS[family](vlm.net, vlm.codec.processor)
    found = evaluate(batcher, pages=16, seed=77)
    assert {kind: found[kind] for kind in FLOORS[family] if found[kind] < FLOORS[family][kind]} == {}


OFF_THE_GRID = {
    "qwen2vl": {"form": 0.42, "invoice": 0.58, "table": 0.6, "chart": 0.52},
    "florence2": {"form": 0.42, "invoice": 0.65, "table": 0.3, "chart": 0.45},
}


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(OFF_THE_GRID))
def test_the_embedded_checkpoint_reads_off_the_grid(family: str) -> None:
    """A page that is smaller, turned by up to two degrees and anywhere in its frame is harder, and not lost."""
    vlm = load_family(family).load(checkpoint(family), BUDGETS[family], offline=True).eval()
    found = evaluate(BATCHERS[family](vlm.net, vlm.codec.processor), pages=16, moved=1.0, seed=77)
    floors = OFF_THE_GRID[family]
    assert {kind: found[kind] for kind in floors if found[kind] < floors[kind]} == {}


@pytest.mark.parametrize("family", sorted(MINIATURES))
def test_the_embedded_checkpoint_is_what_the_recipe_builds(family: str) -> None:
    """Same architecture, processor files, and small enough to ship."""
    folder = checkpoint(family)
    model, _ = untrained(family)
    vlm = load_family(family).load(folder, BUDGETS[family], offline=True)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    assert {name: parameter.shape for name, parameter in vlm.bare.named_parameters()} == shapes
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12 * 2**20


@torch.no_grad()
def test_positions_are_heard_through_a_loud_tower() -> None:
    """Before, moving a feature to another row changes next to nothing after the projector; afterwards it does."""
    torch.manual_seed(0)
    net, processor = untrained("florence2")
    net.eval()
    pixels = BATCHERS["florence2"](net, processor)([draw(1, 0, "form")])["pixel_values"]
    projector, loud = net.model.multi_modal_projector, 1000 * torch.randn(1, 128, 1, 1).expand(1, 128, 6, 10)

    def between_rows() -> float:
        tokens = projector(loud)[0, 1:].unflatten(0, (6, 10))
        return float((tokens[0, 0] - tokens[5, 0]).norm() / tokens[0, 0].norm())

    before = between_rows()
    spread = show_positions(net, pixels)
    for table in (projector.image_position_embed.row_embeddings, projector.image_position_embed.column_embeddings):
        table.weight.mul_(1000 / spread)  # as if this tower were as loud
    assert before < 0.01 < 0.1 < between_rows()
