"""Written-out softmaxes under masks: what a mask leaves is no choice of the scores."""

import math

import pytest
import torch
from torch import Tensor, nn

from fanwise.torch import check

WIDTH, LENGTH = 32, 12


class Attention(nn.Module):
    """Attention of one head by hand, with a mask that leaves few tokens."""

    def __init__(self, spelling: str, factor: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.head = nn.Linear(WIDTH, 5)
        self.spelling, self.factor = spelling, factor
        for seed, layer in enumerate((self.query, self.key, self.value)):
            nn.init.normal_(layer.weight, std=WIDTH**-0.5, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("seen", torch.eye(LENGTH, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (batch, length, 5)."""
        scores = self.query(x) @ self.key(x).transpose(1, 2) * self.factor
        if self.spelling == "added":
            scores = scores + torch.zeros_like(scores).masked_fill(~self.seen, -math.inf)
        elif self.spelling == "added, finite":
            scores = scores + -1e9 * (~self.seen).float()
        elif self.spelling == "filled":
            scores = scores.masked_fill(~self.seen, torch.finfo(scores.dtype).min)
        elif self.spelling == "where":
            scores = torch.where(self.seen, scores, -1e4)
        return self.head(x + scores.softmax(-1) @ self.value(x))  # type: ignore[no-any-return]


def _picks(spelling: str, factor: float) -> bool:
    batch = torch.randn(16, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0))
    return "ATT001" in {finding.code for finding in check(Attention(spelling, factor), batch, seeds=1).findings}


@pytest.mark.parametrize("spelling", ["added", "added, finite", "filled", "where"])
def test_a_mask_that_leaves_one_token_is_no_fault_of_the_scores(spelling: str) -> None:
    assert not _picks(spelling, WIDTH**-0.5)


@pytest.mark.parametrize("spelling", ["none", "added", "added, finite", "filled", "where"])
def test_loud_scores_are_found_under_a_mask_too(spelling: str) -> None:
    assert _picks(spelling, 12.0)
