"""Networks on the 64 pixels of the digits that the twins are made of."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from bench.proving.twins import Build
from zoo.torch.laws import LINEAR, drawn, filled, he, lecun
from zoo.torch.layers import Net, Residual, mlp

PIXELS, WIDTH, CLASSES = 64, 96, 10
Law = Callable[[Tensor], object]


def quiet(layer: nn.Module) -> nn.Module:
    """A head that says little yet."""
    return filled(layer, partial(lecun, gain=0.1))


def stack(
    depth: int, law: Law = he, act: Callable[[], nn.Module] = nn.ReLU, *, head: Law | None = None, width: int = WIDTH
) -> nn.Sequential:
    """Hidden maps by a law, biases of 0, and a quiet head or one by a law."""
    model = drawn(mlp(PIXELS, *[width] * depth, CLASSES, act=act), law)
    filled(model[-1], head or partial(lecun, gain=0.1))
    return model


def default(depth: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Torch's own weights and biases."""
    return mlp(PIXELS, *[WIDTH] * depth, CLASSES, act=act)


def gained(gain: float) -> Law:
    """N(0, gain^2 / fan_in)."""
    return partial(lecun, gain=gain)


def spread(std: float) -> Law:
    return partial(init.normal_, std=std)


def normed(depth: int, law: Law = he, norm: Callable[[int], nn.Module] = nn.LayerNorm) -> nn.Sequential:
    """Maps with a norm each."""
    model = drawn(mlp(PIXELS, *[WIDTH] * depth, CLASSES, norm=norm), law)
    quiet(model[-1])
    return model


def residual(depth: int, gain: float, law: Law | None = None) -> nn.Sequential:
    """Residual perceptrons without norms whose branches end at a gain, or that follow one law."""
    stem = filled(nn.Linear(PIXELS, WIDTH), lecun)
    branches = [drawn(mlp(WIDTH, WIDTH, WIDTH), law or he) for _ in range(depth)]
    if law is None:
        for branch in branches:
            filled(branch[-1], gained(gain))
    return nn.Sequential(stem, *(Residual(branch) for branch in branches), quiet(nn.Linear(WIDTH, CLASSES)))


def tokens(x: Tensor) -> Tensor:
    """The rows of a picture."""
    return x.unflatten(1, (8, 8))


def attending(gain: float) -> nn.Module:
    """One attention over the rows, whose queries and keys have a gain."""

    def run(net: Any, x: Tensor) -> Tensor:
        h = net.stem(tokens(x)) + net.places
        q, k, v = (part(h).unflatten(-1, (4, -1)).transpose(1, 2) for part in (net.q, net.k, net.v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return net.head(net.out(mixed).relu().mean(1))

    maps = {name: filled(nn.Linear(WIDTH, WIDTH), gained(gain if name in "qk" else 1.0)) for name in "qkv"}
    rest = {"stem": filled(nn.Linear(8, WIDTH), lecun), "out": filled(nn.Linear(WIDTH, WIDTH), lecun)}
    places = nn.Parameter(torch.randn(8, WIDTH) * 0.5)
    return Net(run, places=places, head=quiet(nn.Linear(WIDTH, CLASSES)), **maps, **rest)


def placed(std: float) -> nn.Module:
    """Rows that are read from a table of words, with positions of a std added."""

    def run(net: Any, x: Tensor) -> Tensor:
        words = net.words((tokens(x) > 0).long() @ (2 ** torch.arange(8)))
        return net.head(net.body(net.norm(words + net.positions)).relu().mean(1))

    words = nn.Embedding(256, 48)
    init.normal_(words.weight, std=0.05)
    parts = {"words": words, "positions": nn.Parameter(torch.randn(8, 48) * std), "norm": nn.LayerNorm(48)}
    body = drawn(mlp(48, WIDTH, WIDTH), he)
    return Net(run, **parts, body=body, head=quiet(nn.Linear(WIDTH, CLASSES)))


def gated(bias: float) -> nn.Module:
    """Two blocks of a signal times a sigmoid of another map."""

    def run(net: Any, x: Tensor) -> Tensor:
        for value, gate in zip(net.values, net.gates, strict=True):
            x = value(x).relu() * torch.sigmoid(gate(x))
        return net.head(x)

    sizes = ((PIXELS, WIDTH), (WIDTH, WIDTH))
    values, gates = (nn.ModuleList(filled(nn.Linear(*size), he) for size in sizes) for _ in range(2))
    for gate in gates:
        init.constant_(gate.bias, bias)
    return Net(run, values=values, gates=gates, head=filled(nn.Linear(WIDTH, CLASSES), lecun))


def convolved(fan: Callable[[nn.Conv2d], int], depth: int = 4) -> nn.Module:
    """Convolutions drawn by He's formula with a number in the place of the fan_in."""
    layers = [nn.Conv2d(n, 16, 3, padding=1) for n in (1, *[16] * (depth - 1))]
    for layer in layers:
        init.normal_(layer.weight, std=math.sqrt(2 / fan(layer)))
        init.zeros_(layer.bias)
    body = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    run = lambda net, x: net.head(net.body(x.view(-1, 1, 8, 8)).flatten(1))  # noqa: E731
    return Net(run, body=body, head=quiet(nn.Linear(16 * 64, CLASSES)))


def queried(*, zeros: bool) -> nn.Module:
    """Learned queries that read the rows twice, norms behind the sums; the stream starts at zeros or at the queries."""

    def run(net: Any, x: Tensor) -> Tensor:
        memory = net.read(tokens(x)) + net.places
        asked = net.queries.expand(len(x), -1, -1)
        stream = torch.zeros_like(asked) if zeros else asked
        for own, look, first, second in zip(net.own, net.look, net.first, net.second, strict=True):
            stream = first(stream + own(stream + asked, stream + asked, stream, need_weights=False)[0])
            stream = second(stream + look(stream + asked, memory, memory, need_weights=False)[0])
        return net.head(stream.mean(1))

    mixers = {
        name: nn.ModuleList(nn.MultiheadAttention(WIDTH, 4, batch_first=True) for _ in range(2))
        for name in ("own", "look")
    }
    norms = {name: nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2)) for name in ("first", "second")}
    tables = {name: nn.Parameter(torch.randn(count, WIDTH)) for name, count in (("queries", 4), ("places", 8))}
    parts = {"read": nn.Linear(8, WIDTH), "head": quiet(nn.Linear(WIDTH, CLASSES))}
    return Net(run, **mixers, **norms, **tables, **parts)


def side_path(std: float) -> nn.Module:
    """A frozen map with a low-rank path beside it."""
    base = filled(nn.Linear(PIXELS, WIDTH), he).requires_grad_(False)
    up = filled(nn.Linear(8, WIDTH), spread(std))
    parts = {"base": base, "down": nn.Linear(PIXELS, 8, bias=False), "up": up}
    run = lambda net, x: net.head((net.base(x) + net.up(net.down(x))).relu())  # noqa: E731
    return Net(run, **parts, head=quiet(nn.Linear(WIDTH, CLASSES)))


def cut(at: int | None) -> nn.Module:
    """A stack whose graph is cut behind a layer, or nowhere."""

    def run(net: Any, x: Tensor) -> Tensor:
        for i, layer in enumerate(net.body):
            x = layer(x).detach() if i == at else layer(x)
        return x

    return Net(run, body=stack(6))


def loud_inside(factor: float, *, made_up: bool) -> nn.Module:
    """A stack in whose middle the signal is multiplied, before a weight that may be smaller by as much."""
    model = stack(8)
    with torch.no_grad():
        model[6].weight.div_(factor if made_up else 1.0)
    return Net(lambda net, x: net.body[6:](factor * net.body[:6](x)) if made_up else net.body(x), body=model)


def repeated(kind: str, depth: int = 6) -> nn.Module:
    """A stack whose middle layers are one module, copies of one, or layers of their own."""
    first, *others = [filled(nn.Linear(WIDTH, WIDTH), he) for _ in range(depth)]
    same = {"one": [first] * len(others), "copies": [copy.deepcopy(first) for _ in others], "own": others}[kind]
    blocks = nn.ModuleList([first, *same])

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x).relu()
        for block in net.blocks:
            x = block(x).relu()
        return net.head(x)

    parts = {"stem": filled(nn.Linear(PIXELS, WIDTH), he), "head": quiet(nn.Linear(WIDTH, CLASSES))}
    return Net(run, blocks=blocks, **parts)


def halves(*, shared: bool) -> nn.Module:
    """The upper and the lower half of a picture, read by one map or by two."""
    upper, lower = (filled(nn.Linear(PIXELS // 2, WIDTH), he) for _ in range(2))
    lower = upper if shared else lower

    def run(net: Any, x: Tensor) -> Tensor:
        return net.body(torch.cat([net.upper(x[:, :32]), net.lower(x[:, 32:])], 1).relu())

    body = drawn(mlp(2 * WIDTH, WIDTH, CLASSES), he)
    quiet(body[-1])
    return Net(run, upper=upper, lower=lower, body=body)


def wide_halves(*, copies: bool) -> nn.Module:
    """Two branches side by side, added: copies of one, or each of its own."""
    first, second = stack(3), stack(3)
    branches = nn.ModuleList([first, copy.deepcopy(first) if copies else second])
    return Net(lambda net, x: net.branches[0](x) + net.branches[1](x), branches=branches)


def frozen(build: Build, *paths: str) -> Build:
    """A model with parts that are not trained."""

    def make() -> nn.Module:
        model = build()
        for path in paths:
            model.get_submodule(path).requires_grad_(False)
        return model

    return make


def scaled(build: Build, factor: float, *, heads: bool = False) -> Build:
    """A model with every hidden map, or the head too, times a factor."""

    def make() -> nn.Module:
        model = build()
        maps = [module for module in model.modules() if isinstance(module, LINEAR)]
        with torch.no_grad():
            for module in maps if heads else maps[:-1]:
                module.weight.mul_(factor)
        return model

    return make


class Ensemble(nn.Module):
    """Members side by side."""

    def __init__(self, build: Build, *, same: bool, members: int = 5):
        super().__init__()
        states = [0] * members if same else list(range(members))
        with torch.random.fork_rng():
            self.members = nn.ModuleList(_seeded(build, state + torch.initial_seed() % 1000 * 10) for state in states)

    def forward(self, x: Tensor) -> Tensor:
        """What each says."""
        return torch.stack([member(x) for member in self.members])


def _seeded(build: Build, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build()
