"""The first loss against that of the best constant output, and targets that do not fit, in every framework."""

import math

import numpy as np
import pytest

from .networks import BATCH, CLASSES, MLP, computed, examples, labels, weights

NAMES = {"mse": "mse_loss", "bce": "binary_cross_entropy_with_logits"}


def batch_of(framework, target):
    return framework.given(examples(MLP))["x"], framework.array(target)


def report_of(framework, target, loss, values=None):
    model = framework.build(MLP, weights(MLP) if values is None else values)
    return framework.api.check(model, batch_of(framework, target), loss)


def found(report, code):
    return [each for finding in report.findings for each in finding.walk() if each.code == code]


def numbers(seed=3, mean=0.0, std=1.0):
    drawn = np.random.default_rng(seed).standard_normal((BATCH, CLASSES))
    return (mean + std * drawn).astype(np.float32)


def rare(share, seed=4):
    """Truth values of which a share is true."""
    truths = np.zeros(BATCH * CLASSES, np.float32)
    truths[: max(round(share * truths.size), 1)] = 1
    return np.random.default_rng(seed).permutation(truths).reshape(BATCH, CLASSES)


def entropy(share):
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


# The best constant output: formulas


def test_of_a_squared_error_it_is_the_mean(framework):
    target = numbers(mean=2.5, std=0.5)
    loss = report_of(framework, target, "mse_loss").observations[0].loss
    assert loss.constant == pytest.approx(target.var(), rel=2e-3)
    assert loss.best[0] == pytest.approx(target.mean(), abs=0.05)
    assert loss.zero == pytest.approx(np.square(target).mean(), rel=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.0125])
def test_of_yes_and_no_it_is_the_entropy_of_the_share(framework, share):
    target = rare(share)
    loss = report_of(framework, target, NAMES["bce"]).observations[0].loss
    assert loss.constant == pytest.approx(entropy(float(target.mean())), rel=5e-3)
    assert loss.zero == pytest.approx(math.log(2), rel=1e-4)


def test_of_classes_it_is_not_looked_for(framework):
    """A small batch's own shares are no guide: ln C stays."""
    target = np.zeros(BATCH, np.int64)
    loss = report_of(framework, target, "cross_entropy").observations[0].loss
    assert (loss.chance, math.isnan(loss.constant)) == (pytest.approx(math.log(CLASSES)), True)


def power(value):
    return value * value


CUSTOM = {
    "fourth power": (lambda o, t: power(power(o - t)), lambda o, t: (o - t) ** 4),
    "weighted": (lambda o, t: 3 * power(o - t) * (1 + t * t), lambda o, t: 3 * (o - t) ** 2 * (1 + t * t)),
    "sum of two": (lambda o, t: power(o - t) + power(o + t - 1), lambda o, t: (o - t) ** 2 + (o + t - 1) ** 2),
}
"""Losses that no framework knows: as users write them, and in NumPy."""


@pytest.mark.parametrize("name", CUSTOM)
def test_of_any_loss_it_is_found_by_trying(framework, name):
    function, by_hand = CUSTOM[name]
    target = numbers(mean=1.5, std=0.7)
    loss = (
        report_of(framework, target, framework.own_terms(lambda o, t: mean(framework, function(o, t))))
        .observations[0]
        .loss
    )
    grid = np.linspace(-1, 4, 2001)
    values = [by_hand(number, target.astype(np.float64)).mean() for number in grid]
    assert math.isnan(loss.chance)
    assert loss.constant == pytest.approx(min(values), rel=3e-3)
    assert loss.zero == pytest.approx(by_hand(0.0, target.astype(np.float64)).mean(), rel=1e-4)


def mean(framework, values):
    if framework.adapter != "keras":
        return values.mean()
    import keras  # noqa: PLC0415

    return keras.ops.mean(values)


UNJUDGED = {
    "negative": lambda framework, o, t: mean(framework, o * t) - 100.0,
    "solved by a constant": lambda framework, o, t: mean(framework, power(o - o[:1])),
    "without a least value": lambda framework, o, t: 1 / (1 + mean(framework, power(o))),
}


@pytest.mark.parametrize("name", UNJUDGED)
def test_losses_that_have_none(framework, name):
    loss = report_of(framework, numbers(), framework.own_terms(lambda o, t: UNJUDGED[name](framework, o, t)))
    assert math.isnan(loss.observations[0].loss.constant)
    assert not found(loss, "LOS001")


def test_a_loss_that_is_not_finite_for_constants_is_not_judged(framework):
    def relative(output, target):
        return mean(framework, power(output - target)) / mean(framework, power(output - output[:1]))

    seen = report_of(framework, numbers(), framework.own_terms(relative)).observations[0]
    assert math.isfinite(seen.loss.value)
    assert math.isnan(seen.loss.constant)


# What is found


def test_a_bias_without_the_mean(framework):
    """Targets of mean 40 and std 1: the loss of outputs of 0 is 1600 times the variance; the fix holds the mean."""
    target = numbers(mean=40.0)
    report = report_of(framework, target, "mse_loss")
    (finding,) = found(report, "LOS001")
    assert (finding.severity, finding.kind) == ("error", "prior")
    assert finding.place == framework.path("head.bias")
    assert {path: law.value for path, law in finding.fix.laws.items()} == {
        framework.path("head.bias"): pytest.approx(40, abs=0.2)
    }
    model, batch = framework.build(MLP, weights(MLP)), batch_of(framework, target)
    mending = framework.api.fix(model, report, batch, loss="mse_loss")
    mended = framework.api.apply(model, mending.plan, 0)
    after = framework.api.check(mended, batch, "mse_loss")
    assert not found(after, "LOS001")
    assert after.observations[0].loss.value < 5


@pytest.mark.parametrize(("share", "severity"), [(1 / 640, "warning"), (0.0125, None), (0.5, None)])
def test_rare_truths(framework, share, severity):
    """ln 2 over the entropy of 1 in 640 is 60, of 1 in 80 is 10: the latter trains as well from 0."""
    findings = found(
        report_of(framework, rare(share), NAMES["bce"], weights(MLP, head_weight=lambda w: 0.1 * w)), "LOS001"
    )
    assert [each.severity for each in findings] == ([] if severity is None else [severity])


def test_small_targets_are_no_trouble(framework):
    """Numbers of std 0.1 under outputs of std 1: a loss of 100 times the best constant's, which is learned at once."""
    assert not found(report_of(framework, numbers(std=0.1), "mse_loss"), "LOS001")


@pytest.mark.parametrize(("times", "severity"), [(1, None), (60, "warning"), (600, "error")])
def test_a_head_that_is_too_loud_for_classes(framework, times, severity):
    report = report_of(framework, labels(), "cross_entropy", weights(MLP, head_weight=lambda w: times * w))
    assert [each.severity for each in found(report, "LOS001")] == ([] if severity is None else [severity])


def test_a_head_that_is_too_loud_for_a_loss_of_one_s_own(framework):
    loss = framework.own_terms(lambda o, t: mean(framework, power(o - t) + 0.1 * power(o + t)))
    report = report_of(framework, numbers(), loss, weights(MLP, head_weight=lambda w: 300 * w))
    assert [(each.severity, each.kind) for each in found(report, "LOS001")] == [("error", "head")]


# Targets


@pytest.mark.parametrize(("size", "wanted"), [(255.0, True), (5.0, False), (0.01, False)])
def test_targets_far_from_the_outputs(framework, size, wanted):
    target = (size * np.random.default_rng(2).random((BATCH, CLASSES))).astype(np.float32)
    report = report_of(framework, target, "mse_loss")
    assert [each.kind for each in found(report, "LOS003")] == (["targets"] if wanted else [])
    if wanted:
        assert report.findings[0].code == "LOS003"
        assert not [each for each in report.findings if "head" in each.place]


def test_truth_values_outside_0_to_1(framework):
    target = np.random.default_rng(2).integers(0, 256, (BATCH, CLASSES)).astype(np.float32)
    (finding,) = found(report_of(framework, target, NAMES["bce"]), "LOS003")
    assert finding.severity == "error"
    assert not found(report_of(framework, target / 255, NAMES["bce"]), "LOS003")


# Shapes that broadcast


ONE = {"head.weight": lambda w: w[:, :1], "head.bias": lambda b: b[:1]}


def of_one_output(framework, target, loss):
    """A check of a network of one output, as a batch of (64, 1) or (64,)."""
    from dataclasses import replace  # noqa: PLC0415

    layers = (*MLP.layers[:-1], replace(MLP.layers[-1], outputs=1))
    network = replace(MLP, layers=layers)
    values = weights(network)
    model = framework.build(network, values)
    return framework.api.check(model, batch_of(framework, target), loss)


def own_mse(framework):
    return framework.own_terms(lambda o, t: mean(framework, power(o - t)))


def own_huber(framework):
    return framework.own_terms(lambda o, t: mean(framework, (1 + power(o - t)) ** 0.5 - 1))


LOSSES = {"mse": own_mse, "huber": own_huber}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_broadcasts(framework, name):
    target = numbers()[:, 0]
    report = of_one_output(framework, target, LOSSES[name](framework))
    (finding,) = found(report, "LOS002")
    assert report.findings[0] is finding
    assert (finding.severity, finding.kind) == ("error", "broadcast")
    assert "(64, 1) against (64,)" in finding.message
    assert "squeeze" in finding.fix.text
    assert not found(of_one_output(framework, target[:, None], LOSSES[name](framework)), "LOS002")


def test_a_loss_that_makes_the_shapes_alike_is_right(framework):
    def flat(output, target):
        return mean(framework, power(output[:, 0] - target))

    report = of_one_output(framework, numbers()[:, 0], framework.own_terms(flat))
    assert not found(report, "LOS002")


@pytest.mark.filterwarnings("error:Using a target size")
def test_a_loss_by_name_that_broadcasts(framework):
    """Keras' own losses make the shapes alike."""
    report = of_one_output(framework, numbers()[:, 0], "mse_loss")
    assert len(found(report, "LOS002")) == (framework.adapter != "keras")


def test_targets_without_an_axis_of_their_own(framework):
    """(N, C) against (N,) where N = C."""
    rows = CLASSES
    model = framework.build(MLP, weights(MLP))
    x = framework.given({"x": examples(MLP)["x"][:rows]})["x"]
    report = framework.api.check(model, (x, framework.array(numbers()[:rows, 0])), own_mse(framework))
    (finding,) = found(report, "LOS002")
    assert "(10, 10) against (10,)" in finding.message


def test_outputs_of_a_mean_and_a_variance_are_no_slip(framework):
    """Two numbers of an output for each target, as in a Gaussian likelihood: (64, 10) against (64, 1)."""

    def likelihood(output, target):
        return mean(framework, power(output[:, :1] - target) / (1 + power(output[:, 1:2])) + power(output[:, 1:2]))

    report = report_of(framework, numbers()[:, :1], framework.own_terms(likelihood))
    assert not found(report, "LOS002")


def test_a_zero_start_hides_nothing(framework):
    """With weights of zero the value alone is that of the right shapes, too."""
    from dataclasses import replace  # noqa: PLC0415

    network = replace(MLP, layers=(*MLP.layers[:-1], replace(MLP.layers[-1], outputs=1)))
    values = weights(network, head_weight=lambda w: 0 * w)
    report = framework.api.check(
        framework.build(network, values), batch_of(framework, numbers()[:, 0]), own_mse(framework)
    )
    assert found(report, "LOS002")


def test_outputs_are_those_of_the_network():
    """The loss of a head of 0.1 is near ln 2: what `test_rare_truths` stands on."""
    output = 0.1 * computed(MLP, weights(MLP), examples(MLP))["output"]
    assert np.square(output).mean() < 0.1
