"""Starts that look odd and are meant, of kinds that were once flagged, beside the mistakes that they resemble.

Silent blocks, modules that are shared on purpose, heads near zero, biases that centre: written from their papers before
the rules were asked.
"""

import math
from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import Tensor, nn
from torch.nn import functional

from fanwise.torch import check

from ..traced import Wrapped

WIDTH, CLASSES, ROWS = 48, 10, 64


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def he(model: nn.Module) -> nn.Module:
    """He's law for every map, biases of 0."""
    for part in model.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return model


def perceptron(outputs: int) -> nn.Sequential:
    inner = [part for _ in range(2) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return he(nn.Sequential(*inner, nn.Linear(WIDTH, outputs)))  # type: ignore[return-value]


def flagged(build: Callable[[], nn.Module], x: Tensor, loss: str = "cross_entropy") -> set[str]:
    torch.manual_seed(0)
    targets = torch.arange(len(x)) % CLASSES
    report = check(build(), (x, targets), loss, seeds=1)
    return {each.code for one in report.findings if one.severity != "info" for each in one.walk()}


# Blocks that are silent at the start


def squeezed() -> nn.Module:
    """Residual blocks whose last batch norm starts at 0, behind it a squeeze-and-excite."""

    def block() -> nn.Module:
        layers = [nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)]
        body = he(nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)))
        nn.init.zeros_(body[-1].weight)

        def forward(m, x):
            h = m.body(x)
            gate = m.expand(functional.relu(m.squeeze(h.mean((2, 3))))).sigmoid()
            return functional.relu(x + h * gate[:, :, None, None])

        return Wrapped(forward, body=body, squeeze=he(nn.Linear(16, 4)), expand=he(nn.Linear(4, 16)))

    stem, blocks = he(nn.Conv2d(3, 16, 3, padding=1)), nn.Sequential(*(block() for _ in range(4)))
    return nn.Sequential(stem, blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES))


def scaled_to_nothing() -> nn.Module:
    """Branches times a vector of 0, then a PReLU and a map of it."""

    def block() -> nn.Module:
        def forward(m, x):
            h = m.scale * functional.relu(m.first(x))
            return x + m.second(m.bend(h)) + h

        maps = {"first": he(nn.Linear(WIDTH, WIDTH)), "second": he(nn.Linear(WIDTH, WIDTH))}
        return Wrapped(forward, bend=nn.PReLU(), scale=nn.Parameter(torch.zeros(WIDTH)), **maps)

    return nn.Sequential(*(block() for _ in range(4)), nn.Linear(WIDTH, CLASSES))


def gated_skip() -> nn.Module:
    """A decoder's way up behind a gate of 0, joined with the skip by concatenation."""

    def forward(m, x):
        first = functional.relu(m.first(x))
        up = functional.leaky_relu(m.gate * m.up(functional.relu(m.deep(first))))
        return m.out(torch.cat([up, first], 1))

    maps = {name: nn.Linear(WIDTH, WIDTH) for name in ("first", "deep", "up")}
    gate = nn.Parameter(torch.zeros(1))
    return he(Wrapped(forward, out=nn.Linear(2 * WIDTH, CLASSES), gate=gate, **maps))


def begun_at_zero() -> nn.Module:
    """A recurrence of ReLUs whose state is 0 at the first of its calls."""

    def forward(m, x):
        state, states = torch.zeros(len(x), WIDTH), []
        for step in x.unbind(1):
            state = functional.relu(m.read(step) + m.keep(state))
            states.append(state)
        return m.out(torch.stack(states, 1).mean(1))

    keep = nn.Linear(WIDTH, WIDTH, bias=False)
    nn.init.orthogonal_(keep.weight)
    return Wrapped(forward, read=he(nn.Linear(WIDTH, WIDTH)), keep=keep, out=nn.Linear(WIDTH, CLASSES))


def shut() -> nn.Module:
    """The mistake: biases of -6 before a ReLU that everything goes through."""
    model = perceptron(CLASSES)
    nn.init.constant_(model[2].bias, -6.0)
    return model


# Modules that several places share


def towers() -> nn.Module:
    tower = perceptron(WIDTH)

    def forward(m, x):
        return m.head((m.towers[0](x[:, 0]) - m.towers[1](x[:, 1])).abs())

    return Wrapped(forward, towers=nn.ModuleList([tower, tower]), head=nn.Linear(WIDTH, CLASSES))


def pyramid() -> nn.Module:
    """One head for three levels, under names of its own for each."""
    head = he(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 3, padding=1)))

    def forward(m, x):
        x = functional.relu(m.stem(x))
        levels = (m.p3(x), m.p4(functional.avg_pool2d(x, 2)), m.p5(functional.avg_pool2d(x, 4)))
        return sum(level.mean((2, 3)) for level in levels)

    return Wrapped(forward, stem=he(nn.Conv2d(3, 8, 3, padding=1)), p3=head, p4=head, p5=head)


def equilibrium() -> nn.Module:
    """One map five times, which reads the inputs anew each time."""
    step = nn.Linear(WIDTH, WIDTH)
    nn.init.normal_(step.weight, std=0.5 / WIDTH**0.5)

    def forward(m, x):
        z = torch.zeros_like(x)
        for layer in m.steps:
            z = torch.tanh(layer(z) + m.inject(x))
        return m.head(z)

    maps = {"inject": nn.Linear(WIDTH, WIDTH), "head": nn.Linear(WIDTH, CLASSES)}
    return Wrapped(forward, steps=nn.ModuleList([step] * 5), **maps)


def one_for_six() -> nn.Module:
    """The mistake: `[layer] * 6`."""
    layer = he(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()))
    return nn.Sequential(*([layer] * 6), nn.Linear(WIDTH, CLASSES))


def one_for_three_members() -> nn.Module:
    """The mistake: an ensemble of one member."""
    member = nn.Linear(WIDTH, CLASSES)

    def forward(m, x):
        x = functional.relu(m.body(x))
        return sum(head(x) for head in m.heads) / 3

    return Wrapped(forward, body=he(nn.Linear(WIDTH, WIDTH)), heads=nn.ModuleList([member] * 3))


# Maps that are nearly 0 by design


def careful_policy() -> nn.Module:
    model = perceptron(CLASSES)
    nn.init.normal_(model[-1].weight, std=1e-3)
    return model


def careful_branches() -> nn.Module:
    def block() -> nn.Module:
        end = nn.Linear(WIDTH, WIDTH)
        nn.init.normal_(end.weight, std=1e-3)
        first = he(nn.Linear(WIDTH, WIDTH))
        return Wrapped(lambda m, x: x + m.end(functional.relu(m.first(x))), first=first, end=end)

    return nn.Sequential(*(block() for _ in range(4)), nn.Linear(WIDTH, CLASSES))


def warped() -> nn.Module:
    """A field that moves two coordinates of the inputs, hardly at all at the start."""
    field = perceptron(2)
    nn.init.uniform_(field[-1].weight, -1e-4, 1e-4)

    def forward(m, x):
        return m.body(torch.cat([x[:, :2] + m.field(x), x[:, 2:]], 1))

    return Wrapped(forward, field=field, body=perceptron(CLASSES))


def all_small() -> nn.Module:
    """The mistake: N(0, 0.001) everywhere."""
    model = perceptron(CLASSES)
    for part in model[::2]:
        nn.init.normal_(part.weight, std=1e-3)
    return model


# Biases that centre


def centred() -> nn.Module:
    """Tanh layers each of whose biases takes away the mean of what its weight gives."""
    maps = [nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)]
    x = POSITIVE
    for layer in maps:
        nn.init.normal_(layer.weight, std=1.7 / WIDTH**0.5)
        with torch.no_grad():
            layer.bias.copy_(-(x @ layer.weight.T).mean(0))
            x = torch.tanh(layer(x))
    return nn.Sequential(maps[0], nn.Tanh(), maps[1], nn.Tanh(), maps[2])


def distance() -> nn.Module:
    """Atzmon and Lipman's start of a signed distance: a sphere, by a mean weight and a bias at the end."""
    maps = [nn.Linear(3, 64), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 1)]
    for layer in maps[:-1]:
        nn.init.normal_(layer.weight, 0, math.sqrt(2 / 64))
        nn.init.zeros_(layer.bias)
    nn.init.normal_(maps[-1].weight, math.sqrt(math.pi / 64), 1e-4)
    nn.init.constant_(maps[-1].bias, -0.6)
    return nn.Sequential(*(part for layer in maps[:-1] for part in (layer, nn.Softplus(beta=100))), maps[-1])


def carried() -> nn.Module:
    """Highway layers whose gates start nearly shut, at -2."""

    def block() -> nn.Module:
        gate = nn.Linear(WIDTH, WIDTH)
        nn.init.constant_(gate.bias, -2.0)

        def forward(m, x):
            share = torch.sigmoid(m.gate(x))
            return share * functional.relu(m.map(x)) + (1 - share) * x

        return Wrapped(forward, map=he(nn.Linear(WIDTH, WIDTH)), gate=gate)

    return nn.Sequential(*(block() for _ in range(5)), nn.Linear(WIDTH, CLASSES))


def drowned() -> nn.Module:
    """The mistake: biases of 8 before tanh."""
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 10))
    for part in model[::2]:
        nn.init.constant_(part.bias, 8.0)
    return model


POSITIVE = torch.rand(256, WIDTH, generator=torch.Generator().manual_seed(1))
ROW, PICTURE, SERIES = normal(ROWS, WIDTH), normal(16, 3, 16, 16), normal(32, 6, WIDTH)
MEANT = [
    (squeezed, PICTURE),
    (scaled_to_nothing, ROW),
    (gated_skip, ROW),
    (begun_at_zero, SERIES),
    (towers, normal(32, 2, WIDTH)),
    (pyramid, PICTURE),
    (equilibrium, ROW),
    (careful_policy, ROW),
    (careful_branches, ROW),
    (warped, ROW),
    (centred, POSITIVE),
    (carried, ROW),
]
MISTAKES = [
    (shut, ROW, "BIA001"),
    (one_for_six, ROW, "TIE001"),
    (one_for_three_members, ROW, "TIE001"),
    (all_small, ROW, "WGT001"),
    (drowned, ROW, "BIA001"),
]


@pytest.mark.parametrize(("build", "x"), MEANT, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_meant_is_not_flagged(build, x):
    assert not flagged(build, x)


def test_a_sphere_is_not_flagged():
    torch.manual_seed(0)
    x = 0.5 * normal(256, 3)
    report = check(distance(), (x, x.norm(dim=1, keepdim=True) - 0.6), "mse_loss", seeds=1)
    assert not [one.code for one in report.findings if one.severity != "info"]


@pytest.mark.parametrize(("build", "x", "code"), MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_mistake_beside_it_is(build, x, code):
    assert code in flagged(build, x)
