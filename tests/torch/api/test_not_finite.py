"""Values and gradients that are not finite: the op that makes them, its line, and the parameter behind it."""

import pytest
import torch
from torch import nn

from fanwise.torch import ModelError, check, plan


class Between(nn.Module):
    """A function between two maps, with a parameter of its own."""

    def __init__(self, function, own):
        super().__init__()
        self.first, self.last, self.own = nn.Linear(8, 16), nn.Linear(16, 4), nn.Parameter(own)
        self.function = function

    def forward(self, x):
        return self.last(self.function(self.first(x), self.own))


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 8, generator=generator), torch.randint(4, (32,), generator=generator)


def first(function, own=None):
    torch.manual_seed(0)
    model = Between(function, torch.zeros(16) if own is None else own)
    return check(model, batch(), "cross_entropy").findings[0]


def line_of(function):
    return f"(test_not_finite.py:{function.__code__.co_firstlineno})"


VALUES = [
    ("log", lambda h, own: torch.log(torch.relu(h)), ""),
    ("div", lambda h, own: (h * 0) / (h * 0).norm(dim=-1, keepdim=True), ""),
    ("div after first", lambda h, own: (h - h.mean(0)) / (h * 0).std(0), "first.weight"),
    ("pow after first", lambda h, own: h**0.5, "first.weight"),
    ("own", lambda h, own: h / own, "own"),
    ("own", lambda h, own: h + torch.log(own), "own"),
    ("own", lambda h, own: h + own / own.norm(), "own"),
    ("own", lambda h, own: h * torch.rsqrt(own), "own"),
]


@pytest.mark.parametrize(("name", "function", "place"), VALUES)
def test_the_op_that_makes_them_is_named_with_its_line(name, function, place):
    found = first(function)
    assert found.code == "NAN002"
    assert found.message.startswith(f"{name} gives values that are infinite or not a number")
    assert found.message.endswith(line_of(function))
    assert found.place == place


def test_what_is_not_finite_is_followed_back_to_where_it_was_made():
    found = first(lambda h, own: torch.sigmoid(torch.log(-torch.relu(h) - 1) * 2) + 1)
    assert found.message.startswith("log gives")


GRADIENTS = [
    ("sqrt", lambda h, own: h + (h * 0).sqrt()),
    ("pow", lambda h, own: h + (h - h.detach()) ** 0.5),
    ("log", lambda h, own: torch.where(h > 9e9, torch.log(h * 0), h)),
    ("acos", lambda h, own: h + torch.acos(1 - h * 0)),
    ("div", lambda h, own: torch.where(h > 9e9, (h * 0) / (h * 0), h)),
]


@pytest.mark.parametrize(("name", "function"), GRADIENTS)
def test_gradients_that_are_lost_behind_finite_values(name, function):
    found = first(function)
    assert (found.code, found.severity) == ("NAN002", "error")
    assert found.message.startswith(f"the gradients before {name} {line_of(function)} are infinite or not a number")


@pytest.mark.parametrize(
    "function",
    [
        lambda h, own: torch.log(torch.relu(h) + 1e-3),
        lambda h, own: (torch.relu(h) + 1e-6).sqrt(),
        lambda h, own: h + own / (own.norm() + 1e-6),
        lambda h, own: torch.nn.functional.normalize(h, dim=-1),
        lambda h, own: h.masked_fill(h < -9, -torch.inf).softmax(-1),
    ],
)
def test_what_is_kept_from_zero_is_no_finding(function):
    torch.manual_seed(0)
    report = check(Between(function, torch.zeros(16)), batch(), "cross_entropy")
    assert "NAN002" not in {inner.code for found in report.findings for inner in found.walk()}


def test_a_norm_that_overflows_is_no_crash():
    torch.manual_seed(0)
    model = Between(lambda h, own: h + own / own.norm(), torch.full((16,), 1e30))
    assert check(model, batch(), "cross_entropy").ok
    assert plan(model, batch()[0]).rows


class Inner(nn.Module):
    def forward(self, x):
        return x @ torch.ones(3, 3)


def test_an_error_of_the_model_says_where_in_its_sources_and_on_what():
    model = nn.Sequential(nn.Linear(8, 4), Inner())
    with pytest.raises(ModelError) as error:
        check(model, batch())
    line = Inner.forward.__code__.co_firstlineno + 1
    assert f"test_not_finite.py:{line}, given (32, 4))" in str(error.value)
    assert "RuntimeError in module '1', last op" in str(error.value)


class Telling(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(8, 4)

    def forward(self, x):
        raise ValueError(f"cannot take {x.repeat(50, 50).tolist()}")


def test_no_tensor_is_dumped_into_a_message():
    with pytest.raises(ModelError) as error:
        check(Telling(), batch())
    assert len(str(error.value)) < 1000
    assert "cannot take [[" in str(error.value)


def test_an_argument_that_is_a_tensor_is_shown_by_its_shape():
    with pytest.raises(TypeError, match=r"loss = Tensor of shape \(400, 400\)"):
        check(nn.Linear(8, 4), batch(), torch.zeros(400, 400))
