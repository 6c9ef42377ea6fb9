"""Constants between a map and what it is for: the value that a nonlinearity, a join or a loss reads has its size."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import fanwise.torch as fwt
from fanwise import Uniform, VarianceScaling

from ..traced import Wrapped, normal

F = nn.functional
WIDTH, ROWS = 256, 512
SPREAD = 5 * math.sqrt(2 / WIDTH) * 1.5
"""Five standard errors of a layer's second moment over draws of its weights, and half as much again for the inputs."""


def applied(model, *inputs, key=0):
    plan = fwt.plan(model, inputs)
    fwt.apply(model, plan, key=key)
    return plan


def two_maps(bend):
    """A model whose second map is followed by `bend`, which keeps its argument in `model.seen`."""

    def forward(model, x):
        model.seen = []
        h = torch.relu(model.first(x))
        return model.head(bend(model, model.second(h)))

    return Wrapped(forward, first=nn.Linear(64, WIDTH), second=nn.Linear(WIDTH, WIDTH), head=nn.Linear(WIDTH, 10))


def keep(model, argument):
    model.seen.append(argument)
    return argument


def power(tensor):
    return float(tensor.detach().double().square().mean())


def argument_power(model, *inputs):
    """E x^2 of what the nonlinearity reads once the plan is applied, through the model's own forward."""
    applied(model, *inputs)
    model(*inputs)
    return power(model.seen[-1])


BENDS = {
    "relu of 4 x": lambda m, y: torch.relu(keep(m, 4 * y)),
    "tanh of x / 8": lambda m, y: torch.tanh(keep(m, y / 8)),
    "a tensor of one number, on the left": lambda m, y: torch.tanh(keep(m, torch.tensor(12.0) * y)),
    "a tensor of shape (1,)": lambda m, y: F.gelu(keep(m, torch.tensor([0.25]) * y)),
    "two factors": lambda m, y: torch.sigmoid(keep(m, 3 * (y * 2) - 0.0)),
    "in place": lambda m, y: F.silu(keep(m, y.mul_(5))),
    "negated": lambda m, y: torch.relu(keep(m, -7 * y)),
    "a softmax with a temperature": lambda m, y: torch.softmax(keep(m, y / 0.07), -1),
    "an array of constants": lambda m, y: torch.tanh(keep(m, y * torch.linspace(2, 6, WIDTH))),
    "one of two ways": lambda m, y: torch.cat([torch.sin(z := keep(m, 9 * y)), torch.cos(z)], -1)[:, :WIDTH],
}


@pytest.mark.parametrize("name", BENDS)
def test_the_argument_of_a_nonlinearity_has_unit_variance(name):
    assert argument_power(two_maps(BENDS[name]), normal(ROWS, 64)) == pytest.approx(1, rel=SPREAD)


def test_without_the_factor_in_the_law_the_argument_would_be_far_from_it():
    model, x = two_maps(BENDS["relu of 4 x"]), normal(ROWS, 64)
    plan = applied(model, x)
    torch.nn.init.normal_(model.second.weight, std=4 * plan["second.weight"].std)
    model(x)
    assert power(model.seen[-1]) > 10


KEPT = {
    "a sigmoid of its own": lambda m, y: y * torch.sigmoid(1.702 * y),
    "a soft cap": lambda m, y: 50 * torch.tanh(y / 50),
    "a sharp softplus": lambda m, y: F.softplus(100 * y) / 100,
    "a norm between": lambda m, y: torch.relu(F.layer_norm(40 * y, (WIDTH,))),
    "a square": lambda m, y: torch.tanh(y.square()),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_no_factor_of_an_argument_changes_nothing(name):
    plain = fwt.plan(two_maps(lambda m, y: torch.relu(y)), normal(ROWS, 64))["second.weight"]
    row = fwt.plan(two_maps(KEPT[name]), normal(ROWS, 64))["second.weight"]
    assert (row.std, row.gives) == (pytest.approx(plain.std), 1)
    assert "multiplies" not in row.reason


def test_the_reason_names_the_factor_and_the_row_says_what_the_map_gives():
    row = fwt.plan(two_maps(BENDS["relu of 4 x"]), normal(ROWS, 64))["second.weight"]
    assert row.gives == pytest.approx(1 / 16)
    assert row.reason == "unit second moment at the argument of relu: the model multiplies this map's output by 4"


# Sines


class Siren(nn.Module):
    def __init__(self, omega=30.0, inputs=2, width=WIDTH, first=None):
        super().__init__()
        sizes = [inputs, width, width, width]
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.omegas = [first or omega, omega, omega]
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        self.seen = []
        for omega, linear in zip(self.omegas, self.maps, strict=True):
            x = torch.sin(keep(self, omega * linear(x)))
        return self.head(x)


def coordinates(n=48, dims=2):
    axis = torch.linspace(-1, 1, n)
    return torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims)


@pytest.mark.parametrize(("omega", "first"), [(30.0, None), (10.0, None), (30.0, 3000.0)])
def test_sines_with_a_frequency_have_the_published_laws(omega, first):
    model = Siren(omega, first=first)
    plan = applied(model, coordinates())
    assert plan["maps.0.weight"].law == Uniform(0.5)  # 1 / fan_in, whatever the frequency
    for path in ("maps.1.weight", "maps.2.weight"):
        law = plan[path].law
        assert isinstance(law, VarianceScaling)
        assert (law.mode, law.distribution) == ("fan_in", "uniform")
        assert plan[path].std * math.sqrt(3) == pytest.approx(math.sqrt(6 / WIDTH) / omega)
        assert f"sin({omega:g} x)" in plan[path].reason
    model(coordinates())
    assert [power(seen) for seen in model.seen[1:]] == pytest.approx([1, 1], rel=0.35)  # second moment 1/2 or less


@pytest.mark.parametrize(
    ("inputs", "reach"),
    [
        (coordinates(), 1.0),
        ((coordinates() + 1) * 24, 48.0),  # pixel numbers
        (coordinates() * 0.5, 0.5),
        ((coordinates() + 1) / 2, 1.0),
        (torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1, 1.0),
    ],
    ids=["-1 to 1", "pixels", "half", "0 to 1", "random points"],
)
def test_the_first_map_goes_by_the_range_of_the_inputs(inputs, reach):
    row = fwt.plan(Siren(inputs=inputs.shape[1]), inputs)["maps.0.weight"]
    assert row.law.bound == pytest.approx(1 / (inputs.shape[1] * reach), rel=0.04)


def test_sines_without_a_frequency_stay_as_they_were():
    row = fwt.plan(Siren(1.0), coordinates())["maps.1.weight"]
    assert (row.law.distribution, row.gives) == ("normal", 1)


def test_frequencies_that_are_data_count_with_their_rms():
    """FiLM: sin(f (W x) + p), with f = 15 m(z) + 30 for unit m."""

    def forward(model, x, z):
        model.seen = []
        h = torch.sin(keep(model, 30 * model.first(x)))
        y = (15 * model.film(z)[:, None] + 30) * model.second(h)
        return model.head(torch.sin(keep(model, y)))

    parts = {"first": nn.Linear(2, WIDTH), "second": nn.Linear(WIDTH, WIDTH), "film": nn.Linear(64, WIDTH)}
    model = Wrapped(forward, head=nn.Linear(WIDTH, 1), **parts)
    x, z = torch.rand(16, 64, 2) * 2 - 1, normal(16, 64)
    plan = applied(model, x, z)
    frequency = math.sqrt(30**2 + 15**2)
    assert plan["second.weight"].std == pytest.approx(math.sqrt(2 / WIDTH) / frequency, rel=0.05)
    model(x, z)
    assert power(model.seen[-1]) == pytest.approx(0.9, rel=0.3)


# Learned factors, heads and branches


def test_a_learned_factor_counts_with_the_value_that_it_has():
    def forward(model, x):
        model.seen = []
        return model.head(torch.tanh(keep(model, model.gain * model.second(torch.relu(model.first(x))))))

    parts = {"first": nn.Linear(64, WIDTH), "second": nn.Linear(WIDTH, WIDTH), "head": nn.Linear(WIDTH, 10)}
    model = Wrapped(forward, gain=torch.full((WIDTH,), 6.0), **parts)
    assert argument_power(model, normal(ROWS, 64)) == pytest.approx(1, rel=SPREAD)


@pytest.mark.parametrize(
    ("factor", "write"),
    [
        (0.125, lambda y: y * 0.125),
        (1 / 0.07, lambda y: y / 0.07),
        (1.0, lambda y: 30 * torch.tanh(y / 30)),
        (0.2, lambda y: 20 * torch.tanh(0.2 * y / 20)),
        (3.0, lambda y: 50 * torch.tanh(3 * y / 50)),
        (0.5, lambda y: 8 * F.softsign(y / 16)),
        (2.0, lambda y: 12 * F.hardtanh(y / 6)),
        (4.0, lambda y: F.log_softmax(4 * y, -1)),
    ],
    ids=["width multiplier", "temperature", "soft cap", "quiet cap", "loud cap", "softsign", "clip", "log-softmax"],
)
def test_the_head_s_outputs_have_their_size_after_its_multiplier(factor, write):
    model = Wrapped(
        lambda m, x: write(m.head(torch.relu(m.first(x)))), first=nn.Linear(64, 256), head=nn.Linear(256, 10)
    )
    row = fwt.plan(model, normal(ROWS, 64))["head.weight"]
    assert row.gives == pytest.approx(2 * 0.02 * math.log(10) / factor**2, rel=1e-4)


def test_a_branch_s_multiplier_leaves_it_its_share():
    def forward(model, x):
        x = model.first(x)
        model.seen = [x]
        for up, down in zip(model.ups, model.downs, strict=True):
            x = keep(model, x + 0.1 * down(torch.relu(up(x))))
        return model.head(F.layer_norm(x, (WIDTH,)))

    maps = {name: nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4)) for name in ("ups", "downs")}
    model = Wrapped(forward, first=nn.Linear(64, WIDTH), head=nn.Linear(WIDTH, 10), **maps)
    x = normal(ROWS, 64)
    applied(model, x)
    model(x)
    assert power(model.seen[-1]) / power(model.seen[0]) == pytest.approx((1 + 1 / 4) ** 4, rel=0.2)


# Constants on the weight itself


def scaled_weights(gain):
    """Equalised learning rate: the model multiplies its weights by gain / sqrt(fan_in)."""

    def forward(model, x):
        model.seen = []
        for weight in (model.a, model.b):
            x = F.leaky_relu(keep(model, F.linear(x, weight * (gain / math.sqrt(weight.shape[1])))), 0.2)
        return F.linear(x, model.c)

    return Wrapped(forward, a=normal(WIDTH, 64), b=normal(WIDTH, WIDTH), c=normal(10, WIDTH))


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_equalised_learning_rates_leave_parameters_of_order_one_over_the_gain(gain):
    model, x = scaled_weights(gain), normal(ROWS, 64)
    plan = applied(model, x)
    assert plan["a"].std == pytest.approx(1 / gain, rel=0.02)
    model(x)
    assert [power(seen) for seen in model.seen] == pytest.approx([1, 1], rel=SPREAD)


def test_they_have_the_same_laws_without_values():
    plan = fwt.plan(scaled_weights(0.01).to("meta"), f"{ROWS},64")
    real = fwt.plan(scaled_weights(0.01), normal(ROWS, 64))
    assert [plan[p].std for p in "abc"] == pytest.approx([real[p].std for p in "abc"], rel=0.06)


def test_standardised_weights_may_have_any_size_and_are_drawn():
    def forward(model, x):
        model.seen = []
        w = model.kernel
        mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), keepdim=True)
        standard = (w - mean) / torch.sqrt(var * w[0].numel() + 1e-6)
        return model.head(torch.relu(keep(model, F.conv2d(x, standard, padding=1))).mean((2, 3)))

    model = Wrapped(forward, kernel=normal(64, 16, 3, 3) * 0.02, head=nn.Linear(64, 10))
    x = normal(16, 16, 8, 8)
    plan = applied(model, x)
    assert plan["kernel"].law is not None
    assert "any scale" in plan["kernel"].reason
    model(x)
    assert power(model.seen[-1]) == pytest.approx(0.85, rel=0.15)  # the border lacks taps


QUIET = {
    "a number": lambda m, y: y * m.gate,
    "on the left": lambda m, y: m.gate * y,
    "a number for each feature": lambda m, y: y * m.gates,
    "squared": lambda m, y: y * m.gate**2,
    "beside a bias": lambda m, y: y * m.gate + m.shift,
}


@pytest.mark.parametrize("quiet", QUIET)
@pytest.mark.parametrize("bend", [torch.sigmoid, torch.tanh])
def test_a_learned_factor_that_starts_small_keeps_its_argument_quiet(quiet, bend):
    """It is a gate that starts near its rest: dividing it out would undo what it is for."""

    def forward(model, x):
        y = keep(model, model.second(torch.relu(model.first(x))))
        return model.head(bend(QUIET[quiet](model, y)))

    maps = {"first": nn.Linear(64, WIDTH), "second": nn.Linear(WIDTH, WIDTH), "head": nn.Linear(WIDTH, 10)}
    gates = {"gate": nn.Parameter(torch.full((1,), 0.01)), "gates": nn.Parameter(torch.full((WIDTH,), 0.01))}
    model = Wrapped(forward, **maps, **gates, shift=nn.Parameter(torch.full((WIDTH,), -1.0)))
    model.seen = []
    x = normal(ROWS, 64)
    applied(model, x)
    model.seen = []
    model(x)
    assert power(model.seen[-1]) == pytest.approx(1, rel=SPREAD)
