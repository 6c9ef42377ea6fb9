"""Twins of the rules that look at signals and gradients: inputs, depth, units, attention, outputs, the graph."""

import math
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import init

from bench.proving import nets
from bench.proving.nets import gained, spread, stack
from bench.proving.twins import Twins, changed, constant, from_pixels, of_zoo
from zoo.torch.layers import Net

PLAIN = partial(stack, 3)
TANH = partial(stack, 3, gained(1.0), nn.Tanh)


def divided(by: float) -> nn.Module:
    """Outputs over a number that may be 0."""
    return Net(lambda net, x: net.body(x) / (x[:, :1] * 0.0 + by), body=stack(2))


def root_of(offset: float) -> nn.Module:
    """A square root whose slope is infinite at 0."""
    return Net(
        lambda net, x: net.body(x) + (net.offset * offset).sqrt(), body=stack(2), offset=nn.Parameter(torch.ones(10))
    )


def ended(bias: float) -> nn.Module:
    """A ReLU that ends the model."""
    model = stack(2)
    init.constant_(model[-1].bias, bias)
    return nn.Sequential(*model, nn.ReLU())


def shifted(shift: float) -> Any:
    """He's numbers with a mean, in one map before a ReLU that reads what is positive."""
    return changed(PLAIN, "2.weight", lambda w: w.add_(shift))


def biased(depth: int, value: float, share: float = 1.0) -> Any:
    """Biases of one value in a share of the units of every layer."""

    def make() -> nn.Module:
        model = stack(depth)
        for layer in model[:-1:2]:
            init.constant_(layer.bias[: int(share * len(layer.bias))], value)
        return model

    return lambda: _no_grad(make)


def _no_grad(make: Any) -> Any:
    with torch.no_grad():
        return make()


def spare() -> nn.Module:
    """A stack with a map that nothing calls."""
    return Net(lambda net, x: net.body(x), body=stack(3), spare=nn.Linear(8, 8))


def orthogonal(depth: int, act: type[nn.Module]) -> nn.Module:
    """Orthogonal maps of gain 1."""
    return stack(depth, init.orthogonal_, act)


def scaled_inputs(factor: float, shift: float = 0.0) -> Any:
    return from_pixels(lambda x, y: (factor * x + shift, y))


CASES = (
    Twins("INP002", "inputs infinite", PLAIN, PLAIN, scaled_inputs(math.inf), scaled_inputs(1.0)),
    Twins("INP001", "inputs times 80", PLAIN, PLAIN, scaled_inputs(80.0), scaled_inputs(1.0)),
    Twins("INP001", "0 to 255", PLAIN, PLAIN, scaled_inputs(64.0, 128.0), scaled_inputs(1.0)),
    Twins("INP001", "inputs over 1e6", PLAIN, PLAIN, scaled_inputs(1e-6), scaled_inputs(1.0)),
    Twins("BIA001", "-4 in one layer", changed(PLAIN, "2.bias", constant(-4.0)), PLAIN),
    Twins("BIA001", "-4 in every layer", biased(3, -4.0), PLAIN),
    Twins("BIA001", "+8 in one layer", changed(PLAIN, "2.bias", constant(8.0)), PLAIN),
    Twins("BIA001", "+8 in every layer", biased(3, 8.0), PLAIN),
    Twins("BIA001", "-2.5 in every layer", biased(3, -2.5), PLAIN),
    Twins("BIA001", "-30 in half of the units", biased(3, -30.0, 0.5), PLAIN),
    Twins(
        "RES001", "32 blocks of He", partial(nets.residual, 32, 1.4), partial(nets.residual, 32, 1.4 / math.sqrt(32))
    ),
    Twins("RES001", "16 blocks of He", partial(nets.residual, 16, 1.4), partial(nets.residual, 16, 1.4 / 4)),
    Twins("RES001", "16 blocks of gain 1", partial(nets.residual, 16, 1.0), partial(nets.residual, 16, 1 / 4)),
    Twins("FWD001", "16 layers of 0.57x", partial(stack, 16, gained(0.8)), partial(stack, 16)),
    Twins("FWD001", "12 layers of torch's default", partial(nets.default, 12), partial(stack, 12)),
    Twins("FWD001", "8 layers of torch's default", partial(nets.default, 8), partial(stack, 8)),
    Twins("FWD001", "6 layers of 0.5x", partial(stack, 6, gained(0.5 * math.sqrt(2))), partial(stack, 6)),
    Twins("FWD001", "7 layers of torch's default", partial(nets.default, 7), partial(stack, 7)),
    Twins("FWD001", "6 layers of torch's default", partial(nets.default, 6), partial(stack, 6)),
    Twins("FWD001", "6 layers of 0.62x", partial(stack, 6, gained(0.62 * math.sqrt(2))), partial(stack, 6)),
    Twins("FWD001", "30 layers of 0.8x", partial(stack, 30, gained(0.8 * math.sqrt(2))), partial(stack, 30)),
    Twins("FWD001", "20 layers of 0.8x", partial(stack, 20, gained(0.8 * math.sqrt(2))), partial(stack, 20)),
    Twins("FWD001", "15 layers of 0.82x", partial(stack, 15, gained(0.82 * math.sqrt(2))), partial(stack, 15)),
    Twins("FWD001", "3 layers of 0.01x", partial(stack, 4, gained(0.01)), partial(stack, 4)),
    Twins("FWD002", "16 layers of 1.77x", partial(stack, 16, gained(2.5)), partial(stack, 16)),
    Twins("FWD002", "12 layers of 1.5x", partial(stack, 12, gained(1.5 * math.sqrt(2))), partial(stack, 12)),
    Twins("FWD002", "7 layers of 2x", partial(stack, 7, gained(2 * math.sqrt(2))), partial(stack, 7)),
    Twins("FWD002", "15 layers of 1.25x", partial(stack, 15, gained(1.25 * math.sqrt(2))), partial(stack, 15)),
    Twins("ATT001", "queries and keys of gain 6", partial(nets.attending, 6.0), partial(nets.attending, 1.0)),
    Twins("ATT001", "queries and keys of gain 3.5", partial(nets.attending, 3.5), partial(nets.attending, 1.0)),
    Twins("SAT001", "3 tanh layers of gain 3.5", partial(stack, 3, gained(3.5), nn.Tanh), TANH),
    Twins("SAT001", "3 tanh layers of gain 30", partial(stack, 3, gained(30.0), nn.Tanh), TANH),
    Twins("SAT001", "3 tanh layers of gain 22", partial(stack, 3, gained(22.0), nn.Tanh), TANH),
    of_zoo("SAT001", "report_diagnosis-saturated"),
    Twins("SAT001", "3 tanh layers of gain 10", partial(stack, 3, gained(10.0), nn.Tanh), TANH),
    Twins(
        "SAT001",
        "6 tanh layers of gain 4",
        partial(stack, 6, gained(4.0), nn.Tanh),
        partial(stack, 6, gained(1.0), nn.Tanh),
    ),
    Twins(
        "SAT001",
        "one of 4 tanh layers times 10",
        changed(partial(stack, 4, gained(1.0), nn.Tanh), "2.weight", lambda w: w.mul_(10)),
        partial(stack, 4, gained(1.0), nn.Tanh),
    ),
    Twins("DEA001", "a mean of -0.5 in one map", shifted(-0.5), PLAIN),
    Twins("DEA001", "a mean of -0.1 in one map", shifted(-0.1), PLAIN),
    Twins("DEA001", "-30 in three quarters of the units", biased(3, -30.0, 0.75), PLAIN),
    Twins("NAN002", "outputs over 0", partial(divided, 0.0), partial(divided, 1.0)),
    Twins("NAN002", "8 layers of std 1e6", partial(stack, 8, spread(1e6)), partial(stack, 8)),
    Twins(
        "OUT001", "12 sigmoids", partial(stack, 12, gained(1.0), nn.Sigmoid), partial(stack, 12, gained(1.0), nn.Tanh)
    ),
    Twins("OUT001", "5 sigmoids", partial(stack, 5, gained(1.0), nn.Sigmoid), partial(stack, 5, gained(1.0), nn.Tanh)),
    Twins("GRD001", "cut behind the second layer", partial(nets.cut, 3), partial(nets.cut, None)),
    Twins("GRD001", "cut behind the last hidden layer", partial(nets.cut, 11), partial(nets.cut, None)),
    Twins("GRD002", "a root at 0", partial(root_of, 0.0), partial(root_of, 1.0)),
    Twins("GRD003", "a ReLU that ends the model", partial(ended, -30.0), partial(ended, 0.0)),
    of_zoo("OUT001", "report_spiking-silent_spikes", steps=60),
    Twins("GRD004", "queries on zeros", partial(nets.queried, zeros=True), partial(nets.queried, zeros=False)),
    Twins(
        "BWD001", "12 sigmoids", partial(stack, 12, gained(1.0), nn.Sigmoid), partial(stack, 12, gained(1.0), nn.Tanh)
    ),
    Twins(
        "BWD002",
        "24 tanh layers of gain 2.5",
        partial(stack, 24, gained(2.5), nn.Tanh),
        partial(stack, 24, gained(1.0), nn.Tanh),
    ),
    Twins("FRZ001", "one of 6 maps", nets.frozen(partial(stack, 6), "4"), partial(stack, 6)),
    Twins("FRZ001", "two of 8 maps", nets.frozen(partial(stack, 8), "4", "8"), partial(stack, 8)),
    Twins("UNU001", "a map that nothing calls", spare, PLAIN),
    Twins("TWI001", "one map of both halves", partial(nets.halves, shared=True), partial(nets.halves, shared=False)),
)
