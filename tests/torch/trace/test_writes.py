"""Writes into tensors: what is written is followed, whatever holds it afterwards."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn
functional = torch.nn.functional

from fanwise.graph.op import OpKind  # noqa: E402
from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.trace.run import Inputs, run  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402

WIDTH, BATCH = 32, 256
INPUT = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    """A function of the model and its input, with parameters of these shapes, and a head."""

    def __init__(self, made, **shapes):
        super().__init__()
        self.made = made
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape) * 0.05))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, values):
        self.before = self.made(self, values)
        return self.head(self.before)


def rows_of(model):
    torch.manual_seed(0)
    return {row.path: row for row in plan(model, INPUT).rows}


# Parameters put among data: tokens


def set_rows(m, x):
    x = x.clone()
    x[:4] = m.p
    return x


def set_by_mask(m, x):
    x = x.clone()
    x[torch.arange(len(x)) % 2 == 0] = m.p
    return x


def copy_into(m, x):
    tokens = x.new_empty(len(x), 3, WIDTH)
    tokens[:, 0].copy_(m.p.expand(len(x), WIDTH))
    tokens[:, 1:] = x[:, None]
    return tokens.mean(1)


TOKENS = {
    "rows": set_rows,
    "mask": set_by_mask,
    "where": lambda m, x: torch.where(torch.arange(len(x))[:, None] % 2 == 0, m.p, x),
    "where, the other way": lambda m, x: torch.where(torch.arange(len(x))[:, None] % 2 == 0, x, m.p),
    "index_put_": lambda m, x: x.clone().index_put_((torch.tensor([0, 1]),), m.p),
    "select_scatter": lambda m, x: torch.select_scatter(x, m.p, 0, 0),
    "masked_scatter": lambda m, x: x.masked_scatter((torch.arange(len(x)) < 1)[:, None].expand_as(x), m.p),
    "index_copy": lambda m, x: x.index_copy(0, torch.tensor([3]), m.p[None]),
    "a token before data": copy_into,
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_parameter_that_is_put_among_data_is_a_token(name):
    row = rows_of(Model(TOKENS[name], p=(WIDTH,)))["p"]
    assert (row.role, row.op, row.std) == ("token", "parameter", 1.0)


@pytest.mark.parametrize("name", TOKENS)
@torch.no_grad()
def test_what_reads_data_and_tokens_reads_both(name):
    """The head's input is measured with the token that the plan puts there."""
    model = Model(TOKENS[name], p=(WIDTH,))
    rows = plan(model, INPUT)
    apply(model, rows, key=0)
    model(INPUT)
    fed = {row.path: row.fed for row in rows.rows}["head.weight"]
    assert fed == pytest.approx(float(model.before.square().mean()), rel=0.01)


# Parameters added or multiplied in place


def added_to_a_view(m, x):
    x = x.clone()
    x[:4] += m.p
    return x


def added_to_a_half(m, x):
    x = x.clone()
    left, _ = x.chunk(2, -1)
    left.add_(m.p[: WIDTH // 2])
    return x


def into_zeros(m, x):
    offset = torch.zeros(len(x), WIDTH)
    offset[:4] = m.p
    return x + offset


BIASES = {
    "add_": lambda m, x: x.clone().add_(m.p),
    "a view": added_to_a_view,
    "a half": added_to_a_half,
    "expanded": lambda m, x: x.clone().add_(m.p.expand_as(x)),
    "zeros": into_zeros,
    "copied": lambda m, x: x + torch.empty_like(x).copy_(m.p.expand_as(x)),
    "out": lambda m, x: torch.add(x, m.p, out=torch.empty_like(x)),
}


@pytest.mark.parametrize("name", BIASES)
def test_a_parameter_that_is_added_in_place_is_a_bias(name):
    assert rows_of(Model(BIASES[name], p=(WIDTH,)))["p"].role == "bias"


# Weights made in place


def scaled_weight(m, x):
    weight = m.p.clone()
    weight *= 0.1
    return functional.linear(x, weight)


def masked_weight(m, x):
    weight = m.p.clone()
    weight[:, : WIDTH // 2] = 0
    return functional.linear(x, weight)


def half_of_a_weight(m, x):
    weight = torch.zeros(WIDTH, WIDTH)
    weight[:, : WIDTH // 2] = m.p[:, : WIDTH // 2]
    return functional.linear(x, weight)


def of_two(m, x):
    weight = torch.zeros(WIDTH, WIDTH)
    weight[: WIDTH // 2] = m.p
    weight[WIDTH // 2 :].copy_(m.q)
    return functional.linear(x, weight)


def into_a_view(m, x):
    weight = torch.zeros(WIDTH, WIDTH)
    part = weight[WIDTH // 2 :]
    part.add_(m.p)
    return functional.linear(x, weight)


WEIGHTS = {
    "scaled": (scaled_weight, {"p": (WIDTH, WIDTH)}, 10 / math.sqrt(WIDTH)),
    "masked": (masked_weight, {"p": (WIDTH, WIDTH)}, 1 / math.sqrt(WIDTH / 2)),
    "lower triangle": (
        lambda m, x: functional.linear(x, torch.tril(m.p)),
        {"p": (WIDTH, WIDTH)},
        1 / math.sqrt((WIDTH + 1) / 2),
    ),
    "where": (
        lambda m, x: functional.linear(x, torch.where(torch.arange(WIDTH) % 2 == 0, m.p, 0.0)),
        {"p": (WIDTH, WIDTH)},
        1 / math.sqrt(WIDTH / 2),
    ),
    "halves": (of_two, {"p": (WIDTH // 2, WIDTH), "q": (WIDTH // 2, WIDTH)}, 1 / math.sqrt(WIDTH)),
    "view": (into_a_view, {"p": (WIDTH // 2, WIDTH)}, 1 / math.sqrt(WIDTH)),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_that_is_made_in_place_has_unit_pre_activations(name):
    """std = 1 / sqrt(entries of a row that are not 0), over the factor; the ratio is measured on 1024 numbers."""
    made, shapes, std = WEIGHTS[name]
    rows = rows_of(Model(made, **shapes))
    moment = float(INPUT.square().mean())
    for path in shapes:
        assert rows[path].role == "weight"
        assert rows[path].std == pytest.approx(std / math.sqrt(moment), rel=5 / math.sqrt(2 * 512))


def test_a_small_parameter_that_is_added_to_a_weight_in_place_is_seen():
    def made(m, x):
        weight = m.p.clone()
        weight += m.q
        return functional.linear(x, weight)

    model = Model(made, p=(WIDTH, WIDTH), q=(WIDTH, 1))
    assert not run(model, Inputs((INPUT,))).unused


def test_data_written_into_a_parameters_copy_make_it_data():
    def made(m, x):
        tokens = m.p.expand(len(x), 4, WIDTH).clone()
        tokens[:, 1:] = x[:, None]
        return tokens.mean(1)

    assert rows_of(Model(made, p=(WIDTH,)))["p"].role == "token"


# Data written through views


def two_maps_into_views(m, x):
    output = torch.zeros(len(x), WIDTH)
    output[:, : WIDTH // 2].copy_(functional.linear(x, m.p))
    output[:, WIDTH // 2 :].copy_(functional.linear(x, m.q))
    return output


def test_data_written_into_views_of_a_tensor_are_read_with_it():
    model = Model(two_maps_into_views, p=(WIDTH // 2, WIDTH), q=(WIDTH // 2, WIDTH))
    trace = run(model, Inputs((INPUT,)))
    ((head, _),) = trace.uses["head.weight"]
    past = trace.ancestors(head.index)
    maps = {op.index for op in trace.ops if op.kind == OpKind.LINEAR} - {head.index}
    assert len(maps) == 2
    assert maps <= past


def test_parameters_are_as_before_after_a_run_that_writes_to_them():
    def made(m, x):
        m.p.data.mul_(0.5)
        return functional.linear(x, m.p)

    model = Model(made, p=(WIDTH, WIDTH))
    before = model.p.detach().clone()
    plan(model, INPUT)
    assert torch.equal(model.p, before)
