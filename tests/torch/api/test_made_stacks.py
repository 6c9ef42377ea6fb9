"""Stacks of which each layer's weight is made: a layer gets a law for what feeds it, not that of the first."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from fanwise.laws.composite import Blocks  # noqa: E402
from fanwise.torch.api.plan import plan  # noqa: E402
from fanwise.torch.trace import provenance  # noqa: E402
from fanwise.torch.weights.apply import apply  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402

WIDTH, DEPTH, SEEDS = 64, 3, 12
MADE = {  # of a layer of the stack and of what all layers share
    "generator": (lambda code, shared: torch.tanh(code @ shared) @ shared.T, (WIDTH, WIDTH)),
    "low rank": (lambda code, shared: code @ shared, (WIDTH, WIDTH)),
    "times a number": (lambda code, shared: 0.3 * code + 0 * shared, (1, 1)),
    "symmetric": (lambda code, shared: code + code.T + 0 * shared, (1, 1)),
    "cubed": (lambda code, shared: code**3 + 0 * shared, (1, 1)),
    "signed square": (lambda code, shared: code * code.abs() + 0 * shared, (1, 1)),
}


def network(name):
    """Three ReLU layers whose weights are made of the layers of one parameter."""
    make, shape = MADE[name]

    def forward(m, x):
        m.seen = []
        for code in m.codes:
            x = F.linear(x, make(code, m.shared))
            m.seen.append(x)
            x = F.relu(x)
        return m.head(x)

    codes, shared = (nn.Parameter(0.01 * torch.randn(size)) for size in ((DEPTH, WIDTH, WIDTH), shape))
    return Wrapped(forward, codes=codes, shared=shared, head=nn.Linear(WIDTH, 10))


def second_moments(name):
    """Of what each layer gives, the mean of seeds, under the plan; and the law of the stack."""
    torch.manual_seed(0)
    model, inputs = network(name), normal(128, WIDTH)
    planned, sums = plan(model, inputs), [0.0] * DEPTH
    for seed in range(1, SEEDS + 1):
        apply(model, planned, seed)
        with torch.no_grad():
            model(inputs)
        sums = [total + float(seen.square().mean()) / SEEDS for total, seen in zip(sums, model.seen, strict=True)]
    return sums, planned["codes"].law


@pytest.mark.parametrize("name", MADE)
def test_each_layer_gives_unit_second_moment(name):
    """Of one seed a layer is off by sqrt(5 / 64) or 0.3, the third by 0.5, the mean of 12 by 0.14: three of these."""
    moments, law = second_moments(name)
    assert isinstance(law, Blocks)
    assert all(0.6 < moment < 1.5 for moment in moments)


def test_one_law_for_all_layers_lets_the_signal_die(monkeypatch):
    """The mutant: what is made of a layer is taken for something made of the whole stack."""
    monkeypatch.setattr(provenance, "layers_of", lambda sources: {})
    assert second_moments("generator")[0][-1] < 0.5
