"""Weights that a model makes of its parameters: the maps that they are keep unit second moment, through the forward."""

import math
from statistics import fmean, stdev

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanwise.torch as fw

KEYS = 12
WIDTH = 48


class Net(nn.Module):
    """A map whose weight is made, after a map and before a head."""

    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(32, WIDTH), nn.Linear(WIDTH, 10)
        self.build()

    def forward(self, x):
        self.read = torch.tanh(self.enter(x))
        self.pre = self.mapped(self.read)
        return self.out(torch.relu(self.pre.real if self.pre.is_complex() else self.pre))

    def mapped(self, x):
        return functional.linear(x, self.weight())


def random(*shape, std=0.3):
    return nn.Parameter(torch.randn(*shape) * std)


class LowRank(Net):
    def build(self):
        self.u, self.v = random(WIDTH, 6), random(6, WIDTH)

    def weight(self):
        return self.u @ self.v


class ThreeFactors(Net):
    def build(self):
        self.a, self.b, self.c = random(WIDTH, 8), random(8, 8), random(8, WIDTH)

    def weight(self):
        return torch.linalg.multi_dot([self.a, self.b, self.c])


class Skew(Net):
    def build(self):
        self.a = random(WIDTH, WIDTH)

    def weight(self):
        return self.a - self.a.T


class Kronecker(Net):
    def build(self):
        self.a, self.b = random(6, 6), random(8, 8)

    def weight(self):
        return torch.kron(self.a, self.b)


class Bases(Net):
    def build(self):
        self.mix, self.basis = random(2, 8), random(8, WIDTH, WIDTH)

    def mapped(self, x):
        weights = torch.einsum("rb,bio->rio", self.mix, self.basis)
        return torch.cat([x[:32] @ weights[0], x[32:] @ weights[1]])


class Codes(Net):
    def build(self):
        self.code, self.first, self.second = random(WIDTH, 8), random(8, 16), random(16, WIDTH)
        self.shift = nn.Parameter(torch.zeros(16))

    def weight(self):
        return torch.tanh(self.code @ self.first + self.shift) @ self.second


class Hadamard(Net):
    def build(self):
        self.a, self.b = random(WIDTH, WIDTH), random(WIDTH, WIDTH)

    def weight(self):
        return self.a * self.b


class BaseAndDelta(Net):
    def build(self):
        self.base, self.u, self.v = random(WIDTH, WIDTH), random(WIDTH, 4), random(4, WIDTH)

    def weight(self):
        return self.base + self.u @ self.v


class Ternary(Net):
    def build(self):
        self.w = random(WIDTH, WIDTH)

    def weight(self):
        size = self.w.abs().mean()
        return self.w + ((self.w / size).round().clamp(-1, 1) * size - self.w).detach()


class Turned(Net):
    """A kernel in four rotations, the output of each beside the others."""

    def build(self):
        self.kernel = random(3, 3, 3, 3)

    def mapped(self, x):
        kernels = torch.cat([torch.rot90(self.kernel, k, (2, 3)) * math.sqrt(2) for k in range(4)])
        return functional.conv2d(x.view(-1, 3, 4, 4), kernels, padding="valid").mean((2, 3)).repeat(1, 4)


class Square(Net):
    def build(self):
        self.w = random(WIDTH, WIDTH)

    def weight(self):
        return self.w * self.w.abs()


class Absolute(Net):
    def build(self):
        self.w = random(WIDTH, WIDTH)

    def weight(self):
        return self.w.abs()


class Exponential(Net):
    def build(self):
        self.w = nn.Parameter(torch.randn(WIDTH, WIDTH) - 4)

    def weight(self):
        return self.w.exp()


class Softplus(Net):
    def build(self):
        self.w = nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.1 - 4)

    def weight(self):
        return functional.softplus(self.w)


class Pairs(Net):
    """A complex matrix, stored as pairs."""

    def build(self):
        self.w = random(WIDTH, WIDTH, 2)

    def mapped(self, x):
        return x.to(torch.complex64) @ torch.view_as_complex(self.w).T


class ScaledPairs(Pairs):
    """The same, times factors that the model makes of numbers written down."""

    def build(self):
        super().build()
        self.rate = nn.Parameter(torch.linspace(0.5, 2, WIDTH))

    def mapped(self, x):
        weight = torch.exp(1j * self.rate)[:, None] * torch.view_as_complex(self.w)
        return x.to(torch.complex64) @ weight.T


class Positive(Net):
    """Of what a ReLU gives, which is positive too: its values add up."""

    def build(self):
        self.w = nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.1 - 4)

    def mapped(self, x):
        return functional.linear(functional.relu(x), functional.softplus(self.w))


MAPS = (
    LowRank, ThreeFactors, Skew, Kronecker, Bases, Codes, Hadamard, BaseAndDelta, Ternary, Square, Absolute,
    Exponential, Softplus, Positive, Pairs, ScaledPairs,
)  # fmt: skip


def batch(rows=64):
    return torch.randn(rows, 32, generator=torch.Generator().manual_seed(3))


def built(kind):
    torch.manual_seed(0)
    return kind()


def sizes(kind, plan):
    """Second moment of the made map's output, one for each key."""
    net, x = built(kind), batch()
    for key in range(KEYS):
        fw.apply(net, plan, key=key)
        with torch.no_grad():
            net(x)
        yield float(net.pre.abs().square().mean())


def is_unit(values):
    """Whether a mean is 1, within four standard errors and the few percent to which moments of a batch are known."""
    return abs(fmean(values) - 1) < 4 * stdev(values) / math.sqrt(len(values)) + 0.05


@pytest.mark.parametrize("kind", MAPS)
def test_a_made_map_gives_unit_second_moment(kind):
    plan = fw.plan(built(kind), fw.Inputs((batch(),)))
    made = [row for row in plan if not row.path.startswith(("enter", "out", "shift", "rate"))]
    assert all(row.law is not None and not row.guess for row in made)
    assert is_unit(list(sizes(kind, plan))), (fmean(sizes(kind, plan)), stdev(sizes(kind, plan)))


def test_the_law_of_a_plain_map_is_not_that_of_a_factor():
    plan = fw.plan(built(LowRank), fw.Inputs((batch(),)))
    law = next(row.law for row in plan if row.path == "u")
    assert law.std == pytest.approx((1 / (0.394 * WIDTH * 6)) ** 0.25, rel=0.1)  # E tanh(z)^2 = 0.394
    wrong = [size * WIDTH**-2 / law.std**4 for size in sizes(LowRank, plan)]  # had both been N(0, 1 / fan_in)
    assert not is_unit(wrong)


def test_factors_share_what_their_product_asks_for():
    """Var (U V) = r s^4 is to be 1 / (fan_in E x^2)."""
    plan = fw.plan(built(LowRank), fw.Inputs((batch(),)))
    laws = {row.path: row.law for row in plan}
    assert laws["u"].std == pytest.approx(laws["v"].std, rel=0.01)


def test_a_skew_matrix_has_twice_the_variance():
    plan = fw.plan(built(Skew), fw.Inputs((batch(),)))
    law = next(row.law for row in plan if row.path == "a")
    with torch.no_grad():
        net = built(Skew)
        fw.apply(net, plan, key=0)
        net(batch())
    wanted = 1 / (WIDTH * float(net.read.square().mean()))
    assert law.std**2 == pytest.approx(wanted / (2 * (1 - 1 / WIDTH)), rel=0.05)


class Orthogonal(Net):
    def build(self):
        self.a = random(WIDTH, WIDTH, std=0.1)

    def weight(self):
        return torch.linalg.matrix_exp(self.a - self.a.T)


class Signs(Net):
    def build(self):
        self.w = random(WIDTH, WIDTH, std=0.1)

    def weight(self):
        return self.w.sign() / WIDTH**0.5


class Householder(Net):
    def build(self):
        self.v = random(WIDTH, std=0.1)

    def weight(self):
        return torch.eye(WIDTH) - 2 * torch.outer(self.v, self.v) / self.v.square().sum()


@pytest.mark.parametrize("kind", [Orthogonal, Signs, Householder])
def test_where_the_function_fixes_the_size_the_authors_spread_stays(kind):
    plan = fw.plan(built(kind), fw.Inputs((batch(),)))
    row = next(row for row in plan if not row.path.startswith(("enter", "out")))
    assert not row.guess
    assert row.law.std == pytest.approx(0.1, rel=0.1)


def test_a_delta_of_zeros_beside_its_base_is_kept():
    class Zero(BaseAndDelta):
        def build(self):
            super().build()
            nn.init.zeros_(self.u)

    plan = fw.plan(built(Zero), fw.Inputs((batch(),)))
    row = next(row for row in plan if row.path == "u")
    assert row.law.moments((2,)).std == 0
    assert is_unit(list(sizes(Zero, plan)))
