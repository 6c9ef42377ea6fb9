"""Plans for parameters that are no maps: time steps, decay rates, inner products, norms of queries, scaled tables."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import fanwise.torch as fwt  # noqa: E402

D, LENGTH, ROWS = 32, 12, 4


class Scan(nn.Module):
    """A selective state space with one state for each feature, written as a loop."""

    def __init__(self, *, rates="log", in_linear=False):
        super().__init__()
        self.step = nn.Linear(D, D, bias=in_linear)
        self.dt_bias = None if in_linear else nn.Parameter(torch.randn(D))
        self.a_log = nn.Parameter(torch.rand(D))
        self.head = nn.Linear(D, 5)
        self.rates = rates

    def forward(self, x):
        step = self.step(x)
        step = functional.softplus(step if self.dt_bias is None else step + self.dt_bias)
        log_decay = (
            -torch.exp(self.a_log) * step if self.rates == "log" else -8 * functional.softplus(self.a_log) * step
        )
        decay, state, states = torch.exp(log_decay), torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            state = decay[:, t] * state + step[:, t] * x[:, t]
            states.append(state)
        return self.head(torch.stack(states, 1))


def values(model, path, data):
    """The values of a parameter after plan and apply, and its row."""
    plan = fwt.plan(model, data)
    fwt.apply(model, plan, key=0)
    return dict(model.named_parameters())[path].detach(), plan[path]


def signal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("in_linear", "path"), [(False, "dt_bias"), (True, "step.bias")])
def test_time_steps_are_spread_over_the_published_range(in_linear, path):
    bias, row = values(Scan(in_linear=in_linear), path, signal(ROWS, LENGTH, D))
    steps = functional.softplus(bias)
    assert row.role == "time_step"
    assert (float(steps.min()), float(steps.max())) == pytest.approx((0.001, 0.1), rel=1e-4)
    ratios = (steps.unique()[1:] / steps.unique()[:-1]).tolist()
    assert ratios == pytest.approx([100 ** (1 / 7)] * 7, rel=1e-3)


def test_a_time_step_of_one_value_is_kept():
    model = Scan()
    nn.init.constant_(model.dt_bias, -3.0)
    assert fwt.plan(model, signal(ROWS, LENGTH, D))["dt_bias"].law is None


def test_a_scale_that_is_a_softplus_is_no_time_step():
    class Gaussian(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(D, D)
            self.head = nn.Linear(D, 3)

        def forward(self, x):
            return self.head(functional.softplus(self.body(x)) * x)

    assert fwt.plan(Gaussian(), signal(ROWS, D))["body.bias"].role != "time_step"


def test_decay_rates_are_spread_over_the_published_range():
    log, row = values(Scan(), "a_log", signal(ROWS, LENGTH, D))
    assert row.role == "decay"
    assert (float(log.exp().min()), float(log.exp().max())) == pytest.approx((1, 16), rel=1e-4)


def test_what_a_gated_recurrence_keeps_is_spread_over_the_published_range():
    raw, row = values(Scan(rates="softplus"), "a_log", signal(ROWS, LENGTH, D))
    kept = torch.exp(-functional.softplus(raw))
    assert row.role == "decay"
    assert (float(kept.min()), float(kept.max())) == pytest.approx((0.9, 0.999), rel=1e-4)


def test_the_vectors_of_differential_attention_have_a_law():
    class Differential(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Parameter(torch.randn(16)), nn.Parameter(torch.randn(16))
            self.maps = nn.ModuleList(nn.Linear(D, D) for _ in range(2))

        def forward(self, x):
            gate = torch.exp(torch.sum(self.one * self.two, -1))
            return self.maps[0](x) - gate * self.maps[1](x)

    model = Differential()
    one, row = values(model, "one", signal(ROWS, D))
    assert row.role == "inner"
    assert float(one.std()) == pytest.approx(0.1, rel=5 / math.sqrt(2 * 16))


def turned(x):
    """Rotary positions."""
    angles = torch.arange(x.shape[1])[:, None] * torch.logspace(0, -3, D // 2).repeat(2)
    return x * angles.cos() + torch.cat([-x[..., D // 2 :], x[..., : D // 2]], -1) * angles.sin()


class NormedAttention(nn.Module):
    """Attention whose queries and keys are normalised, with its scores multiplied by a number."""

    def __init__(self, scale, rotary=False):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(D, D, bias=False) for _ in range(4))
        self.q_norm, self.k_norm = nn.RMSNorm(D), nn.RMSNorm(D)
        self.scale, self.rotary = scale, rotary
        self.scores = None

    def forward(self, x):
        q, k = self.q_norm(self.q(x)), self.k_norm(self.k(x))
        if self.rotary:
            q, k = turned(q), turned(k)
        self.scores = q @ k.transpose(-1, -2) * self.scale
        return self.o(torch.softmax(self.scores, -1) @ self.v(x))


@pytest.mark.parametrize("rotary", [False, True])
def test_norms_of_queries_make_up_for_scores_that_are_not_divided(rotary):
    data = signal(16, 64, D)
    for scale in (1.0, D**-0.5):
        model = NormedAttention(scale, rotary)
        fwt.apply(model, fwt.plan(model, data), key=0)
        model(data)
        assert float(model.scores.detach().std()) == pytest.approx(1.0, rel=0.15)
        assert fwt.check(model, data, seeds=1).ok


@pytest.mark.parametrize("factor", [1.0, 8.0, 0.25])
def test_tokens_enter_at_unit_second_moment_whatever_the_model_multiplies_them_by(factor):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.positions = nn.Embedding(300, 64), nn.Embedding(LENGTH, 64)
            self.body = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 64))
            self.head = nn.Linear(64, 7)

        def forward(self, ids):
            self.tokens = self.table(ids) * factor
            x = self.tokens + self.positions(torch.arange(ids.shape[1]))
            return self.head(x + self.body(x))

    model = Tokens()
    ids = torch.randint(0, 300, (16, LENGTH), generator=torch.Generator().manual_seed(0))
    plan = fwt.plan(model, ids)
    fwt.apply(model, plan, key=0)
    model(ids)
    assert float(model.tokens.detach().square().mean()) == pytest.approx(1.0, rel=5 * math.sqrt(2 / (190 * 64)))
    assert plan["positions.weight"].std == pytest.approx(0.1, rel=0.01)


class Bent(nn.Module):
    """Convolutions whose branches end in a batch norm and, where one is given, a nonlinearity before the sum."""

    def __init__(self, bend):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))
        self.bend = bend
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = x + self.bend(norm(conv(x)))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(("bend", "closed"), [(nn.Identity(), True), (nn.ReLU(), False), (nn.SiLU(), False)])
def test_a_branch_that_is_bent_after_its_norm_does_not_start_closed(bend, closed):
    data, model = signal(8, 8, 6, 6), Bent(bend)
    plan = fwt.plan(model, data)
    fwt.apply(model, plan, key=0)
    largest = [float(norm.weight.detach().abs().max()) for norm in model.norms]
    assert [size == 0 for size in largest] == [closed] * 3
    functional.cross_entropy(model(data), torch.arange(8) % 4).backward()
    assert all(float(norm.weight.grad.abs().max()) > 0 for norm in model.norms)
    assert not [one for one in fwt.check(model, data, seeds=1).findings if one.code == "DEA001"]


def test_a_relu_after_a_closed_norm_learns_nothing():
    """The start that the plan no longer makes."""
    data, model = signal(8, 8, 6, 6), Bent(nn.ReLU())
    for norm in model.norms:
        nn.init.zeros_(norm.weight)
    functional.cross_entropy(model(data), torch.arange(8) % 4).backward()
    assert all(float(norm.weight.grad.abs().max()) == 0 for norm in model.norms)


def test_repeated_queries_are_planned_at_their_own_law():
    class Queries(nn.Module):
        def __init__(self):
            super().__init__()
            self.queries = nn.Parameter(torch.randn(6, D) * 0.02)
            self.q, self.k, self.v, self.head = (nn.Linear(D, D) for _ in range(4))

        def forward(self, x):
            queries = self.queries.unsqueeze(0).repeat(x.shape[0], 1, 1)
            scores = self.q(queries) @ self.k(x).transpose(-1, -2) * D**-0.5
            return self.head(torch.softmax(scores, -1) @ self.v(x))

    plan = fwt.plan(Queries(), signal(ROWS, LENGTH, D))
    assert plan["queries"].std == 1.0
    assert plan["q.weight"].std * math.sqrt(D) == pytest.approx(1.0, rel=0.2)


GATES = {
    "softplus": lambda m, z: -m.a_log.exp().view(-1) * functional.softplus(z),
    "of four axes": lambda m, z: -m.a_log.exp().view(1, 1, -1) * functional.softplus(z),
    "written out": lambda m, z: -m.a_log.exp().view(-1) * torch.log(1 + z.exp()),
    "written out, added after": lambda m, z: -m.a_log.exp().view(-1) * (z.exp() + 1).log(),
    "written out, log1p": lambda m, z: -torch.log1p(torch.exp(z)) * m.a_log.exp().view(-1),
    "written out beside what is large": lambda m, z: (
        -m.a_log.exp().view(-1) * torch.where(z > 20, z, torch.log(1 + torch.exp(z)))
    ),
    "sigmoid": lambda m, z: -5 * torch.sigmoid(m.a_log.exp().view(-1) * z),
    "sigmoid of four axes": lambda m, z: -5 * torch.sigmoid(m.a_log.exp().view(1, 1, -1) * z),
    "sigmoid beside a bias": lambda m, z: -5 * torch.sigmoid(m.a_log.exp().view(-1) * (z + m.bias)),
}


class Forgetting(nn.Module):
    """A state that forgets at rates of its own, each a part of what its input asks for."""

    def __init__(self, gate):
        super().__init__()
        self.ask, self.bias, self.head = nn.Linear(D, D, bias=False), nn.Parameter(torch.zeros(D)), nn.Linear(D, 5)
        self.a_log = nn.Parameter((1 + 15 * torch.rand((1, 1, D, 1) if "axes" in gate else D)).log())
        self.gate = GATES[gate]

    def forward(self, x):
        keep, state, states = torch.exp(self.gate(self, self.ask(x))), torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            state = keep[:, t] * state + x[:, t]
            states.append(state)
        return self.head(torch.stack(states, 1))


@pytest.mark.parametrize("gate", GATES)
def test_decay_rates_of_any_shape_and_before_a_sigmoid_are_spread(gate):
    """Drawn at random by their author, they would differ with the random state."""
    rates, row = values(Forgetting(gate), "a_log", signal(ROWS, LENGTH, D))
    rates = rates.exp().flatten()
    assert row.role == "decay"
    assert rates.diff().min() >= 0
    assert (float(rates[0]), float(rates[-1])) == pytest.approx((1.0, 16.0), rel=1e-4)


@pytest.mark.parametrize("spelling", [functional.softplus, lambda z: torch.log(1 + z.exp()), lambda z: z.exp().log1p()])
def test_the_bias_of_a_step_is_one_however_its_softplus_is_written(spelling):
    model = Forgetting("softplus")
    nn.init.uniform_(model.bias, -5, -2)
    model.gate = lambda m, z: -m.a_log.exp().view(-1) * spelling(z + m.bias)
    bias, row = values(model, "bias", signal(ROWS, LENGTH, D))
    assert row.role == "time_step"
    steps = functional.softplus(bias)
    assert (float(steps.min()), float(steps.max())) == pytest.approx((1e-3, 1e-1), rel=1e-3)
