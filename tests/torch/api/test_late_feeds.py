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
