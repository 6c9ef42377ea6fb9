"""Rules on what is joined: adapters, positions, gates, norms over zeros, fans: each with its twin and its fix."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed")

from keras import layers, ops  # noqa: E402

from fanwise.keras import check, fix  # noqa: E402

WIDTH, FEATURES, CLASSES, ROWS = 96, 64, 10, 64
RNG = np.random.default_rng(0)
X, Y = RNG.normal(0, 1, (ROWS, FEATURES)).astype(np.float32), RNG.integers(0, CLASSES, ROWS)
TOKENS = RNG.integers(0, 50, (ROWS, 8)).astype(np.int32)
IMAGES = RNG.normal(0, 1, (ROWS, 8, 8, 3)).astype(np.float32)


def normal(std, seed):
    return keras.initializers.RandomNormal(0, std, seed=seed) if std else keras.initializers.Zeros()


def dense(outputs, inputs, seed, gain=1.0, **options):
    return layers.Dense(outputs, kernel_initializer=normal(gain / math.sqrt(inputs), seed), **options)


def head(width=WIDTH):
    return dense(CLASSES, width, 9, 0.1, name="head")


def beside(std):
    """A low-rank path beside a frozen map."""
    given = keras.Input((FEATURES,))
    base = dense(WIDTH, FEATURES, 1, trainable=False, name="base")(given)
    side = dense(8, FEATURES, 2, name="down")(given)
    side = layers.Dense(WIDTH, kernel_initializer=normal(std, 3), name="up")(side)
    return keras.Model(given, head()(ops.relu(base + side)))


def lora(std):
    """Keras' own low-rank update."""
    given, base = keras.Input((FEATURES,)), dense(WIDTH, FEATURES, 1, name="base")
    model = keras.Model(given, head()(ops.relu(base(given))))
    base.enable_lora(8)
    base.lora_kernel_b.assign(std * RNG.normal(size=(8, WIDTH)))
    return model


class Positions(layers.Layer):
    def __init__(self, std, **options):
        super().__init__(**options)
        self.std = std

    def build(self, shape):
        self.positions = self.add_weight(shape=shape[1:], initializer=normal(self.std, 7), name="positions")

    def call(self, x):
        return x + self.positions


def placed(std):
    given = keras.Input((8,), dtype="int32")
    x = layers.Embedding(50, 32, embeddings_initializer=normal(0.05, 1), name="tokens")(given)
    x = dense(32, 32, 2)(layers.LayerNormalization()(Positions(std, name="place")(x)))
    return keras.Model(given, head(32)(ops.mean(x, 1)))


def gated(bias):
    given, start = keras.Input((FEATURES,)), keras.initializers.Constant(bias)
    gate = dense(WIDTH, FEATURES, 2, name="gate", bias_initializer=start, activation="sigmoid")(given)
    return keras.Model(given, head()(dense(WIDTH, FEATURES, 1, name="value")(given) * gate))


class Queries(layers.Layer):
    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def build(self, shape):
        self.queries = self.add_weight(shape=(WIDTH,), initializer=normal(1.0, 7), name="queries")

    def call(self, x):
        return ops.broadcast_to(self.queries * self.factor, (ops.shape(x)[0], WIDTH))


def queried(factor):
    """A stream that starts at zeros or at queries, and a norm before the input joins it."""
    given = keras.Input((FEATURES,))
    stream = Queries(factor, name="start")(given)
    stream = stream + dense(WIDTH, WIDTH, 1, name="first")(stream)
    stream = layers.LayerNormalization(epsilon=1e-5, name="norm")(stream)
    return keras.Model(given, head()(dense(WIDTH, WIDTH, 3)(stream + dense(WIDTH, FEATURES, 2)(given))))


def convolved(fan):
    """Four convolutions by He's law with this number in the place of the fan_in."""
    given = x = keras.Input((8, 8, 3))
    for i, channels in enumerate((3, 16, 16, 16)):
        law = normal(math.sqrt(2 / fan(channels)), i)
        x = layers.Conv2D(16, 3, padding="same", activation="relu", kernel_initializer=law, name=f"c{i}")(x)
    return keras.Model(given, head(16)(ops.mean(x, (1, 2))))


CASES = {
    "a path beside a frozen map": ("ADP001", lambda: beside(0.1), lambda: beside(0.0), X),
    "Keras' own update": ("ADP001", lambda: lora(0.3), lambda: lora(0.0), X),
    "loud positions": ("ADD001", lambda: placed(1.0), lambda: placed(0.05), TOKENS),
    "shut gates": ("GAT001", lambda: gated(-20.0), lambda: gated(-2.0), X),
    "the kernel's area": ("FAN001", lambda: convolved(lambda n: 9), lambda: convolved(lambda n: 9 * n), IMAGES),
    "a norm over zeros": ("GRD004", lambda: queried(0.0), lambda: queried(1.0), X),
}


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def codes(report):
    return {one.code for root in report.findings for one in root.walk() if one.severity != "info" and not one.design}


@pytest.mark.parametrize("name", CASES)
def test_the_broken_is_named_and_its_twin_is_not(name):
    code, sick, well, inputs = CASES[name]
    assert code in codes(check(sick(), (inputs, Y), loss()))
    assert not codes(check(well(), (inputs, Y), loss()))


@pytest.mark.parametrize("name", [name for name in CASES if name != "a norm over zeros"])
def test_the_printed_code_cures(name):
    _, sick, _, inputs = CASES[name]
    model, batch = sick(), (inputs, Y)
    mending = fix(model, check(model, batch, loss()), batch, loss=loss())
    assert mending.cures, str(mending.table)
    exec(compile(mending.code, "fix", "exec"), {"model": model, "batch": inputs})
    assert codes(check(model, batch, loss())) == set()


def test_what_no_parameter_mends_is_said():
    model, batch = queried(0.0), (X, Y)
    mending = fix(model, check(model, batch, loss()), batch, loss=loss())
    assert not mending
    assert "start the stream at something other than 0" in mending.unsafe[0]
