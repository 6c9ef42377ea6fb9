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


class SecondStream(nn.Module):
    """A stream of words and places, and one of places and rows of a table: no words are in the second."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(ROWS, WIDTH)
        self.rows = nn.Embedding(2, WIDTH) if spelling != "parameter" else None
        self.row = nn.Parameter(torch.randn(2, WIDTH)) if spelling == "parameter" else None
        self.norm, self.map = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, TOKENS)
        self.spelling = spelling

    def forward(self, words: Tensor) -> Tensor:
        """Scores of shape (batch, 3 length, tokens)."""
        length = words.shape[1]
        first = self.words(words) + self.places(torch.arange(length))
        places = self.places(1 + torch.arange(length))
        if self.row is not None:
            others = [(self.row[n] + places) for n in range(2)]
        elif self.rows is not None and self.spelling == "lookup":
            others = [self.rows(torch.tensor([n])) + places for n in range(2)]
        elif self.rows is not None and self.spelling == "places first":
            others = [places + self.rows.weight[n] for n in range(2)]
        else:
            assert self.rows is not None
            others = [places.clone().add_(self.rows.weight[n]) for n in range(2)]
        x = torch.cat([first, *(other.expand(len(words), -1, -1) for other in others)], 1)
        return self.head(torch.tanh(self.map(self.norm(x))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("spelling", ["parameter", "lookup", "places first", "in place"])
def test_a_table_beside_places_alone_is_as_loud_as_they_are(spelling: str) -> None:
    model = SecondStream(spelling)
    words = _batch()[0]
    fwt.apply(model, fwt.plan(model, (words,)), fanwise.Key(3))
    rows = model.row if model.rows is None else model.rows.weight
    assert rows is not None
    quiet, places = float(rows.detach().std()), float(model.places.weight.detach().std())
    # a tenth of the words, whose second moment is 1; a std of n values moves by 1/sqrt(2 n): four of these
    assert places == pytest.approx(0.1, rel=4 / math.sqrt(2 * ROWS * WIDTH))
    assert quiet == pytest.approx(0.1, rel=4 / math.sqrt(2 * 2 * WIDTH))
    assert not [f for f in fwt.check(model, (words,), seeds=1).findings if f.severity != "info"]


class Sines(nn.Module):
    """Tokens of some std times a number, beside sines of their places, two blocks and a head."""

    def __init__(self, std: float, number: float = 1.0, *, buffered: bool = True) -> None:
        super().__init__()
        self.words, self.number, self.buffered = nn.Embedding(TOKENS, WIDTH), number, buffered
        nn.init.normal_(self.words.weight, std=std)
        self.register_buffer("places", sines(12))
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(WIDTH, 4, 96, 0.0, batch_first=True, norm_first=True) for _ in "12")
        )
        self.head = nn.Linear(WIDTH, TOKENS)

    def forward(self, words: Tensor) -> Tensor:
        """Scores of shape (batch, length, tokens)."""
        places = self.places if self.buffered else sines(words.shape[1])
        return self.head(self.blocks(self.number * self.words(words) + places))  # type: ignore[no-any-return]


def sines(length: int) -> Tensor:
    """Vaswani et al.'s positions, of rms 1 / sqrt(2)."""
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(1e4) / WIDTH))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def _drowned(model: nn.Module) -> list[str]:
    found = fwt.check(model, _batch()[0], seeds=1).findings
    return [finding.place for finding in found if finding.code == "ADD001"]


@pytest.mark.parametrize("buffered", [True, False])
def test_tokens_without_their_factor_drown_in_sines(buffered: bool) -> None:
    torch.manual_seed(0)
    assert _drowned(Sines(0.02, buffered=buffered)) == ["words.weight"]
    assert not _drowned(Sines(0.02, WIDTH**0.5, buffered=buffered))
    assert not _drowned(Sines(1.0, buffered=buffered))


def test_a_table_that_is_the_head_too_is_as_quiet_as_its_scores_ask_for() -> None:
    torch.manual_seed(0)
    model = Sines(0.5 / WIDTH**0.5)
    model.head.weight = model.words.weight
    assert not _drowned(model)


def test_drowned_tokens_are_learned_later() -> None:
    """The tokens of a sequence in reverse order: at std 0.02 beside sines the loss stays at that of a guess, ln 32."""
    losses = []
    for std in (0.02, 0.7):
        torch.manual_seed(0)
        model = Sines(std)
        optimizer, generator = torch.optim.Adam(model.parameters(), 2e-3), torch.Generator().manual_seed(1)
        for _ in range(121):
            words = torch.randint(0, 32, (32, 12), generator=generator)
            loss = functional.cross_entropy(model(words).flatten(0, 1), words.flip(1).flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.9 * math.log(32)
    assert losses[1] < 0.65 * math.log(32)
