"""JAX as a `Backend`: each method does what the protocol says of it."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

import fanwise.jax  # noqa: E402
from fanwise import Constant  # noqa: E402
from fanwise.adapters.protocol import Backend  # noqa: E402
from fanwise.calibrate.options import Options  # noqa: E402
from fanwise.calibrate.session import CalibrationBackend, CalibrationPass, NumberSource  # noqa: E402
from fanwise.graph.inputs import Inputs  # noqa: E402
from fanwise.graph.op import Parameter  # noqa: E402
from fanwise.graph.visitor import ModelError, Watcher  # noqa: E402
from fanwise.jax.backend import BACKEND  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402
from fanwise.plan.row import Row  # noqa: E402

X = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)
PARAMS = {"b": jnp.zeros(1), "w": jnp.array([[1.0], [0.5]])}
PLAN = Plan(
    (
        Row("b", (1,), "float32", Constant(0.5), None, "bias", "linear", "A test."),
        Row("w", (2, 1), "float32", Constant(2.0), None, "weight", "linear", "A test."),
    )
)


def linear(params, x):
    return x @ params["w"] + params["b"]


MODEL, SHAPES = (linear, PARAMS), (linear, jax.eval_shape(lambda: PARAMS))
INPUTS = Inputs((jnp.asarray(X),))


def names(protocol):
    return {name for name in vars(protocol) if not name.startswith("_")}


def test_it_has_every_name_of_the_protocol():
    assert names(Backend) | names(CalibrationBackend) <= set(dir(BACKEND))


def test_what_it_is():
    assert BACKEND.package == fanwise.jax.__name__
    assert BACKEND.version == f"jax {jax.__version__}"
    assert BACKEND.takes_key is True
    assert BACKEND.forms.startswith("expected (function, params)")


# Models


def test_a_factory_is_no_model():
    assert BACKEND.is_model(MODEL)
    assert BACKEND.is_model(SHAPES)
    assert not BACKEND.is_model(linear)
    assert not BACKEND.is_model(lambda key: MODEL)


def test_a_seed_gives_a_key_and_leaves_every_random_state():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    with BACKEND.seeded(3) as (key,), BACKEND.seeded(3) as (again,), BACKEND.seeded(4) as (other,):
        assert (jax.random.bits(key) == jax.random.bits(again)).all()
        assert (jax.random.bits(key) != jax.random.bits(other)).all()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_names_and_sources():
    assert BACKEND.model_name(MODEL) == "linear"
    assert BACKEND.places(MODEL, lambda key: MODEL) == {}


# Parameters


def test_parameters_in_the_model_s_order_tied_ones_once():
    w = jnp.ones((2, 1))
    model = (linear, {"a": w, "n": jnp.arange(3), "z": {"w": w}})
    assert BACKEND.parameters(model) == (Parameter("a", (2, 1), "float32", ("z.w",)),)
    with pytest.raises(TypeError, match="model = int"):
        BACKEND.parameters(3)


def test_values_are_copies_by_any_of_their_names():
    w = np.ones((2, 1), np.float32)
    values = BACKEND.reader((linear, {"a": w, "z": w}))("z")
    values[:] = 3
    assert (w == 1).all()
    with pytest.raises(ValueError, match="shape alone"):
        BACKEND.reader(SHAPES)("w")


def test_a_plan_gives_a_new_model():
    with BACKEND.kept(MODEL):
        function, params = BACKEND.apply(MODEL, PLAN, 3)
    assert function is linear
    assert (params["b"].tolist(), params["w"].tolist()) == ([0.5], [[2], [2]])
    assert PARAMS["w"].tolist() == [[1], [0.5]]


# Inputs


def test_arrays_are_those_of_jax_and_numpy():
    assert BACKEND.is_array(X)
    assert BACKEND.is_array(jnp.ones(2))
    assert not BACKEND.is_array([1.0])
    assert not BACKEND.is_array(jax.ShapeDtypeStruct((2,), jnp.float32))


def test_a_batch_is_split_where_there_is_a_loss():
    rest, target = BACKEND.split((X, "ids", 3), "mse_loss")
    assert (rest, target) == ((X, "ids"), 3)
    assert BACKEND.split({"x": 1, "y": 2}, "mse_loss") == ({"x": 1}, 2)
    assert BACKEND.split(X, "mse_loss") == (X, None)
    batch = (X, 3)
    assert BACKEND.split(batch, None) == (batch, None)


def test_words_are_shapes_for_a_model_of_shapes_unless_values_are_asked_for():
    assert isinstance(BACKEND.inputs(MODEL, "2,2").args[0], jax.Array)
    assert isinstance(BACKEND.inputs(SHAPES, "2,2").args[0], jax.ShapeDtypeStruct)
    assert isinstance(BACKEND.inputs(SHAPES, "2,2", valued=True).args[0], jax.Array)


def test_inputs_that_are_none():
    with pytest.raises(TypeError, match="inputs = int"):
        BACKEND.inputs(MODEL, 3)
    with pytest.raises(TypeError, match="inputs = NoneType"):
        BACKEND.inputs(MODEL, None)
    with pytest.raises(ValueError, match="'2 3'"):
        BACKEND.inputs(MODEL, "2 3")


def test_inputs_in_words():
    assert BACKEND.describe("2, 2", INPUTS) == "2, 2"
    assert BACKEND.describe(X, INPUTS) == "2,2:float32"


def test_batches_and_targets_are_joined():
    assert BACKEND.join([INPUTS, INPUTS]).args[0].shape == (4, 2)
    assert BACKEND.join_targets([np.array([1]), np.array([2])]).tolist() == [1, 2]
    assert BACKEND.join_targets([np.array([1]), None]) is None
    with pytest.raises(ValueError, match="first axis alone"):
        BACKEND.join([INPUTS, Inputs((jnp.ones((2, 3)),))])


# Runs


class Counter(Watcher):
    """A visitor that counts the ops that it is shown."""

    def __init__(self):
        self.count = 0

    def after(self, op, moment):
        self.count += 1


def test_a_model_is_prepared_once_and_run_often():
    traced = []

    def counted(params, x):
        traced.append(x)
        return linear(params, x)

    prepared, counter = BACKEND.prepare((counted, PARAMS), INPUTS), Counter()
    traces = [prepared.run(counter) for _ in range(3)]
    assert (len(traced), counter.count) == (1, 6)
    assert traces[0] == traces[1] == traces[2]
    assert [str(op.kind) for op in traces[0].ops] == ["linear", "shift"]


def test_whether_there_is_nothing_to_measure():
    assert not BACKEND.prepare(MODEL, INPUTS).is_abstract
    assert BACKEND.prepare(SHAPES, INPUTS).is_abstract
    assert BACKEND.prepare(MODEL, Inputs((jax.ShapeDtypeStruct((2, 2), jnp.float32),))).is_abstract


def test_a_model_that_cannot_be_traced():
    with pytest.raises(ModelError, match="linear could not be traced"):
        BACKEND.prepare(MODEL, Inputs((jnp.ones((2, 3)),)))


def test_the_structure_needs_no_values():
    (op,) = BACKEND.structure(SHAPES, INPUTS).ops
    assert [use.path for use in op.uses] == ["w", "b"]


def test_what_depends_on_values_has_no_structure():
    def branching(params, x):
        return jax.lax.cond(x.sum() > 0, lambda: x @ params["w"], lambda: x[:, :1])

    assert BACKEND.structure((branching, PARAMS), INPUTS) is None


def test_losses_are_refused_before_anything_runs():
    for loss in (None, "mse_loss", linear):
        BACKEND.check_loss(loss)
    with pytest.raises(ValueError, match="cross_entropy"):
        BACKEND.check_loss("nothing")
    with pytest.raises(TypeError, match="a class"):
        BACKEND.check_loss(Counter)


def test_an_observation_of_one_run():
    target = np.array([[0.0], [3.0]], np.float32)  # X w + b = (2, 1)
    run = BACKEND.observe(MODEL, INPUTS, target, "mse_loss")
    assert (run.loss.value, run.values["w"].gradient) == (4, 80)
    forward = BACKEND.observe(MODEL, INPUTS, target, "mse_loss", backward=False)
    assert math.isnan(forward.values["w"].gradient)
    with pytest.raises(ModelError, match="shapes alone"):
        BACKEND.observe(SHAPES, INPUTS, target, "mse_loss")


def test_a_calibration_of_a_model():
    run: CalibrationPass = BACKEND.calibration(MODEL, INPUTS, NumberSource(), Options(head="target"))
    decided = run.passed(run.structure())
    assert float(decided.changes["w"].scale) == pytest.approx(2)  # outputs 2, 1: deviation 1/2
