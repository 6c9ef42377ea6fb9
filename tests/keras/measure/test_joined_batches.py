"""Several batches made one, in what Keras computes with."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.measure.joined_batches import joined, joining  # noqa: E402
from fanwise.keras.trace.run import Inputs, on_backend  # noqa: E402
from fanwise.keras.trace.variables import as_array, is_tensor, shape_of  # noqa: E402


def batch(first, **named):
    return on_backend(Inputs((np.array(first, "float32"),), named))


def test_examples_follow_each_other_in_the_order_of_the_batches():
    together = joined([batch([[1], [2]]), batch([[3]]), batch([[4]])])
    assert is_tensor(together.args[0])
    assert as_array(together.args[0]).ravel().tolist() == [1.0, 2.0, 3.0, 4.0]


def test_one_batch_stays_itself():
    alone = batch([[1]])
    assert joined([alone]) is alone


def test_named_arrays_are_joined_and_flags_kept():
    ones = np.ones((2, 3), "float32")
    together = joined([batch([[1]], mask=ones, training=False), batch([[2]], mask=ones, training=False)])
    assert shape_of(together.kwargs["mask"]) == (4, 3)
    assert together.kwargs["training"] is False


def test_other_flags_shapes_and_dtypes_are_refused():
    with pytest.raises(ValueError, match="True, False: expected equal values"):
        joined([batch([[1]], training=True), batch([[2]], training=False)])
    with pytest.raises(ValueError, match="expected shapes that differ in the first axis alone"):
        joined([batch([[1]]), batch([[1, 2]])])
    with pytest.raises(ValueError, match="expected shapes that differ in the first axis alone"):
        joined([on_backend(Inputs((np.ones((1, 2), dtype),))) for dtype in ("float32", "float16")])


def test_targets():
    a, b = (on_backend(Inputs((np.array(values, "int32"),))).args[0] for values in ([1, 2], [3]))
    assert as_array(joining().targets([a, b])).tolist() == [1, 2, 3]
    assert joining().targets([a, None]) is None
    assert joining().targets([a]) is a
