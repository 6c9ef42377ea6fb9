"""Origins of tensors: ops, inputs, variables, constants, or unknown."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.graph.op import UseRole  # noqa: E402
from fanwise.graph.tracking.tracker import Source  # noqa: E402
from fanwise.keras.trace.calls import Part  # noqa: E402
from fanwise.keras.trace.tensor_origins import TensorOrigins  # noqa: E402


def tensor():
    return keras.ops.convert_to_tensor(np.ones(2, "float32"))


@pytest.fixture
def variable():
    return keras.Variable(np.ones(2, "float32"))


@pytest.fixture
def origins(variable):
    return TensorOrigins({"m/a": variable})


def test_variables_of_the_model_have_a_path_and_others_none(origins, variable):
    assert origins.path(Part(variable, UseRole.WEIGHT)) == "m/a"
    assert origins.path(Part(keras.Variable(np.ones(2, "float32")), UseRole.WEIGHT)) is None
    assert origins.path(Part(tensor(), UseRole.WEIGHT)) is None


def test_a_variable_and_its_value_are_held(origins, variable):
    assert origins.held(variable).input is variable
    assert origins.held(variable.value).input is variable
    assert origins.held(variable).role is UseRole.OPERAND
    assert origins.is_made_of_variables(variable.value)
    assert not origins.is_constant(variable)
    other = keras.Variable(np.ones(2, "float32"))
    assert origins.held(other) is None
    assert origins.is_constant(other)


def test_a_tensor_that_is_followed_has_its_source_and_an_equal_one_none(origins):
    data, source = tensor(), Source(3)
    origins.follow(data, source)
    assert origins.source(data) is source
    assert origins.source(tensor()) is None
    assert not origins.is_constant(data)
    assert not origins.is_unseen(data)
    assert not origins.is_made_of_variables(data)


def test_data_comes_before_variables(origins, variable):
    both = tensor()
    origins.hold(both, Part(variable, UseRole.SCALE))
    assert origins.held(both).role is UseRole.SCALE
    assert not origins.is_constant(both)
    origins.follow(both, Source(0))
    assert origins.held(both) is None
    assert origins.source(both).op == 0
    assert not origins.is_constant(both)
    assert origins.is_made_of_variables(both)


def test_the_last_source_counts(origins):
    data = tensor()
    origins.follow(data, Source(0))
    origins.follow(data, Source(1))
    assert origins.source(data).op == 1


def test_a_tensor_of_constants_is_constant_and_seen(origins):
    known, unknown = tensor(), tensor()
    origins.constant(known)
    assert origins.is_constant(known)
    assert origins.is_constant(unknown)
    assert not origins.is_unseen(known)
    assert origins.is_unseen(unknown)


def test_tensors_are_kept_so_that_no_other_takes_their_identity(origins):
    origins.follow(tensor(), Source(0))
    assert all(origins.source(tensor()) is None for _ in range(20))
