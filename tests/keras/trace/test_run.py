"""What a run sees and what it leaves: names, fused activations, operators, what no hook sees, errors."""

import numpy as np
import pytest
from op_details import facts_of

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers, ops  # noqa: E402

import fanwise.keras as fwk  # noqa: E402
from fanwise import Constant, Layout  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402
from fanwise.keras.trace.variables import variables  # noqa: E402


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def traced(model, *args, **named):
    return fwk.run(model, fwk.Inputs(args, named))


def kinds(trace):
    return [op.kind for op in trace.ops]


class Model(keras.Model):
    """A model whose call is a function of it and its inputs."""

    def __init__(self, call, **parts):
        super().__init__(name="model")
        for name, part in parts.items():
            setattr(self, name, part)
        self._way = call

    def call(self, x):
        return self._way(self, x)


def built(call, *args, **parts):
    model = Model(call, **parts)
    model(*args)
    return model


def weight_of(model, shape, name):
    return model.add_weight(shape=shape, initializer="random_normal", name=name)


# Names.


def test_paths_do_not_depend_on_what_was_built_before():
    def paths():
        model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Dense(4), layers.Dense(2, name="head")])
        return [parameter.path for parameter in fwk.parameters(model)]

    keras.utils.clear_session()
    first = paths()
    assert first[:2] == ["sequential/dense/kernel", "sequential/dense/bias"]
    assert first[2].startswith("sequential/dense_1/")
    assert paths() == first == paths()


def test_a_plan_of_one_process_fits_the_model_of_the_next():
    def model():
        return keras.Sequential([keras.Input((30,)), layers.Dense(40, "relu"), layers.Dense(2)])

    first, second = model(), model()
    plan = fwk.plan(first)
    values = [fwk.read(fwk.apply(one, plan, 3), "sequential/dense/kernel") for one in (first, second)]
    assert np.array_equal(*values)


def test_equal_paths_are_told_apart():
    def call(self, x):
        return self.b(self.a(x))

    model = built(call, noise(2, 4), a=layers.Dense(4, name="same"), b=layers.Dense(4, name="same"))
    paths = list(variables(model))
    assert len(paths) == len(set(paths)) == 4
    assert "model/same/kernel#2" in paths
    assert traced(model, noise(2, 4)).unused == ()


def test_frozen_layers_are_parameters_and_statistics_are_not():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="d"), layers.BatchNormalization(name="n")], name="m"
    )
    model.layers[0].trainable = False
    found = {parameter.path: parameter.trained for parameter in fwk.parameters(model)}
    assert found == {"m/d/kernel": False, "m/d/bias": False, "m/n/gamma": True, "m/n/beta": True}


# What is seen.


@pytest.mark.parametrize(
    ("activation", "kind", "detail"),
    [
        ("relu", "activation", {"nonlinearity": "relu"}),
        ("tanh", "activation", {"nonlinearity": "tanh"}),
        ("gelu", "activation", {"nonlinearity": "gelu", "approximate": "none"}),
        ("silu", "activation", {"nonlinearity": "silu"}),
        ("relu6", "activation", {"nonlinearity": "relu6"}),
        ("leaky_relu", "activation", {"nonlinearity": "leaky_relu", "negative_slope": 0.2}),
        ("softmax", "softmax", {"axis": -1}),
        (layers.LeakyReLU(0.3), "activation", {"nonlinearity": "leaky_relu", "negative_slope": 0.3}),
    ],
)
def test_a_fused_activation_is_an_op_of_its_own(activation, kind, detail):
    layer = layers.Dense(8, activation, name="d")
    model = keras.Sequential([keras.Input((4,)), layer])
    before, values = vars(layer).get("activation"), keras.ops.convert_to_numpy(model(noise(3, 4)))
    seen = {}

    class Look(Watcher):
        def after(self, op, moment):
            seen[op.kind] = moment()

    trace = fwk.run(model, fwk.Inputs((noise(3, 4),)), Look())
    assert kinds(trace) == ["linear", kind]
    assert facts_of(trace.ops[1]) == detail
    assert seen[kind] == pytest.approx(np.square(values).mean(), rel=1e-5)
    assert seen["linear"] == pytest.approx(
        np.square(noise(3, 4) @ fwk.read(model, next(iter(variables(model))))).mean()
    )
    assert vars(layer).get("activation") is before


def test_operators_between_layers_are_seen():
    def call(self, x):
        y = self.a(x)
        y = x + 0.5 * y
        y = (y - x) / 3.0
        return -self.b(y) * y

    model = built(call, noise(4, 8), a=layers.Dense(8), b=layers.Dense(8))
    trace = traced(model, noise(4, 8))
    assert kinds(trace) == ["linear", "elementwise", "add", "add", "elementwise", "linear", "elementwise", "mul"]
    assert trace.ops[1].constant == 0.5
    assert trace.ops[3].minus == 1
    assert trace.joins[0].op == 2


def test_a_variable_in_an_operator_is_a_use():
    def call(self, x):
        return self.a(x) * self.factor + self.offset

    model = Model(call, a=layers.Dense(8))
    model.factor, model.offset = weight_of(model, (8,), "factor"), weight_of(model, (8,), "offset")
    model(noise(4, 8))
    trace = traced(model, noise(4, 8))
    assert kinds(trace) == ["linear", "scale", "shift"]
    assert trace.unused == ()


def test_slices_of_a_fused_projection_are_told_in_the_layout():
    def call(self, x):
        y = ops.reshape(self.qkv(x), (4, 6, 3, 2, 4))
        q, k, v = y[:, :, 0], y[:, :, 1], y[:, :, 2]
        scores = ops.softmax(ops.einsum("bqhd,bkhd->bhqk", q, k) / 2.0)
        return ops.einsum("bhqk,bkhd->bqhd", scores, v)

    model = built(call, noise(4, 6, 8), qkv=layers.Dense(24))
    trace = traced(model, noise(4, 6, 8))
    assert trace.ops[0].uses[0].layout == Layout.dense("in out").fuse(1, (8, 8, 8))
    assert trace.ops[0].blocks == ("query", "key", "value")


def test_slices_after_an_activation_are_told_in_the_layout():
    def call(self, x):
        left, right = ops.split(self.both(x), 2, axis=-1)
        return ops.matmul(left, ops.transpose(right))

    model = built(call, noise(4, 8), both=layers.Dense(24, activation="relu"))
    trace = traced(model, noise(4, 8))
    assert kinds(trace)[:4] == ["linear", "activation", "slice", "slice"]
    assert trace.ops[0].uses[0].layout == Layout.dense("in out").fuse(1, (12, 12))


def test_attention_written_by_keras_feeds_its_parts():
    start = keras.Input((6, 16))
    model = keras.Model(start, layers.MultiHeadAttention(2, 8, name="a")(start, start))
    plan = fwk.plan(model, noise(4, 6, 16))
    assert {row.path.split("/")[-2] for row in plan} == {"query", "key", "value", "attention_output"}
    trace = traced(model, noise(4, 6, 16))
    (attention,) = [op for op in trace.ops if op.kind == "attention"]
    assert [trace.ops[i].module.rpartition("/")[2] for i in attention.inputs] == ["query", "key", "value"]
    assert attention.detail.scale == pytest.approx(8**-0.5)


def test_shared_layers_are_called_more_than_once():
    start = keras.Input((4,))
    layer = layers.Dense(4, name="d")
    trace = traced(keras.Model(start, layer(layer(start))), noise(2, 4))
    assert [(op.module, op.call) for op in trace.ops] == [("d", 0), ("d", 1)]
    assert len(trace.uses[trace.parameters[0].path]) == 2


def test_what_no_hook_sees_is_an_op_of_its_own():
    def call(self, x):
        return self.b(self.a(x))

    model = built(call, noise(4, 8), a=layers.Dense(8, name="a"), b=layers.Dense(8, name="b"))
    model._way = lambda self, x: self.b(made_outside(self.a(x)))
    trace = traced(model, noise(4, 8))
    assert [(op.kind, op.name) for op in trace.ops if op.kind == "other"] == [("other", "unseen")]
    assert trace.ops[1].inputs == (0,)
    assert trace.ops[2].inputs == (1,)


def made_outside(tensor):
    """A tensor that the backend makes without Keras."""
    kind = type(tensor)
    array = np.asarray(tensor.detach() if keras.config.backend() == "torch" else tensor) * 2
    if keras.config.backend() == "torch":
        return kind(array)
    if keras.config.backend() == "jax":
        import jax  # noqa: PLC0415

        return jax.numpy.asarray(array)
    import tensorflow as tf  # noqa: PLC0415

    return tf.constant(array)


def test_batch_norms_take_the_batch_and_keep_their_statistics():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(name="n")], name="m")
    before = keras.ops.convert_to_numpy(model.layers[0].moving_mean).copy()
    moments = []

    class Look(Watcher):
        def after(self, op, moment):
            moments.append(moment())

    fwk.run(model, fwk.Inputs((5 + 3 * noise(256, 4),)), Look())
    assert moments == [pytest.approx(1.0, abs=1e-3)]
    assert np.array_equal(keras.ops.convert_to_numpy(model.layers[0].moving_mean), before)


def test_a_visitor_sees_its_own_laws_and_scales_what_follows():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, use_bias=False, name="a"), layers.Dense(1, name="b")], name="m"
    )
    before, seen = fwk.read(model, "m/a/kernel"), []

    class Double(Watcher):
        def before(self, op, moment):
            if op.module == "b":
                seen.append(moment(0))
            return {use.path: Constant(0.5) for use in op.uses if use.path == "m/a/kernel"}

        def after(self, op, moment):
            return 2.0 if op.module == "a" else None

    inputs = noise(64, 4)
    fwk.run(model, fwk.Inputs((inputs,)), Double())
    assert seen == [pytest.approx(np.square(2 * inputs @ np.full((4, 4), 0.5)).mean(), rel=1e-5)]
    assert np.array_equal(fwk.read(model, "m/a/kernel"), before)


def test_mixed_precision_keeps_float32_variables():
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    hidden = [layers.Dense(32, "relu", dtype=policy), layers.Dense(4, dtype=policy)]
    model = keras.Sequential([keras.Input((16,)), *hidden])
    plan = fwk.plan(model, noise(32, 16))
    assert {row.dtype for row in plan} == {"float32"}
    assert fwk.run(model, fwk.Inputs((noise(32, 16),))).unused == ()
    assert fwk.verify(model, fwk.manifest(fwk.apply(model, plan, 0), plan, 0)) == ()


class Doubled(layers.Dense):
    """A dense layer that computes something else."""

    def call(self, x):
        return 2 * ops.matmul(x, self.kernel) + self.bias


def test_a_subclass_with_a_call_of_its_own_is_followed_through_it():
    model = keras.Sequential([keras.Input((4,)), Doubled(8, name="d")])
    trace = traced(model, noise(3, 4))
    assert kinds(trace) == ["linear", "elementwise", "shift"]
    assert trace.unused == ()


# What is refused.


def test_a_model_that_was_not_built_is_refused():
    model = keras.Sequential([layers.Dense(3)], name="fresh")
    for call in (fwk.parameters, lambda m: fwk.plan(m, noise(2, 3)), lambda m: fwk.check(m, noise(2, 3))):
        with pytest.raises(ValueError, match="'fresh' is not built and has no weights yet: call it on a batch"):
            call(model)


@pytest.mark.parametrize("stranger", [None, 3, "model", object()])
def test_what_is_no_model_is_refused(stranger):
    with pytest.raises(TypeError, match=r"expected a keras\.Model"):
        fwk.plan(stranger, noise(2, 3))


def test_an_error_names_the_layer_and_leaves_nothing_behind():
    def call(self, x):
        if not isinstance(x, keras.KerasTensor) and self.broken:
            self.a(x)
            raise RuntimeError("the roof is on fire")
        return self.a(x)

    model = built(call, noise(2, 4), a=layers.Dense(4, name="a"), broken=False)
    model.broken = True
    add, names = keras.ops.add, set(vars(model.a))
    operator = type(keras.ops.zeros((1,))).__add__
    with pytest.raises(
        fwk.ModelError, match=r"could not be run on these inputs: RuntimeError in layer .* last op Dense"
    ):
        traced(model, noise(2, 4))
    assert keras.ops.add is add
    assert set(vars(model.a)) == names
    assert type(keras.ops.zeros((1,))).__add__ is operator


def test_inputs_that_a_model_does_not_say_are_asked_for():
    start = keras.Input((7,), dtype="int32")
    tokens = keras.Model(start, layers.Embedding(5, 3)(start))
    with pytest.raises(ValueError, match="takes integers, whose range no model says"):
        fwk.plan(tokens)
    with pytest.raises(TypeError, match="expected arrays"):
        fwk.plan(tokens, 32)
