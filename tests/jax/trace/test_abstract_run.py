"""The structure of a program before a calibration: forms, slices of stacks, shares of means, what is not known."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from fanwise import Layout  # noqa: E402
from fanwise.graph.op import Op, OpKind, Use, UseRole  # noqa: E402
from fanwise.jax.trace.abstract_run import Slice, form_of, structure_of, structure_of_run  # noqa: E402
from fanwise.jax.trace.run import Inputs, program_of  # noqa: E402

X = np.ones((5, 4), np.float32)
STACK = {"w": jnp.ones((3, 4, 4)), "b": jnp.ones((3, 4))}


def scanned(params, x):
    """A layer for each matrix of a stack."""
    return lax.scan(lambda y, row: (y @ row["w"] + row["b"], None), x, params)[0]


def over_time(params, x):
    """One matrix applied once for each row of the input."""
    return lax.scan(lambda h, row: (jnp.tanh(h @ params["w"] + row), None), jnp.zeros(4), x)[0]


def both(function, params, x=X):
    program = program_of((function, params), Inputs((x,)))
    return structure_of(program), structure_of_run(program)


def test_a_slice_is_named_and_indexed_along_its_axis():
    part = Slice("w", 1, 2)
    assert part.name == "w[2]"
    assert np.arange(24).reshape(2, 3, 4)[part.subscript].tolist() == [[8, 9, 10, 11], [20, 21, 22, 23]]


def test_the_form_of_an_op_is_its_shape_and_its_parameters():
    op = Op(0, OpKind.LINEAR, "", "", 0, 0, (), shape=(5, 3), uses=(Use("w", UseRole.WEIGHT), Use("b", UseRole.BIAS)))
    assert form_of(op) == ((5, 3), ("w", "b"))


def test_forms_are_of_every_operation_and_ops_of_the_maps_with_their_biases():
    structure, _ = both(lambda p, x: jnp.tanh(x @ p["w"] + p["b"]), {"w": jnp.ones((4, 3)), "b": jnp.ones(3)})
    assert structure.forms == (((5, 3), ("w",)), ((5, 3), ("b",)), ((5, 3), ()))
    assert {number: str(op.kind) for number, op in structure.ops.items()} == {1: "linear", 2: "activation"}
    assert structure.maps == {1: 0}
    assert structure.slices == {}


@pytest.mark.parametrize("params", [STACK, {"w": STACK["w"], "b": jnp.ones((3, 1))}])
def test_a_run_on_shapes_sees_what_a_run_on_numbers_does(params):
    structure, of_run = both(scanned, params)
    assert structure.forms == of_run.forms
    assert structure.slices == of_run.slices
    assert [op.uses for op in structure.trace.ops] == [op.uses for op in of_run.trace.ops]


def test_each_matrix_of_a_stack_is_a_parameter():
    structure, _ = both(scanned, STACK)
    assert structure.slices["w[1]"] == Slice("w", 0, 1)
    assert list(structure.slices) == [f"{path}[{i}]" for path in ("b", "w") for i in range(3)]
    linear = [op for op in structure.trace.ops if op.kind == OpKind.LINEAR]
    assert [[use.path for use in op.uses] for op in linear] == [[f"w[{i}]", f"b[{i}]"] for i in range(3)]
    assert {op.uses[0].layout for op in linear} == {Layout(("in", "out"))}
    parameter = structure.trace.by_path["w[1]"]
    assert (parameter.shape, parameter.aliases) == ((4, 4), ("w",))
    assert structure.repeated == frozenset()


def test_a_stack_that_is_also_used_whole_is_one_parameter():
    structure, _ = both(lambda p, x: scanned(p, x) + jnp.einsum("bi,eio->bo", x, p["w"]), STACK)
    assert {part.path for part in structure.slices.values()} == {"b"}
    assert structure.trace.by_path["w"].shape == (3, 4, 4)


def test_rows_that_are_no_stack_are_not_taken_apart():
    """One row of a matrix, whose axes are inputs and outputs, is no map of its own."""
    structure, _ = both(lambda p, x: x @ p["w"][:1].T, {"w": jnp.ones((3, 4))})
    assert structure.slices == {}
    assert list(structure.trace.by_path) == ["w"]


def test_parameters_that_a_loop_uses_over_and_over():
    structure, _ = both(over_time, {"w": jnp.eye(4)})
    assert structure.repeated == {"w"}


def test_what_a_sum_is_divided_by():
    structure, _ = both(lambda p, x: (x @ p["w"]).mean(0), {"w": jnp.eye(4)})
    assert structure.shares == {1: 5.0}


BY_VALUE = {
    "a branch": (lambda p, x: lax.cond(x.sum() > 0, lambda y: y @ p["w"], lambda y: y, x), 1),
    "a loop": (lambda p, x: lax.while_loop(lambda y: y.sum() < 100, lambda y: y @ p["w"] + 1, x), 2),
}


@pytest.mark.parametrize("name", BY_VALUE)
def test_what_depends_on_values_has_a_structure_from_a_run_alone(name):
    function, maps = BY_VALUE[name]
    structure, of_run = both(function, {"w": jnp.eye(4)})
    assert structure is None
    assert [op.kind for op in of_run.trace.ops].count(OpKind.LINEAR) == maps


def test_the_program_keeps_its_numbers():
    program = program_of((scanned, STACK), Inputs((X,)))
    structure_of(program)
    assert (program.given[0] == X).all()
    assert program.model.leaves["w"] is STACK["w"]
