"""Weights to which the model's code lets no gradient back are a base that stays as it is; others are drawn."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import fanwise
import fanwise.torch as fwt
from fanwise.graph.frozen import stops_gradient
from fanwise.graph.inputs import Inputs
from fanwise.torch.trace.run import run

Forward = Callable[[nn.Linear, Tensor], Tensor]
KEY = fanwise.Key(7)


class Adapted(nn.Module):
    """A map, in one of several spellings, and a side path of low rank beside it."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.base, self.head = nn.Linear(32, 32), nn.Linear(32, 5)
        self.down, self.up = nn.Linear(32, 4, bias=False), nn.Linear(4, 32, bias=False)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        """Scores of five classes."""
        return self.head(functional.relu(self._forward(self.base, x) + self.up(self.down(x))))  # type: ignore[no-any-return]


def _detach(base: nn.Linear, x: Tensor) -> Tensor:
    return functional.linear(x, base.weight.detach(), base.bias.detach())


def _data(base: nn.Linear, x: Tensor) -> Tensor:
    return torch.addmm(base.bias.data, x, base.weight.data.t())


def _moved(base: nn.Linear, x: Tensor) -> Tensor:
    return x @ base.weight.t().contiguous().detach() + base.bias.detach()


def _rows(base: nn.Linear, x: Tensor) -> Tensor:
    kept = base.weight.detach()
    return torch.cat([x @ kept[:16].t(), x @ kept[16:].t()], dim=1)


def _no_grad(base: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad():
        return base(x)  # type: ignore[no-any-return]


def _decorated(base: nn.Linear, x: Tensor) -> Tensor:
    return torch.no_grad()(base)(x)  # type: ignore[no-any-return]


def _mode(base: nn.Linear, x: Tensor) -> Tensor:
    with torch.set_grad_enabled(mode=False):
        return base(x)  # type: ignore[no-any-return]


def _inference(base: nn.Linear, x: Tensor) -> Tensor:
    with torch.inference_mode():
        y = base(x)
    return y.clone()  # type: ignore[no-any-return]


@pytest.mark.parametrize("forward", [_detach, _data, _moved, _rows, _no_grad, _decorated, _mode, _inference])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_base_without_gradient_is_left_and_its_side_path_adds_nothing(forward: Forward, device: str) -> None:
    model = Adapted(forward).to(device)
    laws = {row.path: row.law for row in fwt.plan(model, torch.ones(8, 32, device=device)).rows}
    assert laws["base.weight"] is None
    assert laws["head.weight"] is not None
    assert str(laws["up.weight"]) == "Zeros()", laws["up.weight"]


@pytest.mark.parametrize("forward", [_detach, _no_grad])
def test_apply_keeps_what_the_base_does(forward: Forward) -> None:
    model = Adapted(forward)
    x = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    before = model.base(x)
    fwt.apply(model, fwt.plan(model, x), KEY)
    assert torch.equal(before, forward(model.base, x) + model.up(model.down(x)))


def _clipped(base: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad():
        base.weight.clamp_(-1, 1)
    return base(x)  # type: ignore[no-any-return]


def _straight_through(base: nn.Linear, x: Tensor) -> Tensor:
    rounded = torch.round(base.weight * 64) / 64
    return functional.linear(x, base.weight + (rounded - base.weight).detach())


def _centred(base: nn.Linear, x: Tensor) -> Tensor:
    return functional.linear(x, base.weight - base.weight.mean(dim=1, keepdim=True).detach(), base.bias)


def _inside(base: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad(), torch.enable_grad():
        return base(x)  # type: ignore[no-any-return]


def _afterwards(base: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = x * 2
    return base(x / 2)  # type: ignore[no-any-return]


class _Recomputed(torch.autograd.Function):
    """A map that is run again in the backward pass, as reversible layers and checkpoints are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, base: nn.Linear, weight: Tensor) -> Tensor:
        """The map."""
        ctx.base = base
        ctx.save_for_backward(x.detach(), weight)
        with torch.no_grad():
            return base(x.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor]:
        """The gradients of the input and of the weight."""
        x, weight = (tensor.detach().requires_grad_() for tensor in ctx.saved_tensors)
        with torch.enable_grad():
            y = functional.linear(x, weight)
        first, second = torch.autograd.grad(y, (x, weight), gradient)
        return first, None, second


def _function(base: nn.Linear, x: Tensor) -> Tensor:
    return _Recomputed.apply(x, base, base.weight)  # type: ignore[no-any-return]


def _checkpoint(base: nn.Linear, x: Tensor) -> Tensor:
    x = x if x.requires_grad else x.clone().requires_grad_()
    return checkpoint(base, x, use_reentrant=True)  # type: ignore[no-any-return]


def _recomputed(base: nn.Linear, x: Tensor) -> Tensor:
    return checkpoint(base, x, use_reentrant=False)  # type: ignore[no-any-return]


def _both(base: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad():
        target = base(x)
    return base(x) - 0.5 * target  # type: ignore[no-any-return]


def _cast(base: nn.Linear, x: Tensor) -> Tensor:
    return base.to(x.dtype)(x)  # type: ignore[no-any-return]


def _moved_under_no_grad(base: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad():
        base.weight.contiguous()
    return base(x)  # type: ignore[no-any-return]


TRAINED = [
    _cast,
    _moved_under_no_grad,
    _clipped,
    _straight_through,
    _centred,
    _inside,
    _afterwards,
    _both,
    _function,
    _checkpoint,
    _recomputed,
]


@pytest.mark.parametrize("forward", TRAINED)
def test_a_weight_that_is_trained_somewhere_is_drawn(forward: Forward) -> None:
    model = Adapted(forward)
    x = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    model(x).square().sum().backward()
    assert model.base.weight.grad is not None  # autograd itself says that it is trained
    laws = {row.path: row.law for row in fwt.plan(model, x).rows}
    assert laws["base.weight"] is not None


@pytest.mark.parametrize("around", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_mode_around_the_run_says_nothing(around: Callable[[], torch.no_grad]) -> None:
    model = Adapted(lambda base, x: base(x))
    with around():
        trace = run(model, Inputs((torch.ones(8, 32),)))
    assert not any(stops_gradient(use) for op in trace.ops for use in op.uses)


class Field(nn.Module):
    """A network that gives a derivative of its own: a force, Hamilton's equations, a residual of an equation."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Derivatives at places of shape (n, 2)."""
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            value = self.body(x)
            (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
            if self.kind == "force":
                return -first
            if self.kind == "hamiltonian":
                return torch.stack([first[:, 1], -first[:, 0]], dim=1)
            (second,) = torch.autograd.grad(first[:, 0].sum(), x, create_graph=True)
        return first[:, 1:] + value * first[:, :1] - 0.01 * second[:, :1]


@pytest.mark.parametrize("kind", ["force", "hamiltonian", "residual"])
def test_a_forward_that_asks_for_gradients_is_planned_and_applied(kind: str) -> None:
    model, x = Field(kind), torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    plan = fwt.plan(model, x)
    assert all(row.law is not None for row in plan.rows)
    fwt.apply(model, plan, KEY)
    value = model.body[:3](x)
    moments = value.square().mean().item()
    assert math.exp(-1) < moments < math.e, moments  # 64 units: the draw alone moves it by sqrt(2/64) twice
    assert fwt.check(model, (x, torch.zeros_like(model(x))), loss="mse_loss").findings is not None


class Indexed(nn.Module):
    """Attention to the places that an index of small maps ranks first, which runs without gradients."""

    def __init__(self, *, trained: bool) -> None:
        super().__init__()
        self.q, self.k, self.v, self.head = (nn.Linear(32, 32, bias=False) for _ in range(4))
        self.rank_q, self.rank_k = nn.Linear(32, 8, bias=False), nn.Linear(32, 8, bias=False)
        self.trained = trained

    def forward(self, x: Tensor) -> Tensor:
        """Scores of 32 classes for each place."""
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            ranks = functional.relu(self.rank_q(x) @ self.rank_k(x).mT)
            chosen = ranks.topk(4, -1).indices
        scores = self.q(x) @ self.k(x).mT * 32**-0.5
        mask = torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)
        return self.head(torch.softmax(scores + mask, -1) @ self.v(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("trained", [True, False])
def test_weights_that_only_choose_are_no_base(trained: bool) -> None:
    model, x = Indexed(trained=trained), torch.randn(4, 16, 32, generator=torch.Generator().manual_seed(0))
    plan = fwt.plan(model, x)
    assert plan["rank_q.weight"].std == pytest.approx(32**-0.5, rel=0.05)
    assert plan["rank_k.weight"].law is not None
    found = next(each for each in fwt.check(model, x, seeds=1).findings if each.code == "GRD001")
    assert found.severity == ("error" if trained else "info")
    assert "rank_k.weight" in found.message
