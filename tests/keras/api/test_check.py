"""`check`: gradients against a backward pass written in NumPy, sick models found, nothing left behind."""

import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

import fanwise.keras as fwk  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 32)).astype("float32")
Y = RNG.integers(0, 10, 64)
CROSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def deep(activation="relu", depth=4, **options):
    hidden = [layers.Dense(64, activation, name=f"d{i}", **options) for i in range(depth)]
    return keras.Sequential([keras.Input((32,)), *hidden, layers.Dense(10, name="head", **options)], name="m")


def codes(report):
    return {finding.code for finding in report.findings}


def test_gradients_are_those_of_a_backward_pass_by_hand():
    model = deep(depth=1)
    seen = fwk.check(model, (X, Y), CROSS).observations[0]
    w, v = (fwk.read(model, f"m/{name}/kernel").astype(np.float64) for name in ("d0", "head"))
    z = X @ w
    h = np.maximum(z, 0)
    logits = h @ v
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p[np.arange(64), Y] -= 1
    at_logits = p / 64
    at_h = at_logits @ v.T
    at_z = at_h * (z > 0)
    for signal, gradient in zip(seen.signals, (at_z, at_h, at_logits), strict=True):
        assert signal.gradient == pytest.approx(np.square(gradient).mean(), rel=1e-4)
    for path, gradient in {"m/d0/kernel": X.T @ at_z, "m/head/kernel": h.T @ at_logits}.items():
        assert seen.values[path].gradient == pytest.approx(np.square(gradient).mean(), rel=1e-4)
    assert seen.loss.value == pytest.approx(-np.log(p[np.arange(64), Y] + 1).mean(), rel=1e-4)
    assert (seen.loss.chance, seen.loss.classes) == (math.log(10), 10)


def test_signals_are_those_of_the_layers():
    model = deep(depth=1)
    seen = fwk.check(model, X).observations[0]
    w = fwk.read(model, "m/d0/kernel")
    z = X @ w
    assert seen.signals[0].second_moment == pytest.approx(np.square(z).mean(), rel=1e-5)
    assert seen.signals[1].zeros == pytest.approx((z <= 0).mean())
    assert seen.inputs[0].second_moment == pytest.approx(np.square(X).mean(), rel=1e-5)
    assert seen.loss.probe
    assert seen.values["m/d0/kernel"].second_moment == pytest.approx(np.square(w).mean(), rel=1e-5)


def test_a_planned_model_is_healthy():
    model = deep(depth=12)
    fwk.apply(model, fwk.plan(model, X), 0)
    report = fwk.check(model, (X, Y), CROSS)
    assert report.ok
    assert codes(report) == set()
    assert report.framework.startswith("keras 3.")
    assert report.framework.endswith(f"({keras.config.backend()})")


def constant(value):
    return keras.initializers.Constant(value)


SICK = {
    "LOS001": (lambda: scaled_head(30.0), (X, Y)),
    "FWD001": (lambda: deep(depth=12, kernel_initializer=keras.initializers.RandomNormal(0, 0.01, seed=0)), (X, Y)),
    "CON001": (lambda: deep(kernel_initializer=constant(0.1)), (X, Y)),
}


def scaled_head(factor):
    model = deep()
    fwk.apply(model, fwk.plan(model, X), 0)
    fwk.write(model, "m/head/kernel", factor * fwk.read(model, "m/head/kernel"))
    return model


@pytest.mark.parametrize("code", SICK)
def test_sick_models_are_found(code):
    make, batch = SICK[code]
    report = fwk.check(make(), batch, CROSS)
    assert code in codes(report), str(report)


def test_nothing_is_left_behind():
    model = keras.Sequential(
        [
            keras.Input((32,)),
            layers.Dense(8, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )
    before = [keras.ops.convert_to_numpy(v.value).copy() for v in model.variables]
    plan = fwk.plan(model, X)
    fwk.check(model, (X, Y), CROSS, plan=plan, seeds=2)
    after = [keras.ops.convert_to_numpy(v.value) for v in model.variables]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))


def test_the_names_of_losses_that_every_framework_knows():
    model, truths = deep(), (Y[:, None] == np.arange(10)).astype("float32")
    for name, target, own in (
        ("cross_entropy", Y, CROSS),
        ("cross_entropy", truths, keras.losses.CategoricalCrossentropy(from_logits=True)),
        ("binary_cross_entropy_with_logits", truths, keras.losses.BinaryCrossentropy(from_logits=True)),
        ("mse_loss", truths, "mse"),
    ):
        one, other = (fwk.check(model, (X, target), loss).observations[0].loss for loss in (name, own))
        assert (one.value, one.chance, one.classes) == pytest.approx((other.value, other.chance, other.classes))
        assert one.name == name


@pytest.mark.parametrize(
    "loss", ["cross_entropy", CROSS, "categorical_focal_crossentropy", "mse", "binary_crossentropy"]
)
def test_a_batch_without_a_target_gets_one_that_is_drawn(loss):
    first, again = (fwk.check(deep("tanh"), X, loss, select=["LOS"]) for _ in range(2))
    assert first.observations[0].loss.drawn
    assert not first.observations[0].loss.probe
    assert any("holds no target" in note for note in first.notes)
    assert first.observations[0].loss.chance == again.observations[0].loss.chance


def test_a_loss_for_which_no_target_can_be_drawn():
    with pytest.raises(fwk.ModelError, match=r"needs a target.*give \(inputs, target\)"):
        fwk.check(deep(), X, lambda target, output: (target - output) ** 2)


def test_a_mapping_may_hold_the_target():
    inputs = {"left": keras.Input((32,), name="left"), "right": keras.Input((32,), name="right")}
    model = keras.Model(inputs, layers.Dense(10, name="head")(layers.Add()([*inputs.values()])))
    given = {"left": X, "right": X[::-1]}
    one, other = fwk.check(model, {**given, "target": Y}, CROSS), fwk.check(model, (given, Y), CROSS)
    assert one.observations[0].loss == other.observations[0].loss
    assert one.batch == other.batch


def test_progress_says_what_is_done():
    told = []
    fwk.check(deep, X, seeds=2, progress=told.append)
    assert told == [
        "seed 0: build",
        "seed 0: forward and backward",
        "seed 1: build",
        "seed 1: forward and backward",
    ]


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "expected a tuple", {"batch": (X, Y, Y), "loss": "mse"}),
        (ValueError, r"expected a loss of keras\.losses", {"batch": (X, Y), "loss": "no_such_loss"}),
        (TypeError, "a class: expected an instance", {"batch": (X, Y), "loss": keras.losses.MeanSquaredError}),
        (TypeError, "loss = 3", {"batch": (X, Y), "loss": 3}),
        (ValueError, "seeds = 0", {"batch": X, "seeds": 0}),
        (ValueError, "fail_on", {"batch": X, "fail_on": "never"}),
    ],
)
def test_bad_arguments_are_refused(error, match, arguments):
    with pytest.raises(error, match=match):
        fwk.check(deep(), **arguments)


def test_a_gru_of_two_biases_is_weighed_gate_by_gate():
    start = keras.Input((6, 8))
    body = layers.GRU(16, bias_initializer="random_normal", name="body")
    model = keras.Model(start, layers.Dense(10, name="head")(body(start)))
    seen = fwk.check(model, np.repeat(X[:, None, :8], 6, axis=1)).observations[0].values
    bias = fwk.read(model, "body/gru_cell/bias").astype(np.float64)
    gates = [np.square(bias[:, 16 * i : 16 * (i + 1)]).mean() for i in range(3)]
    assert seen["body/gru_cell/bias"].blocks == pytest.approx(gates)
    assert seen["body/gru_cell/bias"].parts == ()


@pytest.mark.parametrize("layer", [False, True])
def test_a_function_with_an_argument_is_replayed(layer):
    parts = [layers.Dense(64, name="d"), layers.LeakyReLU(0.3)] if layer else [layers.Dense(64, "leaky_relu", name="d")]
    model = keras.Sequential([keras.Input((32,)), *parts, layers.Dense(10)])
    trace = fwk.run(model, fwk.Inputs((X,)))
    z = np.linspace(-2, 2, 9)
    expected = np.where(z < 0, z * (0.3 if layer else 0.2), z)
    np.testing.assert_allclose(trace.ops[1].replay(z), expected, rtol=1e-6)
    assert trace.ops[0].replay is None
    assert fwk.check(model, (X, Y), CROSS).observations[0].trace.ops[1].kind == "activation"


class Listed(keras.Model):
    """Layers of a list, one after the other."""

    def __init__(self, parts):
        super().__init__(name="listed")
        self.parts = parts

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def test_a_list_that_was_multiplied_is_told_from_a_layer_that_is_shared():
    def model(make):
        found = Listed([*make(), layers.Dense(10, name="head")])
        found(X)
        return found

    multiplied = model(lambda: [layers.Dense(32, "relu", name="d")] * 3)
    names = {parameter.path: parameter.aliases for parameter in fwk.parameters(multiplied)}
    assert names["listed/d/kernel"] == ("listed/d[1]/kernel", "listed/d[2]/kernel")
    assert names["listed/head/kernel"] == ()
    report = fwk.check(multiplied, (X, Y), CROSS)
    assert [finding.place for finding in report.findings if finding.kind == "tied"] == ["listed/d/kernel"]
    apart = model(lambda: [layers.Dense(32, "relu", name=f"d{i}") for i in range(3)])
    assert "tied" not in {finding.kind for finding in fwk.check(apart, (X, Y), CROSS).findings}
    start, shared = keras.Input((32,)), layers.Dense(32, "relu", name="d")
    by_design = keras.Model(start, layers.Dense(10)(shared(shared(start))))
    assert "tied" not in {finding.kind for finding in fwk.check(by_design, (X, Y), CROSS).findings}


def test_a_batch_may_be_given_in_words():
    model = deep()
    assert fwk.check(model, "16,32").batch == "16,32"
    assert fwk.plan(model, "16,32") == fwk.plan(model, "16,32")
    words, picture = keras.Input((8,), dtype="int32", name="words"), keras.Input((4, 4, 3), name="picture")
    left = layers.GlobalAveragePooling1D()(layers.Embedding(50, 16)(words))
    head = layers.Dense(3)(layers.Concatenate()([left, layers.Flatten()(picture)]))
    by_name = keras.Model({"words": words, "picture": picture}, head)
    assert fwk.check(by_name, "words=6,8:int32[0,50); picture=6,4,4,3").observations[0].backward
    in_order = keras.Model([words, picture], head)
    assert fwk.plan(in_order, "6,8:int32[0,50); 6,4,4,3").inputs == "6,8:int32[0,50); 6,4,4,3"
    for text, match in {"16,": "cannot be read", "4,8:int32[0,50); picture=4,4,4,3": "name all of them"}.items():
        with pytest.raises(ValueError, match=match):
            fwk.plan(in_order, text)
