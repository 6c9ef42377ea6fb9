"""Layers read out of one stacked parameter: each is a weight of its own to a plan and to theory."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from fanwise.laws.composite import Blocks  # noqa: E402
from fanwise.laws.layout import Layout  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.torch.api.check import check  # noqa: E402
from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402

from ..traced import Wrapped, normal, traced  # noqa: E402

WIDTH, DEPTH = 64, 12


def by_index(weights):
    return [weights[i] for i in range(len(weights))]


def in_parts(weights):
    """Half of the stack at a time."""
    first, second = weights.chunk(2)
    return [*first.unbind(0), *second.unbind(0)]


READERS = {
    "index": by_index,
    "unbind": lambda weights: weights.unbind(0),
    "iterate": list,
    "select": lambda weights: [weights.select(0, i) for i in range(len(weights))],
    "split": lambda weights: [part.squeeze(0) for part in weights.split(1)],
    "parts": in_parts,
    "last axis": None,
}


def blocks(read):
    """Residual blocks whose two maps come out of two stacks."""

    def forward(m, x):
        first, second = (stacked if read is None else read(stacked) for stacked in (m.first, m.second))
        for i in range(DEPTH):
            up, down = (first[..., i], second[..., i]) if read is None else (first[i], second[i])
            x = x + F.relu(x @ up) @ down
        m.last = x
        return m.head(x)

    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(DEPTH, WIDTH, WIDTH, generator=generator) * (g / WIDTH) ** 0.5 for g in (2, 1))
    if read is None:
        first, second = (stacked.permute(1, 2, 0).contiguous() for stacked in (first, second))
    torch.manual_seed(0)
    return Wrapped(forward, first=first, second=second, head=nn.Linear(WIDTH, 10))


def apart():
    stack = blocks(by_index)

    def forward(m, x):
        for i in range(DEPTH):
            x = x + F.relu(x @ getattr(m, f"first{i}")) @ getattr(m, f"second{i}")
        m.last = x
        return m.head(x)

    each = {
        f"{name}{i}": getattr(stack, name).detach()[i].clone() for name in ("first", "second") for i in range(DEPTH)
    }
    return Wrapped(forward, **each, head=stack.head)


def layers(model):
    report = check(model, (normal(64, WIDTH), torch.arange(64) % 10), loss="cross_entropy", seeds=1)
    return [layer.predicted for layer in report.layers]


@pytest.mark.parametrize("name", READERS)
def test_one_prediction(name):
    assert layers(blocks(READERS[name])) == pytest.approx(layers(apart()), rel=1e-3)


@pytest.mark.parametrize("name", READERS)
def test_one_plan(name):
    """A law for each layer, with the stds that arrays apart get; every rendering, and there and back."""
    inputs = normal(64, WIDTH)
    model, separate = blocks(READERS[name]), apart()
    planned, wanted = plan(model, inputs), plan(separate, inputs)
    for path in ("first", "second"):
        row = planned[path]
        assert row.fan_in == WIDTH
        axis = row.layout.axes.index("stack")
        stds = [law.moments((WIDTH, WIDTH), layout=wanted[f"{path}0"].layout).std for law in of_layers(row.law, axis)]
        assert stds == pytest.approx([wanted[f"{path}{i}"].std for i in range(DEPTH)], rel=0.15)
    assert Plan.from_toml(planned.to_toml()) == planned
    assert str(planned)
    apply(model, planned, 0)
    with torch.no_grad():
        model(inputs)
    assert 2 < float(model.last.square().mean() / inputs.square().mean()) < 3.2  # (1 + 1/12)^12 = 2.61


def of_layers(law, axis):
    assert isinstance(law, Blocks)
    assert law.axis == axis
    return [own for own, size in zip(law.laws, law.sizes, strict=True) for _ in range(size)]


def test_the_last_layer_of_a_stack_may_be_the_head():
    def forward(m, x):
        for i in range(DEPTH - 1):
            x = F.relu(x @ m.w[i])
        return x @ m.w[DEPTH - 1]

    row = plan(Wrapped(forward, w=torch.randn(DEPTH, WIDTH, WIDTH)), normal(64, WIDTH))["w"]
    assert row.role == "weight"
    *inner, head = of_layers(row.law, 0)
    stds = [law.moments((WIDTH, WIDTH), layout=Layout.dense("in out")).std for law in (inner[5], head)]
    assert stds[1] < 0.5 * stds[0]


def test_layers_that_are_fed_alike_share_a_law():
    def forward(m, x):
        for i in range(4):
            x = x + F.layer_norm(x, (WIDTH,)) @ m.w[i]
        return m.head(x)

    model = Wrapped(forward, w=torch.randn(4, WIDTH, WIDTH), head=nn.Linear(WIDTH, 10))
    assert [use.layer for op in traced(model, normal(8, WIDTH)).ops for use in op.uses if use.path == "w"] == [
        (0, i) for i in range(4)
    ]


def test_a_stack_used_twice_is_used_twice():
    def forward(m, x):
        for i in (0, 1, 0, 1):
            x = x + F.relu(x @ m.w[i]) @ m.v[i]
        return m.head(x)

    held = {name: torch.randn(2, WIDTH, WIDTH) for name in "wv"}
    row = plan(Wrapped(forward, **held, head=nn.Linear(WIDTH, 10)), normal(64, WIDTH))["v"]
    assert "2 of them with this weight" in row.reason
