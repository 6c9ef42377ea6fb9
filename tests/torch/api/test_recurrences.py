"""One weight used many times: its growth is named at that weight, for a factory and an instance alike."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from fanwise.torch import check  # noqa: E402

from ..traced import Wrapped  # noqa: E402

WIDTH, STEPS = 24, 14


def layer(n, m, gain=1.0):
    made = nn.Linear(n, m)
    nn.init.normal_(made.weight, std=gain / math.sqrt(n))
    nn.init.zeros_(made.bias)
    return made


def batch():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(32, STEPS * 4, generator=generator), torch.randint(0, 5, (32,), generator=generator)


def model_of(forward, gain, **more):
    parts = {"read": layer(4, WIDTH), "step": layer(WIDTH, WIDTH, gain), "head": layer(WIDTH, 5, 0.3)}
    return Wrapped(lambda m, x: m.head(forward(m, x.view(32, STEPS, 4))), **parts | more)


def cell(m, x):
    state = torch.zeros(32, WIDTH)
    for time in range(STEPS):
        state = torch.relu(m.read(x[:, time]) + m.step(state))
    return state


def linear_cell(m, x):
    state = torch.zeros(32, WIDTH)
    for time in range(STEPS):
        state = m.read(x[:, time]) + m.step(state)
    return state


def fixed_point(m, x):
    read = m.read(x.mean(1))
    state = torch.zeros_like(read)
    for _ in range(20):
        state = torch.relu(m.step(state) + read)
    return state


def neighbours(m, x):
    ring = torch.eye(STEPS).roll(1, 0) + torch.eye(STEPS).roll(-1, 0)
    nodes = m.read(x)
    for _ in range(12):
        nodes = torch.relu(ring @ m.step(nodes))
    return nodes.mean(1)


def passed_on(m, x):
    rows = list(m.read(x).unbind(1))
    for i in range(1, STEPS):
        rows[i] = rows[i] + torch.relu(m.step(rows[i - 1]))
    return torch.stack(rows, 1).mean(1)


def residual(m, x):
    state = m.read(x[:, 0])
    for _ in range(STEPS):
        state = state + torch.relu(m.step(state))
    return state


KINDS = {
    cell: (3.0, 1.0),
    linear_cell: (2.0, 0.9),
    fixed_point: (2.5, 0.9),
    neighbours: (2.5, 0.8),
    passed_on: (3.0, 0.7),
    residual: (2.0, 0.2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_recurrence_that_grows_is_named_at_its_weight(kind):
    torch.manual_seed(0)
    model = model_of(kind, KINDS[kind][0])
    found = check(model, batch(), "cross_entropy").findings[0]
    assert (found.code, found.severity, found.place) == ("REC001", "error", "step.weight")


@pytest.mark.parametrize("kind", KINDS)
def test_a_recurrence_that_keeps_its_size_is_not(kind):
    torch.manual_seed(0)
    codes = [found.code for found in check(model_of(kind, KINDS[kind][1]), batch(), "cross_entropy").findings]
    assert "REC001" not in codes
    assert "LOS001" not in codes


@pytest.mark.parametrize("kind", [cell, passed_on])
def test_a_factory_and_an_instance_get_the_same_verdict(kind):
    def verdict(model):
        report = check(model, batch(), "cross_entropy", seeds=2)
        return [(found.code, found.severity, found.place) for found in report.findings]

    torch.manual_seed(0)
    assert verdict(model_of(kind, 3.0))[0] == verdict(lambda: model_of(kind, 3.0))[0]


def test_a_signal_that_dies_in_a_recurrence_is_named_at_its_weight():
    def forward(m, x):
        state = m.read(x[:, 0])
        for _ in range(STEPS):
            state = torch.relu(m.step(state))
        return state

    torch.manual_seed(0)
    found = check(model_of(forward, 0.4), batch(), "cross_entropy").findings[0]
    assert (found.code, found.place) == ("REC001", "step.weight")


def test_a_growing_recurrence_costs_the_training():
    def last_loss(gain):
        torch.manual_seed(0)
        model, (x, y) = model_of(cell, gain), batch()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    assert last_loss(3.0) > 2 * last_loss(1.0)


def test_saturated_units_of_a_cell_are_named_at_its_own_weight():
    def forward(m, x):
        state = torch.zeros(32, WIDTH)
        for time in range(STEPS):
            state = torch.tanh(m.read(x[:, time]) + m.step(state))
        return state

    torch.manual_seed(0)
    found = check(model_of(forward, 8.0), batch(), "cross_entropy").findings[0]
    assert (found.code, found.place) == ("SAT001", "step.weight")
