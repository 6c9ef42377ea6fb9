"""Calls that are executed again on other arrays, and what they read."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.trace.execution import Execution  # noqa: E402
from fanwise.keras.trace.variables import as_array  # noqa: E402


def tensor(*values):
    return keras.ops.convert_to_tensor(np.array(values, "float32"))


def test_a_call_gives_what_its_function_gives():
    call = Execution(lambda a, b, *, c: (a, b, c), (1, 2), {"c": 3})
    assert call() == (1, 2, 3)
    assert Execution(lambda: "nothing")() == "nothing"


def test_reads_variables_that_stand_among_its_arguments():
    first, second = keras.Variable(np.ones(2, "float32")), keras.Variable(np.ones(2, "float32"))
    call = Execution(keras.ops.add, ([first],), {"x2": {"deep": (second,)}})
    assert call.reads([first])
    assert call.reads([first, second])
    assert not Execution(keras.ops.add, (first, 2.0)).reads([first, second])
    assert not Execution(keras.ops.add, (first * 1.0,)).reads([first])  # made of it, and equal to it


def test_a_layer_takes_its_variables_itself():
    variable = keras.Variable(np.ones(2, "float32"))
    assert Execution(keras.ops.add, (), layer=True).reads([variable])
    assert not Execution(keras.ops.add, ()).reads([variable])


def test_a_replay_puts_arrays_in_the_place_of_their_tensors():
    first, second = tensor(1, 2), tensor(3, 4)
    call = Execution(lambda pair, *, scale, times: (pair[0] - scale["by"]) * times, ([first],), {})
    call = Execution(call.function, ([first],), {"scale": {"by": second}, "times": 2.0})
    replay = call.replay([first, second])
    assert replay(np.array([10.0, 20.0]), np.array([1.0, 2.0])).tolist() == [18.0, 36.0]
    assert replay(np.array([1, 1], "int64"), np.array([0, 0])).dtype == np.float32
    assert as_array(first).tolist() == [1.0, 2.0]


def test_the_order_of_the_data_counts_and_not_that_of_the_arguments():
    first, second = tensor(1), tensor(2)
    replay = Execution(keras.ops.subtract, (first, second)).replay([second, first])
    assert replay(np.array([1.0]), np.array([5.0])).tolist() == [4.0]


@pytest.mark.parametrize(
    "other",
    [
        lambda: tensor(1, 2),
        lambda: np.ones(2, "float32"),
        lambda: keras.Variable(np.ones(2, "float32")),
        lambda: [{"deep": tensor(1, 2)}],
    ],
)
def test_no_replay_where_another_array_has_a_say(other):
    data = tensor(1, 2)
    assert Execution(keras.ops.add, (data, other())).replay([data]) is None
    assert Execution(keras.ops.add, (data,), {"x2": other()}).replay([data]) is None
    assert Execution(keras.ops.add, (data, 1.0)).replay([data]) is not None
