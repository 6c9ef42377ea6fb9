"""What NumPy arrays show, against the definitions written out and against what torch's adapter measures of the same."""

import math

import numpy as np
import pytest
from op_details import with_facts

from fanwise import Layout, glorot_uniform, he_normal, orthogonal
from fanwise.graph.op import Op, OpKind, Parameter, Use
from fanwise.graph.trace import Trace
from fanwise.measure.signal_statistics import Signals, likeness, moment_of, numbers_of, sampled, silent, stride_prime_to
from fanwise.measure.weight_statistics import values_of, weigh

RNG = np.random.default_rng(0)


def op(kind, index=0, inputs=(), axis=-1, **detail):
    return with_facts(Op(index, OpKind(kind), kind, "", 0, index, inputs, (), (), axis), **detail)


def test_numbers_of_an_array():
    array = RNG.normal(3, 2, (50, 40)).astype(np.float32)
    found = numbers_of(array, compared=False)
    assert found == {
        "mean": pytest.approx(array.mean(), rel=1e-6),
        "second_moment": pytest.approx(np.square(array.astype(np.float64)).mean()),
    }
    assert numbers_of(array[:0], compared=True) == {}


def test_large_arrays_are_sampled_over_every_feature():
    array = np.tile(np.arange(64, dtype=np.float32), (1 << 13, 1))
    some = sampled(array, 1 << 12)
    assert 1 << 11 <= some.size <= 1 << 13
    assert set(some) == set(range(64))
    assert stride_prime_to((64, 96), 4) == 5


def test_likeness_is_the_mean_cosine():
    rows = RNG.normal(size=(8, 30))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert likeness(rows) == pytest.approx(cosines[~np.eye(8, dtype=bool)].mean())
    assert likeness(np.ones((4, 5))) == pytest.approx(1.0)


def test_silent_units_and_saturation():
    array = np.abs(RNG.normal(size=(32, 10))).astype(np.float32)
    array[:, :3] = 0
    assert silent(array, -1) == pytest.approx(0.3)
    found = Signals().of(op("activation", nonlinearity="relu"), array)
    assert (found["zeros"], found["silent"]) == (pytest.approx(0.3), pytest.approx(0.3))
    tanh = np.array([[0.0, 0.99, -0.99, 0.5]], np.float32)
    assert Signals().of(op("activation", nonlinearity="tanh"), tanh)["saturated"] == 0.5


def test_the_axis_of_the_features_is_kept_until_a_map():
    signals = Signals()
    picture = np.zeros((2, 3, 4, 4), np.float32)
    picture[:, 0] = RNG.normal(size=(2, 4, 4))
    signals.of(op("conv", 0, (-1,), -3), picture)
    found = signals.of(op("activation", 1, (0,), nonlinearity="relu"), picture)
    assert found["silent"] == pytest.approx(2 / 3)


def test_squares_beyond_the_dtype_are_infinite():
    assert moment_of(np.array([1e30], np.float32)) == math.inf
    assert moment_of(np.array([1e-30], np.float32)) == pytest.approx(1e-60)


LAYOUTS = {
    "dense": (Layout.dense("in out"), (60, 40)),
    "fused": (Layout.dense("in out").fuse(1, 4), (60, 80)),
    "conv": (Layout.conv("kernel kernel in out"), (3, 3, 8, 24)),
    "grouped": (Layout.conv("kernel kernel in out", groups=4), (3, 3, 8, 32)),
    "transposed": (Layout.conv_transpose("kernel kernel out in", stride=2), (4, 4, 12, 24)),
    "stack": (Layout.dense("stack in out"), (3, 30, 40)),
    "table": (Layout.embedding(), (50, 20)),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("law", [he_normal, glorot_uniform, orthogonal])
def test_values_are_those_that_torch_measures(name, law):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")
    from fanwise.torch.measure.weight_statistics import values_of as of_torch  # noqa: PLC0415

    layout, shape = LAYOUTS[name]
    array = law(shape, key=0, layout=layout)
    ours, theirs = values_of(array, layout), of_torch("w", torch.from_numpy(array), layout)
    for field, value in vars(theirs).items():
        if field not in ("histogram", "reached", "twin", "kin"):
            assert vars(ours)[field] == pytest.approx(value, rel=1e-5, abs=1e-9, nan_ok=True), field
    assert sum(ours.histogram) == sum(theirs.histogram)


def test_values_count_what_is_wrong():
    array = np.array([[1.0, np.nan], [np.inf, 0.0]], np.float32)
    found = values_of(array)
    assert (found.count, found.infinite, found.zeros, found.largest) == (4, 0.5, 0.25, 1.0)
    equal = values_of(np.full((6, 5), 0.1, np.float32))
    assert equal.constant
    assert equal.repeated == pytest.approx(5 / 6)
    assert math.isnan(values_of(np.zeros((0, 3), np.float32)).mean)


def test_twins_and_gradients():
    weight = RNG.normal(size=(8, 8)).astype(np.float32)
    arrays = {"a": weight, "b": weight.copy(), "c": np.zeros((8, 8), np.float32), "d": np.zeros((8, 8), np.float32)}
    layout = Layout.dense("in out")
    uses = tuple(Use(path, "weight", layout) for path in arrays)
    trace = Trace(
        (Op(0, "linear", "x", "", 0, 0, (-1,), uses),), tuple(Parameter(path, (8, 8), "float32") for path in arrays)
    )
    found = weigh(arrays, trace, {"a": 2.0})
    assert {path: one.twin for path, one in found.items()} == {"a": "", "b": "a", "c": "", "d": ""}
    assert (found["a"].reached, found["a"].gradient, found["b"].reached) == (True, 2.0, False)


def test_complex_weights_are_measured_by_their_size():
    rng = np.random.default_rng(0)
    whole = (rng.normal(size=(200, 50)) + 1j * rng.normal(size=(200, 50))) / np.sqrt(2 * 50)
    values = values_of(whole.astype(np.complex64))
    assert values.second_moment == pytest.approx(1 / 50, rel=5 / np.sqrt(whole.size))  # |w|^2 is exponential
    assert values.mean == pytest.approx(abs(whole.mean()), abs=1e-7)
    assert values.largest == pytest.approx(np.abs(whole).max(), rel=1e-6)


def test_complex_signals_are_measured_by_their_size():
    rng = np.random.default_rng(1)
    whole = (rng.normal(size=(64, 40)) + 1j * rng.normal(size=(64, 40))).astype(np.complex64)
    op = Op(0, OpKind.LINEAR, "dot", "", 0, 0, (-1,), shape=whole.shape)
    assert Signals().of(op, whole)["second_moment"] == pytest.approx(2, rel=5 / math.sqrt(whole.size))
