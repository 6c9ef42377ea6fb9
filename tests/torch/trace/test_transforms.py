"""Parameters inside torch.vmap and its kin, where tensors stand for others."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn
functional = torch.nn.functional

from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.trace.run import Inputs, run  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402

WIDTH, MEMBERS = 32, 3
INPUT = torch.randn(128, WIDTH, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    def __init__(self, made, shape):
        super().__init__()
        self.made, self.p = made, nn.Parameter(torch.full(shape, 0.1))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, values):
        self.before = self.made(values, self.p)
        return self.head(torch.tanh(self.before))


def members_of_a_module(values, weights):
    with torch.device("meta"):
        base = nn.Linear(WIDTH, WIDTH, bias=False)
    call = torch.func.functional_call
    return torch.vmap(lambda weight: call(base, {"weight": weight}, (values,)))(weights).sum(0) / math.sqrt(MEMBERS)


def twice(values, weights):
    """One transform inside another: members outside, rows of the batch inside."""
    rows = torch.vmap(lambda weight, row: weight @ row, in_dims=(None, 0))
    return torch.vmap(rows, in_dims=(0, None))(weights, values).sum(0) / math.sqrt(MEMBERS)


MAPS = {
    "rows of data": (lambda x, p: torch.vmap(lambda row: p @ row)(x), (WIDTH, WIDTH)),
    "members": (lambda x, p: torch.vmap(lambda w: x @ w)(p).sum(0) / math.sqrt(MEMBERS), (MEMBERS, WIDTH, WIDTH)),
    "members along the last axis": (
        lambda x, p: (
            torch.vmap(lambda w: functional.linear(x, w), in_dims=2, out_dims=1)(p).mean(1) * math.sqrt(MEMBERS)
        ),
        (WIDTH, WIDTH, MEMBERS),
    ),
    "members of a module": (members_of_a_module, (MEMBERS, WIDTH, WIDTH)),
    "one inside another": (twice, (MEMBERS, WIDTH, WIDTH)),
    "in chunks": (
        lambda x, p: torch.vmap(lambda row: p @ row, chunk_size=32)(x),
        (WIDTH, WIDTH),
    ),
}


@pytest.mark.parametrize("name", MAPS)
@torch.no_grad()
def test_a_map_inside_a_transform_has_unit_pre_activations(name):
    """std = 1 / sqrt(32 E x^2), and what the real forward then gives has second moment 1."""
    model = Model(*MAPS[name])
    rows = plan(model, INPUT)
    (row,) = [row for row in rows.rows if row.path == "p"]
    moment = float(INPUT[: 32 if name == "in chunks" else None].square().mean())  # the first chunk says
    assert row.role == "weight"
    assert row.std == pytest.approx(1 / math.sqrt(WIDTH * moment), rel=0.01)
    apply(model, rows, key=1)
    model(INPUT)
    error = math.sqrt(2 / WIDTH / min(WIDTH, len(INPUT)))  # over 32 x 32 weights
    assert abs(float(model.before.square().mean()) - 1) < 5 * error


@pytest.mark.parametrize(
    ("made", "role"),
    [
        (lambda x, p: torch.vmap(lambda row: row * p)(x), "gate"),
        (lambda x, p: torch.vmap(torch.add, in_dims=(0, None))(x, p), "bias"),
        (lambda x, p: torch.vmap(lambda row: row.clone().add_(p))(x), "bias"),
    ],
)
def test_scales_and_shifts_inside_a_transform(made, role):
    rows = {row.path: row for row in plan(Model(made, (WIDTH,)), INPUT).rows}
    assert rows["p"].role == role


@torch.no_grad()
def test_what_leaves_a_transform_is_measured():
    """The head is planned for what the transform gives."""
    model = Model(*MAPS["members"])
    rows = plan(model, INPUT)
    apply(model, rows, key=0)
    model(INPUT)
    fed = {row.path: row.fed for row in rows.rows}["head.weight"]
    assert fed == pytest.approx(float(torch.tanh(model.before).square().mean()), rel=0.05)


def test_a_gradient_inside_the_forward_uses_its_parameters():
    def energy(values, weight):
        return torch.func.grad(lambda x: torch.tanh(x @ weight).sum())(values)

    assert not run(Model(energy, (WIDTH, WIDTH)), Inputs((INPUT,))).unused
