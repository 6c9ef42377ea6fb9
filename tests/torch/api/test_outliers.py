"""Weights unlike their peers for a reason: the stream that they join, or a number that the model multiplies them by."""

import pytest
import torch
from torch import Tensor, nn

from fanwise.torch import check

WIDTH, BLOCKS = 48, 4


def _maps(count: int, outputs: int = WIDTH) -> nn.ModuleList:
    maps = nn.ModuleList([nn.Linear(WIDTH, outputs, bias=False) for _ in range(count)])
    for layer in maps:
        nn.init.normal_(layer.weight, std=WIDTH**-0.5, generator=torch.Generator().manual_seed(len(maps)))
    return maps


class Streams(nn.Module):
    """Branches behind norms that join two streams, the second of which is quiet."""

    def __init__(self, quiet: float, *, suits: bool) -> None:
        super().__init__()
        self.enter, self.leave, self.head = _maps(2 * BLOCKS), _maps(2 * BLOCKS), nn.Linear(WIDTH, 10)
        self.quiet = quiet
        if suits:
            with torch.no_grad():
                self.leave[-1].weight.mul_(quiet)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of ten classes."""
        for number, (enter, leave) in enumerate(zip(self.enter, self.leave, strict=True)):
            if number == 2 * BLOCKS - 1:
                x = self.quiet * nn.functional.layer_norm(x, (WIDTH,))
            x = x + leave(torch.tanh(enter(nn.functional.layer_norm(x, (WIDTH,)))))
        return self.head(nn.functional.layer_norm(x, (WIDTH,)))  # type: ignore[no-any-return]


def _is_outlier(model: nn.Module) -> bool:
    batch = torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(0))
    return "LAY001" in {finding.code for finding in check(model, batch, seeds=1).findings}


@pytest.mark.parametrize("quiet", [1 / 20, 1 / 60])
def test_the_end_of_a_branch_of_a_quiet_stream_may_be_small(quiet: float) -> None:
    assert not _is_outlier(Streams(quiet, suits=True))


@pytest.mark.parametrize("quiet", [1 / 20, 1 / 60])
def test_the_same_end_is_an_outlier_where_the_stream_is_not_quiet(quiet: float) -> None:
    model = Streams(quiet, suits=True)
    model.quiet = 1.0
    assert _is_outlier(model)


class Multiplied(nn.Module):
    """Maps in a row, one of which the model multiplies by a number."""

    def __init__(self, number: float, *, divided: bool) -> None:
        super().__init__()
        self.maps, self.head, self.number = _maps(2 * BLOCKS), nn.Linear(WIDTH, 10), number
        if divided:
            with torch.no_grad():
                self.maps[3].weight.div_(number)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of ten classes."""
        for place, layer in enumerate(self.maps):
            x = torch.tanh(layer(x) * self.number if place == 3 else layer(x))
        return self.head(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", [12.0, 30.0])
def test_a_weight_may_be_small_where_the_model_multiplies_what_it_gives(number: float) -> None:
    assert not _is_outlier(Multiplied(number, divided=True))
    model = Multiplied(number, divided=True)
    model.number = 1.0
    assert _is_outlier(model)


class Heated(nn.Module):
    """Maps in a row, what one of which gives is multiplied by a learned factor for each feature."""

    def __init__(self, factor: float, bend: nn.Module) -> None:
        super().__init__()
        self.maps, self.head, self.bend = _maps(2 * BLOCKS), nn.Linear(WIDTH, 10), bend
        self.heat = nn.Parameter(torch.linspace(0.5 * factor, 1.5 * factor, WIDTH))
        with torch.no_grad():
            self.maps[3].weight.div_(20)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of ten classes."""
        for place, layer in enumerate(self.maps):
            x = self.bend(layer(x) * self.heat) if place == 3 else torch.tanh(layer(x))
        return self.head(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("bend", [nn.Sigmoid(), nn.Tanh(), nn.GELU()])
def test_a_weight_may_be_small_where_a_learned_factor_makes_up_for_it(bend: nn.Module) -> None:
    assert not _is_outlier(Heated(20.0, bend))
    assert _is_outlier(Heated(1.0, bend))


def _row(place: int, factor: float, act: type[nn.Module], louder: float = 1.0) -> nn.Module:
    """Eight maps in a row, one of which is so many times its peers; the batch may be louder than usual."""
    maps = list(_maps(2 * BLOCKS))
    with torch.no_grad():
        for number, layer in enumerate(maps):
            std = (1 / WIDTH if act is nn.Identity else 2 / WIDTH) ** 0.5
            nn.init.normal_(layer.weight, std=std, generator=torch.Generator().manual_seed(number))
        maps[place].weight.mul_(factor)
    body = [part for layer in maps for part in (layer, act())]
    return nn.Sequential(_Times(louder), *body, nn.Linear(WIDTH, 10))


class _Times(nn.Module):
    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return self.number * x


@pytest.mark.parametrize("act", [nn.ReLU, nn.Identity])
@pytest.mark.parametrize("place", [0, 1, 3, 7])
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_what_a_weight_made_faint_itself_does_not_excuse_it(act: type[nn.Module], place: int, factor: float) -> None:
    assert _is_outlier(_row(place, factor, act))


@pytest.mark.parametrize("factor", [1 / 255, 1e-2, 30.0, 200.0])
def test_a_first_map_may_make_up_for_inputs_of_another_size(factor: float) -> None:
    assert not _is_outlier(_row(0, factor, nn.ReLU, 1 / factor))
