"""Weights read through constant indices and then contracted: maps, whose fan_in is the contracted axis."""

import inspect
import math
import re

import pytest
import torch
from torch import nn

import fanwise.torch as fwt

from ..traced import Wrapped, normal

N, WIDTH, ROWS = 40, 24, 256
ROLLED = (torch.arange(N)[None] + torch.arange(N)[:, None]) % N
OFFSET = torch.arange(N)[None] - torch.arange(N)[:, None] + N - 1
F = nn.functional


def symmetric(m, x):
    return torch.einsum("bs,fgs->bfg", x, m.kernel[:, ROLLED]).flatten(1)


def circulant_by_rolls(m, x):
    return x @ torch.stack([m.vector.roll(i) for i in range(N)])


def circulant_by_index(m, x):
    return x @ m.vector[ROLLED]


def toeplitz(m, x):
    return F.linear(x, m.diagonals[OFFSET])


def toeplitz_by_strides(m, x):
    return F.linear(x, m.diagonals.as_strided((N, N), (1, 1)))


def by_unfold(m, x):
    return x @ m.diagonals.unfold(0, N, 1)


def by_take(m, x):
    return x @ torch.take(m.diagonals, OFFSET)


def by_index_select(m, x):
    return x @ m.diagonals.index_select(0, OFFSET.flatten()).view(N, N)


def by_embedding(m, x):
    """Shared values: each entry of the matrix is a row of one number of a table."""
    return x @ F.embedding(ROLLED, m.vector[:, None]).squeeze(-1)


def flipped_kernels(m, x):
    """A group convolution: the kernel and its mirror images."""
    kernels = torch.cat([m.kernels, m.kernels.flip(-1)], 0)
    return F.conv2d(x[:, :36].reshape(-1, 4, 3, 3), kernels, padding=0).flatten(1)


TIED = {
    symmetric: N, circulant_by_rolls: N, circulant_by_index: N, toeplitz: N, toeplitz_by_strides: N, by_unfold: N,
    by_take: N, by_index_select: N, by_embedding: N, flipped_kernels: 36,
}  # fmt: skip


def tied(forward):
    def whole(m, x):
        m.seen = forward(m, x)
        return m.head(torch.relu(m.seen))

    parts = {"kernel": normal(4, N), "vector": normal(N), "diagonals": normal(2 * N - 1), "kernels": normal(8, 4, 3, 3)}
    names = {name: value for name, value in parts.items() if re.search(rf"m\.{name}\b", inspect.getsource(forward))}
    width = forward(Wrapped(None, **names), normal(2, N)).shape[-1]
    return Wrapped(whole, head=nn.Linear(width, 10), **names), next(iter(names))


@pytest.mark.parametrize("forward", TIED, ids=lambda forward: forward.__name__)
def test_a_tied_weight_is_a_map_of_the_contracted_axis(forward):
    model, path = tied(forward)
    x = normal(ROWS, N)
    plan = fwt.plan(model, x)
    row = plan[path]
    assert row.role == "weight"
    fed = float(x[:, : 36 if forward is flipped_kernels else N].square().mean())
    assert row.std == pytest.approx(1 / math.sqrt(TIED[forward] * fed), rel=0.01)
    powers = []
    for key in range(40):
        fwt.apply(model, plan, key=key)
        with torch.no_grad():
            model(x)
        powers.append(float(model.seen.square().mean()))
    assert sum(powers) / len(powers) == pytest.approx(1, rel=5 * math.sqrt(2 / 36 / len(powers)))


def test_a_table_gathered_by_data_or_by_positions_stays_one():
    def forward(m, tokens):
        return m.head(m.table[tokens] + m.positions[torch.arange(6)])

    model = Wrapped(forward, table=normal(50, 16), positions=normal(6, 16), head=nn.Linear(16, 10))
    plan = fwt.plan(model, torch.randint(50, (4, 6)))
    assert (plan["table"].role, plan["positions"].role) == ("embedding", "position")
