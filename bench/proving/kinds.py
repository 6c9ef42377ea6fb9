"""Twins of the rules on recurrence, sines, choices, places, sure outputs, temperatures and bands."""

import math
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.proving.nets import CLASSES, PIXELS, WIDTH, gained, quiet, stack, tokens
from bench.proving.twins import WHOLE, Twins, from_pixels, of_zoo, pixels
from zoo.torch.laws import filled, he, lecun
from zoo.torch.layers import Net

FEATURES = 4096


def iterated(gain: float) -> nn.Module:
    """One map, 20 times, with the input added."""

    def run(net: Any, x: Tensor) -> Tensor:
        start = state = net.read(x)
        for _ in range(20):
            state = (net.step(state) + start).relu()
        return net.head(state)

    step = filled(nn.Linear(WIDTH, WIDTH), gained(gain * math.sqrt(2)))
    return Net(run, read=filled(nn.Linear(PIXELS, WIDTH), lecun), step=step, head=quiet(nn.Linear(WIDTH, CLASSES)))


def sines(factor: float) -> nn.Module:
    """Two layers of sines with a factor in the second."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(torch.sin(factor * net.second(torch.sin(net.first(x)))))

    maps = {"first": nn.Linear(PIXELS, WIDTH), "second": nn.Linear(WIDTH, WIDTH)}
    for layer in maps.values():
        filled(layer, gained(1.4))
    return Net(run, **maps, head=quiet(nn.Linear(WIDTH, CLASSES)))


def routed(bias: float) -> nn.Module:
    """Narrow experts of which a router takes one for each example."""

    def run(net: Any, x: Tensor) -> Tensor:
        weight, chosen = net.router(x).softmax(-1).max(-1)
        experts = torch.stack([expert(x).relu() for expert in net.experts], 1)
        return net.head(experts[torch.arange(len(x)), chosen] * weight[:, None])

    router = filled(nn.Linear(PIXELS, 8), lecun)
    with torch.no_grad():
        router.bias[0] = bias
    experts = nn.ModuleList(filled(nn.Linear(PIXELS, 8), he) for _ in range(8))
    return Net(run, router=router, experts=experts, head=nn.Linear(8, CLASSES))


def averaged(*, past: bool) -> nn.Module:
    """Layers that average over the rows of a picture, with or without a way past them; classes of each row."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.read(tokens(x))
        for layer in net.layers:
            mixed = torch.softmax(x @ x.transpose(1, 2) / WIDTH, -1) @ layer(x)
            x = functional.layer_norm(x + mixed if past else mixed, (WIDTH,))
        return net.head(x).transpose(1, 2)

    layers = nn.ModuleList(filled(nn.Linear(WIDTH, WIDTH), lecun) for _ in range(8))
    return Net(run, read=filled(nn.Linear(8, WIDTH), lecun), layers=layers, head=quiet(nn.Linear(WIDTH, 8)))


def brightest(x: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """Where each row is brightest."""
    return x, tokens(x).argmax(-1)


def advantage(output: Tensor, action: Tensor) -> Tensor:
    """The loss of a policy whose action of the target was worth 1/2."""
    return -(output.log_softmax(-1) * functional.one_hot(action, CLASSES) * 0.5).mean()


def expected(output: Tensor, action: Tensor) -> Tensor:
    """1 less the expected reward of a policy that gets 1 for the action of the target."""
    return 1 - output.softmax(-1).gather(1, action[:, None]).mean()


def compared(factor: float) -> nn.Module:
    """Cosines of two views of each example, times a learned factor."""

    def run(net: Any, x: Tensor) -> Tensor:
        first, second = (functional.normalize(part(x), dim=-1) for part in (net.first, net.second))
        return first @ second.T * net.factor

    maps = {name: filled(nn.Linear(PIXELS, 16), lecun) for name in ("first", "second")}
    return Net(run, **maps, factor=nn.Parameter(torch.tensor(factor)))


def pairs() -> tuple[Tensor, Tensor]:
    """Each example is to be matched with itself."""
    return pixels()[0][:64], torch.arange(64)


@cache
def one_direction() -> tuple[Tensor, Tensor]:
    """Inputs of many features that differ little, and a teacher's classes of what differs."""
    generator = torch.Generator().manual_seed(6)
    centre = torch.where(torch.randn(FEATURES, generator=generator) > 0, 1.0, -1.0)
    own = torch.randn(320, FEATURES, generator=generator)
    return centre + 0.1 * own, (own @ torch.randn(FEATURES, CLASSES, generator=generator)).argmax(1)


def aligned(share: float) -> nn.Module:
    """A weight whose rows hold a share of the direction in which all inputs lie."""
    model = nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))
    filled(model[0], lecun)
    filled(model[2], gained(0.01))
    signs = torch.where(torch.randn(WIDTH) > 0, 1.0, -1.0)
    along = signs[:, None] * one_direction()[0].mean(0).sign() / math.sqrt(FEATURES)
    with torch.no_grad():
        model[0].weight.mul_(math.sqrt(1 - share)).add_(along * math.sqrt(share))
    return model


def generated(gain: float) -> nn.Module:
    """Two hidden maps whose weights a small network makes of the picture's last rows."""

    def run(net: Any, x: Tensor) -> Tensor:
        h = x[:, :32]
        for maker in net.makers:
            h = torch.bmm(maker(x[:, 32:]).unflatten(-1, (32, 32)), h[..., None])[..., 0].relu()
        return net.head(h)

    makers = [nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 32 * 32)) for _ in range(2)]
    for maker in makers:
        filled(maker[0], he)
        filled(maker[2], gained(gain))
    return Net(run, makers=nn.ModuleList(makers), head=quiet(nn.Linear(32, CLASSES)))


def waves(first: float) -> nn.Module:
    """Places to a grey value through sines of 30 times their maps; the first is uniform within a bound."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(torch.sin(30 * net.second(torch.sin(30 * net.first(x)))))

    bound = math.sqrt(6 / WIDTH) / 30
    first_map = filled(nn.Linear(2, WIDTH), partial(nn.init.uniform_, a=-first, b=first))
    second = filled(nn.Linear(WIDTH, WIDTH), partial(nn.init.uniform_, a=-bound, b=bound))
    return Net(run, first=first_map, second=second, head=quiet(nn.Linear(WIDTH, 1)))


@cache
def picture() -> tuple[Tensor, Tensor]:
    """Random places, and a wave with a disc."""
    x = torch.rand(640, 2, generator=torch.Generator().manual_seed(9)) * 2 - 1
    disc = (x.norm(dim=-1, keepdim=True) < 0.5).float()
    return x, torch.sin(12 * x[:, :1] * x[:, 1:]) * 0.5 + disc - 0.3


CASES = (
    Twins("GEN001", "makers of gain 1.4", partial(generated, 1.4), partial(generated, 1 / 4)),
    Twins("GEN001", "makers of gain 3", partial(generated, 3.0), partial(generated, 1 / 4)),
    Twins(
        "SIN002",
        "a first map as the second",
        partial(waves, math.sqrt(3) / 30),
        partial(waves, 0.5),
        picture,
        loss="mse_loss",
    ),
    Twins("REC001", "a map of gain 1.5, 20 times", partial(iterated, 1.5), partial(iterated, 0.5)),
    Twins("REC001", "a map of gain 1.35, 20 times", partial(iterated, 1.35), partial(iterated, 0.5)),
    of_zoo("REC001", "report_messages-repeated", steps=40),
    Twins("SIN001", "sines of 30 times their reading", partial(sines, 30.0), partial(sines, 1.0)),
    Twins("SIN001", "sines of 10 times their reading", partial(sines, 10.0), partial(sines, 1.0)),
    Twins("CHO001", "a router with a bias of 20", partial(routed, 20.0), partial(routed, 0.0)),
    Twins("OUT002", "8 averages", partial(averaged, past=False), partial(averaged, past=True), from_pixels(brightest)),
    Twins(
        "SUR001",
        "a policy's head of gain 60",
        partial(stack, 2, head=gained(60.0)),
        partial(stack, 2),
        loss=advantage,
        trained=expected,
    ),
    Twins("TMP001", "a factor of 0.001", partial(compared, 1e-3), partial(compared, 1 / 0.07), pairs, rows=WHOLE),
    Twins("BND001", "rows along the inputs", partial(aligned, 0.008), partial(aligned, 0.0), one_direction),
)
