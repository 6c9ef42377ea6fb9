"""Plain TensorFlow, modules and functions of variables, beside the same network in Keras: run, plan, check, apply.

Collected where Keras computes with TensorFlow, as in `test_backends`.
"""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

import tensorflow as tf  # noqa: E402

import fanwise.keras as fwk  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 20)).astype(np.float32)
Y = RNG.integers(4, size=64)
PICTURES = RNG.normal(size=(16, 8, 8, 3)).astype(np.float32)


HE = math.sqrt(2)


def w(*shape, gain=HE):
    fan_in = math.prod(shape[:-1])
    return (gain / math.sqrt(fan_in) * np.random.default_rng(list(shape)).normal(size=shape)).astype(np.float32)


class Dense(tf.Module):
    def __init__(self, kernel):
        super().__init__()
        self.w = tf.Variable(kernel)
        self.b = tf.Variable(tf.zeros(kernel.shape[-1]))

    def __call__(self, x):
        return tf.matmul(x, self.w) + self.b


class MLP(tf.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.layers = [Dense(w(20, 64) * factor), Dense(w(64, 64) * factor), Dense(w(64, 4, gain=0.3))]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = tf.nn.relu(layer(x))
        return self.layers[-1](x)


class Compiled(MLP):
    @tf.function
    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = tf.nn.relu(layer(x))
        return self.layers[-1](x)


def in_keras(module):
    layers = [keras.layers.Dense(width, "relu" if i < 2 else None) for i, width in enumerate((64, 64, 4))]
    model = keras.Sequential([keras.Input((20,)), *layers])
    model.set_weights([v.numpy() for layer in module.layers for v in (layer.w, layer.b)])
    return model


def told(report):
    return [(each.code, each.severity, each.kind, each.op, len(each.follows)) for each in report.findings]


@pytest.mark.parametrize("kind", [MLP, Compiled])
@pytest.mark.parametrize("factor", [1.0, 1e-3, 30.0, 0.0])
def test_a_module_is_judged_as_the_same_network_in_keras(kind, factor):
    module = kind(factor)
    layer = fwk.from_tensorflow(module)
    ours = fwk.check(layer, (X, Y), "cross_entropy")
    theirs = fwk.check(in_keras(module), (X, Y), "cross_entropy")
    assert [row[0] for row in told(ours)] == [row[0] for row in told(theirs)]
    assert bool(ours.findings) == (factor != 1.0)
    assert [layer.law for layer in ours.layers] == [layer.law for layer in theirs.layers]
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        assert one.rms == pytest.approx(other.rms, rel=1e-4)
        assert one.gradient == pytest.approx(other.gradient, rel=1e-3)


def test_parameters_are_named_by_attributes():
    paths = [each.path for each in fwk.parameters(fwk.from_tensorflow(MLP()))]
    assert sorted(paths) == sorted(f"layers.{i}.{name}" for i in range(3) for name in "wb")


def test_a_plan_is_that_of_keras_and_is_written_into_the_variables():
    module = MLP(30.0)
    layer = fwk.from_tensorflow(module)
    plan, theirs = fwk.plan(layer, X), fwk.plan(in_keras(module), X)
    stds = {row.path: row.std for row in plan}
    expected = [row.std for row in theirs if row.role in ("weight", "head")]
    near = pytest.approx(expected, rel=0.1)  # what stands in for 64 units of 20 inputs differs by name: 5 errors of 2 %
    assert [stds[f"layers.{i}.w"] for i in range(3)] == near
    fwk.apply(layer, plan, key=0)
    assert module.layers[1].w.numpy().std() == pytest.approx(stds["layers.1.w"], rel=0.05)
    assert fwk.check(layer, (X, Y), "cross_entropy").ok


def test_nothing_is_left_changed():
    module, matmul = MLP(), tf.matmul
    before = [v.numpy().tobytes() for v in module.trainable_variables]
    layer = fwk.from_tensorflow(module)
    fwk.check(layer, (X, Y), "cross_entropy")
    fwk.plan(layer, X)
    assert [v.numpy().tobytes() for v in module.trainable_variables] == before
    assert tf.matmul is matmul
    assert not tf.config.functions_run_eagerly()


def test_a_function_of_variables_with_windows():
    kernel, bias, head = tf.Variable(w(3, 3, 3, 16)), tf.Variable(tf.zeros(16)), tf.Variable(w(10, 144, gain=0.1))

    def network(x):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias))
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        return tf.matmul(tf.reshape(x, [len(x), -1]), head, transpose_b=True)

    layer = fwk.from_tensorflow(network, {"kernel": kernel, "bias": bias, "head": head})
    trace = fwk.run(layer, fwk.Inputs((PICTURES,)))
    assert [str(op.kind) for op in trace.ops] == ["conv", "shift", "activation", "pool", "linear"]
    plan = {row.path: row for row in fwk.plan(layer, PICTURES)}
    assert plan["kernel"].fan_in == 27
    assert plan["head"].fan_in == 144
    assert plan["head"].role == "head"
    assert fwk.check(layer, (PICTURES, np.arange(16) % 10), "cross_entropy").observations[0].loss.classes == 10


def test_a_list_of_variables_and_operators():
    first, second = tf.Variable(w(20, 32)), tf.Variable(w(32, 4, gain=0.3))
    layer = fwk.from_tensorflow(lambda x: tf.tanh(x @ first) @ second, [first, second])
    assert [row.path for row in fwk.plan(layer, X)] == ["0", "1"]
    assert not fwk.check(layer, (X, Y), "cross_entropy").findings


def test_what_is_no_network_of_variables():
    with pytest.raises(TypeError, match=r"MLP: expected a keras.Model or a layer; of plain TensorFlow, fanwise"):
        fwk.check(MLP(), (X, Y), "cross_entropy")
    with pytest.raises(TypeError, match="from_tensorflow"):
        fwk.plan(MLP(), X)
    with pytest.raises(TypeError, match=r"expected a tf.Module with a __call__"):
        fwk.from_tensorflow(tf.Module())
    with pytest.raises(TypeError, match=r"variables = NoneType: expected a list of tf.Variables"):
        fwk.from_tensorflow(lambda x: x)
    with pytest.raises(ValueError, match="variables is empty"):
        fwk.from_tensorflow(lambda x: x, [])
    with pytest.raises(TypeError, match=r"variables\['a'\] is ndarray: expected a tf.Variable"):
        fwk.from_tensorflow(lambda x: x, {"a": X})
