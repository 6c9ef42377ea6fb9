"""Learned tokens that enter by way of a function: what reads them is planned for what the function gives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fanwise.torch as fwt

Make = Callable[[Tensor], Tensor]
MADE: dict[str, tuple[Make, float]] = {
    "sines": (lambda p: torch.cat([torch.sin(6.28 * p), torch.cos(6.28 * p)], -1), 0.5),
    "sines of a sigmoid": (lambda p: torch.cat([torch.sin(40 * p.sigmoid()), torch.cos(40 * p.sigmoid())], -1), 0.5),
    "directions": (lambda p: 64**0.5 * nn.functional.normalize(p, dim=-1), 1.0),
    "signs": (lambda p: torch.sign(p) * 3, 9.0),
}
"""What is made of tokens of N(0, 1), and its second moment: sin^2 + cos^2 = 1, and so on."""


class Queries(nn.Module):
    """Learned queries that attend to what enters."""

    def __init__(self, make: Make, width: int, start: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.full((64, 64), start))
        with torch.no_grad():
            self.queries.mul_(torch.randn(64, 64, generator=torch.Generator().manual_seed(1)))
        self.read, self.head, self.make = nn.Linear(width, 64), nn.Linear(64, 5), make

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (64, 5)."""
        return self.head(torch.relu(self.read(self.make(self.queries)) + x.mean(0)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("start", [1.0, 1e-4])
def test_a_map_of_made_tokens_is_drawn_for_what_it_reads(name: str, start: float) -> None:
    make, size = MADE[name]
    model = Queries(make, 128 if "sines" in name else 64, start)
    laws = {row.path: row.law for row in fwt.plan(model, torch.randn(16, 64)).rows}
    # 4096 draws of a quantity of relative variance at most 0.5: four standard errors, and three digits
    assert laws["read.weight"].scale == pytest.approx(1 / size, rel=0.05)
