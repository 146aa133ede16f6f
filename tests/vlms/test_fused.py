"""What is done in fewer passes over memory has the values and gradients of the library's own operations."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen25
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2
from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3

from docvlm.vlms import lora_linear
from docvlm.vlms.fused import Rotation
from docvlm.vlms.lora_linear import use_one_sum
from docvlm.vlms.qwen2vl.branches import _WithFirst
from docvlm.vlms.qwen2vl.recompute import use_recompute

Run = Callable[[nn.Module], Tensor]


def gradients(run: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The output, and the gradient of each input under a fixed direction."""
    leaves = [one.detach().clone().requires_grad_() for one in inputs]
    out = run(*leaves)
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out).roll(3, -1))
    return [out.detach(), *(one.grad for one in leaves if one.grad is not None)]


def assert_equal(found: list[Tensor], expected: list[Tensor], away: float = 2e-6) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert (one - other).abs().max() <= away * other.abs().max()


NORMS = [qwen2.Qwen2VLRMSNorm, qwen25.Qwen2_5_VLRMSNorm, qwen3.Qwen3VLTextRMSNorm]


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.__name__)
@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")])
def test_a_norm(norm: type[nn.Module], dtypes: tuple[str, str]) -> None:
    of_x, of_weight = (getattr(torch, name) for name in dtypes)
    stock = nn.Sequential(norm(24)).to(of_weight)
    nn.init.uniform_(stock[0].weight, 0.5, 2)
    fast = copy.deepcopy(stock)
    use_recompute(fast)
    assert type(fast[0]) is not norm
    x = 30 * torch.randn(2, 5, 24, dtype=of_x)
    found, expected = ([*gradients(net, x), net[0].weight.grad] for net in (fast, stock))
    assert_equal(found, expected, 2e-6 if of_x == torch.float32 else 2e-2)
    with torch.no_grad():
        assert torch.equal(fast(x), stock(x))


@pytest.mark.parametrize("act", ["silu", "gelu"])
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16 autocast"])
def test_a_gated_product(act: str, autocast: bool) -> None:
    config = qwen2.Qwen2VLTextConfig(hidden_size=16, intermediate_size=40, hidden_act=act)
    stock = nn.Sequential(qwen2.Qwen2MLP(config))
    fast = copy.deepcopy(stock)
    use_recompute(fast)
    x = torch.randn(2, 7, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, expected = (gradients(net, x) for net in (fast, stock))
    assert_equal(found, expected, 2e-2 if autocast else 2e-6)
    assert_equal(*([p.grad for p in net.parameters()] for net in (fast, stock)), 2e-2 if autocast else 2e-6)


def test_a_rotation_whose_halves_have_angles_of_their_own() -> None:
    cos, sin = torch.randn(2, 2, 1, 5, 8)

    def stock(heads: Tensor) -> Tensor:
        return heads * cos + qwen2.rotate_half(heads) * sin

    heads = torch.randn(2, 5, 3, 8).transpose(1, 2)
    assert_equal(gradients(lambda x: Rotation.apply(x, cos, sin), heads), gradients(stock, heads))


def test_the_first_columns_and_all() -> None:
    part = torch.randn(2, 3, 7, 4)

    def joined(first: Tensor, whole: Tensor) -> Tensor:
        return torch.cat([first * 2, whole.square()], dim=2)

    found = gradients(lambda x: joined(*_WithFirst.apply(x, 4)), part)
    assert_equal(found, gradients(lambda x: joined(x[:, :, :4], x), part))


class Net(nn.Module):
    """One layer with an adapter."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 20, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


def adapted(bias: bool = True, **options: object) -> tuple[PeftModel, PeftModel]:
    """The same net with PEFT's layers and with ours; B is away from zero."""
    torch.manual_seed(0)
    stock = get_peft_model(Net(bias), LoraConfig(r=4, lora_alpha=6, target_modules=["layer"], **options))
    for name, parameter in stock.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    fast = copy.deepcopy(stock)
    use_one_sum(fast)
    return fast, stock


def learned(net: PeftModel, x: Tensor) -> list[Tensor]:
    """Output and gradients of the input and of what learns."""
    torch.manual_seed(1)
    return [*gradients(net, x), *(p.grad for p in net.parameters() if p.grad is not None)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16 autocast"])
def test_an_adapter_is_added_where_the_base_is(bias: bool, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, stock = adapted(bias)
    calls: list[object] = []
    apply = lora_linear.LoraLinear.apply
    monkeypatch.setattr(lora_linear.LoraLinear, "apply", lambda *parts: calls.append(1) or apply(*parts))
    x = torch.randn(3, 5, 12)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert_equal(learned(fast, x), learned(stock, x), 3e-2 if autocast else 2e-6)
    assert calls
    with torch.no_grad():
        assert torch.equal(fast(x), stock(x)) and len(calls) == 1


def _disabled(net: PeftModel) -> None:
    net.disable_adapter_layers()


def _merged(net: PeftModel) -> None:
    net.merge_adapter()


def _two(net: PeftModel) -> None:
    net.add_adapter("other", LoraConfig(r=2, target_modules=["layer"], init_lora_weights=False))
    net.base_model.set_adapter(["default", "other"])
    use_one_sum(net)


def _base_learns(net: PeftModel) -> None:
    net.get_submodule("base_model.model.layer.base_layer").requires_grad_(True)


UNUSUAL: dict[str, tuple[dict[str, object], Callable[[PeftModel], None] | None]] = {
    "dropout": ({"lora_dropout": 0.5}, None),
    "dora": ({"use_dora": True}, None),
    "bias of its own": ({"lora_bias": True}, None),
    "rank-stabilised": ({"use_rslora": True}, None),
    "disabled": ({}, _disabled),
    "merged": ({}, _merged),
    "two at once": ({}, _two),
    "base learns": ({}, _base_learns),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_an_unusual_layer_is_pefts_own(case: str) -> None:
    options, change = UNUSUAL[case]
    fast, stock = adapted(**options)
    for net in (fast, stock):
        torch.manual_seed(2)
        if change is not None:
            change(net)
    if case == "two at once":
        stock.get_submodule("base_model.model.layer").__class__ = type(
            fast.get_submodule("base_model.model.layer")
        ).__base__
    x = torch.randn(3, 5, 12)
    assert_equal(learned(fast, x), learned(stock, x))
