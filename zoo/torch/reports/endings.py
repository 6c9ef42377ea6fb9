"""Endings that give one constant for every example, and spikes that never fire."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional, init

from zoo.model import maker
from zoo.planting import planted
from zoo.torch.batches import digits, rows
from zoo.torch.layers import Net, mlp


class Spike(Function):
    """1 above 0, and a gradient as of a fast sigmoid."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor) -> Tensor:
        """The spikes."""
        ctx.save_for_backward(potential)
        return (potential > 0).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """What the spikes' gradient becomes."""
        (potential,) = ctx.saved_tensors
        return gradient / (1 + 25 * potential.abs()) ** 2


def ending(end: Callable[[Tensor], Tensor], bias: float = -3.0) -> nn.Module:
    """A perceptron whose outputs a function ends."""
    body = mlp(64, 64, 10)
    init.constant_(body[-1].bias, bias)
    return Net(lambda net, x: end(net.body(x)), body=body)


def itself(x: Tensor) -> Tensor:
    return x


def spiking(law: Callable[[nn.Linear], object], depth: int = 6, width: int = 256) -> nn.Module:
    """Leaky units that sum up what they read over 20 steps, and fire above 1; a fifth of the last counts is given."""

    def run(net: Any, x: Tensor) -> Tensor:
        held = [x.new_zeros(len(x), layer.out_features) for layer in net.layers]
        fired = x.new_zeros(())
        for _ in range(20):
            spikes = x
            for i, layer in enumerate(net.layers):
                potential = 0.8 * held[i] + layer(spikes)
                spikes = Spike.apply(potential - 1.0)
                held[i] = potential - spikes.detach()
            fired = fired + spikes
        return fired / 5

    layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise((784, *[width] * (depth - 1), 10)))
    for layer in layers:
        law(layer)
    return Net(run, layers=layers)


def firing(layer: nn.Linear) -> None:
    """N(0, 2.5^2 / fan_in): each layer fires as much as the one before."""
    init.normal_(layer.weight, std=2.5 / math.sqrt(layer.in_features))
    init.zeros_(layer.bias)


SILENT: dict[str, Callable[[Tensor], Tensor]] = {
    "times_zero": lambda x: x * 0,
    "clamped": lambda x: x.clamp(min=0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "threshold": lambda x: functional.threshold(x, 0.0, 0.0),
    "step": lambda x: Spike.apply(x),  # type: ignore[no-untyped-call]
    "masked": lambda x: x * (x > 0),
}
"""Functions that are constant below 0."""

of_report = maker("torch", "mlp", "reports")
ENDING = of_report("report_ending", lambda: ending(itself), rows(32, 64, 10))
CLAMPED = of_report("report_clamped", lambda: ending(SILENT["clamped"], bias=1.0), rows(32, 64, 10))
SPIKING = of_report("report_spiking", lambda: spiking(firing), digits)
MODELS = (
    ENDING,
    *(planted(ENDING, "no_gradient", partial(ending, end), mark=mark) for mark, end in SILENT.items()),
    CLAMPED,
    SPIKING,
    planted(SPIKING, "silent_spikes", lambda: spiking(itself)),
)
