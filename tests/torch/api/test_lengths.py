"""Weights whose lengths are parameters, along any axis: what the map gives, measured through the real forward."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils.parametrizations import weight_norm  # noqa: E402

import fanwise.torch as fwt  # noqa: E402

WIDTH, PLACES, EXAMPLES = 64, 30, 64
MAPS = {
    "linear": (lambda: nn.Linear(WIDTH, 2 * WIDTH), (WIDTH,)),
    "conv": (lambda: nn.Conv1d(WIDTH, 2 * WIDTH, 3), (WIDTH, PLACES)),
    "grouped": (lambda: nn.Conv1d(WIDTH, WIDTH, 3, groups=4), (WIDTH, PLACES)),
    "transposed": (lambda: nn.ConvTranspose1d(WIDTH, WIDTH // 2, 4, 2, 1), (WIDTH, PLACES)),
}
"""Maps, and the shapes of what they read."""


@pytest.mark.parametrize(
    ("kind", "dim"),
    [("linear", 0), ("linear", 1), ("linear", None), ("conv", 0), ("conv", 1), ("conv", 2), ("grouped", 2)]
    + [("transposed", dim) for dim in (0, 1, 2)],
)
def test_a_length_along_any_axis_gives_unit_second_moment(kind, dim):
    """A mean over 32 units or more, whose own are 1 +- sqrt(2 / fan_in), is 1 +- 0.02: four errors.

    At the border one tap of 120 is missed.
    """
    make, shape = MAPS[kind]
    layer, x = weight_norm(make(), dim=dim), torch.randn(EXAMPLES, *shape, generator=torch.Generator().manual_seed(1))
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(layer(x)[0].numel(), 5))
    fwt.apply(model, fwt.plan(model, x), key=0)
    assert layer(x).square().mean().item() == pytest.approx(1.0, rel=0.08)
