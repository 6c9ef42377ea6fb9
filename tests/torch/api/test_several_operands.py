"""Maps that are one factor of a product with several operands of data: what they read is made inside the op."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402

import fanwise.torch as fwt  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402

ROWS, WIDTH, HEADS = 24, 32, 4


def talking_heads(m, x):
    """Shazeer et al. (2020): the values are mixed and projected in one product."""
    q, k, v = (torch.einsum("btm,mhd->bthd", x, weight) for weight in (m.wq, m.wk, m.wv))
    scores = torch.einsum("bthd,bshd->btsh", q, k) / (WIDTH / HEADS) ** 0.5
    return torch.einsum("btsh,bshd,hdm->btm", scores.softmax(2), v, m.wo)


def mixed_over_rows(m, x):
    return torch.einsum("bst,btm,mn->bsn", 5 * torch.ones(len(x), ROWS, ROWS) * x[..., :1], x, m.w)


def square(*sizes):
    return nn.Parameter(torch.randn(sizes) * 0.1)


D = WIDTH // HEADS
MODELS = {
    "talking_heads": (
        talking_heads,
        {**{f"w{n}": square(WIDTH, HEADS, D) for n in "qkv"}, "wo": square(HEADS, D, WIDTH)},
    ),
    "mixed_over_rows": (mixed_over_rows, {"w": square(WIDTH, WIDTH)}),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_output_has_the_second_moment_that_the_row_says(name):
    """Within the scatter of a map of 32 outputs over four keys, 5 sqrt(2 / (4 * 32))."""
    forward, parts = MODELS[name]

    def whole(m, x):
        m.seen = forward(m, x)
        return m.head(torch.relu(m.seen))

    model, x = Wrapped(whole, **parts, head=nn.Linear(WIDTH, 3)), normal(16, ROWS, WIDTH)
    plan = fwt.plan(model, x)
    last = list(parts)[-1]
    sizes = []
    for key in range(4):
        fwt.apply(model, plan, key=key)
        with torch.no_grad():
            model(x)
        sizes.append(float(model.seen.square().mean()))
    assert plan[last].gives == pytest.approx(1, rel=0.01)
    assert sum(sizes) / 4 == pytest.approx(1, rel=5 * (2 / (4 * WIDTH)) ** 0.5)
