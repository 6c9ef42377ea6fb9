"""Several batches made one: arrays along their first axis, everything else as it is."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.graph.inputs import Inputs  # noqa: E402
from fanwise.jax.measure.joined_batches import JOINING, joined  # noqa: E402

ONE = Inputs((jnp.array([[1.0, 2.0]]),), {"mask": np.array([True]), "train": False})
TWO = Inputs((np.array([[3.0, 4.0], [5.0, 6.0]], np.float32),), {"mask": np.array([False, True]), "train": False})


def test_batches_come_one_after_the_other():
    inputs = joined([ONE, TWO, ONE])
    assert inputs.args[0].tolist() == [[1, 2], [3, 4], [5, 6], [1, 2]]
    assert inputs.kwargs["mask"].tolist() == [True, False, True, True]
    assert inputs.kwargs["train"] is False
    assert isinstance(inputs.args[0], jax.Array)
    assert inputs.args[0].dtype == jnp.float32


def test_one_batch_stays_what_it_is():
    assert joined([ONE]) is ONE


def test_targets():
    assert JOINING.targets([jnp.array([1]), np.array([2, 3], np.int32)]).tolist() == [1, 2, 3]
    assert JOINING.targets([jnp.array([1]), None]) is None
    one = jnp.array([1])
    assert JOINING.targets([one]) is one


APART = {
    "other sizes": Inputs((jnp.ones((1, 3)),), ONE.kwargs),
    "other dtypes": Inputs((jnp.ones((1, 2), jnp.bfloat16),), ONE.kwargs),
    "other flags": Inputs(ONE.args, {"mask": np.array([True]), "train": True}),
    "other names": Inputs(ONE.args, {"mask": np.array([True])}),
    "no examples": Inputs((jnp.float32(1),), ONE.kwargs),
}


@pytest.mark.parametrize("name", APART)
def test_batches_that_differ_in_more_than_their_examples(name):
    with pytest.raises(ValueError, match=r"inputs.*: the batches hold"):
        joined([ONE, APART[name]])


def test_numbers_without_examples_cannot_be_joined():
    with pytest.raises(ValueError, match="first axis alone"):
        JOINING.targets([jnp.float32(1), jnp.float32(2)])
