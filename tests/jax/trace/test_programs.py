"""Models as programs of JAX: what they are given, what they return, and the errors of models that cannot be run."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

from fanwise.graph.op import INPUT  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.jax.trace.executed_op import ExecutedOp  # noqa: E402
from fanwise.jax.trace.recorder import Recorder  # noqa: E402
from fanwise.jax.trace.run import Inputs, ModelError, interpret_program, program_of, traced  # noqa: E402

PARAMS = {"b": jnp.ones(3), "w": jnp.full((4, 3), 2.0)}
X = np.ones((5, 4), np.float32)


def linear(params, x, **_):
    return x @ params["w"] + params["b"]


def program(function=linear, *args, params=None, **named):
    return program_of((function, PARAMS if params is None else params), Inputs(args or (X,), named))


def test_its_inputs_are_the_parameters_then_the_arrays():
    read = program(lambda p, x, *, mask, fast: linear(p, x) * mask, X, mask=np.ones(3, np.float32), fast=True)
    assert [variable.aval.shape for variable in read.jaxpr.jaxpr.invars] == [(3,), (4, 3), (5, 4), (3,)]
    assert [array.shape for array in read.given] == [(5, 4), (3,)]
    assert [parameter.path for parameter in read.parameters] == ["b", "w"]


def test_what_is_no_array_is_given_as_it_is():
    seen = []
    program(lambda p, x, mode, **named: seen.append((mode, named)) or x, X, "sum", train=False)
    assert seen == [("sum", {"train": False})]


def test_values_say_where_they_come_from():
    b, w, x, y = program(lambda p, x, y: x @ p["w"] + y, X, X[:, :1]).values()
    assert [value.held.paths for value in (b, w)] == [("b",), ("w",)]
    assert [(value.op, value.given) for value in (x, y)] == [(INPUT, 0), (INPUT, 1)]
    assert (x.data == X).all()
    assert w.held.make({}) is PARAMS["w"]


def test_values_take_other_parameters_by_path():
    other = {"w": jnp.zeros((4, 3)), "b": jnp.zeros(3)}
    b, w, _ = program().values(other)
    assert (b.held.make({}) is other["b"], w.held.make({}) is other["w"]) == (True, True)


SHAPE = jax.ShapeDtypeStruct(X.shape, X.dtype)
ABSTRACT = {
    "numbers": (X, PARAMS, False),
    "shapes of inputs": (SHAPE, PARAMS, True),
    "shapes of parameters": (X, jax.eval_shape(lambda: PARAMS), True),
}


@pytest.mark.parametrize("name", ABSTRACT)
def test_where_one_is_a_shape_no_value_has_numbers(name):
    x, params, is_abstract = ABSTRACT[name]
    read = program(linear, x, params=params)
    assert read.is_abstract is is_abstract
    values = read.values()
    assert (values[-1].data is None) is is_abstract
    assert all((value.held.make({}) is None) is is_abstract for value in values[:-1])


OUTPUTS = {
    "an array": (lambda p, x: x, (0,)),
    "integers left out": (lambda p, x: (jnp.arange(3), x, x), (1, 2)),
    "the logits first": (lambda p, x: {"aux": x, "logits": 2 * x, "z": 3 * x}, (1, 0, 2)),
    "what is no array left out": (lambda p, x: {"name": "x", "y": x}, (0,)),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_positions_of_its_outputs(name):
    function, positions = OUTPUTS[name]
    assert program(function).outputs == positions


def test_what_it_returns_has_the_structure_of_the_model_s():
    read = program(lambda p, x: {"y": (x, "text"), "z": x})
    assert jax.tree_util.tree_unflatten(read.structure, [1, 2]) == {"y": (1, None), "z": 2}


def test_interpreted_it_computes_what_the_model_does():
    read = program()
    recorder = Recorder({parameter.path: parameter for parameter in read.parameters}, PARAMS, Watcher())
    (value,) = interpret_program(read, recorder, read.values())
    assert recorder.numbers(value).tolist() == [[9.0] * 3] * 5


def test_a_program_can_be_traced_again():
    read = program()
    assert traced(read, Watcher()) == traced(read, Watcher())


class Onlooker(Watcher):
    """A visitor that writes down what it is shown."""

    def __init__(self):
        self.seen = []

    def after(self, op, moment):
        self.seen.append((op.name, moment()))


def test_a_visitor_is_shown_each_op_with_what_it_gave():
    onlooker = Onlooker()
    traced(program(), onlooker)
    assert onlooker.seen == [("dot_general", 64.0), ("add", 81.0)]


def test_an_op_can_be_carried_out_again_on_other_numbers():
    executed: list[ExecutedOp] = []
    read = program()
    parameters = {parameter.path: parameter for parameter in read.parameters}
    recorder = Recorder(parameters, PARAMS, Watcher(), see=lambda op: executed.append(op) or op.output)
    interpret_program(read, recorder, read.values())
    product = executed[0]
    assert product.again({}, {}).tolist() == product.output.tolist() == [[8.0] * 3] * 5
    assert product.again({"w": jnp.ones((4, 3))}, {}).tolist() == [[4.0] * 3] * 5
    assert product.again({}, {0: jnp.zeros((1, 4))}).tolist() == [[0.0] * 3]


# Refusals


def test_a_model_that_raises():
    def broken(params, x):
        raise KeyError("no such layer")

    with pytest.raises(ModelError, match=r"broken could not be traced on these inputs: KeyError: 'no such layer'"):
        program(broken)


def test_an_operation_that_fails_is_named():
    def fails(op, moment):
        raise RuntimeError("stop")

    watcher = Watcher()
    watcher.after = fails
    with pytest.raises(ModelError, match=r"linear could not be run: at operation 'dot_general': RuntimeError: stop"):
        traced(program(), watcher)


def test_an_input_that_is_gone():
    gone = jnp.ones((5, 4))
    gone.delete()
    with pytest.raises(ValueError, match="an input was deleted or donated"):
        program(linear, gone)


def test_an_input_that_is_being_traced():
    with pytest.raises(TypeError, match="an input is being traced"):
        jax.jit(lambda x: program(linear, x) and x)(X)
