"""Models of every form as functions of their parameters: paths, ties, calls, rebuilt models, refusals."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")
equinox = pytest.importorskip("equinox", reason="equinox is not installed")
pytest.importorskip("flax", reason="flax is not installed")

import jax.numpy as jnp  # noqa: E402
from flax import linen, nnx  # noqa: E402

from fanwise.graph.op import Parameter  # noqa: E402
from fanwise.jax.trace.models import as_model, is_model, parameters  # noqa: E402

X = jnp.array([[1.0, 2.0]])
W = jnp.array([[1.0, 0.0], [0.0, 3.0]])


def linear(params, x, *, scale=1.0):
    """A plain function of its parameters."""
    return scale * (x @ params["w"])


class Affine(equinox.Module):
    weight: jax.Array
    steps: int = equinox.field(static=True, default=2)

    def __call__(self, x):
        return x @ self.weight * self.steps


class Scaled(nnx.Module):
    def __init__(self):
        self.weight = nnx.Param(jnp.array([2.0, 3.0]))
        self.seen = nnx.BatchStat(jnp.array(5.0))

    def __call__(self, x):
        self.seen.set_value(self.seen.get_value() + 1)
        return x * self.weight + self.seen.get_value()


class Averaged(linen.Module):
    @linen.compact
    def __call__(self, x):
        mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(2))
        var = self.variable("batch_stats", "var", lambda: jnp.ones(2))
        mean.value = mean.value + 1
        return (x - mean.value) / var.value * self.param("scale", linen.initializers.ones, (2,))


AVERAGED = (
    Averaged(),
    {"params": {"scale": jnp.ones(2)}, "batch_stats": {"mean": jnp.ones(2), "var": 2 * jnp.ones(2)}},
)
FORMS = {
    "function": ((linear, {"w": W}), "linear", ["w"], [[1, 6]]),
    "linen": (AVERAGED, "Averaged", ["scale"], [[-0.5, 0]]),
    "nnx": (Scaled(), "Scaled", ["weight"], [[8, 12]]),
    "equinox": (Affine(W), "Affine", ["weight"], [[2, 12]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_names_paths_and_calls(form):
    given, name, paths, output = FORMS[form]
    model = as_model(given)
    assert (model.name, list(model.leaves)) == (name, paths)
    assert is_model(given)
    assert not model.is_abstract
    for _ in range(2):  # a call changes nothing
        assert model.call(model.leaves, (X,), {}).tolist() == output


@pytest.mark.parametrize("form", FORMS)
def test_a_call_takes_other_values(form):
    model = as_model(FORMS[form][0])
    zeros = {path: jnp.zeros_like(leaf) for path, leaf in model.leaves.items()}
    assert set(np.asarray(model.call(zeros, (X,), {})).ravel().tolist()) == ({6.0} if form == "nnx" else {0.0})


@pytest.mark.parametrize("form", FORMS)
def test_a_rebuilt_model_has_the_new_parameters_and_the_old_one_its_own(form):
    given = FORMS[form][0]
    model = as_model(given)
    tree = model.rebuild({path: 2 * leaf for path, leaf in model.leaves.items()})
    rebuilt = as_model((given[0], tree) if form == "function" else tree)
    for path, leaf in model.leaves.items():
        assert (rebuilt.leaves[path] == 2 * leaf).all()
        assert (as_model(given).leaves[path] == leaf).all()


def test_named_inputs_reach_the_function():
    model = as_model((linear, {"w": W}))
    assert model.call(model.leaves, (X,), {"scale": 2.0}).tolist() == [[2, 12]]


def test_a_model_stays_what_it_is():
    model = as_model((linear, {"w": W}))
    assert as_model(model) is model


def test_the_name_of_a_callable_is_that_of_its_class():
    assert as_model((Affine(W), {"w": W})).name == "Affine"


def test_variables_without_collections_are_parameters():
    module, variables = AVERAGED
    model = as_model((module, variables["params"]))
    assert list(model.leaves) == ["scale"]
    assert model.rebuild({"scale": 3}) == (module, {"scale": 3})


def test_state_stays_with_the_rebuilt_variables():
    module, variables = as_model(AVERAGED).rebuild({"scale": 3})
    assert module is AVERAGED[0]
    assert variables["params"] == {"scale": 3}
    assert variables["batch_stats"] is AVERAGED[1]["batch_stats"]


def test_state_of_shapes_alone_starts_at_0_and_variances_at_1():
    module, variables = AVERAGED
    shapes = jax.eval_shape(lambda: variables["batch_stats"])
    model = as_model((module, {**variables, "batch_stats": shapes}))
    assert model.call(model.leaves, (X,), {}).tolist() == [[0, 1]]


# Parameters


def test_parameters_are_the_floats_of_a_pytree():
    params = {"b": [jnp.ones(3, jnp.bfloat16), np.ones((), np.float64)], "n": jnp.arange(3), "name": "x", "none": None}
    assert parameters((linear, params)) == (Parameter("b.0", (3,), "bfloat16"), Parameter("b.1", (), "float64"))


def test_tied_parameters_are_one():
    other = jnp.ones(2)
    params = {"a": W, "b": {"c": W}, "d": other, "e": W}
    assert parameters((linear, params)) == (
        Parameter("a", (2, 2), "float32", ("b.c", "e")),
        Parameter("d", (2,), "float32"),
    )
    tree = as_model((linear, params)).rebuild({"a": 1, "d": 2})
    assert tree == {"a": 1, "b": {"c": 1}, "d": 2, "e": 1}


def test_shapes_are_parameters_that_are_never_tied():
    shape = jax.ShapeDtypeStruct((2, 2), jnp.float32)
    model = as_model((linear, {"a": shape, "b": shape}))
    assert list(model.leaves) == ["a", "b"]
    assert model.is_abstract


# Refusals


def test_two_parameters_of_one_path():
    with pytest.raises(ValueError, match=r"two parameters have the path 'a\.b'"):
        as_model((linear, {"a": {"b": W}, "a.b": X}))


def test_parameters_that_are_gone():
    gone = jnp.ones(3)
    gone.delete()
    with pytest.raises(ValueError, match="'w' was deleted"):
        as_model((linear, {"w": gone}))


def test_parameters_that_are_being_traced():
    with pytest.raises(TypeError, match="'w' is being traced"):
        jax.jit(lambda w: as_model((linear, {"w": w})) and w)(W)


REFUSED = {
    "a module without variables": (Averaged(), "Averaged, without its variables"),
    "variables that are none": ((Averaged(), 3), "variables = int"),
    "a class": (Affine, r"model = .*Meta: expected \(function, params\)"),
    "a function": (linear, r"model = function: expected \(function, params\)"),
    "three of a tuple": ((linear, {}, {}), "model = tuple"),
    "nothing": (None, "model = NoneType"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model(name):
    value, message = REFUSED[name]
    assert not is_model(value)
    with pytest.raises(TypeError, match=message):
        as_model(value)
