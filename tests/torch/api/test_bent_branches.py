"""Branches that do not end in a map: what stands behind their last map counts, and so does what they have in common."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from fanwise.plan.branches import BranchSizes  # noqa: E402
from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402

from ..traced import Wrapped, normal, traced  # noqa: E402

WIDTH = 64
SEEDS = 4
ENDS = {
    "relu": lambda y, h: F.relu(y),
    "squared relu": lambda y, h: F.relu(y).square(),
    "absolute": lambda y, h: y.abs(),
    "exponential": lambda y, h: y.exp() - 1,
    "gate of itself": lambda y, h: y * (1 + y.tanh()),
    "gate of the stream": lambda y, h: y.abs() * F.relu(h) * 2,
    "cosine transform": lambda y, h: torch.fft.irfft(F.relu(y) * 3, n=WIDTH, norm="ortho"),
}
"""What the branch makes of its last map's output y; h is what the branch reads."""
ALIKE = ["relu", "absolute", "exponential", "gate of itself", "gate of the stream", "cosine transform"]
"""Ends that add more than their map gives, or values around another mean than 0."""


def network(depth, end, norm=True):
    """Pre-norm residual blocks whose last map is followed by a function."""

    def forward(m, x):
        x = first = m.entry(x)
        for inner, outer in zip(m.inner, m.outer, strict=True):
            h = F.layer_norm(x, (WIDTH,)) if norm else x
            x = x + end(outer(torch.tanh(inner(h))), h)
        m.ends = first, x
        return m.head(x)

    maps = {name: nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth)) for name in ("inner", "outer")}
    return Wrapped(forward, entry=nn.Linear(WIDTH, WIDTH), **maps, head=nn.Linear(WIDTH, 10))


def growth(model, inputs, planned):
    """By what the stream's second moment grows, the mean of seeds that the plan has not seen."""
    growths = []
    for seed in range(1, SEEDS + 1):
        apply(model, planned, seed)
        with torch.no_grad():
            model(inputs)
            first, last = (float(end.square().mean()) for end in model.ends)
        growths.append(last / first)
    return sum(growths) / SEEDS


@pytest.mark.parametrize("depth", [4, 16])
@pytest.mark.parametrize("name", ENDS)
def test_a_stream_grows_by_at_most_e(name, depth):
    torch.manual_seed(0)
    model, inputs = network(depth, ENDS[name]), normal(256, WIDTH)
    assert 1.2 < growth(model, inputs, plan(model, inputs)) < math.e


@pytest.mark.parametrize("name", ALIKE)
def test_maps_that_have_their_share_grow_it_by_more(name, monkeypatch):
    """The mutant: what stands behind the last map does not count."""
    monkeypatch.setattr(BranchSizes, "shares", lambda self, before: {})
    torch.manual_seed(0)
    model, inputs = network(16, ENDS[name]), normal(256, WIDTH)
    assert growth(model, inputs, plan(model, inputs)) > 1.2 * math.e


def test_equal_relus_get_less_the_more_there_are():
    """The means of T branches behind a ReLU add up, so that their second moments are to fall faster than by 1 / T."""
    least = []
    for depth in (4, 16):
        torch.manual_seed(0)
        model, inputs = network(depth, ENDS["relu"]), normal(256, WIDTH)
        rows = {row.path: row for row in plan(model, inputs).rows}
        last = rows[f"outer.{depth - 1}.weight"]
        least.append(last.law.scale * last.fed * depth)
        assert "for what the model makes of it" in last.reason
    assert least[1] < 0.75 * least[0]


def test_a_linear_end_has_its_share_whatever_one_random_state_has_in_common():
    torch.manual_seed(0)
    model, inputs = network(4, lambda y, h: 2 * F.dropout(y, 0.1, training=False)), normal(256, WIDTH)
    rows = [row for row in plan(model, inputs).rows if row.role == "branch_end"]
    assert len(rows) == 4
    assert not any("of that" in row.reason for row in rows)


@pytest.mark.parametrize("depth", [3, 8])
def test_a_sum_of_a_normed_signal_and_its_map_is_no_stream(depth):
    """y = W h + d h of h = norm(x) is what a branch begins with: the stream goes past it."""

    def forward(m, x):
        x = first = m.entry(x)
        for inner, outer, skip, out in zip(m.inner, m.outer, m.skips, m.out, strict=True):
            h = F.layer_norm(x, (WIDTH,))
            y = F.gelu(outer(inner(h)) + skip * h)
            x = x + y * torch.sigmoid(out(y))
        m.ends = first, x
        return m.head(x)

    maps = {name: nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth)) for name in ("inner", "outer", "out")}
    skips = nn.ParameterList(nn.Parameter(torch.randn(WIDTH)) for _ in range(depth))
    model = Wrapped(forward, entry=nn.Linear(WIDTH, WIDTH), **maps, skips=skips, head=nn.Linear(WIDTH, 10))
    inputs = normal(256, WIDTH)
    assert len(traced(model, inputs).joins) == depth
    assert growth(model, inputs, plan(model, inputs)) < math.e
