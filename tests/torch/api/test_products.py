"""Parameters that multiply data or weights, and are maps in fact: their law follows from what is summed."""

import math

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import fanwise as fw  # noqa: E402
import fanwise.torch as fwt  # noqa: E402

NODES, HEADS, WIDTH = 200, 4, 16


class Attentive(nn.Module):
    """A graph layer whose scores are products with attention vectors, in the spellings people use."""

    def __init__(self, way):
        super().__init__()
        self.way, self.seen = way, []
        self.map, self.head = nn.Linear(12, HEADS * WIDTH, bias=False), nn.Linear(HEADS * WIDTH, 5)
        shape = {"one vector": (WIDTH,), "keepdim": (1, HEADS, WIDTH)}.get(way, (HEADS, WIDTH))
        self.left, self.right = (nn.Parameter(torch.randn(shape) * 3) for _ in range(2))

    def score(self, h, vector):
        if self.way == "keepdim":
            return (h * vector).sum(-1, keepdim=True).squeeze(-1)
        if self.way == "einsum":
            return torch.einsum("nhd,hd->nh", h, vector)
        if self.way == "after a nonlinearity":
            return (functional.leaky_relu(h, 0.2) * vector).sum(dim=-1)
        return (vector * h).sum(-1)

    def forward(self, x):
        h = self.map(x).view(-1, HEADS, WIDTH)
        self.seen = [self.score(h, self.left), self.score(h, self.right)]
        weights = functional.leaky_relu(self.seen[0][:, None] + self.seen[1][None], 0.2).softmax(1)
        return self.head(functional.elu(torch.einsum("ijh,jhd->ihd", weights, h).flatten(1)))


WAYS = ("product and sum", "keepdim", "einsum", "after a nonlinearity", "one vector")


def second_moments(make, see, seeds=24):
    """Mean over draws of the second moment of what a model shows, and by how many standard errors it may differ."""
    values = torch.tensor([see(make(seed)) for seed in range(seeds)])
    return values.mean().item(), 5 * values.std().item() / math.sqrt(seeds)


@pytest.mark.parametrize("way", WAYS)
def test_scores_of_graph_layers_have_unit_second_moment(way):
    torch.manual_seed(0)
    model, x = Attentive(way), torch.randn(NODES, 12)
    plan = fwt.plan(model, x)

    def see(model):
        with torch.no_grad():
            model(x)
        return torch.stack([score.square().mean() for score in model.seen]).mean().item()

    mean, error = second_moments(lambda seed: fwt.apply(model, plan, key=seed), see)
    assert abs(mean - 1) < error < 0.5
    drawn = plan.override({"left": fw.Normal(1.0), "right": fw.Normal(1.0)})  # the mutant: a gate's law
    assert second_moments(lambda seed: fwt.apply(model, drawn, key=seed), see)[0] > 1 + error


class Modulating(nn.Module):
    """A convolution whose weights are scaled by a style, with or without demodulation (Karras et al., 2020)."""

    def __init__(self, *, demodulate, equalised=1.0):
        super().__init__()
        self.demodulate, self.equalised, self.seen = demodulate, equalised, None
        self.stem, self.style, self.last = nn.Conv2d(3, 16, 1), nn.Linear(6, 16), nn.Conv2d(24, 3, 1)
        self.weight = nn.Parameter(torch.randn(1, 24, 16, 3, 3) * 0.7)

    def forward(self, x, z):
        x, count = self.stem(x), len(x)
        weight = self.equalised * self.weight * (1 + self.style(z)).view(count, 1, -1, 1, 1)
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        flat = x.reshape(1, -1, *x.shape[2:])
        self.seen = functional.conv2d(flat, weight.reshape(-1, 16, 3, 3), groups=count)
        return self.last(functional.leaky_relu(self.seen.view(count, 24, *self.seen.shape[2:]), 0.2))


@pytest.mark.parametrize(("demodulate", "equalised"), [(True, 1.0), (False, 1.0), (False, 0.1)])
def test_modulated_convolutions_give_unit_second_moment(demodulate, equalised):
    torch.manual_seed(0)
    model = Modulating(demodulate=demodulate, equalised=equalised)
    batch = torch.randn(8, 3, 12, 12), torch.randn(8, 6)
    plan = fwt.plan(model, batch)

    def see(model):
        with torch.no_grad():
            model(*batch)
        return model.seen.square().mean().item()

    mean, error = second_moments(lambda seed: fwt.apply(model, plan, key=seed), see)
    assert abs(mean - 1) < error < 0.5


class Differential(nn.Module):
    """Two attentions, one subtracted by a factor made of four vectors (Ye et al., 2024)."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.head = (nn.Linear(32, 32) for _ in range(4))
        self.vectors = nn.ParameterList(torch.randn(16) for _ in range(4))

    def factor(self):
        a, b, c, d = self.vectors
        return torch.exp((a * b).sum()) - torch.exp(c @ d) + 0.8

    def forward(self, x):
        q, k = (f(x).unflatten(-1, (2, 16)).transpose(1, 2) for f in (self.query, self.key))
        first, second = (q @ k.transpose(-1, -2) / 4).softmax(-1).unbind(1)
        return self.head((first - self.factor() * second) @ self.value(x))


def test_the_factor_of_a_differential_attention_starts_near_its_constant():
    torch.manual_seed(0)
    model = Differential()
    plan = fwt.plan(model, torch.randn(4, 6, 32))
    assert {row.law for row in plan if row.path.startswith("vectors")} == {fw.Normal(0.1)}
    fwt.apply(model, plan, key=0)
    assert abs(model.factor().item() - 0.8) < 5 * math.sqrt(2 * 16) * 0.01


class Spline(nn.Module):
    """A layer of splines: a table of coefficients for each edge, and a factor on it (Liu et al., 2024)."""

    def __init__(self, inputs, outputs, scale):
        super().__init__()
        self.base = nn.Parameter(torch.randn(outputs, inputs))
        self.table = nn.Parameter(torch.randn(outputs, inputs, 6) * 0.1)
        self.scale = nn.Parameter(scale(outputs, inputs))
        self.register_buffer("grid", torch.linspace(-2, 2, 6))

    def forward(self, x):
        basis = torch.exp(-(x[..., None] - self.grid).square())
        weight = (self.table * self.scale[..., None]).flatten(1)
        return functional.linear(functional.silu(x), self.base) + functional.linear(basis.flatten(-2), weight)


@pytest.mark.parametrize("scale", [torch.ones, torch.randn, lambda *shape: torch.full(shape, 0.3)])
def test_layers_of_splines_give_a_second_moment_of_one_for_each_of_their_two_maps(scale):
    torch.manual_seed(0)
    model = nn.Sequential(Spline(12, 32, scale), Spline(32, 8, scale))
    x = torch.randn(256, 12)
    plan = fwt.plan(model, x)
    assert plan["0.scale"].law == fw.ones

    def see(model):
        with torch.no_grad():
            return model[0](x).square().mean().item()

    mean, error = second_moments(lambda seed: fwt.apply(model, plan, key=seed), see)
    assert abs(mean - 2) < error < 1


def test_the_length_of_a_normed_weight_is_still_a_length():
    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(16, 32)), nn.ReLU(), nn.Linear(32, 10))
    plan = fwt.plan(model, torch.randn(64, 16))
    assert [row.role for row in plan if row.path.endswith("original0")] == ["magnitude"]


class Own(nn.Module):
    """A parameter that acts in a way of its own."""

    def __init__(self, values):
        super().__init__()
        self.map, self.head, self.own = nn.Linear(16, 16), nn.Linear(16, 10), nn.Parameter(values)

    def forward(self, x):
        return self.head(torch.cos(self.own) * self.map(x) + torch.logaddexp(self.own, self.map(x)))


@pytest.mark.parametrize("std", [0.02, 1.0])
def test_random_values_of_no_known_use_are_drawn_by_the_law_that_they_look_like(std):
    torch.manual_seed(0)
    model, x = Own(torch.randn(16, 16)[:, :16].mean(0) * 4 * std), torch.randn(64, 16)
    plan = fwt.plan(model, x)
    assert plan["own"].law.std == pytest.approx(std, rel=5 / math.sqrt(2 * 16))
    states = []
    for _ in range(2):
        nn.init.normal_(model.own)
        fwt.apply(model, plan, key=0)
        states.append(model.own.detach().clone())
    assert torch.equal(*states)


@pytest.mark.parametrize("values", [torch.linspace(-1, 1, 16), torch.arange(16.0).log1p(), torch.tensor([1.0, 2] * 8)])
def test_values_that_were_written_down_stay(values):
    plan = fwt.plan(Own(values.clone()), torch.randn(64, 16))
    assert plan["own"].law is None
