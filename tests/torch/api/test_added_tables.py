"""Tables of data whose rows are added to those of the head: none drowns the other."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fanwise
import fanwise.torch as fwt

TOKENS, WIDTH, ROWS = 211, 48, 16


class Tables(nn.Module):
    """Tokens, segments and places in one sum, a norm, a map, and the scores of the tokens."""

    def __init__(self, spelling: str, *, tied: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(TOKENS, WIDTH)
        self.segments, self.places = nn.Embedding(2, WIDTH), nn.Embedding(ROWS, WIDTH)
        self.norm, self.map = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, TOKENS, bias=False)
        self.spelling = spelling
        if tied:
            self.head.weight = self.words.weight

    def forward(self, words: Tensor, segments: Tensor, places: Tensor) -> Tensor:
        """Scores of shape (batch, length, tokens)."""
        word, others = self.words(words), (self.segments(segments), self.places(places))
        if self.spelling == "chain":
            x = word + others[0] + others[1]
        elif self.spelling == "others first":
            x = word + (others[0] + others[1])
        elif self.spelling == "in place":
            x = word.clone()
            for other in others:
                x += other
        else:
            x = torch.stack([word, *others]).sum(0)
        return self.head(torch.tanh(self.map(self.norm(x))))  # type: ignore[no-any-return]


def _batch() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shape = (64, 12)
    return tuple(torch.randint(0, count, shape, generator=generator) for count in (TOKENS, 2, ROWS))


def _stds(model: nn.Module) -> dict[str, float]:
    fwt.apply(model, fwt.plan(model, _batch()), fanwise.Key(3))
    return {name: float(tensor.detach().std()) for name, tensor in model.named_parameters() if tensor.dim() > 1}


@pytest.mark.parametrize("spelling", ["chain", "others first", "in place"])
def test_tables_beside_a_tied_one_are_as_loud_as_it(spelling: str) -> None:
    stds = _stds(Tables(spelling, tied=True))
    for table, values in (("segments", 2 * WIDTH), ("places", ROWS * WIDTH)):
        # a std of n values moves by 1/sqrt(2 n): four of these
        assert abs(stds[f"{table}.weight"] / stds["words.weight"] - 1) < 4 / math.sqrt(2 * values)


@pytest.mark.parametrize("spelling", ["chain", "others first", "in place", "stack"])
def test_tables_beside_an_untied_one_are_of_unit_size(spelling: str) -> None:
    stds = _stds(Tables(spelling, tied=False))
    assert abs(stds["places.weight"] - 1) < 4 / math.sqrt(2 * ROWS * WIDTH)


def test_tokens_are_told_apart_sooner() -> None:
    """The task is to name the token again: where loud segments and places drown it, that takes longer."""

    def losses(*, drowned: bool) -> float:
        model, (words, *others) = Tables("chain", tied=True), _batch()
        fwt.apply(model, fwt.plan(model, (words, *others)), fanwise.Key(3))
        if drowned:
            for table in (model.segments, model.places):
                nn.init.normal_(table.weight, generator=torch.Generator().manual_seed(1))
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(40):
            loss = functional.cross_entropy(model(words, *others).flatten(0, 1), words.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    assert losses(drowned=False) < 0.75 * losses(drowned=True)
