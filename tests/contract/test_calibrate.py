"""`calibrate` in every framework: factors by hand, what the calibrated network computes in NumPy, what stays."""

import dataclasses
import inspect
import math

import numpy as np
import pytest

from fanwise.calibrate.result import Calibration

from .frameworks import planned
from .networks import BATCH, CONV, MLP, NETWORKS, NORM, RESIDUAL, computed, examples, labels, weights

FLOAT32 = 1e-5
"""What is promised of float32: by how much a calibrated std may be off, in NumPy afterwards."""
HEAD = math.sqrt(2 * 0.02 * math.log(10))
"""The std of logits with which ten classes start 2 % above ln 10."""
MAPS = {"mlp": ("a", "b"), "conv": ("a", "b"), "norm": ("a",)}


def given(framework, network, **options):
    inputs = framework.given(examples(network, **options))
    return inputs["x"]


def calibrated(framework, network, values=None, **options):
    """The result, and the calibrated weights."""
    model = framework.build(network, weights(network) if values is None else values)
    model, result = framework.calibrated(model, given(framework, network), **options)
    return result, framework.weights(model, network)


def std(array):
    return math.sqrt(np.square(array - array.mean()).mean())


@pytest.mark.parametrize("name", MAPS)
def test_every_map_gives_std_1_and_the_head_a_quiet_one(framework, name):
    network = NETWORKS[name]
    result, values = calibrated(framework, network)
    seen = computed(network, values, examples(network))
    for layer in MAPS[name]:
        assert std(seen[layer]) == pytest.approx(1, abs=FLOAT32), layer
    assert std(seen["head"]) == pytest.approx(HEAD, abs=FLOAT32)
    assert std(computed(network, weights(network), examples(network))["head"]) != pytest.approx(HEAD, rel=0.01)
    assert result.forwards == 1


def test_factors_are_those_by_hand(framework):
    """The first divides by the std that it finds; each later one by that on calibrated input."""
    before = weights(MLP)
    result, after = calibrated(framework, MLP, before)
    seen = computed(MLP, before, examples(MLP))
    first = 1 / std(seen["a"])
    second = 1 / (first * std(np.maximum(seen["a"], 0) @ before["b.weight"].astype(np.float64)))
    assert result.factors[framework.path("a.weight")] == pytest.approx(first, rel=1e-5)
    assert result.factors[framework.path("b.weight")] == pytest.approx(second, rel=1e-5)
    assert list(result.factors) == [framework.path(f"{name}.weight") for name in ("a", "b", "head")]
    for label in ("a.weight", "b.weight", "head.weight"):
        factor = np.float64(result.factors[framework.path(label)])
        np.testing.assert_allclose(after[label], before[label] * factor, rtol=1e-6)


def test_what_the_result_tells(framework):
    result, _ = calibrated(framework, MLP)
    assert isinstance(result, Calibration)
    assert [line.kind for line in result.lines] == ["linear"] * 3
    assert [line.role for line in result.lines] == ["weight", "weight", "head"]
    assert [line.target for line in result.lines] == pytest.approx([1, 1, HEAD], rel=1e-6)
    assert result.lines[0].before == pytest.approx(std(computed(MLP, weights(MLP), examples(MLP))["a"]), rel=1e-5)
    assert (result.mode, result.statistic, result.left, result.plan) == ("layer", "std", {}, None)
    assert result.batch == f"{BATCH},16:float32"
    assert result.name
    assert "3 of 3 ops calibrated, 1 forward pass." in str(result)


def test_the_result_has_one_shape(framework):
    """What comes back is a `Calibration`, whatever holds the model."""
    found = framework.api.calibrate(framework.build(MLP, weights(MLP)), given(framework, MLP))
    assert isinstance(found, Calibration)


def test_a_result_is_still_a_pair_for_a_time(framework):
    result = framework.api.calibrate(framework.build(MLP, weights(MLP)), given(framework, MLP))
    with pytest.warns(DeprecationWarning, match="result.model"):
        model, same = result
    assert model is result.model
    assert same is result


def test_a_model_changes_in_place_or_not_at_all(framework):
    model = framework.build(MLP, weights(MLP))
    changed, _ = framework.calibrated(model, given(framework, MLP))
    same = framework.weights(model, MLP)["a.weight"].tobytes() == weights(MLP)["a.weight"].tobytes()
    assert (changed is model, same) == ((True, False) if framework.in_place else (False, True))


OPTIONS = {
    "target": ({"target": 2.0}, lambda seen: std(seen["b"]), 2.0),
    "second moment": ({"statistic": "second_moment"}, lambda seen: math.sqrt(np.square(seen["b"]).mean()), 1.0),
    "head": ({"head": "target"}, lambda seen: std(seen["head"]), 1.0),
    "after the activation": ({"gain_after": True}, lambda seen: std(np.maximum(seen["b"], 0)), 1.0),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(framework, case):
    options, statistic, expected = OPTIONS[case]
    shifted = weights(MLP, b_bias=lambda bias: bias + 0.3)
    _, values = calibrated(framework, MLP, shifted, **options)
    assert statistic(computed(MLP, values, examples(MLP))) == pytest.approx(expected, rel=FLOAT32)


def test_a_bias_is_scaled_with_its_weight(framework):
    before = weights(MLP, a_bias=lambda bias: bias + np.linspace(-1, 1, bias.size))
    result, after = calibrated(framework, MLP, before)
    factor = result.factors[framework.path("a.weight")]
    np.testing.assert_allclose(after["a.bias"], before["a.bias"] * np.float64(factor), rtol=1e-5)
    assert std(computed(MLP, after, examples(MLP))["a"]) == pytest.approx(1, abs=FLOAT32)


@pytest.mark.parametrize("form", ["pattern", "several"])
def test_only_some(framework, form):
    path = framework.path("b.weight")
    result, after = calibrated(framework, MLP, only=path if form == "pattern" else [path])
    before = weights(MLP)
    assert {label for label in before if after[label].tobytes() != before[label].tobytes()} == {"b.weight"}
    assert list(result.factors) == [path]
    assert set(result.left.values()) == {"not among those asked for"}


def test_each_unit_in_mode_channel(framework):
    result, values = calibrated(framework, MLP, mode="channel")
    seen = computed(MLP, values, examples(MLP))
    for name in ("a", "b"):
        np.testing.assert_allclose(seen[name].mean(0), 0, atol=FLOAT32)
        np.testing.assert_allclose(seen[name].std(0), 1, rtol=FLOAT32)
    assert len(result.factors[framework.path("a.weight")]) == 32


def test_more_batches_are_pooled(framework):
    model = framework.build(MLP, weights(MLP))
    first, second = examples(MLP)["x"], 3 * examples(MLP, 32, 9)["x"]
    model, result = framework.calibrated(model, framework.array(first), more=[framework.array(second)])
    both = {"x": np.concatenate([first, second])}
    assert std(computed(MLP, framework.weights(model, MLP), both)["a"]) == pytest.approx(1, abs=FLOAT32)
    assert result.batch == "96,16:float32"


def test_branch_ends_get_a_share_of_the_stream(framework):
    """Two branches join the stream: each end has 1 / sqrt(2) of its std."""
    result, values = calibrated(framework, RESIDUAL)
    lines = {line.paths[0]: line for line in result.lines}
    seen = computed(RESIDUAL, values, examples(RESIDUAL))
    for number in (1, 2):
        line = lines[framework.path(f"down{number}.weight")]
        assert line.role == "branch_end"
        assert std(seen[f"down{number}"]) == pytest.approx(line.target, rel=FLOAT32)
    assert lines[framework.path("down1.weight")].target == pytest.approx(std(seen["a"]) / math.sqrt(2), rel=FLOAT32)
    _, plain = calibrated(framework, RESIDUAL, branches="target")
    assert std(computed(RESIDUAL, plain, examples(RESIDUAL))["down1"]) == pytest.approx(1, abs=FLOAT32)


def test_a_plan_carries_the_factors(framework):
    plan, model = planned(framework, CONV), framework.build(CONV, weights(CONV))
    model, result = framework.calibrated(model, given(framework, CONV), plan=plan, key=7)
    expected = framework.weights(model, CONV)
    again = framework.api.apply(framework.build(CONV, weights(CONV)), result.plan, 7)
    found = framework.weights(again, CONV)
    assert all(found[label].tobytes() == expected[label].tobytes() for label in expected)
    for name in ("a", "b"):
        row = result.plan[framework.path(f"{name}.weight")]
        assert row.factor == pytest.approx(result.factors[row.path], rel=1e-6)
    assert [dataclasses.replace(row, factor=1.0) for row in result.plan] == list(plan.rows)


def test_balance_keeps_what_the_network_computes(framework):
    batch = given(framework, MLP), framework.array(labels())
    made = []
    for balance in (False, True):
        model = framework.build(MLP, weights(MLP))
        model, result = framework.calibrated(model, batch, loss=framework.loss, balance=balance)
        made.append((result, computed(MLP, framework.weights(model, MLP), examples(MLP))["output"]))
    (plain, before), (balanced, after) = made
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)
    assert (plain.forwards, balanced.forwards) == (1, 2)
    assert all(math.isnan(line.ratio) for line in plain.lines)
    assert sum(not math.isnan(line.ratio) for line in balanced.lines) >= 2
    assert plain.factors[framework.path("a.weight")] != balanced.factors[framework.path("a.weight")]


def test_a_norm_takes_the_scale_out(framework):
    """Where a norm follows, the target is met before it: the logits do not depend on the first weight's scale."""
    loud = weights(NORM, a_weight=lambda w: 100 * w)
    first, second = (calibrated(framework, NORM, values)[1] for values in (None, loud))
    one, other = (computed(NORM, values, examples(NORM))["output"] for values in (first, second))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


# Bad arguments

BAD = {
    "mode": (ValueError, "mode = 'rows': expected one of layer, channel", {"mode": "rows"}),
    "statistic": (ValueError, "statistic = 'rms': expected one of std", {"statistic": "rms"}),
    "head": (ValueError, "head = 'zero': expected one of loss, target", {"head": "zero"}),
    "branches": (ValueError, "branches = 'zero': expected one of share, target", {"branches": "zero"}),
    "target": (ValueError, "target = 0.0: expected a number > 0", {"target": 0}),
    "no number": (TypeError, "target = 'one'", {"target": "one"}),
    "gain_after": (TypeError, "gain_after = 1: expected True or False", {"gain_after": 1}),
    "only": (TypeError, "only = 3: expected patterns", {"only": 3}),
    "nothing meant": (ValueError, "names no weight", {"only": "nothing.*"}),
    "a key alone": (ValueError, "plan = None: plan and key go together", {"key": 7}),
    "channel": (ValueError, "gain_after = True in mode 'channel'", {"mode": "channel", "gain_after": True}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused(framework, case):
    error, match, options = BAD[case]
    with pytest.raises(error, match=match):
        calibrated(framework, MLP, **options)


@pytest.mark.parametrize("case", ["no key", "channel", "a bad key"])
def test_a_plan_needs_a_key(framework, case):
    options = {"no key": {}, "channel": {"key": 7, "mode": "channel"}, "a bad key": {"key": "seven"}}[case]
    match = {"no key": "key = None: plan and key go together", "channel": "in mode 'channel'", "a bad key": "expected"}
    with pytest.raises(TypeError if case == "a bad key" else ValueError, match=match[case]):
        calibrated(framework, MLP, plan=planned(framework, MLP), **options)


FAILS = {
    "another shape": lambda framework: {"batch": framework.array(np.ones((4, 15), np.float32))},
    "other batches": lambda framework: {
        "batch": given(framework, MLP),
        "more": [framework.array(np.ones((4, 15), np.float32))],
    },
    "another plan": lambda framework: {"batch": given(framework, MLP), "plan": planned(framework, CONV), "key": 7},
}


@pytest.mark.parametrize("case", FAILS)
def test_where_anything_fails_nothing_is_changed(framework, case):
    model = framework.build(MLP, weights(MLP))
    options = FAILS[case](framework)
    with pytest.raises((ValueError, framework.api.ModelError)):
        framework.api.calibrate(model, options.pop("batch"), **options)
    found = framework.weights(model, MLP)
    assert all(found[label].tobytes() == value.tobytes() for label, value in weights(MLP).items())


def test_a_target_that_is_off_by_a_thousandth_would_be_seen(framework):
    """The mutant of the bound."""
    _, values = calibrated(framework, MLP, target=1.001)
    assert abs(std(computed(MLP, values, examples(MLP))["a"]) - 1) > FLOAT32


def test_a_plan_stands_after_a_failure_neither(framework):
    """The plan's numbers are in the model when the run fails, and are taken out again."""
    model = framework.build(MLP, weights(MLP))
    batch = framework.array(np.ones((4, 15), np.float32))
    with pytest.raises(framework.api.ModelError):
        framework.api.calibrate(model, batch, plan=planned(framework, MLP), key=7)
    found = framework.weights(model, MLP)
    assert all(found[label].tobytes() == value.tobytes() for label, value in weights(MLP).items())


def test_options_stand_under_their_names(framework):
    assert list(inspect.signature(framework.api.calibrate).parameters) == [
        *("model", "batch", "more", "mode", "statistic", "target", "head", "branches", "gain_after", "only", "plan"),
        *("key", "balance", "loss"),
    ]
