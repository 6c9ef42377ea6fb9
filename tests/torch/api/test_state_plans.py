"""Plans of cells that are written as loops: laws and the size of what they give, measured through the real forward."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import fanwise.torch as fwt  # noqa: E402
from bench.families import guessing_loss  # noqa: E402

nn = torch.nn
IN, HID, STEPS, BATCH = 8, 48, 20, 64


class Loop(nn.Module):
    """A cell over time and a head; every argument of a nonlinearity is kept."""

    def __init__(self):
        super().__init__()
        self.inner, self.fc = nn.Linear(IN + HID, HID), nn.Linear(HID, 10)
        self.arguments = []

    def bent(self, x, *state):
        self.arguments.append(self.inner(torch.cat((x, *state), 1)))
        return torch.tanh(self.arguments[-1])

    def step(self, x, h):
        raise NotImplementedError

    def forward(self, x):
        self.arguments.clear()
        h = torch.zeros(len(x), HID)
        for t in range(x.shape[1]):
            h = self.step(x[:, t], h)
        return self.fc(h)


class Elman(Loop):
    def step(self, x, h):
        return self.bent(x, h)


class Leaky(Loop):
    def step(self, x, h):
        return 0.8 * h + 0.2 * self.bent(x, h)


class Euler(Loop):
    """x + dt f(x)."""

    def step(self, x, h):
        return h + 0.1 * self.bent(x, h)


class Midpoint(Loop):
    """Two evaluations a step, the second in the middle of it."""

    def step(self, x, h):
        return h + 0.1 * self.bent(x, h + 0.05 * self.bent(x, h))


class Gated(Loop):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(IN + HID, HID)

    def step(self, x, h):
        z = torch.sigmoid(self.gate(torch.cat((x, h), 1)))
        return (1 - z) * h + z * self.bent(x, h)


class Oscillator(Loop):
    """A second-order equation: two states, of which one drives the other."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(IN + 2 * HID, HID)

    def forward(self, x):
        self.arguments.clear()
        y = z = torch.zeros(len(x), HID)
        for t in range(x.shape[1]):
            z = z + 0.1 * (self.bent(x[:, t], z, y) - y - z)
            y = y + 0.1 * z
        return self.fc(y)


CELLS = [Elman, Leaky, Euler, Midpoint, Gated, Oscillator]


def planned(cell, key):
    torch.manual_seed(0)
    net, x = cell(), torch.randn(BATCH, STEPS, IN)
    plan = fwt.plan(net, x)
    return fwt.apply(net, plan, key=key), plan, x


UNSETTLED = pytest.param(Midpoint, marks=pytest.mark.xfail(reason="three passes leave it at E z^2 = 1.54", strict=True))


@pytest.mark.parametrize("cell", [*(cell for cell in CELLS if cell is not Midpoint), UNSETTLED])
def test_the_nonlinearity_reads_a_unit_signal_once_the_state_is_full(cell):
    """W is fed by x and by a state that begins at 0: E z^2 is 1 where the state is fullest, and less before.

    64 examples of 48 units: one draw of the weights moves E z^2 by sqrt(2 / 48) about; three keys.
    """
    fullest = []
    for key in range(3):
        net, plan, x = planned(cell, key)
        assert {row.path: row.role for row in plan}["inner.weight"] == "weight"
        with torch.no_grad():
            logits = net(x)
        fullest.append(max(float(z.square().mean()) for z in net.arguments))
        assert abs(guessing_loss(logits) - 1) < 0.08
    assert 0.6 < sum(fullest) / 3 < 1.5


@pytest.mark.parametrize("cell", CELLS)
def test_the_parts_of_a_plan_are_of_sizes_that_people_know(cell):
    """A law that refers to its own state sinks to 1e-12 and drives the head to 1e12."""
    net, _, _ = planned(cell, 0)
    for weight in (net.inner.weight, net.fc.weight):
        assert 0.01 < float(weight.detach().std()) * math.sqrt(weight.shape[1]) < 30


class Masked(nn.Module):
    """Tanh units whose recurrence is written as a product with a masked parameter: at first it multiplies zeros."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(HID, HID).triu())
        self.enter, self.fc = nn.Linear(IN, HID), nn.Linear(HID, 10)
        self.rec = nn.Parameter(torch.randn(HID, HID) / HID**0.5)

    def forward(self, x):
        h = torch.zeros(len(x), HID)
        for t in range(x.shape[1]):
            self.argument = self.enter(x[:, t]) + h @ (self.rec * self.mask).t()
            h = torch.tanh(self.argument)
        return self.fc(h)


def test_a_map_of_an_empty_state_is_no_table_of_positions():
    net, plan, x = planned(Masked, 0)
    with torch.no_grad():
        net(x)
    assert {row.path: row.role for row in plan}["rec"] == "recurrent"
    assert float(net.argument.square().mean()) < math.e


class Rates(Loop):
    """A rate that the model owns at the end of what a step adds, as in liquid time constants."""

    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.ones(HID))

    def step(self, x, h):
        return (h + self.bent(x, h) * self.rate / 6) / 1.2


def test_the_rate_of_a_state_stays():
    net, _, _ = planned(Rates, 0)
    assert torch.equal(net.rate.detach(), torch.ones(HID))
