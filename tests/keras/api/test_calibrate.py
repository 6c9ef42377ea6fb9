"""`calibrate`: targets are reached in one forward pass, on every backend, and what is left says why."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers, ops  # noqa: E402

import fanwise.keras as fwk  # noqa: E402
from fanwise.graph.visitor import Watcher  # noqa: E402

FLOAT32 = 1e-5
"""What is promised of float32: |std - 1| of every calibrated op, in a run of plain Keras afterwards."""
CROSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
HEAD = math.sqrt(0.04 * math.log(10))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def std(tensor):
    return float(np.std(keras.ops.convert_to_numpy(tensor), dtype=np.float64))


def values(model):
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in model.variables]


def same(before, after):
    return all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))


def stack(depth, width=64, act="relu", **options):
    keras.utils.set_random_seed(0)
    hidden = [part for i in range(depth) for part in (layers.Dense(width, name=f"d{i}", **options), function(act))]
    return keras.Sequential([keras.Input((width,)), *hidden, layers.Dense(10, name="head", **options)], name="m")


def function(name):
    return layers.Activation(name) if isinstance(name, str) else name()


def outputs(model, *inputs):
    """What each named layer of a functional model gives, by plain Keras."""
    kinds = (layers.Dense, layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Embedding)
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    start = model.inputs[0] if len(model.inputs) == 1 else model.input
    given = keras.Model(start, [layer.output for layer in found])(*inputs)
    return dict(zip([layer.name for layer in found], given if isinstance(given, list) else [given], strict=True))


def stds(model, *inputs):
    return {name: std(tensor) for name, tensor in outputs(model, *inputs).items()}


# Targets


def test_thirty_layers_reach_unit_std_in_one_forward():
    model, x = stack(30), normal(256, 64)
    result = fwk.calibrate(model, x)
    found = stds(model, x)
    assert (len(result.factors), result.forwards, len(found)) == (31, 1, 31)
    assert found.pop("head") == pytest.approx(HEAD, abs=FLOAT32)
    assert max(abs(one - 1) for one in found.values()) <= FLOAT32
    assert "31 of 31 ops calibrated, 1 forward pass." in str(result)


def test_a_target_that_is_off_by_a_thousandth_would_be_seen():
    """The mutant of the test before: the bound tells 1.001 from 1."""
    model, x = stack(3), normal(256, 64)
    fwk.calibrate(model, x, target=1.001)
    assert min(abs(one - 1) for one in stds(model, x).values()) > FLOAT32


def convolutions():
    keras.utils.set_random_seed(0)
    x = start = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, strides=2, name="c0")(x)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="c1")(layers.ReLU()(x))
    x = layers.Conv2D(16, 1, groups=4, name="c2")(layers.LeakyReLU(0.2)(x))
    x = layers.Conv2DTranspose(8, 4, strides=2, name="c3")(x)
    x = layers.GlobalAveragePooling2D()(layers.Activation("gelu")(x))
    return keras.Model(start, layers.Dense(10, name="head")(x))


@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_convolutions_with_a_batch_norm_in_the_path(mode):
    model, x = convolutions(), normal(16, 16, 16, 3)
    before = values(model)
    result = fwk.calibrate(model, x, mode=mode, head="target")
    statistics = [i for i, variable in enumerate(model.variables) if not variable.trainable]
    assert same([before[i] for i in statistics], [values(model)[i] for i in statistics])
    watched = {}

    class Look(Watcher):
        def after(self, op, moment):
            watched[op.module] = (op, moment())

    fwk.run(model, fwk.Inputs((x,)), Look())  # with the batch's own statistics, as it was calibrated
    found = [moment for op, moment in watched.values() if op.uses and op.kind.startswith(("conv", "linear"))]
    assert (len(found), result.forwards) == (5, 1)
    if mode == "channel":  # mean 0 in each channel too
        assert found == pytest.approx([1.0] * 5, abs=FLOAT32)
        assert all(len(line.factors) > 1 for line in result.lines)
    assert stds(model, x)["c0"] == pytest.approx(1, abs=FLOAT32)


def test_branches_get_their_share_of_the_stream():
    """With B branches of variance stream / B, each uncorrelated with the stream, it grows by (1 + 1/B)^B."""
    keras.utils.set_random_seed(0)
    x = start = keras.Input((32,))
    x = layers.Dense(64, name="stem")(x)
    for i in range(4):
        x = x + layers.Dense(64, name=f"down{i}")(layers.ReLU()(layers.Dense(64, name=f"up{i}")(x)))
    model = keras.Model(start, layers.Dense(10, name="head")(x))
    batch = normal(256, 32)
    result = fwk.calibrate(model, batch)
    found = outputs(model, batch)
    stream = keras.ops.convert_to_numpy(found["stem"]).astype(np.float64)
    for i in range(4):
        assert std(found[f"up{i}"]) == pytest.approx(1, abs=FLOAT32)
        assert std(found[f"down{i}"]) == pytest.approx(stream.std() / 2, rel=FLOAT32)
        stream = stream + keras.ops.convert_to_numpy(found[f"down{i}"])
    assert {line.role for line in result.lines} == {"weight", "branch_end", "head"}


def test_a_fused_activation_comes_after_its_map():
    model, x = stack(0), normal(256, 64)
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64, "tanh", name="d"), layers.Dense(10)], name="m")
    fwk.calibrate(model, x)
    kernel, bias = (fwk.read(model, f"m/d/{name}").astype(np.float64) for name in ("kernel", "bias"))
    assert (x @ kernel + bias).std() == pytest.approx(1, abs=FLOAT32)


@pytest.mark.parametrize("act", ["relu", "gelu", "leaky_relu", layers.LeakyReLU])
def test_the_target_may_hold_after_the_activation(act):
    model, x = stack(3, act=act), normal(256, 64)
    result = fwk.calibrate(model, x, gain_after=True, statistic="second_moment")
    assert all("held after" in line.note for line in result.lines[:-1])
    hidden = x
    for layer in model.layers[:-1]:
        hidden = layer(hidden)
        if not isinstance(layer, layers.Dense):
            assert math.sqrt(np.square(keras.ops.convert_to_numpy(hidden), dtype=np.float64).mean()) == pytest.approx(
                1, abs=FLOAT32
            )


def test_a_target_that_an_activation_cannot_give_is_said():
    result = fwk.calibrate(stack(2, act="tanh"), normal(256, 64), gain_after=True)
    assert all("no factor lets tanh give 1" in line.note for line in result.lines[:-1])


# Channels


def test_every_unit_gets_mean_0_and_variance_1():
    model, x = stack(8), normal(512, 64)
    fwk.calibrate(model, x, mode="channel", head="target")
    for tensor in outputs(model, x).values():
        units = keras.ops.convert_to_numpy(tensor).astype(np.float64)
        assert np.abs(units.mean(0)).max() <= 1e-6
        assert np.abs(units.var(0) - 1).max() <= 1e-6


def test_layer_mode_leaves_the_units_unequal():
    """The mutant of the test before."""
    model, x = stack(3), normal(512, 64)
    fwk.calibrate(model, x, head="target")
    units = keras.ops.convert_to_numpy(outputs(model, x)["d1"])
    assert np.abs(units.var(0) - 1).max() > 0.1


# What a run does


class Block(layers.Layer):
    """A transformer's block, its attention Keras' own or by hand from one fused projection."""

    def __init__(self, fused, **options):
        super().__init__(**options)
        self.norm, self.fused = layers.LayerNormalization(), fused
        self.attention = layers.Dense(96, name="qkv") if fused else layers.MultiHeadAttention(4, 8, name="attention")
        self.out = layers.Dense(32, name="out") if fused else layers.Identity()
        self.up, self.down = layers.Dense(64, "gelu"), layers.Dense(32)

    def call(self, x):
        y = self.norm(x)
        if self.fused:
            q, k, v = ops.split(self.attention(y), 3, axis=-1)
            y = self.out(ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / np.sqrt(32.0)), v))
        else:
            y = self.attention(y, y)
        return x + self.down(self.up(y))


class Transformer(keras.Model):
    """Tokens, two blocks, a head."""

    def __init__(self):
        super().__init__(name="t")
        self.tokens = layers.Embedding(50, 32, name="tokens")
        self.blocks = [Block(fused, name=f"block{fused:d}") for fused in (True, False)]
        self.head = layers.Dense(50, name="head")

    def call(self, x):
        y = self.tokens(x)
        for block in self.blocks:
            y = block(y)
        return self.head(y)


def test_a_subclassed_transformer_is_calibrated_map_by_map():
    model, x = Transformer(), np.random.default_rng(2).integers(0, 50, (8, 12)).astype("int32")
    model(x)
    result = fwk.calibrate(model, x)
    assert (result.left, result.forwards) == ({}, 1)
    assert {f"t/block0/attention/{name}/kernel" for name in ("query", "key", "value")} <= set(result.factors)
    again = fwk.calibrate(model, x)
    assert [abs(factor - 1) <= FLOAT32 for line in again.lines for factor in line.factors] == [True] * 12


class Asks(keras.Model):
    """What it does depends on a value."""

    def __init__(self):
        super().__init__(name="asks")
        self.first, self.second = layers.Dense(16, name="first"), layers.Dense(16, name="second")

    def call(self, x):
        y = self.first(x)
        return self.second(y) if float(ops.mean(x)) < 100 else y


def test_a_model_that_asks_for_values_is_run_twice_and_says_so():
    model, x = Asks(), normal(64, 16)
    model(x)
    assert fwk.calibrate(model, x, head="target").forwards == 2
    assert std(model(x)) == pytest.approx(1, abs=FLOAT32)


def test_recurrent_layers_and_positions_are_left_with_a_reason():
    start = keras.Input((6,), dtype="int32")
    x = layers.LSTM(8, name="body")(layers.Embedding(50, 16, name="table")(start))
    model = keras.Model(start, layers.Dense(3, name="head")(x))
    before = fwk.read(model, "body/lstm_cell/kernel")
    result = fwk.calibrate(model, np.random.default_rng(0).integers(0, 50, (16, 6)).astype("int32"))
    assert "a recurrent op" in result.left["body/lstm_cell/kernel"]
    assert before.tobytes() == fwk.read(model, "body/lstm_cell/kernel").tobytes()
    assert set(result.factors) == {"table/embeddings", "head/kernel"}


def test_a_layer_used_several_times_is_settled_by_its_first_use():
    keras.utils.set_random_seed(0)
    first, second, shared = keras.Input((8,)), keras.Input((8,)), layers.Dense(16, name="shared")
    joined = layers.Subtract()([shared(first), shared(second)])
    model = keras.Model([first, second], layers.Dense(1, name="head")(joined))
    given = [normal(64, 8), 3 * normal(64, 8, seed=1)]
    result = fwk.calibrate(model, given)
    assert std(shared(given[0])) == pytest.approx(1, abs=FLOAT32)
    assert std(model(given)) == pytest.approx(0.5, rel=1)
    assert [line.note for line in result.lines][1] == "shared/kernel is settled where it is used first"


def test_a_functional_model_of_several_inputs():
    numbers, words = keras.Input((12,), name="numbers"), keras.Input((6,), dtype="int32", name="words")
    text = layers.GlobalAveragePooling1D()(layers.Embedding(50, 16, name="table")(words))
    joined = layers.Concatenate()([layers.Dense(16, name="left")(numbers), layers.Dense(16, name="right")(text)])
    model = keras.Model({"numbers": numbers, "words": words}, layers.Dense(10, name="head")(layers.ReLU()(joined)))
    batch = {"numbers": normal(64, 12) * 7, "words": np.random.default_rng(0).integers(0, 50, (64, 6)).astype("int32")}
    assert len(fwk.calibrate(model, batch).factors) == 4
    found = stds(model, batch)
    assert found.pop("head") == pytest.approx(HEAD, abs=FLOAT32)
    assert list(found.values()) == pytest.approx([1.0] * 3, abs=FLOAT32)


@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_dead_outputs_are_reported_and_left(mode):
    model, x = stack(2), normal(64, 64)
    fwk.write(model, "m/d1/kernel", np.zeros((64, 64)))
    before = fwk.read(model, "m/head/kernel")
    result = fwk.calibrate(model, x, mode=mode)
    assert set(result.left) == {"m/d1/kernel", "m/head/kernel"}
    assert "dead" in result.left["m/d1/kernel"]
    assert before.tobytes() == fwk.read(model, "m/head/kernel").tobytes()


def test_several_batches_are_pooled():
    model, batches = stack(2), [normal(40, 64), 3 * normal(24, 64, seed=1)]
    fwk.calibrate(model, batches[0], more=batches[1:])
    found = stds(model, np.concatenate(batches))
    assert [found["d0"], found["d1"]] == pytest.approx([1.0, 1.0], abs=FLOAT32)
    with pytest.raises(ValueError, match="expected shapes that differ in the first axis alone"):
        fwk.calibrate(model, batches[0], more=[normal(40, 32)])


@pytest.mark.parametrize(("dtype", "bound"), [("mixed_bfloat16", 0.02), ("mixed_float16", 0.004)])
def test_mixed_precision_reaches_the_target_to_its_resolution(dtype, bound):
    model, hidden = stack(4, dtype=dtype), normal(256, 64)
    fwk.calibrate(model, hidden, head="target")
    assert {keras.backend.standardize_dtype(variable.dtype) for variable in model.variables} == {"float32"}
    for layer in model.layers:
        hidden = layer(hidden)
        if isinstance(layer, layers.Dense):
            assert std(ops.cast(hidden, "float32")) == pytest.approx(1, abs=bound)


# Plans and balance


def test_a_plan_with_factors_makes_the_calibrated_model_again():
    model, x = stack(4), normal(256, 64)
    plan = fwk.plan(model, x)
    result = fwk.calibrate(model, x, plan=plan, key=3)
    made = values(model)
    other = stack(4)
    fwk.apply(other, result.plan, 3)
    assert same(made, values(other))
    assert max(abs(one - 1) for name, one in stds(other, x).items() if name != "head") <= FLOAT32
    fwk.apply(other, plan, 3)
    assert not same(made, values(other))


def test_ratios_of_gradient_to_weight_become_equal_and_the_function_stays():
    model, x = stack(4, bias_initializer="random_normal"), normal(256, 64)
    y = np.random.default_rng(0).integers(0, 10, 256)
    plain = stack(4, bias_initializer="random_normal")
    fwk.calibrate(plain, x)
    result = fwk.calibrate(model, (x, y), balance=True, loss=CROSS)
    assert result.forwards == 2
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(x)), ops.convert_to_numpy(plain(x)), atol=1e-5 * std(plain(x)) * 10
    )

    def ratios(one):
        seen = fwk.check(one, (x, y), CROSS).observations[0].values
        found = [seen[f"m/{name}/kernel"] for name in ("d0", "d1", "d2", "d3", "head")]
        return np.array([math.sqrt(v.gradient / v.second_moment) for v in found])

    assert np.ptp(ratios(model)) / ratios(model).mean() <= 1e-4
    assert np.ptp(ratios(plain)) / ratios(plain).mean() > 0.1  # the mutant


# What is refused


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "mode = 'unit'", {"mode": "unit"}),
        (ValueError, "target = 0", {"target": 0}),
        (TypeError, "gain_after", {"gain_after": 1}),
        (ValueError, "plan = None", {"key": 3}),
        (ValueError, "names no weight", {"only": "nowhere/*"}),
        (ValueError, "which float32 cannot hold", {"target": 1e40}),
        (ValueError, r"expected a loss of keras\.losses", {"loss": "no_such_loss", "balance": True}),
    ],
)
def test_bad_arguments_are_refused_and_nothing_changed(error, match, arguments):
    model = stack(2)
    before = values(model)
    with pytest.raises(error, match=match):
        fwk.calibrate(model, normal(64, 64), **arguments)
    assert same(before, values(model))


class Raises(layers.Layer):
    """Refuses to run once it is told to."""

    told = False

    def call(self, x):
        if self.told:
            raise ValueError("no more")
        return x


def test_where_a_layer_fails_nothing_was_changed():
    model, x = stack(2, act=Raises), normal(64, 64)
    plan, before = fwk.plan(model, x), values(model)
    model.layers[-2].told = True
    with pytest.raises(fwk.ModelError, match="no more"):
        fwk.calibrate(model, x)
    assert same(before, values(model))
    with pytest.raises(fwk.ModelError, match="no more"):
        fwk.calibrate(model, x, plan=plan, key=1)
    assert same(before, values(model))


def test_a_plan_tells_no_units_and_only_scales_what_is_asked_for():
    model, x = stack(2), normal(64, 64)
    plan = fwk.plan(model, x)
    before = values(model)
    with pytest.raises(ValueError, match="in mode 'channel'"):
        fwk.calibrate(model, x, plan=plan, key=0, mode="channel")
    assert same(before, values(model))
    result = fwk.calibrate(model, x, only="m/d1/*")
    assert set(result.factors) == {"m/d1/kernel"}
    assert before[0].tobytes() == fwk.read(model, "m/d0/kernel").tobytes()


def test_a_model_that_was_not_built_is_refused():
    with pytest.raises(ValueError, match="not built"):
        fwk.calibrate(keras.Sequential([layers.Dense(3)]), normal(4, 4))
