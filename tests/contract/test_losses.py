"""Losses in every framework: by name, as functions, drawn targets, a model's own; values by NumPy, in float64."""

import math

import numpy as np
import pytest

from fanwise import Key
from fanwise.stream import fill

from .networks import BATCH, CLASSES, MLP, OWN_LOSS, PAIR, computed, examples, labels, weights


def observed(framework, batch, loss, network=MLP):
    model = framework.build(network, weights(network))
    return framework.api.check(model, batch, loss).observations[0]


def inputs_of(framework):
    return framework.given(examples(MLP))["x"]


def output(network=MLP):
    return computed(network, weights(network), examples(network))["output"]


def cross_entropy(network=MLP, classes=None):
    return -log_shares(network)[np.arange(BATCH), labels() if classes is None else classes].mean()


def log_shares(network=MLP):
    logits = output(network)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def shares(seed=3):
    """A target of one number an output, between 0 and 1, whose rows sum to 1."""
    made = np.random.default_rng(seed).random((BATCH, CLASSES)).astype(np.float32)
    return made / made.sum(1, keepdims=True)


def truths():
    return (shares() > 0.1).astype(np.float32)


NAMED = {
    "cross_entropy": (labels, cross_entropy, math.log(10), 10),
    "mse_loss": (shares, lambda: np.square(output() - shares()).mean(), float(np.square(shares()).mean()), 0),
    "binary_cross_entropy_with_logits": (
        truths,
        lambda: (np.log1p(np.exp(output())) - output() * truths()).mean(),
        math.log(2),
        2,
    ),
}
"""The losses that go by one name everywhere: a target, the value, what a guess gives, and the classes."""


@pytest.mark.parametrize("name", NAMED)
def test_losses_by_name(framework, name):
    target, value, chance, classes = NAMED[name]
    loss = observed(framework, (inputs_of(framework), framework.array(target())), name).loss
    assert loss.value == pytest.approx(value(), rel=1e-4)
    assert loss.chance == pytest.approx(chance, rel=1e-4)
    assert (loss.name, loss.classes, loss.drawn, loss.probe) == (name, classes, False, False)


def test_cross_entropy_takes_shares_of_each_class(framework):
    loss = observed(framework, (inputs_of(framework), framework.array(shares())), "cross_entropy").loss
    assert loss.value == pytest.approx(-(shares() * log_shares()).sum(1).mean(), rel=1e-4)
    assert (loss.chance, loss.classes) == (pytest.approx(math.log(10)), 10)


def test_the_framework_s_own_cross_entropy(framework):
    loss = observed(framework, (inputs_of(framework), framework.array(labels())), framework.loss).loss
    assert loss.value == pytest.approx(cross_entropy(), rel=1e-4)
    assert (loss.chance, loss.classes) == (math.log(10), 10)


# Functions


def test_a_function_is_called_as_the_framework_s_losses_are(framework):
    seen = observed(framework, (inputs_of(framework), framework.array(shares())), framework.own_terms(_pulled))
    assert seen.loss.value == pytest.approx((output() * shares()).sum(), rel=1e-4)
    assert math.isnan(seen.loss.chance)
    assert (seen.loss.drawn, seen.loss.probe) == (False, False)
    paths = {framework.path("head.bias"): np.square(shares().astype(np.float64).sum(0)).mean()}
    for path, expected in paths.items():
        assert seen.values[path].gradient == pytest.approx(expected, rel=1e-4)


def _pulled(output, target):
    product = output * target
    if hasattr(product, "sum"):
        return product.sum()
    import keras  # noqa: PLC0415  (TensorFlow's tensors have no method for it)

    return keras.ops.sum(product)


def test_a_function_that_computes_a_known_loss_is_judged_as_it(framework):
    function = framework.own_terms(lambda output, target: framework.cross_entropy(output, target))
    loss = observed(framework, (inputs_of(framework), framework.array(labels())), function).loss
    assert loss.value == pytest.approx(cross_entropy(), rel=1e-4)
    assert (loss.chance, loss.classes) == (pytest.approx(math.log(10)), 10)


def test_a_loss_that_fails_is_named(framework):
    def lost(output, target):
        raise KeyError("lost")

    with pytest.raises(framework.api.ModelError, match="lost"):
        observed(framework, (inputs_of(framework), framework.array(labels())), framework.own_terms(lost))


# Batches


@pytest.mark.parametrize("name", ["target", "targets", "label", "labels", "y"])
def test_a_mapping_holds_its_target_by_name(framework, name):
    batch = framework.given(examples(PAIR)) | {name: framework.array(labels())}
    loss = observed(framework, batch, framework.loss, PAIR).loss
    assert loss.value == pytest.approx(cross_entropy(PAIR), rel=1e-4)
    assert not loss.drawn


def test_the_last_of_a_tuple_is_the_target(framework):
    loss = observed(framework, (inputs_of(framework), framework.array(labels())), framework.loss).loss
    assert loss.value == pytest.approx(cross_entropy(), rel=1e-4)


def test_a_list_is_a_tuple(framework):
    """Its last element is the target."""
    pair = inputs_of(framework), framework.array(labels())
    as_list, as_tuple = (observed(framework, kind(pair), framework.loss, MLP).loss for kind in (list, tuple))
    assert not as_list.drawn
    assert as_list.value == as_tuple.value


@pytest.mark.parametrize("form", ["array", "words", "mapping"])
@pytest.mark.parametrize("loss", ["own", "by name"])
def test_a_batch_without_a_target_gets_one_that_is_drawn(framework, form, loss):
    network = PAIR if form == "mapping" else MLP
    batch = {"array": inputs_of(framework), "words": f"{BATCH},16", "mapping": framework.given(examples(PAIR))}[form]
    found = observed(framework, batch, framework.loss if loss == "own" else "cross_entropy", network).loss
    assert found.drawn
    assert (found.chance, found.classes) == (pytest.approx(math.log(10)), 10)
    # a start that is near a guess: no class costs less than ln 10 - 1 or more than ln 10 + 1
    assert abs(found.value - math.log(10)) < 1


def test_drawn_targets_are_the_same_at_every_call(framework):
    batch = inputs_of(framework)
    first, second = (observed(framework, batch, framework.loss).loss.value for _ in range(2))
    assert first == second


def test_drawn_targets_are_the_same_in_every_framework(framework):
    """They come from the stream's own seed `Key(0, "check.target")`, by NumPy's generator."""
    found = observed(framework, inputs_of(framework), framework.loss).loss.value
    drawn = np.random.default_rng(Key(0, "check.target").philox().key[0]).integers(0, CLASSES, BATCH)
    assert found == pytest.approx(cross_entropy(classes=drawn), rel=1e-4)


def test_fix_and_calibrate_split_a_batch_alike(framework):
    model = framework.build(PAIR, weights(PAIR, head_weight=lambda w: 300 * w))
    batch = framework.given(examples(PAIR)) | {"target": framework.array(labels())}
    report = framework.api.check(model, batch, framework.loss)
    mending = framework.api.fix(model, report, batch, loss=framework.loss)
    assert [row.path for row in mending.rows] == [framework.path("head.weight")]
    _, result = framework.calibrated(model, batch, loss=framework.loss)
    assert framework.path("head.weight") in result.factors


# Without a loss


def test_without_a_loss_gradients_are_those_of_a_random_projection(framework):
    seen = observed(framework, inputs_of(framework), None)
    assert seen.loss.probe
    assert math.isnan(seen.loss.chance)
    head = [op.index for op in seen.trace.ops if framework.path("head.bias") in {use.path for use in op.uses}]
    assert seen.signals[head[-1]].gradient == pytest.approx(1 / (BATCH * CLASSES) ** 2, rel=1e-5)


def test_the_projection_is_the_same_in_every_framework(framework):
    seen = observed(framework, inputs_of(framework), None)
    signs = np.sign(fill.uniform(Key(0, "check.probe"), (BATCH, CLASSES), bound=1.0))
    assert seen.loss.value == pytest.approx((output() * signs).mean(), rel=1e-3)
    expected = np.square(signs.sum(0) / signs.size).mean()
    assert seen.values[framework.path("head.bias")].gradient == pytest.approx(expected, rel=1e-4)


def test_a_model_may_return_its_own_loss(framework):
    seen = observed(framework, inputs_of(framework), None, OWN_LOSS)
    assert seen.loss.name == "the model's own"
    assert not seen.loss.probe
    assert seen.loss.value == pytest.approx(np.square(output()).mean(), rel=1e-4)
    gradient = np.square((2 * output() / output().size).sum(0)).mean()
    assert seen.values[framework.path("head.bias")].gradient == pytest.approx(gradient, rel=1e-3)


# Names

ALIASES = {
    "mse": (shares, "mse_loss"),
    "MSELoss": (shares, "mse_loss"),
    "l2": (shares, "mse_loss"),
    "ce": (labels, "cross_entropy"),
    "CrossEntropyLoss": (labels, "cross_entropy"),
    "bce_with_logits": (truths, "binary_cross_entropy_with_logits"),
    "BCEWithLogitsLoss": (truths, "binary_cross_entropy_with_logits"),
}


@pytest.mark.parametrize("alias", ALIASES)
def test_other_names_of_losses(framework, alias):
    target, name = ALIASES[alias]
    batch = inputs_of(framework), framework.array(target())
    loss = observed(framework, batch, alias).loss
    assert loss.value == pytest.approx(observed(framework, batch, name).loss.value, rel=1e-5)
    assert loss.chance == pytest.approx(NAMED[name][2], rel=1e-4)


@pytest.mark.parametrize("alias", ["mae", "L1Loss"])
def test_the_absolute_error_by_its_names(framework, alias):
    loss = observed(framework, (inputs_of(framework), framework.array(shares())), alias).loss
    assert loss.value == pytest.approx(np.abs(output() - shares()).mean(), rel=1e-4)


NEAR = {"cross_entrpy": "cross_entropy", "mse_los": "mse_loss", "crossentrop": "cross_entropy"}


@pytest.mark.parametrize("name", NEAR)
def test_near_misses(framework, name):
    with pytest.raises(ValueError, match=f"loss = '{name}': did you mean .*'{NEAR[name]}'.*expected"):
        observed(framework, (inputs_of(framework), framework.array(labels())), name)


# Bad arguments

BAD = {
    "unknown": (ValueError, r"loss = 'nothing': expected", "nothing"),
    "a number": (TypeError, "loss = 3: expected the name of a loss, a function", 3),
    "a class": (TypeError, "loss = Loss, a class: expected an instance", type("Loss", (), {"__call__": None})),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("verb", ["check", "calibrate"])
def test_bad_losses_are_refused(framework, case, verb):
    error, match, loss = BAD[case]
    model = framework.build(MLP, weights(MLP))
    batch = inputs_of(framework), framework.array(labels())
    with pytest.raises(error, match=match):
        getattr(framework.api, verb)(model, batch, loss=loss)


def test_the_names_that_there_are_stand_in_the_message(framework):
    with pytest.raises(ValueError, match="cross_entropy"):
        observed(framework, (inputs_of(framework), framework.array(labels())), "nothing")
