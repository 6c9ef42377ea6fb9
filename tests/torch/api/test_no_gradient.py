"""Models in which nothing gets a gradient, or whose every output is 0: named whatever the last op is called."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, hardtanh, relu6, threshold

from fanwise.torch import check


class Fires(torch.autograd.Function):
    """1 where positive; a gradient beside that of a step."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return (values > 0).float()

    @staticmethod
    def backward(ctx, gradient):
        (values,) = ctx.saved_tensors
        return gradient / (1 + 25 * values.abs()) ** 2


class Ending(nn.Module):
    """Two maps and a last function; `bias` far below 0 gives that function negative values alone."""

    def __init__(self, ending, bias=-4.0, width=10):
        super().__init__()
        self.a, self.b, self.ending = nn.Linear(32, 64), nn.Linear(64, width), ending
        nn.init.constant_(self.b.bias, bias)

    def forward(self, x):
        return self.ending(self.b(torch.relu(self.a(x))))


ENDINGS = {
    "relu": torch.relu,
    "relu6": relu6,
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "hardtanh": lambda x: hardtanh(x, 0, 1),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.0),
    "threshold": lambda x: threshold(x, 0.0, 0.0),
    "times its mask": lambda x: x * (x > 0),
    "times a cast mask": lambda x: x * (x > 0).to(x.dtype),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "half of x + |x|": lambda x: (x + x.abs()) / 2,
    "times 0": lambda x: x * 0,
    "spikes": Fires.apply,
}


def batch(rows=32):
    g = torch.Generator().manual_seed(0)
    return torch.randn(rows, 32, generator=g), torch.randint(10, (rows,), generator=g)


def errors(report):
    return [finding for finding in report.findings if finding.severity == "error"]


def codes(report):
    return {one.code for finding in report.findings for one in finding.walk()}


@pytest.mark.parametrize("rows", [3, 32])
@pytest.mark.parametrize("name", ENDINGS)
def test_a_constant_output_is_an_error_at_the_last_map(name, rows):
    report = check(lambda: Ending(ENDINGS[name]), batch(rows), "cross_entropy", seeds=2)
    assert errors(report), str(report)
    assert errors(report)[0].place.startswith("b."), str(report)
    assert {"GRD003", "OUT001"} & codes(report)


@pytest.mark.parametrize("name", [name for name in ENDINGS if name != "times 0"])
def test_the_same_endings_pass_what_is_positive(name):
    report = check(lambda: Ending(ENDINGS[name], bias=0.0), batch(), "cross_entropy", seeds=2)
    assert not {"GRD003", "OUT001"} & codes(report), str(report)


def test_the_gradients_are_all_0():
    """What the rule says holds: not one weight moves in ten steps."""
    torch.manual_seed(0)
    model, (x, y) = Ending(ENDINGS["clamp"]), batch()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    for _ in range(10):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    "ending",
    [torch.round, torch.sign, lambda x: x.argmax(-1, keepdim=True).float(), lambda x: (x > 0).float()],
    ids=["round", "sign", "argmax", "step"],
)
def test_a_function_without_a_slope(ending):
    """Its outputs differ between examples, and yet nothing is learned: the graph is cut, or every gradient is 0."""
    model = Ending(lambda x: ending(x) + 0 * x.sum(), bias=0.0)
    report = check(model, batch()[0], None)
    assert {"GRD003", "GRD001"} & codes(report), str(report)


def test_a_loss_without_a_gradient():
    """Cross-entropy over one class is 0 whatever the model gives."""
    inputs, _ = batch()
    report = check(Ending(lambda x: x, bias=0.0, width=1), (inputs, torch.zeros(32, dtype=int)), "cross_entropy")
    (finding,) = errors(report)
    assert finding.code == "GRD003"
    assert "the loss" in finding.cause


class Sided(nn.Module):
    """A frozen map, and beside it two trained factors."""

    def __init__(self, law):
        super().__init__()
        self.base = nn.Linear(32, 10).requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.zeros(4, 32)), nn.Parameter(torch.zeros(10, 4))
        law(self)

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T


def test_an_adapter_of_two_zero_factors_never_learns():
    report = check(Sided(lambda model: None), batch(), "cross_entropy")
    assert any(
        finding.severity == "error" for finding in report.findings if "GRD003" in {o.code for o in finding.walk()}
    )
    begun = check(Sided(lambda model: nn.init.normal_(model.down, std=0.2)), batch(), "cross_entropy")
    assert "GRD003" not in codes(begun)


class Opening(nn.Module):
    """Residual branches, or the whole stream, behind factors and maps that start at 0."""

    def __init__(self, which):
        super().__init__()
        self.enter, self.inner, self.head = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.norm, self.gate = nn.LayerNorm(64), nn.Parameter(torch.ones(()))
        zero = {
            "gate": [self.gate],
            "norm": [self.norm.weight],
            "branch": [self.inner.weight],
            "head": [self.head.weight],
        }
        with torch.no_grad():
            for parameter in zero[which]:
                parameter.zero_()
            self.head.bias.zero_()

    def forward(self, x):
        x = self.enter(x)
        return self.head(self.norm(x + self.gate * torch.tanh(self.inner(x))))


@pytest.mark.parametrize("which", ["gate", "branch", "head"])
def test_starts_that_open_by_themselves(which):
    assert "GRD003" not in codes(check(Opening(which), batch(), "cross_entropy"))


def test_a_last_norm_of_factor_0_is_a_warning():
    """Every map is without a gradient, but the norm's factor moves and opens the way."""
    (finding,) = check(Opening("norm"), batch(), "cross_entropy").findings
    assert (finding.code, finding.severity, finding.place) == ("GRD003", "warning", "norm.weight")


def test_seeds_that_are_dead_are_counted():
    """The seeds say which: of a narrow last ReLU some are born dead."""
    made = []

    def build():
        made.append(len(made))
        return Ending(torch.relu, bias=-4.0 if len(made) == 2 else 0.0)

    report = check(build, batch(7), "cross_entropy", seeds=3)
    (finding,) = [finding for finding in report.findings if finding.code == "GRD003"]
    assert (finding.severity, finding.evidence["seeds"], finding.evidence["of"]) == ("error", 1, 3)
    assert "1 of 3 seeds" in finding.message


def test_spikes_are_followed_through_their_function():
    """What a comparison gives as numbers is data: the map behind it reads the map before it."""
    model = nn.Sequential(nn.Linear(32, 64), Layer(), nn.Linear(64, 10))
    seen = check(model, batch(), "cross_entropy").observations[0]
    assert {op.index for op in seen.trace.ops if "0.weight" in {use.path for use in op.uses}} <= set(
        seen.trace.ancestors(seen.trace.outputs[0])
    )
    step = next(op for op in seen.trace.ops if op.name == "gt")
    assert list(step.replay(np.array([-1.0, 0.0, 2.0]))) == [0, 0, 1]


class Layer(nn.Module):
    def forward(self, x):
        return Fires.apply(x)
