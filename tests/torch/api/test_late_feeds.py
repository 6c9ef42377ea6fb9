"""What feeds a map at another time than its first use: fixed arrays, states that start at zero, late shortcuts."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402

import fanwise.torch as fwt  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402

X = normal(64, 16)


def parts(**sizes):
    return {name: nn.Linear(*size) for name, size in sizes.items()}


@pytest.mark.parametrize("level", [0.1, 0.5, 1.0, 3.0, 20.0])
def test_a_fixed_array_feeds_a_map_with_its_own_second_moment(level):
    """Positions or coordinates in a buffer: N(0, 1 / (fan_in E c^2)), by hand."""
    model = Wrapped(
        lambda m, x: m.head(torch.relu(m.enter(x) + m.place(m.grid))), **parts(enter=(16, 32), head=(32, 4))
    )
    model.place = nn.Linear(8, 32)
    model.register_buffer("grid", torch.full((1, 8), level))
    row = fwt.plan(model, X)["place.weight"]
    assert not row.guess
    assert row.std == pytest.approx(1 / math.sqrt(8 * level**2), rel=0.01)


JOINS = {
    "after the branch": lambda m, s: m.up(torch.relu(m.down(s))) + m.short(s),
    "in place": lambda m, s: m.up(torch.relu(m.down(s))).add_(m.short(s)),
    "normed": lambda m, s: m.up(torch.tanh(m.down(s))) + nn.functional.layer_norm(s, (32,)),
    "named": lambda m, s: torch.add(m.up(nn.functional.gelu(m.down(s))), m.short(s)),
    "scaled": lambda m, s: m.up(torch.sigmoid(m.down(s))) + 0.5 * m.short(s),
}


@pytest.mark.parametrize("name", JOINS)
def test_a_shortcut_that_is_computed_after_its_branch_is_measured(name):
    maps = parts(stem=(16, 32), down=(32, 64), up=(64, 32), short=(32, 32), head=(32, 4))
    model = Wrapped(lambda m, x: m.head(JOINS[name](m, m.stem(x))), **maps)
    assert not any(row.guess for row in fwt.plan(model, X))


TOKENS = {
    "beside zeros": lambda m, x: torch.zeros(len(x), 12, 32) + m.token.repeat(len(x), 1, 1),
    "beside zeros like it": lambda m, x: torch.zeros_like(m.token) + m.token.expand(len(x), 12, 32),
    "times a number": lambda m, x: (0.5 * m.token).expand(len(x), 12, 32),
    "moved": lambda m, x: (m.token + 1.0).expand(len(x), 12, 32),
    "turned about": lambda m, x: (-m.token).flip(1).repeat(len(x), 1, 1),
}


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("spread", [0.02, 5.0])
def test_a_map_of_learned_tokens_reads_them_as_the_plan_draws_them(name, spread):
    """Whatever they were before: E y^2 = 1 of the map, measured once the plan is applied."""
    sizes = {"ask": (32, 64), "enter": (16, 64), "head": (64, 4)}

    def forward(m, x):
        m.seen = m.ask(TOKENS[name](m, x))
        return m.head(torch.relu(m.seen.mean(1) + m.enter(x)))

    model = Wrapped(forward, **parts(**sizes), token=nn.Parameter(spread * normal(1, 12, 32)))
    fwt.apply(model, fwt.plan(model, X), key=0)
    model(X)
    assert float(model.seen.detach().square().mean()) == pytest.approx(1, rel=5 * math.sqrt(2 / (12 * 32)) + 0.1)
