"""Gradients that are cut: values that leave the graph and come back as constants, and functions without a slope."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import numpy as np  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from fanwise.torch import check  # noqa: E402

from ..traced import Wrapped  # noqa: E402

ROWS, FEATURES, WIDTH, CLASSES = 24, 16, 20, 4
HE = math.sqrt(2)


def layer(n, m, gain=HE):
    made = nn.Linear(n, m)
    nn.init.normal_(made.weight, std=gain / math.sqrt(n))
    nn.init.zeros_(made.bias)
    return made


def batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, FEATURES, generator=generator)
    return x, (x[:, :CLASSES]).argmax(-1)


def between(function):
    """A start and a rest with something between them."""
    start = nn.Sequential(layer(FEATURES, WIDTH), nn.ReLU(), layer(WIDTH, WIDTH), nn.ReLU())
    rest = nn.Sequential(layer(WIDTH, WIDTH), nn.ReLU(), layer(WIDTH, CLASSES, 0.1))
    return Wrapped(lambda m, x: m.rest(function(m.start(x))), start=start, rest=rest)


CUTS = {
    "numpy": lambda h: torch.from_numpy(h.detach().numpy()),
    "numpy and back after a function": lambda h: torch.from_numpy(np.clip(h.detach().cpu().numpy(), 0, 3)),
    "tensor of an array": lambda h: torch.tensor(h.detach().numpy() * 2),
    "asarray": lambda h: torch.as_tensor(np.asarray(h.detach())),
    "tolist": lambda h: torch.tensor(h.tolist()),
    "item by item": lambda h: torch.tensor([[value.item() for value in row] for row in h]),
    "floats, stacked": lambda h: torch.stack([torch.tensor([float(value) for value in row.detach()]) for row in h]),
    "data": lambda h: h.data,
    "detach": lambda h: h.detach(),
    "integers": lambda h: h.long().float() + 0.1,
    "clone of an array": lambda h: torch.from_numpy(h.detach().numpy().copy()).clone() * 1.5,
}


@pytest.mark.parametrize("name", CUTS)
def test_what_comes_back_as_a_constant_is_a_cut_graph(name):
    torch.manual_seed(0)
    found = check(between(CUTS[name]), batch(), "cross_entropy").findings[0]
    assert (found.code, found.severity, found.place) == ("GRD001", "error", "start.2.weight")
    assert found.paths == ("start.0.weight", "start.2.weight")


def test_a_cut_costs_what_the_first_layers_would_learn():
    def last_loss(function):
        torch.manual_seed(0)
        model, (x, y) = between(function), batch()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    assert last_loss(CUTS["numpy"]) > 2 * last_loss(lambda h: h)


def test_a_number_that_came_back_is_followed():
    def forward(m, x):
        return m.head(m.body(x).relu() * torch.sigmoid(m.gate(x)).mean().item())

    model = Wrapped(forward, body=layer(FEATURES, WIDTH), gate=layer(FEATURES, WIDTH), head=layer(WIDTH, CLASSES, 0.1))
    found = check(model, batch(), "cross_entropy").findings[0]
    assert (found.code, found.place) == ("GRD001", "gate.weight")
    assert "item()" in found.cause


def test_a_weight_that_is_read_as_an_array_is_named():
    def forward(m, x):
        return m.head((x @ torch.from_numpy(m.weight.detach().numpy().copy())).relu())

    model = Wrapped(forward, weight=torch.randn(FEATURES, WIDTH) / 4, head=layer(WIDTH, CLASSES, 0.1))
    found = check(model, batch(), "cross_entropy").findings[0]
    assert (found.code, found.severity, found.paths) == ("GRD001", "error", ("weight",))


def test_an_output_of_an_array_is_a_cut_graph():
    model = Wrapped(lambda m, x: torch.from_numpy(m.body(x).detach().numpy()), body=between(lambda h: h))
    found = check(model, batch(), "cross_entropy").findings[0]
    assert (found.code, found.place) == ("GRD001", "body.rest.2.weight")


@pytest.mark.parametrize("function", [torch.round, torch.floor, torch.sign, lambda h: (h * 4).ceil()])
def test_a_function_without_a_slope_is_named(function):
    torch.manual_seed(0)
    found = check(between(function), batch(), "cross_entropy").findings[0]
    assert (found.code, found.severity, found.place) == ("GRD003", "error", "start.2.weight")


HARMLESS = {
    "straight through": lambda h: h + (h.round() - h).detach(),
    "logged": lambda h: (h.detach().numpy().mean(), h)[1],
    "a constant after a log": lambda h: (h.mean().item(), h * torch.tensor(0.5))[1],
    "a factor of its own size": lambda h: h / max(float(h.detach().abs().mean()), 0.1),
    "a mask": lambda h: h * (h > 0.5).float(),
    "an array of constants": lambda h: h + torch.from_numpy(np.linspace(0, 1, WIDTH, dtype=np.float32)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_leaves_a_gradient_its_way_is_no_cut(name):
    torch.manual_seed(0)
    codes = [found.code for found in check(between(HARMLESS[name]), batch(), "cross_entropy").findings]
    assert not {"GRD001", "GRD003"} & set(codes)
