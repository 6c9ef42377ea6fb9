"""`check` for models of JAX: what it measures, healthy models, planted breaks."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")
pytest.importorskip("flax", reason="flax is not installed")
pytest.importorskip("equinox", reason="equinox is not installed")

import jax.numpy as jnp  # noqa: E402

from fanwise.jax import Inputs, ModelError, apply, check, plan  # noqa: E402
from fanwise.jax.measure.observe import observe  # noqa: E402
from fanwise.measure.weight_statistics import values_of  # noqa: E402
from zoo.jax.tiny import normal  # noqa: E402
from zoo.registry import models  # noqa: E402

ZOO = models("jax", "structure")

DEPTH, WIDTH, CLASSES = 8, 64, 10
LABELS = jnp.arange(32) % CLASSES


def network(params, x):
    for i in range(DEPTH):
        x = jax.nn.relu(x @ params[f"w{i}"] + params[f"b{i}"])
    return x @ params["head"]


def weights(factor=1.0, head=0.3):
    made = {f"w{i}": factor * math.sqrt(2 / WIDTH) * normal(WIDTH, WIDTH, seed=i) for i in range(DEPTH)}
    made |= {f"b{i}": jnp.zeros(WIDTH) for i in range(DEPTH)}
    return made | {"head": head / math.sqrt(WIDTH) * normal(WIDTH, CLASSES, seed=99)}


def codes(report):
    return {finding.code for finding in report.findings} | {
        one.code for finding in report.findings for one in finding.follows
    }


def judged(params, **options):
    return check((network, params), (normal(32, WIDTH, seed=7), LABELS), "cross_entropy", **options)


# What is measured.


@pytest.fixture(scope="module")
def seen():
    return observe((network, weights()), Inputs((normal(32, WIDTH, seed=7),)), LABELS, "cross_entropy")


def test_gradients_at_the_ops_are_those_of_their_outputs(seen):
    params, x = weights(), normal(32, WIDTH, seed=7)
    hidden = jax.nn.relu(x @ params["w0"] + params["b0"])

    def rest(h):
        for i in range(1, DEPTH):
            h = jax.nn.relu(h @ params[f"w{i}"] + params[f"b{i}"])
        logs = jax.nn.log_softmax(h @ params["head"])
        return -logs[jnp.arange(32), LABELS].mean()

    first = next(op for op in seen.trace.ops if op.kind == "activation")
    signal = seen.signals[first.index]
    assert signal.gradient == pytest.approx(float(jnp.square(jax.grad(rest)(hidden)).mean()), rel=1e-4)
    assert signal.second_moment == pytest.approx(float(jnp.square(hidden).mean()), rel=1e-5)
    assert signal.zeros == pytest.approx(float((hidden == 0).mean()))
    assert signal.silent == pytest.approx(float((hidden == 0).all(0).mean()))


def test_gradients_find_their_parameters_in_any_order():
    params = {"z": normal(6, 5), "a": normal(5, 4), "m": {"w": normal(4, 3), "b": normal(3)}}
    x = normal(8, 6)

    def forward(p, x):
        return jnp.tanh(jnp.tanh(x @ p["z"]) @ p["a"]) @ p["m"]["w"] + p["m"]["b"]

    class Unsorted:  # a pytree whose leaves are not in the order of their names
        def __init__(self, **held):
            self.held = held

    jax.tree_util.register_pytree_with_keys(
        Unsorted,
        lambda one: ([(jax.tree_util.DictKey(key), value) for key, value in one.held.items()], tuple(one.held)),
        lambda names, values: Unsorted(**dict(zip(names, values, strict=True))),
    )
    seen = observe((lambda p, x: forward(p.held, x), Unsorted(**params)), Inputs((x,)), normal(8, 3), "mse_loss")
    gradients = jax.grad(lambda p: jnp.square(forward(p, x) - normal(8, 3)).mean())(params)
    for path, gradient in {"z": gradients["z"], "a": gradients["a"], "m.w": gradients["m"]["w"]}.items():
        assert seen.values[path].gradient == pytest.approx(float(jnp.square(gradient).mean()), rel=1e-4)


def test_a_mean_has_the_gradient_of_the_mean():
    x = normal(8, 5, 6)
    seen = observe((lambda p, x: x.mean(1) @ p["w"], {"w": normal(6, 3)}), Inputs((x,)))
    mean = next(op for op in seen.trace.ops if op.name == "mean")
    after = next(op for op in seen.trace.ops if op.kind == "linear")
    signs_times_w = seen.signals[mean.index].gradient
    assert seen.signals[mean.index].second_moment == pytest.approx(float(jnp.square(x.mean(1)).mean()), rel=1e-5)
    assert signs_times_w == pytest.approx(
        seen.signals[after.index].gradient * 3 * float(jnp.square(normal(6, 3)).mean()), rel=0.5
    )


def test_statistics_of_parameters():
    values = np.random.default_rng(0).normal(0, 0.1, (300, 200)).astype(np.float32)
    found = values_of(values)
    assert found.std == pytest.approx(values.std(), rel=1e-5)
    assert found.kurtosis == pytest.approx(3, abs=5 * math.sqrt(24 / values.size))
    assert found.overlap == pytest.approx(1, abs=0.1)
    assert values_of(np.linalg.qr(values)[0].T).overlap == pytest.approx(0, abs=1e-5)
    doubled = np.concatenate([values[:100], values[:100]])
    assert values_of(doubled).repeated == pytest.approx(0.5)
    broken = values.copy()
    broken[0, 0] = np.nan
    assert values_of(broken).infinite == pytest.approx(1 / values.size)


# Healthy and broken models.


def test_a_healthy_network_is_healthy():
    report = judged(weights(), optimizer="adam:1e-3")
    assert report.ok
    assert not codes(report) - {"TWI001"}
    assert report.framework == f"jax {jax.__version__}"
    assert "network" in str(report)


BREAKS = {
    "all weights three times too large": (lambda: weights(3.0), {"FWD002"}),
    "all weights a third": (lambda: weights(0.33), {"FWD001"}),
    "a loud head": (lambda: weights(head=40.0), {"LOS001"}),
    "zero weights": (lambda: weights() | {"w3": jnp.zeros((WIDTH, WIDTH))}, {"ZER001"}),
    "equal units": (lambda: weights() | {"w2": jnp.tile(normal(WIDTH, 1), (1, WIDTH)) * 0.2}, {"EQU001"}),
    "dead units": (lambda: weights() | {"b4": jnp.full(WIDTH, -30.0)}, {"DEA001"}),
    "not a number": (lambda: weights() | {"w5": weights()["w5"].at[3, 4].set(jnp.nan)}, {"NAN001"}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_planted_breaks_are_found(name):
    make, expected = BREAKS[name]
    report = judged(make())
    assert not report.ok
    assert expected <= codes(report)


def every(function):
    """Each weight by a function of itself; biases stay."""
    return weights() | {name: function(leaf) for name, leaf in weights().items() if leaf.ndim > 1}


def drawn(std):
    return every(lambda leaf: std * normal(*leaf.shape, seed=leaf.shape[1] + int(1e6 * abs(leaf[0, 0]))))


def deep(act, cut=-1):
    """The network with another nonlinearity, or with its graph cut."""

    def run(params, x):
        for i in range(DEPTH):
            x = act(x @ params[f"w{i}"] + params[f"b{i}"])
            x = jax.lax.stop_gradient(x) if i == cut else x
        return x @ params["head"]

    return run


def uniform(leaf):
    bound = 1 / math.sqrt(leaf.shape[0])
    return jax.random.uniform(jax.random.key(int(1e6 * abs(leaf[0, 0]))), leaf.shape, minval=-bound, maxval=bound)


RELU, XAVIER = deep(jax.nn.relu), 1 / math.sqrt(WIDTH)
PLANTED = {
    "zeros": (RELU, lambda: every(jnp.zeros_like)),
    "constant": (RELU, lambda: every(lambda leaf: jnp.full_like(leaf, 0.01))),
    "tiny": (RELU, lambda: drawn(0.01)),
    "huge": (RELU, lambda: drawn(1.0)),
    "wrong_gain": (RELU, lambda: every(lambda leaf: 2.6 * leaf)),
    "slip": (RELU, lambda: drawn(2 / math.sqrt(WIDTH))),
    "default": (RELU, lambda: every(uniform)),
    "local_shard": (RELU, lambda: drawn(math.sqrt(4 / WIDTH) * math.sqrt(2))),
    "one_layer_up": (RELU, lambda: weights() | {"w4": 50 * weights()["w4"]}),
    "one_layer_down": (RELU, lambda: weights() | {"w4": 1e-3 * weights()["w4"]}),
    "equal_units": (RELU, lambda: weights() | {"w4": jnp.tile(weights()["w4"][:, :1], (1, WIDTH))}),
    "copies": (RELU, lambda: weights() | {f"w{i}": weights()["w1"] for i in range(2, DEPTH)}),
    "tied": (RELU, lambda: weights() | dict.fromkeys([f"w{i}" for i in range(1, DEPTH)], weights()["w1"])),
    "bias": (RELU, lambda: weights() | {f"b{i}": jnp.full(WIDTH, 10.0) for i in range(DEPTH)}),
    "head": (RELU, lambda: weights(head=40.0)),
    "nan": (RELU, lambda: weights() | {"w5": weights()["w5"].at[3, 4].set(jnp.nan)}),
    "detached": (deep(jax.nn.relu, cut=3), weights),
    "saturated": (deep(jnp.tanh), lambda: drawn(1.0)),
    "alike": (deep(jax.nn.sigmoid), lambda: drawn(XAVIER)),
}
"""One break of each kind, by the kind that names it: the network, and its parameters."""
ALSO = {"saturated": ("huge", "wrong_gain"), "tiny": ("wrong_gain",), "huge": ("wrong_gain",)}
"""Kinds that name a break as well."""


@pytest.mark.parametrize("kind", PLANTED)
def test_the_first_cause_is_the_one_that_was_planted(kind):
    run, make = PLANTED[kind]
    report = check((run, make()), (normal(64, WIDTH, seed=7), jnp.arange(64) % CLASSES), "cross_entropy")
    graver = [one for one in report.findings if one.severity != "info"]
    assert graver[0].kind in (kind, *ALSO.get(kind, ())), str(report)


def test_without_a_break_none_of_them_is_named():
    """The mutant of the test before."""
    report = check((RELU, weights()), (normal(64, WIDTH, seed=7), jnp.arange(64) % CLASSES), "cross_entropy")
    assert not [one for one in report.findings if one.severity != "info"], str(report)


def test_a_gradient_that_a_factor_makes_zero_is_not_cut_off():
    """Branches behind learned factors that start at 0 (ReZero): their weights learn once the factors move."""

    def run(params, x):
        for i in range(DEPTH):
            x = x + params[f"gate{i}"] * (jax.nn.relu(x @ params[f"w{i}"] + params[f"b{i}"]) @ params[f"w{i}"])
        return x @ params["head"]

    params = weights() | {f"gate{i}": jnp.zeros(()) for i in range(DEPTH)}
    seen = observe((run, params), Inputs((normal(32, WIDTH, seed=7),)), LABELS, "cross_entropy")
    assert (seen.values["w3"].reached, seen.values["w3"].gradient) == (True, 0.0)
    cut = observe((deep(jax.nn.relu, cut=3), weights()), Inputs((normal(32, WIDTH, seed=7),)), LABELS, "cross_entropy")
    assert [cut.values[f"w{i}"].reached for i in range(6)] == [False] * 4 + [True] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linen convolutions", "linen resnet", "linen transformer", "nnx net", "equinox net"])
def test_planned_models_are_healthy(name):
    model, inputs = ZOO[name].build(), ZOO[name].batch().args
    report = check(apply(model, plan(model, inputs), key=0), inputs)
    assert report.ok, str(report)


def test_a_scanned_weight_is_not_used_twice():
    model, inputs = ZOO["scanned layers"].build(), ZOO["scanned layers"].batch().args
    assert "TWI001" not in codes(check(apply(model, plan(model, inputs), key=0), inputs))


# Ways to ask.


@pytest.mark.slow
def test_losses():
    x, y = normal(32, WIDTH, seed=7), LABELS
    own = check((lambda p, x, y: {"loss": jnp.square(network(p, x)[:, 0] - y).mean()}, weights()), (x, y))
    assert own.observations[0].loss.name == "the model's own"
    probe = check((network, weights()), x)
    assert probe.observations[0].loss.probe
    drawn = check((network, weights()), x, "cross_entropy")
    assert drawn.observations[0].loss.drawn
    squared = check((network, weights()), (x, normal(32, CLASSES)), "mse_loss").observations[0].loss
    assert squared.chance == pytest.approx(float(jnp.square(normal(32, CLASSES)).mean()), rel=1e-5)

    def mine(output, target):
        return -jax.nn.log_softmax(output)[jnp.arange(32), target].mean()

    found = check((network, weights()), (x, y), mine).observations[0].loss
    assert (found.name, found.classes) == ("mine", CLASSES)
    assert not check((network, weights()), (x, y), mine, backward=False).observations[0].backward


def test_what_cannot_be_checked():
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights())
    with pytest.raises(ModelError, match="materialize it first"):
        check((network, shapes), normal(32, WIDTH))
    with pytest.raises(TypeError, match=r"expected \(function, params\)"):
        check(3, normal(32, WIDTH))
    with pytest.raises(TypeError, match=r"the factory made PRNGKeyArray: expected \(function, params\)"):
        check(lambda key: key, normal(32, WIDTH))
    with pytest.raises(ModelError, match="expected one number"):
        check((network, weights()), (normal(32, WIDTH), LABELS), lambda output, target: output)
