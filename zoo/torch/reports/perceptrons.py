"""Perceptrons of reports: a target that broadcasts, a zero vector over its norm, generated weights, clipped weights."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.planting import planted
from zoo.torch.batches import ids, normal, uniform
from zoo.torch.breaks.changes import spread
from zoo.torch.laws import Law, he, zeroed
from zoo.torch.layers import Net, mlp


def flat_linear() -> nn.Module:
    """A map to one number that starts at zeros."""
    return zeroed(nn.Linear(3, 1, bias=False))


def sums() -> tuple[Tensor, Tensor]:
    """Three features and their sum, in a column."""
    x = uniform(256, 3)
    return x, x.sum(1, keepdim=True)


def flat_sums() -> tuple[Tensor, Tensor]:
    """The same, with the sums in one axis."""
    x, y = sums()
    return x, y[:, 0]


def background(fill: Law) -> nn.Module:
    """Scores of classes by the angle to their vectors, and to one vector more that is learned."""

    def run(net: Any, x: Tensor) -> Tensor:
        known = torch.cat([net.known, net.background])
        known = known / known.norm(dim=-1, keepdim=True)
        seen = net.seen(x)
        return net.sharpness.exp() * (seen / seen.norm(dim=-1, keepdim=True)) @ known.T

    vector = nn.Parameter(torch.empty(1, 64))
    with torch.no_grad():
        fill(vector)
    known = functional.normalize(torch.randn(10, 64), dim=-1)
    sharpness = nn.Parameter(torch.tensor(2.659))
    return Net(run, seen=mlp(16, 64, 64), known=known, background=vector, sharpness=sharpness)


def angles() -> tuple[Tensor, Tensor]:
    return normal(64, 16), ids(64, high=11)


def generated(law: Callable[[nn.Module, int], None]) -> nn.Module:
    """Maps whose weights a small network makes of a description."""

    def layer(fan_in: int, fan_out: int) -> nn.Module:
        def run(net: Any, x: Tensor, about: Tensor) -> Tensor:
            weight, bias = net.maker(about).split((fan_in * fan_out, fan_out), 1)
            return torch.bmm(weight.unflatten(1, (fan_out, fan_in)), x[..., None])[..., 0] + bias

        net = Net(run, maker=mlp(8, 128, fan_in * fan_out + fan_out))
        law(net.maker, fan_in)
        return net

    def run(net: Any, x: Tensor, about: Tensor) -> Tensor:
        for each in net.layers[:-1]:
            x = each(x, about).relu()
        return net.layers[-1](x, about)

    return Net(run, layers=nn.ModuleList(layer(n, m) for n, m in pairwise((16, 64, 64, 64, 4))))


def for_the_generated(maker: nn.Module, fan_in: int) -> None:
    """The last map so that the weights which it makes have the variance 2 / fan_in (Chang 2020, "Hyperfan")."""
    he(maker[0].weight)
    init.normal_(maker[2].weight, std=1 / math.sqrt(128 * fan_in))
    for layer in (maker[0], maker[2]):
        init.zeros_(layer.bias)


def for_themselves(maker: nn.Module, _: int) -> None:
    """The last map as any other."""
    init.kaiming_normal_(maker[2].weight, nonlinearity="linear")
    init.zeros_(maker[2].bias)


def described() -> tuple[Tensor, Tensor, Tensor]:
    return normal(64, 16), normal(64, 8, seed=7), ids(64, high=4)


def diagnosis(law: Callable[[nn.Linear], None]) -> nn.Module:
    """What a pupil knows, from tables through three sigmoid maps whose weights may not be negative."""

    def run(net: Any, pupil: Tensor, task: Tensor, asked: Tensor) -> Tensor:
        knows = torch.sigmoid(net.pupils(pupil)) - torch.sigmoid(net.tasks(task))
        x = torch.sigmoid(net.sharpness(task)) * 10 * knows * asked
        for layer in net.maps:
            x = torch.sigmoid(layer(x))
        return x[:, 0]

    tables = {"pupils": nn.Embedding(500, 128), "tasks": nn.Embedding(200, 128), "sharpness": nn.Embedding(200, 1)}
    maps = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise((128, 512, 256, 1)))
    for layer in (*tables.values(), *maps):
        init.xavier_normal_(layer.weight)
    for layer in maps:
        layer.weight.data.clamp_(min=0)
    for layer in list(maps)[1:]:
        law(layer)
    return Net(run, **tables, maps=maps)


def centred(layer: nn.Linear) -> None:
    """The bias takes away what the map makes of inputs of 1/2."""
    layer.bias.data.copy_(-0.5 * layer.weight.data.sum(1))


def answers() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    asked = (uniform(64, 128) < 0.05).float()
    return ids(64, high=500), ids(64, high=200, seed=3), asked, ids(64, high=2, seed=4).float()


def constant(value: float) -> Law:
    return partial(init.constant_, val=value)


of_report = maker("torch", "mlp", "reports")
SUM = of_report("report_sum", flat_linear, sums, "mse_loss")
HIDDEN_SUM = of_report("report_hidden_sum", lambda: mlp(3, 32, 1), sums, "mse_loss")
BACKGROUND = of_report("report_background", lambda: background(spread(0.02)), angles)
GENERATED = of_report("report_generated", lambda: generated(for_the_generated), described)
DIAGNOSIS = of_report("report_diagnosis", lambda: diagnosis(centred), answers, "binary_cross_entropy")
MODELS = (
    SUM,
    planted(SUM, "broadcast", SUM.build, batch=flat_sums),
    HIDDEN_SUM,
    planted(HIDDEN_SUM, "broadcast", HIDDEN_SUM.build, batch=flat_sums),
    BACKGROUND,
    planted(BACKGROUND, "zero_norm", lambda: background(init.zeros_), "background"),
    planted(BACKGROUND, "zero_norm", lambda: background(constant(1e-41)), "background", mark="garbage"),
    GENERATED,
    planted(GENERATED, "generated", lambda: generated(for_themselves), "layers"),
    DIAGNOSIS,
    planted(DIAGNOSIS, "saturated", lambda: diagnosis(lambda _: None), "maps"),
)
