"""Ends born 0 that act on data: couplings of flows and modulations stay 0, other maps of zeros are drawn."""

import math

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import fanwise.torch as fwt  # noqa: E402

WIDTH, HALF = 8, 4


def network(outputs, inputs=HALF):
    """A network whose last map is born 0."""
    layers = (nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, outputs))
    for tensor in layers[-1].parameters():
        nn.init.zeros_(tensor)
    return nn.Sequential(*layers)


class Coupling(nn.Module):
    """Half of the data moves the other half, in one of the ways of the literature."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.net = network(HALF if way in ("additive", "scale alone") else 2 * HALF)
        if way == "two networks":
            self.net, self.other = network(HALF), network(HALF)

    def forward(self, x):
        a, b = x.chunk(2, -1)
        moved, log_det = getattr(self, f"_{self.way.replace(' ', '_')}")(a, b)
        return torch.cat([moved, a], -1), log_det

    def _affine(self, a, b):
        s, t = self.net(a).chunk(2, -1)
        return b * s.tanh().exp() + t, s.tanh().sum(-1)

    def _sigmoid(self, a, b):
        s, t = self.net(a).chunk(2, -1)
        s = torch.sigmoid(s + 2) / torch.sigmoid(torch.tensor(2.0))
        return (b + t) * s, s.log().sum(-1)

    def _two_networks(self, a, b):
        s = self.net(a)
        return (b - self.other(a)) * torch.exp(-s), -s.sum(-1)

    def _scale_alone(self, a, b):
        s = functional.softplus(self.net(a) + math.log(math.e - 1))
        return b * s, s.log().sum(-1)

    def _additive(self, a, b):
        return b + self.net(a), torch.zeros(len(a))


class Flow(nn.Module):
    """Couplings, and the negative log-likelihood of each row."""

    def __init__(self, way, layers=4):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(way) for _ in range(layers))

    def forward(self, x):
        total = 0
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return 0.5 * (x.square() + math.log(2 * math.pi)).sum(-1) - total


class Autoregressive(nn.Module):
    """Each number is moved by those before it: masked maps."""

    def __init__(self):
        super().__init__()
        self.lower, self.ends = nn.Linear(WIDTH, WIDTH), nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        for end in self.ends:
            nn.init.zeros_(end.weight)
            nn.init.zeros_(end.bias)
        self.register_buffer("mask", torch.tril(torch.ones(WIDTH, WIDTH), -1))

    def forward(self, x):
        h = functional.linear(x, self.lower.weight * self.mask, self.lower.bias).tanh()
        s, t = (functional.linear(h, end.weight * self.mask, end.bias) for end in self.ends)
        return 0.5 * (((x - t) * torch.exp(-s)).square() + math.log(2 * math.pi)).sum(-1) + s.sum(-1)


FLOWS = {way: (lambda way=way: Flow(way)) for way in ("affine", "sigmoid", "two networks", "scale alone", "additive")}
FLOWS["autoregressive"] = Autoregressive


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_starts_as_the_identity(name):
    """The likelihood is that of the base law: 0.5 (x^2 + ln 2 pi) for each number."""
    torch.manual_seed(0)
    model, x = FLOWS[name](), torch.randn(256, WIDTH)
    fwt.apply(model, fwt.plan(model, x), key=0)
    with torch.no_grad():
        likelihood = model(x).mean().item()
    assert likelihood == pytest.approx((0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)).mean().item(), rel=1e-4)
    others = [p for path, p in model.named_parameters() if p.ndim > 1 and not path.endswith(("4.weight", "1.weight"))]
    assert all(p.std() > 0 for p in others if p.shape[0] == 32)


@pytest.mark.parametrize("name", ["affine", "two networks"])
def test_it_is_worse_where_the_ends_are_drawn(name):
    torch.manual_seed(0)
    model, x = FLOWS[name](), torch.randn(256, WIDTH)
    plan = fwt.plan(model, x)
    fwt.apply(model, plan.override({row.path: "lecun_normal" for row in plan.meant}), key=0)
    with torch.no_grad():
        assert not model(x).mean() < 1.2 * (0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)).mean()


class Modulated(nn.Module):
    """A block that is scaled and shifted by a condition, whose map is born 0 (Peebles and Xie, 2022)."""

    def __init__(self):
        super().__init__()
        self.stem, self.condition = nn.Linear(WIDTH, 16), nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 48))
        self.block, self.head = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16)), nn.Linear(16, 10)
        nn.init.zeros_(self.condition[2].weight)
        nn.init.zeros_(self.condition[2].bias)

    def forward(self, x, c):
        x = self.stem(x)
        shift, scale, gate = self.condition(c).chunk(3, -1)
        h = self.block(functional.layer_norm(x, (16,)) * (1 + scale) + shift)
        return self.head(x + gate * h)


def test_a_modulation_stays_zero():
    torch.manual_seed(0)
    plan = fwt.plan(Modulated(), (torch.randn(64, WIDTH), torch.randn(64, 6)))
    assert [row.path for row in plan.meant] == ["condition.2.weight"]
    assert plan["condition.2.weight"].std == 0


def zeroed(model, *paths):
    for path in paths:
        nn.init.zeros_(model.get_parameter(path))
    return model


class Residual(nn.Module):
    """Blocks on a residual stream."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(WIDTH, 16), nn.Linear(16, 10)
        self.block = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.block(x))


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (Residual, "block.2.weight"),
        (Residual, "head.weight"),
        (Residual, "block.0.weight"),
        (lambda: nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Linear(16, 10)), "0.weight"),
    ],
    ids=["branch end", "head", "inside a branch", "first"],
)
def test_other_maps_of_zeros_are_drawn(make, path):
    torch.manual_seed(0)
    assert fwt.plan(zeroed(make(), path), torch.randn(64, WIDTH))[path].std > 0


def test_a_flow_that_nobody_initialised_is_drawn():
    model = Flow("affine")
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert fwt.plan(model, torch.randn(64, WIDTH)).meant == ()
