"""Several batches made one, in torch."""

import pytest

torch = pytest.importorskip("torch")

from fanwise.torch.measure.joined_batches import joined  # noqa: E402
from fanwise.torch.trace.run import Inputs  # noqa: E402


def batch(*values, **named):
    return Inputs((torch.tensor(values),), named)


def test_examples_follow_each_other_in_the_order_of_the_batches():
    assert joined([batch(1, 2), batch(3), batch(4)]).args[0].tolist() == [1, 2, 3, 4]
    alone = batch(1)
    assert joined([alone]) is alone


def test_named_arrays_are_joined_and_flags_kept():
    together = joined([batch(1, mask=torch.ones(2, 3), fast=True), batch(2, mask=torch.zeros(1, 3), fast=True)])
    assert together.kwargs["mask"].sum(1).tolist() == [3.0, 3.0, 0.0]
    assert together.kwargs["fast"] is True


def test_what_differs_in_more_than_its_examples_is_refused():
    with pytest.raises(ValueError, match="expected shapes that differ in the first axis alone"):
        joined([Inputs((torch.ones(2, 3),)), Inputs((torch.ones(2, 4),))])
    with pytest.raises(ValueError, match="expected shapes that differ in the first axis alone"):
        joined([Inputs((torch.ones(2),)), Inputs((torch.ones(2, dtype=torch.float64),))])
    with pytest.raises(ValueError, match="True, False: expected equal values"):
        joined([batch(1, fast=True), batch(2, fast=False)])
