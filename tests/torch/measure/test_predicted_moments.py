"""Theory against real models: moments of every weight op over initialisations, forward and backward."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

import fanwise.torch as fwt  # noqa: E402
from fanwise.check.prediction import predicted  # noqa: E402
from fanwise.graph.kinds import WEIGHTED  # noqa: E402
from fanwise.torch.measure.observe import observe  # noqa: E402
from fanwise.torch.trace.inputs import as_inputs  # noqa: E402
from fanwise.torch.trace.run import Inputs  # noqa: E402
from zoo.registry import models  # noqa: E402

from ..traced import Wrapped, made, normal  # noqa: E402

ZOO = models("torch", "structure")

WIDTH, SEEDS = 128, 16
FINITE = {"attention": 12 / WIDTH, "block": 12 / WIDTH}
"""Share by which moments at finite width differ from those at infinite width: kappa / n, kappa = 5 for ReLU; the heads
of an attention have half the width."""


def mlp():
    inner = [layer for _ in range(3) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    return nn.Sequential(nn.Linear(64, WIDTH), nn.Tanh(), *inner, nn.Linear(WIDTH, WIDTH)), normal(64, 64)


def cnn():
    layers = (
        nn.Conv2d(3, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(WIDTH, WIDTH, 3, 2, 1),
        nn.ReLU(),
    )
    return nn.Sequential(*layers, nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1)), normal(16, 3, 16, 16)


def residual():
    return Wrapped(
        lambda m, x: m.head(m.norm(m.a(x) + m.c(F.gelu(m.b(m.a(x)))))),
        a=nn.Linear(64, WIDTH),
        b=nn.Linear(WIDTH, 4 * WIDTH),
        c=nn.Linear(4 * WIDTH, WIDTH),
        norm=nn.LayerNorm(WIDTH),
        head=nn.Linear(WIDTH, WIDTH),
    ), normal(64, 64)


def attention():
    def forward(m, x):
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in m.packed(x).chunk(3, -1))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return m.out((weights @ v).transpose(1, 2).flatten(2))

    packed = nn.Linear(64, 3 * WIDTH, bias=False)
    nn.init.normal_(packed.weight, std=1 / 8)
    return Wrapped(forward, packed=packed, out=nn.Linear(WIDTH, WIDTH)), normal(8, 24, 64)


def block():
    return nn.MultiheadAttention(WIDTH, 2, batch_first=True), normal(8, 24, WIDTH)


def gated():
    return Wrapped(
        lambda m, x: m.down(F.glu(m.up(x), -1)), up=nn.Linear(64, 2 * WIDTH), down=nn.Linear(WIDTH, WIDTH)
    ), normal(64, 64)


def recurrent(cell):
    def make():
        model = Wrapped(lambda m, x: m.head(m.cell(x)[0]), cell=cell(64, WIDTH), head=nn.Linear(WIDTH, WIDTH))
        for name, tensor in model.cell.named_parameters():
            nn.init.normal_(tensor, std=0.0 if "bias" in name else tensor.shape[-1] ** -0.5)
        return model, normal(12, 8, 64)

    return make


MODELS = {
    "mlp": mlp,
    "cnn": cnn,
    "residual": residual,
    "attention": attention,
    "gated": gated,
    "lstm": recurrent(nn.LSTM),
    "gru": recurrent(nn.GRU),
    "rnn": recurrent(nn.RNN),
}


def weighted(output):
    """A loss whose gradient is the same at every value, with signs of its own."""
    return (output * normal(*output.shape)).sum()


def runs(make, *, seeds=SEEDS):
    for seed in range(seeds):
        torch.manual_seed(100 + seed)
        model, x = make()
        yield observe(model, Inputs((x,)), None, weighted)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_moments_are_those_of_many_initialisations(name):
    seen = list(runs(MODELS[name]))
    said = [predicted(run) for run in seen[:4]]
    ops = [op for op in seen[0].trace.ops if op.kind in WEIGHTED]
    assert not said[0].unruled
    for op in ops:
        pairs = [
            ([run.signals[op.index].second_moment for run in seen], [one.second_moments[op.index] for one in said])
        ]
        if op.index not in seen[0].trace.outputs:
            pairs.append(([run.signals[op.index].gradient for run in seen], [one.gradients[op.index] for one in said]))
        for measured, expected in pairs:
            mean, told = np.mean(measured), np.mean(expected)
            reach = 5 * np.std(measured, ddof=1) / math.sqrt(SEEDS) + FINITE.get(name, 6 / WIDTH) * told
            assert abs(mean - told) <= reach, (op.kind, op.module, mean, told, reach)
            assert abs(1.5 * mean - told) > reach, "the mutant: half as much again"


@pytest.mark.slow
def test_bands_hold_the_runs():
    """19 of 20 runs lie within two standard deviations of the log: of 40, at least 33 with a chance of 0.9999."""
    seen = list(runs(mlp, seeds=40))
    said = predicted(seen[0])
    op = [op for op in seen[0].trace.ops if op.kind == "linear"][-2]
    centre, reach = math.log(said.second_moments[op.index]), 2 * math.sqrt(said.scatters[op.index])
    logs = np.log([run.signals[op.index].second_moment for run in seen])
    assert sum(abs(log - centre) <= reach for log in logs) >= 33
    assert np.std(logs, ddof=1) >= reach / 2 / 1.7  # and are not wider than need be: chi^2 of 39 degrees of freedom


def test_an_op_without_a_rule_is_run_on_normal_values():
    model = Wrapped(
        lambda m, x: m.b(torch.sort(m.a(x), -1).values * 2 + torch.fft.rfft(x).abs().mean()),
        a=nn.Linear(8, 8),
        b=nn.Linear(8, 8),
    )
    run = observe(model, Inputs((normal(32, 8),)), None, weighted)
    said = predicted(run)
    names = {run.trace.ops[i].name for i in said.measured}
    assert "sort" in names
    assert not said.unruled
    sort = next(op for op in run.trace.ops if op.name == "sort")
    assert said.second_moments[sort.index] == pytest.approx(said.second_moments[sort.index - 1], rel=0.3)


def test_a_constant_weight_adds_up_coherently():
    """Weights of mean m and no scatter give m fan_in E x at every unit."""
    model = nn.Sequential(nn.Linear(64, WIDTH, bias=False), nn.ReLU(), nn.Linear(WIDTH, 8, bias=False))
    nn.init.normal_(model[0].weight, std=0.125)
    nn.init.constant_(model[2].weight, 0.1)
    run = observe(model, Inputs((normal(64, 64),)), None, weighted)
    said = predicted(run)
    expected = (0.1 * WIDTH) ** 2 / (2 * math.pi)  # E relu = 1 / sqrt(2 pi)
    assert said.second_moments[2] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_theory_speaks_of_the_whole_zoo(name):
    """Every weight op of a model gets a finite moment, and no op of it is passed through without a word."""
    args, kwargs = ZOO[name].batch()
    run = observe(made(ZOO[name]), Inputs(args, kwargs))
    said = predicted(run)
    weighty = [op.index for op in run.trace.ops if op.kind in WEIGHTED]
    assert all(math.isfinite(said.second_moments[i]) for i in weighty)
    unruled = [run.trace.ops[i] for i in said.unruled if run.trace.ops[i].inputs]  # others read buffers alone
    assert {op.kind for op in unruled} <= {"other", "reduce", "elementwise", "matmul", "norm"}
    assert set(said.unruled) <= set(said.assumed)
    assert not set(said.unruled) & set(said.measured)


class Pointing(nn.Module):
    """An LSTM's state goes on in a cell that reads constants at first; an operand of rank two alone; a gradient."""

    def __init__(self):
        super().__init__()
        self.reader, self.writer = nn.LSTM(1, 32, batch_first=True), nn.LSTMCell(1, 32)
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        _, (state, cell) = self.reader(x[..., None])
        shown = torch.zeros_like(x[:, :1])
        for step in range(3):
            state, cell = self.writer(shown, (state[-1], cell[-1]) if step == 0 else (state, cell))
            shown = x[:, step : step + 1]
        return self.head(state)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        return self.second(self.first(x).tril())


class Differentiated(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 64), nn.Linear(64, 1)

    def forward(self, x):
        with torch.enable_grad():
            x = x.requires_grad_()
            u = self.second(self.first(x).tanh())
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return torch.cat([u, slope], 1)


@pytest.mark.parametrize(
    ("build", "batch"),
    [(Pointing, (8, 6)), (Masked, (64, 64)), (Differentiated, (16, 2))],
    ids=["pointing", "masked", "slope"],
)
def test_models_with_unusual_ops_are_checked(build, batch):
    torch.manual_seed(0)
    x = torch.randn(batch)
    report = fwt.check(build, (x, torch.zeros_like(build()(x))), nn.functional.mse_loss, seeds=1)
    assert not any("No rule of theory fits" in note for note in report.notes)


def test_a_triangle_of_a_matrix_has_half_of_its_second_moment():
    torch.manual_seed(0)
    run = observe(Masked(), as_inputs(Masked(), (torch.randn(64, 64),)), None, None)
    tril = next(op.index for op in run.trace.ops if op.name == "tril")
    said = predicted(run)
    share = 65 / 128
    assert said.second_moments[tril] == pytest.approx(share * said.second_moments[tril - 1], rel=0.1)
    assert not said.unruled
