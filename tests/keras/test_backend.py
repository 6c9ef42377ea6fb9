"""`KerasBackend`: each method does what `fanwise.adapters.protocol` says of it."""

import random
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.keras.backend import BACKEND  # noqa: E402
from fanwise.keras.trace.run import Inputs, given_tensors  # noqa: E402
from fanwise.keras.trace.variables import as_array, is_tensor, shape_of  # noqa: E402

PATHS = ["m/a/kernel", "m/a/bias", "m/b/kernel", "m/b/bias"]
X = np.arange(8, dtype="float32").reshape(2, 4)


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu", name="a"), layers.Dense(2, name="b")], name="m")


def bits(model):
    return [np.array(as_array(variable.value)).tobytes() for variable in model.variables]


def planned(model):
    from fanwise.keras.api.plan import plan  # noqa: PLC0415

    return plan(model).edit("m/*/kernel", "he_normal")


def test_what_it_is():
    assert BACKEND.package == "fanwise.keras"
    assert BACKEND.version == f"keras {keras.__version__} ({keras.config.backend()})"
    assert BACKEND.takes_key is False
    assert BACKEND.forms.startswith("expected a keras.Model")


def test_models(model):
    assert BACKEND.is_model(model)
    assert BACKEND.is_model(layers.Dense(2))
    assert not BACKEND.is_model(lambda: model)
    assert not BACKEND.is_model(keras.Sequential)
    assert BACKEND.model_name(model) == "Sequential"
    assert dict(BACKEND.places(model, None)) == {}


def draws():
    return random.random(), float(np.random.rand()), float(as_array(keras.random.uniform(())))  # noqa: NPY002


def test_a_seed_decides_what_is_drawn():
    with BACKEND.seeded(3) as arguments:
        first = draws()
    with BACKEND.seeded(3):
        assert draws() == first
    with BACKEND.seeded(4):
        assert all(a != b for a, b in zip(draws(), first, strict=True))
    assert arguments == ()


def test_random_states_are_as_before():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = draws()[:2]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    with BACKEND.seeded(3):
        draws()
    assert draws()[:2] == expected


def test_random_states_are_as_before_after_an_error():
    def interrupted():
        with BACKEND.seeded(3):
            raise KeyError("mine")

    before = random.getstate()
    with pytest.raises(KeyError, match="mine"):
        interrupted()
    assert random.getstate() == before


def test_parameters_in_the_order_of_the_model_and_tied_ones_once(model):
    assert [parameter.path for parameter in BACKEND.parameters(model)] == PATHS
    shared = layers.Dense(4, name="s")
    tied = keras.Sequential([keras.Input((4,)), shared, layers.Identity(), layers.Dense(2, name="b")], name="t")
    assert [parameter.path for parameter in BACKEND.parameters(tied)] == [
        *("t/s/kernel", "t/s/bias", "t/b/kernel", "t/b/bias")
    ]
    with pytest.raises(TypeError, match=r"expected a keras.Model or a layer"):
        BACKEND.parameters("model")
    with pytest.raises(ValueError, match="is not built and has no weights yet"):
        BACKEND.parameters(layers.Dense(2))


def test_a_reader_gives_copies(model):
    get = BACKEND.reader(model)
    get("m/a/bias")[:] = 5.0
    assert get("m/a/bias").tolist() == [0.0] * 3
    assert get("m/a/kernel").shape == (4, 3)


def test_apply_gives_the_model_itself(model):
    before = bits(model)
    assert BACKEND.apply(model, planned(model), 0) is model
    assert bits(model) != before


def test_kept_undoes_what_was_applied(model):
    before = bits(model)
    with BACKEND.kept(model):
        BACKEND.apply(model, planned(model), 0)
        assert bits(model) != before
    assert bits(model) == before


def test_kept_undoes_it_after_an_error(model):
    before = bits(model)

    def interrupted():
        with BACKEND.kept(model):
            BACKEND.apply(model, planned(model), 0)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        interrupted()
    assert bits(model) == before


def test_arrays():
    assert BACKEND.is_array(keras.ops.ones((2,)))
    assert BACKEND.is_array(np.ones(2))
    assert not BACKEND.is_array([1.0])
    assert not BACKEND.is_array("2,3")


def test_split():
    assert BACKEND.split(("x", "y"), "mse") == ("x", "y")
    assert BACKEND.split(("x", "y"), None) == (("x", "y"), None)
    assert BACKEND.split("x", "mse") == ("x", None)


def test_inputs(model):
    (value,) = BACKEND.inputs(model, X).args
    assert is_tensor(value)
    assert as_array(value).tolist() == X.tolist()
    assert shape_of(BACKEND.inputs(model, None).args[0]) == (32, 4)
    assert shape_of(BACKEND.inputs(model, "2,4", valued=True).args[0]) == (2, 4)
    with pytest.raises(TypeError, match="inputs = object"):
        BACKEND.inputs(model, object())
    with pytest.raises(ValueError, match="cannot be read"):
        BACKEND.inputs(model, "2 by 4")
    with pytest.raises(ValueError, match="is not built"):
        BACKEND.inputs(layers.Dense(2), X)


def test_describe(model):
    inputs = BACKEND.inputs(model, X)
    assert BACKEND.describe(X, inputs) == "2,4:float32"
    assert BACKEND.describe("2,4", inputs) == "2,4"


def test_join(model):
    one, two = (BACKEND.inputs(model, values) for values in (X, X + 1))
    assert as_array(BACKEND.join([one, two]).args[0]).tolist() == [*X.tolist(), *(X + 1).tolist()]
    with pytest.raises(ValueError, match="differ in the first axis alone"):
        BACKEND.join([one, Inputs((keras.ops.ones((2, 5)),))])


def test_join_targets():
    together = BACKEND.join_targets([np.array([1, 2]), np.array([3])])
    assert is_tensor(together)
    assert as_array(together).tolist() == [1, 2, 3]
    assert BACKEND.join_targets([np.array([1]), None]) is None


def test_a_prepared_run_can_be_repeated(model):
    prepared, before = BACKEND.prepare(model, BACKEND.inputs(model, X)), bits(model)
    assert not prepared.is_abstract
    for _ in range(2):
        assert [str(op.kind) for op in prepared.run(Watcher()).ops] == ["linear", "activation", "linear"]
    assert bits(model) == before


def test_structure(model):
    trace = BACKEND.structure(model, BACKEND.inputs(model, X))
    assert [op.module for op in trace.ops] == ["a", "a", "b"]


def test_losses_that_are_known():
    for loss in ("mse", "cross_entropy", keras.losses.MeanSquaredError(), None):
        BACKEND.check_loss(loss)
    with pytest.raises(TypeError, match="loss = 3"):
        BACKEND.check_loss(3)
    with pytest.raises(ValueError, match="loss = 'msee'"):
        BACKEND.check_loss("msee")


def test_observe(model):
    inputs, before = BACKEND.inputs(model, X), bits(model)
    seen = BACKEND.observe(model, inputs, np.zeros((2, 2)), "mse")
    assert list(seen.values) == PATHS
    assert seen.loss.value == pytest.approx(float(np.square(as_array(model(*inputs.args))).mean()), rel=1e-5)
    assert all(seen.values[path].reached for path in PATHS)
    without = BACKEND.observe(model, inputs, None, None, backward=False)
    assert without.loss is None
    assert bits(model) == before
    assert len(given_tensors(inputs)) == len(seen.inputs)


def test_what_a_functional_model_takes():
    start = keras.Input((4,), name="x")
    functional = keras.Model(start, keras.layers.Dense(2)(start))
    x, classes = np.ones((2, 4), np.float32), np.zeros(2)
    assert BACKEND.taken(functional, (x, classes)) is x
    assert BACKEND.taken(functional, x) is x
    assert list(BACKEND.taken(functional, {"x": x, "labels": classes})) == ["x"]


def test_optimizers():
    optimizer = BACKEND.optimizer(keras.optimizers.SGD(0.5))
    assert (optimizer.name, optimizer.learning_rate) == ("SGD", 0.5)
    assert optimizer.ratio((3, 2), 1.0, 1.0) == pytest.approx(0.5, rel=1e-5)
    assert BACKEND.optimizer("sgd:0.5") is None


def test_every_method_of_the_protocol_is_tested_here():
    from fanwise.adapters.protocol import Backend  # noqa: PLC0415

    names = [name for name in vars(Backend) if not name.startswith("_")]
    text = Path(__file__).read_text(encoding="utf-8")
    assert len(names) > 15
    assert [name for name in names if f"BACKEND.{name}" not in text] == []
