"""Starts that look odd and are meant: zeros beside identities, tables born 0, biases that centre, gates, averages.

Each stands beside a broken twin that has to be found.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, silu, softplus

from fanwise.check.findings import at_least
from fanwise.torch import check
from zoo.torch.layers import Net

WIDTH = 32


def batch(*shape: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(32, *(shape or (WIDTH,)), generator=g), torch.randint(10, (32,), generator=g)


def flagged(build, given=None):
    report = check(build, given or batch(), cross_entropy, seeds=2)
    return {finding.code for finding in report.findings if at_least(finding.severity, "warning")}


class Hidden(nn.Module):
    """Two maps with a function of a parameter of zeros between them."""

    def __init__(self, between):
        super().__init__()
        self.enter, self.head, self.between = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 10), between
        self.zeros = nn.Parameter(torch.zeros(WIDTH, WIDTH))
        self.register_buffer("identity", torch.eye(WIDTH))

    def forward(self, x):
        return self.head(torch.relu(self.between(self, torch.relu(self.enter(x)))))


BESIDE_AN_IDENTITY = {
    "linear": lambda net, x: linear(x, net.zeros + torch.eye(WIDTH)),
    "a buffer": lambda net, x: x @ (net.identity + net.zeros),
    "minus": lambda net, x: x @ (torch.eye(WIDTH) - net.zeros),
    "exponential": lambda net, x: x @ torch.matrix_exp(net.zeros - net.zeros.T),
    "Cayley": lambda net, x: x @ torch.linalg.solve(net.identity + net.zeros - net.zeros.T, net.identity),
    "a residual map": lambda net, x: x + x @ net.zeros,
}


@pytest.mark.parametrize("name", BESIDE_AN_IDENTITY)
def test_zeros_beside_an_identity(name):
    assert flagged(lambda: Hidden(BESIDE_AN_IDENTITY[name])) == set()


@pytest.mark.parametrize("made", [lambda w: w, lambda w: w.T, lambda w: 2 * w, torch.tanh])
def test_zeros_that_block_are_found(made):
    assert "ZER001" in flagged(lambda: Hidden(lambda net, x: x @ made(net.zeros)))


class Relative(nn.Module):
    """Attention with relative positions born 0: products of queries and rows that are added to the scores."""

    def __init__(self, form, heads=4, length=8):
        super().__init__()
        self.enter, self.qkv, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 10)
        self.heads, self.form = heads, form
        self.table = nn.Parameter(torch.zeros(2 * length - 1, WIDTH // heads))
        self.bias = nn.Parameter(torch.zeros(2 * length - 1, heads))
        steps = torch.arange(length)
        self.register_buffer("steps", steps[:, None] - steps + length - 1)

    def forward(self, x):
        x = self.enter(x)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = self.form(self, q, q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]))
        return self.head((x + (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)).mean(1))


RELATIVE = {
    "einsum": lambda net, q, s: s + torch.einsum("bhid,ijd->bhij", q, net.table[net.steps]),
    "matmul": lambda net, q, s: s + (q[..., None, :] @ net.table[net.steps].transpose(-1, -2))[..., 0, :],
    "scaled": lambda net, q, s: s + 0.5 * torch.einsum("bhid,ijd->bhij", q, net.table[net.steps]),
    "bias": lambda net, q, s: s + net.bias[net.steps].permute(2, 0, 1),
}


@pytest.mark.parametrize("name", RELATIVE)
def test_relative_positions_may_begin_at_0(name):
    assert flagged(lambda: Relative(RELATIVE[name]), batch(8, WIDTH)) == set()


class Biased(nn.Module):
    """A hidden layer with a bias, and what follows it."""

    def __init__(self, bias, after, mean=0.0):
        super().__init__()
        self.enter, self.inner, self.head = nn.Linear(WIDTH, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.after = after
        with torch.no_grad():
            self.inner.weight.normal_(std=1 / 8)
            self.inner.weight += mean / 64
            self.inner.bias.fill_(bias)

    def forward(self, x):
        hidden = torch.sigmoid(self.enter(x))
        return self.head(self.after(hidden, self.inner(hidden)))


def test_a_bias_that_centres():
    """Sigmoids of mean 1/2 through weights of a mean, and the bias that takes it away again."""
    centred = Biased(-4.0, lambda x, y: torch.tanh(y), mean=8.0)
    assert "BIA001" not in flagged(lambda: centred)
    assert "BIA001" in flagged(lambda: Biased(-4.0, lambda x, y: torch.tanh(y)))


GATED = {
    "time steps": lambda x, y: x * torch.exp(-softplus(y)),
    "softplus in a product": lambda x, y: torch.einsum("bi,bi->bi", softplus(y), x),
    "a closed gate": lambda x, y: x + x * torch.sigmoid(y),
    "a decay": lambda x, y: x * torch.exp(-torch.exp(y)),
}


@pytest.mark.parametrize("name", GATED)
def test_gates_and_time_steps_may_begin_shut(name):
    assert flagged(lambda: Biased(-4.5, GATED[name])) <= {"LOS001"}


@pytest.mark.parametrize("bias", [-0.3, 0.3])
def test_a_small_bias_before_a_smooth_function(bias):
    """It is twice the signal and more, and softplus is as steep there as at 0."""

    def build():
        net = Biased(bias, lambda x, y: softplus(y))
        nn.init.normal_(net.inner.weight, std=0.01)
        return net

    assert "BIA001" not in flagged(build)


@pytest.mark.parametrize("bias", [-3.0, 10.0])
@pytest.mark.parametrize("function", [torch.relu, torch.tanh])
def test_biases_that_shut_or_straighten_a_nonlinearity(bias, function):
    assert flagged(lambda: Biased(bias, lambda x, y: function(y))) & {"BIA001", "SAT001", "DEA001"}


class Silent(nn.Module):
    """Residual blocks that are silent at the start, for their last norm has a factor of 0, and what reads them."""

    def __init__(self, reads, gamma=0.0):
        super().__init__()
        self.enter, self.inner, self.norm = (
            nn.Conv2d(3, WIDTH, 3),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.BatchNorm2d(WIDTH),
        )
        self.down, self.up, self.head, self.reads = (
            nn.Linear(WIDTH, 8),
            nn.Linear(8, WIDTH),
            nn.Linear(WIDTH, 10),
            reads,
        )
        nn.init.constant_(self.norm.weight, gamma)

    def forward(self, x):
        x = self.enter(x)
        branch = self.norm(self.inner(torch.relu(x)))
        return self.head((x + self.reads(self, branch)).mean((2, 3)))


def excited(net, branch):
    """Squeeze and excite."""
    gate = torch.sigmoid(net.up(torch.relu(net.down(branch.mean((2, 3))))))
    return branch * gate[..., None, None]


READS = {
    "squeeze and excite": excited,
    "SiLU": lambda net, branch: silu(branch),
    "leaky ReLU": lambda net, branch: nn.functional.leaky_relu(branch, 0.1),
    "ReLU": lambda net, branch: torch.relu(branch),
}


@pytest.mark.parametrize("name", READS)
def test_what_reads_a_silent_block_is_not_dead(name):
    assert "DEA001" not in flagged(lambda: Silent(READS[name]), batch(3, 12, 12))


class Averages(nn.Module):
    """A last map, or an inner one, that begins as the plain mean."""

    def __init__(self, last):
        super().__init__()
        self.mean, self.head, self.last = nn.Linear(WIDTH, 10 if last else WIDTH), nn.Linear(WIDTH, 10), last
        nn.init.constant_(self.mean.weight, 1 / WIDTH)

    def forward(self, x):
        return self.mean(x) if self.last else self.head(torch.relu(self.mean(x)))


def test_a_last_map_may_begin_as_an_average():
    assert "CON001" not in flagged(lambda: Averages(last=True))
    assert "CON001" in flagged(lambda: Averages(last=False))


class Surrogate(nn.Module):
    """Spikes whose gradient is that of a steep sigmoid."""

    def __init__(self, through):
        super().__init__()
        self.enter, self.head, self.through = nn.Linear(WIDTH, 64), nn.Linear(64, 10), through

    def forward(self, x):
        soft = torch.sigmoid(25 * self.enter(x))
        return self.head(soft + ((soft > 0.5).float() - soft).detach() if self.through else soft)


def test_a_straight_through_gradient_is_no_saturation():
    assert "SAT001" not in flagged(lambda: Surrogate(through=True))
    assert "SAT001" in flagged(lambda: Surrogate(through=False))


def rejoined(columns, every, *, first):
    """Torch's own weights, with a part of the inputs beside the signal after every few maps."""

    def run(net, x):
        h, part = x, x[:, :columns].cos()
        for i, layer in enumerate(net.layers):
            parts = [part, h] if first else [h, part]
            h = torch.relu(layer(torch.cat(parts, 1) if i and i % every == 0 else h))
        return net.head(h)

    widths = [64 + columns * bool(i and i % every == 0) for i in range(12)]
    return Net(run, layers=nn.ModuleList(nn.Linear(n, 64) for n in widths), head=nn.Linear(64, 1))


@pytest.mark.parametrize(
    ("columns", "every", "first", "shrinks"),
    [
        (32, 4, False, False),
        (32, 4, True, False),
        (16, 3, False, False),
        (8, 4, True, False),
        (1, 4, False, True),
        (32, 20, False, True),
    ],
)
def test_inputs_that_join_again_carry_the_signal_past_the_maps_before(columns, every, first, shrinks):
    """As in fields of radiance and of distances; one column of time among 64 features carries nothing."""
    torch.manual_seed(0)
    report = check(rejoined(columns, every, first=first), torch.randn(64, 64))
    assert ("FWD001" in {finding.code for finding in report.findings}) == shrinks
