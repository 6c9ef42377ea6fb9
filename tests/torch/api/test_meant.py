"""Values that an author meant: biases of heads, gates, temperatures, maps born 0, and what a caller keeps."""

import math

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import fanwise as fw  # noqa: E402
import fanwise.torch as fwt  # noqa: E402
from fanwise.plan.codegen import pasted  # noqa: E402
from fanwise.plan.row import KEPT  # noqa: E402

from .adapted import focal, focal_of_prior  # noqa: E402

COUNTS = torch.tensor([5000.0, 800, 300, 120, 60, 30, 12, 8, 5, 2])


def rows(count=64, width=16, seed=1):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def perceptron(outputs, bias):
    """A network whose head holds these biases, or those of a function of torch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, outputs))
    with torch.no_grad():
        bias(model[2].bias) if callable(bias) else model[2].bias.copy_(bias)
    return model


BIASES = {
    "prior": (45, lambda b: b.fill_(-math.log(99))),
    "heatmap": (3, lambda b: b.fill_(-2.19)),
    "mean of the targets": (1, lambda b: b.fill_(22.5)),
    "means of several targets": (3, torch.tensor([12.0, -3.5, 151.0])),
    "log frequencies": (10, (COUNTS / COUNTS.sum()).log()),
    "objectness alone": (5, torch.tensor([-4.6, 0, 0, 0, 0])),
    "small and constant": (10, lambda b: b.fill_(0.05)),
}
UNMEANT = {
    "default": (10, lambda b: None),
    "default of one output": (1, lambda b: None),
    "normal": (10, nn.init.normal_),
    "small normal": (10, lambda b: nn.init.normal_(b, std=0.01)),
    "zeros": (10, nn.init.zeros_),
    "memory": (10, lambda b: b.fill_(7.3e8)),
}


@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("recipe", ["unit", "he", "gpt2", "torch-2.13"])
def test_biases_of_heads_that_were_written_down_stay(name, recipe):
    model = perceptron(*BIASES[name])
    before = model[2].bias.clone()
    plan = fwt.plan(model, rows(), recipe)
    fwt.apply(model, plan, key=0)
    assert torch.equal(model[2].bias, before)
    assert plan["2.bias"].reason.startswith(KEPT)
    assert [row.path for row in plan.meant] == ["2.bias"]
    assert "Kept as it was meant: 2.bias." in str(plan)


@pytest.mark.parametrize("name", UNMEANT)
def test_others_are_zero(name):
    plan = fwt.plan(perceptron(*UNMEANT[name]), rows())
    assert (plan["2.bias"].std, plan.meant) == (0, ())


def test_constant_biases_inside_are_zero():
    model = perceptron(*UNMEANT["default"])
    nn.init.constant_(model[0].bias, 0.1)
    assert fwt.plan(model, rows())["0.bias"].law == fw.zeros


def test_a_detector_starts_at_the_loss_of_its_prior():
    """The loss is that of the prior but for what small logits add: of std 0.4 at most, e^(0.4^2 / 2) to the odds."""
    torch.manual_seed(0)
    maps = [nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 16), (16, 16), (16, 45))]
    model = nn.Sequential(maps[0], nn.ReLU(), maps[1], nn.ReLU(), maps[2])
    nn.init.constant_(maps[2].bias, -math.log(99))
    pictures = torch.randn(4, 3, 16, 16)
    targets = torch.zeros(4 * 16 * 16 * 45)
    targets[torch.randperm(len(targets))[:60]] = 1
    fwt.apply(model, fwt.plan(model, pictures), key=0)
    loss = focal(model(pictures).detach().flatten(), targets).item()
    assert loss == pytest.approx(focal_of_prior(0.01, 60, len(targets) - 60), rel=0.1)
    nn.init.zeros_(maps[2].bias)  # the mutant
    assert focal(model(pictures).detach().flatten(), targets).item() > 50


class Gated(nn.Module):
    """Parameters that multiply in ways of their own."""

    def __init__(self, gate, use):
        super().__init__()
        torch.manual_seed(0)
        self.lower, self.upper, self.head = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 10)
        self.gate, self.use = nn.Parameter(torch.as_tensor(gate)), use

    def forward(self, x):
        x = self.lower(x)
        return self.head(self.use(x, torch.tanh(self.upper(x)), self.gate))


def scores(x, y, t):
    """Cosines over a temperature."""
    x, y = (functional.normalize(z, dim=-1) for z in (x, y))
    return (x @ y.T * t.exp()).softmax(-1) @ y


def per_head(x, y, t):
    """A temperature for each of four heads."""
    x, y = (functional.normalize(z.view(-1, 4, 8).transpose(0, 1), dim=-1) for z in (x, y))
    return ((x @ y.transpose(1, 2)) * t).softmax(-1).matmul(y).transpose(0, 1).flatten(1)


def mixed(x, y, g):
    return torch.cat([x[:1], x[1:] + g * torch.sigmoid(y[1:]) * x[:-1]])


GATES = {
    "rezero": (torch.zeros(1), lambda x, y, g: x + g * y),
    "a fifth": (0.2 * torch.ones(1), lambda x, y, g: x + g * y),
    "two": (torch.tensor(2.0), lambda x, y, g: x + g * y),
    "subtracted": (torch.tensor(0.2), lambda x, y, g: y - g * x),
    "smear": (torch.zeros(1), mixed),
    "tanh": (torch.zeros(()), lambda x, y, g: x + g.tanh() * y),
    "logit scale": (torch.tensor(math.log(1 / 0.07)), scores),
    "of each head": (torch.full((4, 1, 1), math.log(10)), per_head),
    "power": (torch.tensor(1.5), lambda x, y, g: y * g),
    "scale of a norm": (
        torch.tensor(math.sqrt(32)),
        lambda x, y, g: g * x / x.norm(dim=-1, keepdim=True).clamp(min=1e-5),
    ),
}


@pytest.mark.parametrize("name", GATES)
def test_gates_and_temperatures_stay(name):
    value, use = GATES[name]
    model = Gated(value.clone(), use)
    plan = fwt.plan(model, rows())
    row = plan["gate"]
    assert row.reason.startswith(KEPT), row
    fwt.apply(model, plan, key=0)
    assert torch.equal(model.gate, value)


@pytest.mark.parametrize("value", [7.3e8, math.nan, 1e-30])
def test_memory_is_not_kept(value):
    plan = fwt.plan(Gated(torch.tensor(value), lambda x, y, g: g * torch.relu(y) + 1), rows())
    assert plan["gate"].law == fw.ones
    assert not plan["gate"].meant


def test_a_large_vector_at_the_end_of_a_branch_is_sized_by_the_recipe():
    plan = fwt.plan(Gated(torch.full((32,), 3.0), lambda x, y, g: x + g * y), rows())
    assert not plan["gate"].meant


def test_a_gate_that_starts_shut_stays_so():
    class Highway(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.map, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 10)
            nn.init.constant_(self.gate.bias, -2.0)

        def forward(self, x):
            t = torch.sigmoid(self.gate(x))
            return self.head(t * torch.relu(self.map(x)) + (1 - t) * x)

    plan = fwt.plan(Highway(), rows())
    assert plan["gate.bias"].law == fw.Constant(-2.0)
    assert plan["gate.bias"].meant


# What a caller keeps


def test_keep_takes_patterns_and_the_run_sees_what_was_kept():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    nn.init.normal_(model[0].weight, std=2.0)
    plan = fwt.plan(model, rows(), keep="0.*")
    assert [row.path for row in plan.meant] == ["0.weight", "0.bias"]
    with torch.no_grad():
        fed = model[1](model[0](rows())).square().mean().item()
    assert plan["2.weight"].std == pytest.approx((64 * fed) ** -0.5, rel=0.01)
    both = fwt.plan(model, rows(), keep=["0.weight", "4.*"])
    assert [row.path for row in both.meant] == ["0.weight", "4.weight", "4.bias"]
    before = model[0].weight.clone()
    fwt.apply(model, plan, key=0)
    assert torch.equal(model[0].weight, before)


def test_keep_refuses_what_matches_nothing():
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 10))
    with pytest.raises(ValueError, match=r"keep = '0.wieght' matches no parameter: the nearest are '0.weight'"):
        fwt.plan(model, rows(), keep="0.wieght")
    with pytest.raises(TypeError, match="keep = 3: expected patterns"):
        fwt.plan(model, rows(), keep=3)


def test_what_is_kept_survives_files():
    plan = fwt.plan(perceptron(*BIASES["prior"]), rows(), keep="0.weight")
    again = type(plan).from_toml(plan.to_toml())
    assert again == plan
    assert again.meant == plan.meant
    assert [row.path for row in plan.meant] == ["0.weight", "2.bias"]


def trained_network():
    """A network trained until its weights no longer look drawn, with a new head."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.LayerNorm(64), nn.Linear(64, 10)
    )
    x = torch.randn(512, 16)
    y = (x[:, :10].abs() + x[:, 6:].roll(1, 1)).argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02, weight_decay=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model[5].reset_parameters()
    return model


def test_keep_trained_keeps_what_looks_trained_and_draws_what_is_new():
    model = trained_network()
    plan = fwt.plan(model, rows(), keep="trained")
    kept = {row.path for row in plan.meant}
    assert {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"} <= kept
    assert plan["5.weight"].law is not None
    assert plan["5.bias"].law == fw.zeros


@pytest.mark.parametrize("init", [nn.init.xavier_uniform_, nn.init.kaiming_normal_, nn.init.orthogonal_])
def test_keep_trained_keeps_nothing_of_a_new_network(init):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 10))
    for layer in (model[0], model[2], model[4]):
        init(layer.weight)
    assert fwt.plan(model, rows(), keep="trained").meant == ()


class Mixed(nn.Module):
    """Two square maps that the author wrote, and one that was drawn."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(16, 16, bias=False) for _ in range(3))
        self.head = nn.Linear(16, 4)
        nn.init.eye_(self.first.weight)
        with torch.no_grad():
            self.second.weight.copy_(0.5 * torch.eye(16))

    def forward(self, x):
        return self.head(torch.relu(self.third(self.second(self.first(x)))))


def test_an_identity_is_kept_with_its_factor():
    """Le et al. (2015) start recurrent maps so, Shazeer et al. (2020) the maps between heads."""
    torch.manual_seed(0)
    model = Mixed()
    plan = fwt.plan(model, torch.randn(64, 16))
    assert [row.path for row in plan.meant] == ["first.weight", "second.weight"]
    assert plan["second.weight"].gives == pytest.approx(0.25 * plan["first.weight"].gives, rel=1e-2)
    fwt.apply(model, plan, key=0)
    assert torch.equal(model.first.weight, torch.eye(16))
    assert torch.equal(model.second.weight, 0.5 * torch.eye(16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_biases_that_repeat_by_chance_in_half_precision_are_not_written(dtype):
    """Of 512 values of a 16-bit format some are equal; a prior of two values is written in any format."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 512)).to(dtype)
    x = torch.randn(64, 16, dtype=dtype)
    assert len(model[2].bias.unique()) < 512
    assert fwt.plan(model, x)["2.bias"].std == 0
    with torch.no_grad():
        model[2].bias.copy_(torch.tensor([-4.0, -2.0]).repeat(256))
    assert [row.path for row in fwt.plan(model, x).meant] == ["2.bias"]


def test_an_identity_is_pasted():
    torch.manual_seed(0)
    model = Mixed()
    code = pasted(fwt.plan(model, torch.randn(64, 16)).rows)
    assert 'init.eye_(weights["first.weight"])' in code
    exec(code, {"model": model})
    assert torch.equal(model.second.weight, 0.5 * torch.eye(16))
