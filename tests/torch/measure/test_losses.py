"""Losses of torch by name, and what a guess gives, against closed forms."""

import math
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from fanwise.measure.losses import Target  # noqa: E402
from fanwise.torch.measure.losses import ARRAYS, LOSSES, LossCalls, loss_of, named_loss, opened, split  # noqa: E402

LOGITS = torch.tensor([[0.0, math.log(3.0)], [math.log(3.0), 0.0]])
"""Logits of the shares 1/4 and 3/4, and the other way round."""


def seen(outputs, target, loss):
    """The loss of outputs, as the rules see it."""
    made = loss_of(outputs, target, loss)
    with LossCalls() as calls:
        value = made(outputs)
    return calls.observed(made, value)


def test_cross_entropy_and_the_guess_of_its_classes():
    loss = seen(LOGITS, torch.tensor([0, 0]), "cross_entropy")
    assert loss.value == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, rel=1e-5)
    assert (loss.chance, loss.classes) == (pytest.approx(math.log(2)), 2)


def test_a_squared_error_and_the_guess_of_0():
    loss = seen(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 4.0]]), nn.MSELoss())
    assert (loss.value, loss.chance, loss.classes) == (pytest.approx(6.5), pytest.approx(16.0), 0)


def test_weighted_classes_have_another_guess():
    target = torch.tensor([[1.0], [0.0]])

    def weighted(output, aim):
        return functional.binary_cross_entropy_with_logits(output, aim, pos_weight=torch.tensor([3.0]))

    assert seen(torch.zeros(2, 1), target, weighted).chance == pytest.approx(2 * math.log(2))


def test_a_sum_has_the_guess_of_a_sum():
    def total(output, aim):
        return functional.mse_loss(output, aim, reduction="sum")

    assert seen(torch.zeros(2, 2), torch.full((2, 2), 3.0), total).chance == pytest.approx(36.0)


def test_a_loss_far_from_those_that_were_computed_has_no_guess():
    def more(output, aim):
        return functional.mse_loss(output, aim) + 100.0

    loss = seen(torch.zeros(2, 2), torch.ones(2, 2), more)
    assert loss.value == pytest.approx(101.0)
    assert math.isnan(loss.chance)


@pytest.mark.parametrize("name", LOSSES)
def test_every_name_is_a_function_of_torch(name):
    found = named_loss(name)
    if LOSSES[name] is not Target.CLASS:  # those of classes look for their axis first
        assert found.function is getattr(functional, name)
    assert found.target is LOSSES[name]


def test_names():
    assert named_loss(None) is None
    assert named_loss(nn.CrossEntropyLoss()).target is Target.CLASS
    assert named_loss(functional.mse_loss).name == "mse_loss"
    assert named_loss(lambda output, target: output).target is None
    assert named_loss("mse").name == "mse_loss"
    with pytest.raises(ValueError, match=r"loss = 'mse_los': did you mean 'mse_loss'\? expected one of cross_entropy"):
        named_loss("mse_los")
    with pytest.raises(TypeError, match=r"a class: expected an instance, as in MSELoss\(\)"):
        named_loss(nn.MSELoss)


@dataclass
class Output:
    """What a model returns."""

    logits: torch.Tensor
    ids: torch.Tensor


def test_outputs_are_opened():
    output = Output(torch.ones(2), torch.ones(2, dtype=torch.int64))
    assert list(opened(output)) == ["logits", "ids"]
    assert opened(Output) is Output
    assert [id(tensor) for tensor in ARRAYS.floats(output)] == [id(output.logits)]
    assert ARRAYS.fields(output)["logits"] is output.logits
    assert ARRAYS.fields([1]) == {}


def test_classes_lie_behind_the_examples():
    assert ARRAYS.class_axis((8, 5, 3)) == 1
    assert ARRAYS.class_axis((5,)) == 0


def test_a_mapping_before_a_target_holds_named_arguments():
    assert split(({"x": 1}, 2), "mse_loss") == ({"x": 1}, 2)
    assert split((1, 2), "mse_loss") == ((1,), 2)
    assert split(({"x": 1}, {"y": 2}, 3), "mse_loss") == (({"x": 1}, {"y": 2}), 3)
    assert split((1, 2), None) == ((1, 2), None)
