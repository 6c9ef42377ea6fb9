"""Starts that look like mistakes and are none, each beside the mistake: own losses, scores, phases, biased zeros."""

import math
from itertools import pairwise

import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch import nn
from torch.nn import functional

from fanwise.torch import check

from ..traced import Wrapped

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(64) % 10


def codes(model, batch, loss):
    torch.manual_seed(0)
    report = check(model(), batch, loss, seeds=1)
    return {each.code for one in report.findings if one.severity != "info" for each in one.walk()}


def perceptron(*widths):
    parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


# A loss that is the answer of the model


@pytest.mark.parametrize("value", [2.0, 20.0, 23.0, 40.0, 300.0])
@pytest.mark.parametrize("shape", [(), (64,)])
def test_an_answer_that_is_the_loss_is_no_binary_cross_entropy(value, shape):
    def forward(net, x):
        error = net.body(x).square().mean(1) + value
        return error if shape else error.mean()

    model = lambda: Wrapped(forward, body=perceptron(16, 32, 4))  # noqa: E731
    assert "LOS001" not in codes(model, (X, torch.zeros(shape)), lambda output, _: output.mean())


def test_a_binary_cross_entropy_under_another_name_is_still_one():
    def model():
        head = nn.Linear(32, 1)
        nn.init.constant_(head.bias, 40.0)
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), head, nn.Flatten(0))

    def loss(output, target):
        return (functional.softplus(output) - output * target).mean()

    assert "LOS001" in codes(model, (X, torch.zeros(64)), loss)


# A loss of some times ln C


class Decoder(nn.Module):
    """A tied table, and perceptrons in a stream."""

    def __init__(self, std):
        super().__init__()
        self.embed, self.norm = nn.Embedding(64, 32), nn.LayerNorm(32)
        self.body = nn.ModuleList(perceptron(32, 64, 32) for _ in range(2))
        nn.init.normal_(self.embed.weight, std=std)

    def forward(self, x):
        x = self.embed(x)
        for body in self.body:
            x = x + body(x)
        return functional.linear(self.norm(x), self.embed.weight)


@pytest.mark.parametrize(("std", "loud"), [(0.02, False), (0.18, False), (0.4, False), (1.5, True), (3.0, True)])
def test_a_tied_table_is_loud_from_where_its_training_is_slower(std, loud):
    ids = torch.randint(64, (8, 12), generator=torch.Generator().manual_seed(2))
    target = ids.roll(1, 1)
    said = codes(lambda: Decoder(std), (ids, target), lambda out, to: functional.cross_entropy(out.mT, to))
    assert ("LOS001" in said) == loud


# Scores


class Aligned(nn.Module):
    """Additive attention over a series, and maps of usual size around it."""

    def __init__(self, std):
        super().__init__()
        self.enter, self.deep, self.more, self.head = (nn.Linear(a, b) for a, b in SIZES)
        self.query, self.key, self.score = nn.Linear(32, 32, bias=False), nn.Linear(32, 32), nn.Linear(32, 1)
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=std)

    def forward(self, x):
        x = self.enter(x).relu()
        x = self.more(self.deep(x).relu()).relu()
        hidden = torch.tanh(self.key(x) + self.query(x.mean(1, keepdim=True)))
        return self.head((self.score(hidden).softmax(1) * x).sum(1))


SIZES = ((16, 32), (32, 32), (32, 32), (32, 10))
SERIES = torch.randn(64, 8, 16, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("std", [1e-3, 3e-3, 1e-2])
def test_small_maps_of_scores_weigh_all_alike_and_are_no_outliers(std):
    assert "LAY001" not in codes(lambda: Aligned(std), (SERIES, LABELS), "cross_entropy")


def test_as_small_a_map_on_the_way_of_the_signal_is_an_outlier():
    def model():
        net = Aligned(0.1)
        nn.init.normal_(net.deep.weight, std=1e-3)
        return net

    assert codes(model, (SERIES, LABELS), "cross_entropy") & {"LAY001", "FWD001"}


# Phases


def multiplied(scale, act=torch.sin):
    def forward(net, x):
        z = act(net.filters[0](x))
        for filtered, layer in zip(list(net.filters)[1:], net.maps, strict=True):
            z = act(filtered(x)) * layer(z)
        return net.head(z)

    filters, maps = nn.ModuleList(nn.Linear(2, 64) for _ in range(4)), nn.ModuleList(nn.Linear(64, 64) for _ in "abc")
    for layer in filters:
        nn.init.uniform_(layer.weight, -scale, scale)
    return Wrapped(forward, filters=filters, maps=maps, head=nn.Linear(64, 1))


@pytest.mark.parametrize("scale", [5.0, 10.0, 30.0])
@pytest.mark.parametrize("act", [torch.sin, torch.cos])
def test_frequencies_of_coordinates_are_no_weights_too_large(scale, act):
    batch = (2 * torch.rand(256, 2, generator=torch.Generator().manual_seed(4)) - 1, X[:1, :1].expand(256, 1))
    assert "WGT002" not in codes(lambda: multiplied(scale, act), batch, "mse")


def test_the_same_maps_before_a_tanh_are():
    batch = (2 * torch.rand(256, 2, generator=torch.Generator().manual_seed(4)) - 1, X[:1, :1].expand(256, 1))
    assert codes(lambda: multiplied(30.0, torch.tanh), batch, "mse") & {"WGT002", "SAT001"}


# Zeros beside a bias


class Turned(nn.Module):
    """PointNet's transform: a matrix of each cloud, made by a map of zeros whose bias is the identity."""

    def __init__(self, size, biased=True):
        super().__init__()
        self.size = size
        self.enter, self.make, self.head = nn.Linear(3, size), nn.Linear(size, size * size), perceptron(size, 32, 10)
        nn.init.zeros_(self.make.weight)
        self.make.bias.data = torch.eye(size).flatten() if biased else torch.zeros(size * size)

    def forward(self, x):
        x = self.enter(x)
        matrix = self.make(x.amax(1)).unflatten(1, (self.size, self.size))
        return self.head((x @ matrix).relu().mean(1))


CLOUDS = torch.randn(64, 12, 3, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("size", [3, 8, 16])
def test_a_transform_that_begins_as_the_identity_is_no_map_of_zeros(size):
    assert "ZER001" not in codes(lambda: Turned(size), (CLOUDS, LABELS), "cross_entropy")


def test_one_that_begins_as_nothing_is():
    assert "ZER001" in codes(lambda: Turned(8, biased=False), (CLOUDS, LABELS), "cross_entropy")


# Fans of sums


class Orders(nn.Module):
    """Powers of a matrix, each times a map of its own; their sum, or their join."""

    def __init__(self, orders, std, summed=True):
        super().__init__()
        self.weight, self.summed = nn.Parameter(std * torch.randn(orders, 16, 16)), summed

    def forward(self, x):
        terms = torch.stack([x.roll(order, 0) for order in range(len(self.weight))])
        given = terms @ self.weight
        return given.sum(0) if self.summed else given[0]


@pytest.mark.parametrize("orders", [4, 6, 8])
def test_orders_that_are_summed_count_in_the_fan(orders):
    std = math.sqrt(1 / (16 * orders))
    model = lambda: nn.Sequential(*(Orders(orders, std) for _ in range(4)), nn.Linear(16, 10))  # noqa: E731
    assert "FAN001" not in codes(model, (X, LABELS), "cross_entropy")


def test_orders_that_are_not_summed_do_not():
    std = math.sqrt(1 / (16 * 16))
    model = lambda: nn.Sequential(*(Orders(4, std, summed=False) for _ in range(4)), nn.Linear(16, 10))  # noqa: E731
    assert codes(model, (X, LABELS), "cross_entropy") & {"FAN001", "FWD001"}
