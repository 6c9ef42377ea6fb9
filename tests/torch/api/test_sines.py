"""Sine layers: arguments that go round are found, the published law is not, and what the first costs."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from fanwise.torch import check  # noqa: E402

from ..traced import Wrapped  # noqa: E402


def picture():
    ticks = torch.linspace(-1, 1, 16)
    points = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    return points, 0.5 * torch.sin(6 * points[:, :1] * points[:, 1:])


def sines(omega, gain, width=48, depth=3, first=0.5):
    """Layers sin(omega (W x + b)), whose hidden maps give the argument an rms of `gain`."""
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(n, width) for n in (2, *[width] * depth))
    nn.init.uniform_(layers[0].weight, -first, first)
    for layer in layers[1:]:
        bound = gain * math.sqrt(6 / width) / omega
        nn.init.uniform_(layer.weight, -bound, bound)

    def forward(m, x):
        for layer in m.layers:
            x = torch.sin(omega * layer(x))
        return m.head(x)

    return Wrapped(forward, layers=layers, head=nn.Linear(width, 1))


@pytest.mark.parametrize(("omega", "width"), [(10, 48), (30, 48), (30, 16), (60, 64)])
def test_the_published_law_is_not_flagged(omega, width):
    report = check(sines(omega, 1.0, width), picture(), "mse_loss")
    assert not {"SIN001", "SIN002"} & {finding.code for finding in report.findings}


@pytest.mark.parametrize("omega", [30, 100])
def test_a_default_law_under_a_large_factor_is_named_at_the_first_hidden_map(omega):
    model = sines(omega, 1.0)
    for layer in model.layers[1:]:
        layer.reset_parameters()
    found = check(model, picture(), "mse_loss").findings[0]
    assert (found.code, found.severity, found.place) == ("SIN001", "error", "layers.1.weight")
    expected = omega * math.sqrt(1 / 3 / 2)  # U(+-1/sqrt(n)) has a third of unit variance, sines half of one
    assert found.evidence["rms"] == pytest.approx(expected, rel=0.1)


def last_loss(gain, first=0.5, steps=120):
    model, (x, y) = sines(30, gain, first=first), picture()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_arguments_that_go_round_stop_the_training():
    assert last_loss(8.0) > 100 * last_loss(1.0)
    assert last_loss(3.0) < 1e-3  # below the line there is no such harm


@pytest.mark.parametrize("omega", [10, 30, 60])
def test_a_first_map_drawn_as_those_behind_it_is_named(omega):
    report = check(sines(omega, 1.0, first=math.sqrt(6 / 2) / omega), picture(), "mse_loss")
    found = report.findings[0]
    assert (found.code, found.severity, found.place) == ("SIN002", "warning", "layers.0.weight")
    spread = math.sqrt(float(picture()[0].square().mean()))  # U(+-sqrt(6 / n)) has variance 2 / n
    assert found.evidence["rms"] == pytest.approx(math.sqrt(2) * spread, rel=0.15)


def test_a_first_map_that_divides_the_frequency_out_costs_and_its_fix_does_not():
    broken, published = last_loss(1.0, math.sqrt(3) / 30, 40), last_loss(1.0, steps=40)
    assert broken > 2 * published


def test_first_maps_that_are_meant_are_not_named():
    def codes(model):
        return {finding.code for finding in check(model, picture(), "mse_loss").findings}

    torch.manual_seed(0)
    without_frequency = Wrapped(
        lambda m, x: m.c(torch.sin(m.b(torch.sin(m.a(x))))), a=nn.Linear(2, 48), b=nn.Linear(48, 48), c=nn.Linear(48, 1)
    )
    low_pass = Wrapped(lambda m, x: m.b(torch.sin(2 * math.pi * m.a(x)).relu()), a=nn.Linear(2, 48), b=nn.Linear(48, 1))
    nn.init.normal_(low_pass.a.weight, std=0.02)
    assert "SIN002" not in codes(without_frequency) | codes(low_pass)


def test_the_published_law_of_many_inputs_is_not_named():
    model = sines(30, 1.0)
    model.layers[0] = nn.Linear(1024, 48)
    nn.init.uniform_(model.layers[0].weight, -1 / 1024, 1 / 1024)
    batch = torch.rand(64, 1024, generator=torch.Generator().manual_seed(0)) * 2 - 1, picture()[1][:64]
    assert "SIN002" not in {finding.code for finding in check(model, batch, "mse_loss").findings}
