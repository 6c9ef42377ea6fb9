"""Twins of the rules that look at weights: values, laws, means, copies, sizes, factors."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from bench.proving import nets
from bench.proving.nets import WIDTH, gained, normed, spread, stack
from bench.proving.twins import Twins, changed, constant, of_zoo, pixels
from fanwise.torch import apply, plan
from zoo.torch.laws import he
from zoo.torch.layers import Net

PLAIN = partial(stack, 3)


def half(value: float) -> Any:
    """A law that writes a value into the first half of a parameter."""
    return lambda parameter: parameter[: len(parameter) // 2].fill_(value)


def twins(weight: Tensor) -> None:
    """The second half of the rows repeats the first."""
    weight[len(weight) // 2 :] = weight[: len(weight) // 2]


def alike(weight: Tensor) -> None:
    """All rows are the first."""
    weight[:] = weight[:1].clone()


def off_centre(ratio: float) -> Any:
    """He's law with a mean of `ratio` std / sqrt(n)."""

    def law(weight: Tensor) -> None:
        he(weight)
        fan_in = weight.shape[1]
        weight.data.add_(ratio * math.sqrt(2 / fan_in) / math.sqrt(fan_in))

    return law


def one_sided(bound: float) -> Any:
    return lambda weight: init.uniform_(weight, 0.0, bound)


def mean_of_members(output: Tensor, target: Tensor) -> Tensor:
    """The mean of the members' losses."""
    return torch.stack([functional.cross_entropy(each, target) for each in output]).mean()


def of_the_mean(output: Tensor, target: Tensor) -> Tensor:
    """The loss of the mean of the members' shares."""
    return functional.nll_loss(output.softmax(-1).mean(0).clamp_min(1e-9).log(), target)


def planned() -> nn.Module:
    """A stack as planned."""
    return apply(stack(8), plan(stack(8), pixels()[0][:64]), key=int(torch.randint(1 << 30, ())))


def overwritten() -> nn.Module:
    """The same, with torch's default drawn over it."""
    model = planned()
    for layer in model[:-1:2]:
        layer.reset_parameters()
    return model


def the_plan() -> dict[str, Any]:
    return {"plan": plan(stack(8), pixels()[0][:64])}


def rezero(value: float) -> nn.Module:
    """Residual blocks, each times a learned factor."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        for factor, block in zip(net.factors, net.blocks, strict=True):
            x = x + factor * block(x).relu()
        return net.head(x)

    factors = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(6))
    init.constant_(factors[2], value)
    blocks = nn.ModuleList(nets.filled(nn.Linear(WIDTH, WIDTH), he) for _ in range(6))
    ends = {"stem": nets.filled(nn.Linear(nets.PIXELS, WIDTH), he), "head": nets.quiet(nn.Linear(WIDTH, 10))}
    return Net(run, factors=factors, blocks=blocks, **ends)


def fused(*, apart: bool) -> nn.Module:
    """Attention whose three maps are drawn as one matrix or each by its own fans."""

    def run(net: Any, x: Tensor) -> Tensor:
        h = net.stem(nets.tokens(x)) + net.places
        return net.head((h + net.mixer(h, h, h, need_weights=False)[0]).mean(1))

    mixer = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
    for part in mixer.in_proj_weight.detach().chunk(3) if apart else ():
        init.xavier_uniform_(part)
    parts = {"stem": nn.Linear(8, WIDTH), "head": nets.quiet(nn.Linear(WIDTH, 10)), "mixer": mixer}
    return Net(run, places=nn.Parameter(torch.randn(8, WIDTH) * 0.5), **parts)


MIDDLE = "2.weight"
CASES = (
    Twins("NAN001", "one row", changed(PLAIN, MIDDLE, lambda w: w[3].fill_(math.nan)), PLAIN),
    Twins("ZER001", "one map of a ReLU stack", changed(PLAIN, MIDDLE, init.zeros_), PLAIN),
    Twins("ZER001", "every map", partial(stack, 3, init.zeros_, head=init.zeros_), PLAIN),
    Twins(
        "ZER001",
        "every map of a tanh stack",
        partial(stack, 3, init.zeros_, nn.Tanh, head=init.zeros_),
        partial(stack, 3, gained(1.0), nn.Tanh),
    ),
    Twins(
        "ZER001",
        "one map of a tanh stack",
        changed(partial(stack, 3, gained(1.0), nn.Tanh), MIDDLE, init.zeros_),
        partial(stack, 3, gained(1.0), nn.Tanh),
    ),
    Twins(
        "ZER001",
        "two maps of a tanh stack",
        changed(changed(partial(stack, 3, gained(1.0), nn.Tanh), MIDDLE, init.zeros_), "4.weight", init.zeros_),
        partial(stack, 3, gained(1.0), nn.Tanh),
    ),
    Twins("CON001", "two maps", changed(changed(PLAIN, MIDDLE, constant(0.02)), "4.weight", constant(0.02)), PLAIN),
    Twins("CON001", "one map", changed(PLAIN, MIDDLE, constant(0.02)), PLAIN),
    Twins("CON001", "every map", partial(stack, 3, constant(0.01)), PLAIN),
    Twins("EQU001", "half of the rows of one map", changed(PLAIN, MIDDLE, twins), PLAIN),
    Twins("EQU001", "every row of one map", changed(PLAIN, MIDDLE, alike), PLAIN),
    Twins("EQU001", "every row of every map", partial(stack, 3, lambda w: (he(w), alike(w.data))), PLAIN),
    Twins("EQU001", "half of the rows of every map", partial(stack, 3, lambda w: (he(w), twins(w.data))), PLAIN),
    Twins("COP001", "six layers in a row", partial(nets.repeated, "copies"), partial(nets.repeated, "own")),
    Twins(
        "COP001",
        "two branches side by side",
        partial(nets.wide_halves, copies=True),
        partial(nets.wide_halves, copies=False),
    ),
    Twins("TIE001", "one layer six times", partial(nets.repeated, "one"), partial(nets.repeated, "own")),
    Twins(
        "SEE001",
        "an ensemble of one seed",
        partial(nets.Ensemble, PLAIN, same=True),
        partial(nets.Ensemble, PLAIN, same=False),
        loss=mean_of_members,
        judge=of_the_mean,
        checked=(lambda: nets._seeded(PLAIN, 0), PLAIN),
        options=lambda: {"seeds": 3},
        steps=100,
    ),
    Twins("PLN001", "torch's default drawn later", overwritten, planned, options=the_plan),
    Twins("LAW001", "8 layers", partial(stack, 8, gained(2.0)), partial(stack, 8)),
    Twins("LAW001", "3 layers", partial(stack, 3, gained(2.0)), PLAIN),
    Twins("LAW002", "attention", partial(fused, apart=False), partial(fused, apart=True)),
    Twins("LAW003", "absolute values, 3 layers", partial(stack, 3, lambda w: (he(w), w.data.abs_())), PLAIN),
    Twins("LAW003", "U(0, 0.1), 6 layers", partial(stack, 6, one_sided(0.1)), partial(stack, 6)),
    Twins("LAW003", "mean of 3 std / sqrt(n), 3 layers", partial(stack, 3, off_centre(3.0)), PLAIN),
    Twins(
        "LAW003",
        "U(0, 0.1), 2 tanh layers",
        partial(stack, 2, one_sided(0.1), nn.Tanh),
        partial(stack, 2, gained(1.0), nn.Tanh),
    ),
    Twins("FAC001", "a factor of 1000", partial(rezero, 1e3), partial(rezero, 0.0)),
    Twins("FAC001", "memory never written", partial(rezero, 7.3e8), partial(rezero, 0.0)),
    Twins(
        "FAC001",
        "a norm's factors of 1000",
        changed(partial(normed, 3), "1.weight", lambda w: w.mul_(1e3)),
        partial(normed, 3),
    ),
    Twins("FAC002", "N(0, 0.02), every norm", lambda: _norms(normed(6), spread(0.02)), partial(normed, 6)),
    Twins("FAC002", "zeros, every norm", lambda: _norms(normed(6), init.zeros_), partial(normed, 6)),
    Twins("ADD001", "positions of std 1 beside words of 0.05", partial(nets.placed, 1.0), partial(nets.placed, 0.05)),
    of_zoo("ADP001", "report_adapted-adapter", steps=100, rows=64),
    Twins("GAT001", "biases of -20", partial(nets.gated, -20.0), partial(nets.gated, 0.0)),
    Twins("GAT001", "biases of -8", partial(nets.gated, -8.0), partial(nets.gated, 0.0)),
    Twins(
        "FAN001",
        "the kernel's area",
        partial(nets.convolved, lambda c: 9),
        partial(nets.convolved, lambda c: 9 * c.in_channels),
    ),
    Twins(
        "LAY001", "one of 8 times 50", changed(partial(stack, 8), "6.weight", lambda w: w.mul_(50)), partial(stack, 8)
    ),
    Twins("LAY001", "one of 8 times 9", changed(partial(stack, 8), "6.weight", lambda w: w.mul_(9)), partial(stack, 8)),
    Twins(
        "LAY001", "one of 8 over 50", changed(partial(stack, 8), "6.weight", lambda w: w.div_(50)), partial(stack, 8)
    ),
    Twins("LAY001", "one of 8 over 9", changed(partial(stack, 8), "6.weight", lambda w: w.div_(9)), partial(stack, 8)),
    *(
        Twins(
            "LAY001",
            f"one of 8 over {factor:g} that reads a signal times {factor:g}",
            partial(nets.loud_inside, factor, made_up=True),
            partial(nets.loud_inside, factor, made_up=False),
        )
        for factor in (10.0, 30.0, 100.0)
    ),
    Twins(
        "NRM001", "one of 6 times 50", changed(partial(normed, 6), "6.weight", lambda w: w.mul_(50)), partial(normed, 6)
    ),
    Twins(
        "WGT001",
        "residual branches of std 0.001",
        partial(nets.residual, 4, 1.0, spread(1e-3)),
        partial(nets.residual, 4, 1.0),
    ),
    Twins("WGT001", "std 0.001 in 3 layers", partial(stack, 3, spread(1e-3)), PLAIN),
    Twins("WGT002", "std 1 behind norms", partial(normed, 4, spread(1.0)), partial(normed, 4)),
    Twins("WGT002", "std 1 in 3 layers", partial(stack, 3, spread(1.0)), PLAIN),
)


def _norms(model: nn.Module, law: Any) -> nn.Module:
    """The factors of every norm by a law."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            law(module.weight)
    return model
