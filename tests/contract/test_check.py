"""`check` and `assert_healthy` in every framework: signals and gradients by hand, sick networks, seeds, what stays."""

import json
import math

import numpy as np
import pytest

from .frameworks import planned
from .networks import BATCH, CLASSES, CONV, MLP, NETWORKS, NORM, computed, examples, labels, weights


def batch_of(framework, network):
    """Inputs and classes."""
    return *framework.given(examples(network)).values(), framework.array(labels())


def checked(framework, network, values=None, **options):
    model = framework.build(network, weights(network) if values is None else values)
    return framework.api.check(model, batch_of(framework, network), framework.loss, **options)


def codes(report):
    return {one.code for finding in report.findings for one in finding.walk() if one.severity != "info"}


def bits(framework, model, network):
    return {label: value.tobytes() for label, value in framework.weights(model, network).items()}


# What is measured


def by_hand(values):
    """Mean squared gradients of the cross-entropy of `MLP`, at what each map gives and at each weight."""
    wide = {label: value.astype(np.float64) for label, value in values.items()}
    seen, classes = computed(MLP, values, examples(MLP)), labels()
    shares = np.exp(seen["head"] - seen["head"].max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    loss = -np.log(shares[np.arange(BATCH), classes]).mean()
    at_head = (shares - np.eye(CLASSES)[classes]) / BATCH
    at_b = at_head @ wide["head.weight"].T * (seen["b"] > 0)
    at_a = at_b @ wide["b.weight"].T * (seen["a"] > 0)
    signals = {"a": at_a, "b": at_b, "head": at_head}
    maps = {f"{name}.weight": seen[f"{name}.in"].T @ signal for name, signal in signals.items()}
    return loss, signals, maps | {f"{name}.bias": signal.sum(0) for name, signal in signals.items()}


def test_the_loss_and_the_gradients_are_those_of_a_backward_pass_by_hand(framework):
    values = weights(MLP)
    loss, signals, parameters = by_hand(values)
    seen = checked(framework, MLP, values).observations[0]
    assert seen.loss.value == pytest.approx(loss, rel=1e-5)
    assert (seen.loss.chance, seen.loss.classes, seen.loss.drawn, seen.loss.probe) == (math.log(10), 10, False, False)
    for label, gradient in parameters.items():
        found = seen.values[framework.path(label)]
        assert found.reached
        assert found.gradient == pytest.approx(np.square(gradient).mean(), rel=1e-4), label
    for name, gradient in signals.items():
        assert signal_of(framework, seen, name).gradient == pytest.approx(np.square(gradient).mean(), rel=1e-4), name


def signal_of(framework, seen, name):
    """What a map gave: of the last op that uses its weight or bias and gives the map's output."""
    paths = {framework.path(f"{name}.weight"), framework.path(f"{name}.bias")}
    return seen.signals[[op.index for op in seen.trace.ops if paths & {use.path for use in op.uses}][-1]]


@pytest.mark.parametrize("name", NETWORKS)
def test_signals_are_those_of_the_maps(framework, name):
    network = NETWORKS[name]
    values = weights(network)
    given, expected = examples(network), computed(network, values, examples(network))
    seen = checked(framework, network, values, backward=False).observations[0]
    for layer in [label.split(".")[0] for label in values if label.endswith("weight")]:
        signal, array = signal_of(framework, seen, layer), expected[layer]
        assert signal.second_moment == pytest.approx(np.square(array).mean(), rel=1e-5), layer
        assert signal.mean == pytest.approx(array.mean(), abs=1e-5), layer
    assert seen.inputs[0].second_moment == pytest.approx(np.square(given["x"]).mean(), rel=1e-5)
    assert seen.outputs.second_moment == pytest.approx(np.square(expected["output"]).mean(), rel=1e-4)


def test_the_share_of_silent_units_and_zeros(framework):
    """A bias far below 0 silences a quarter of the units; the others are 0 where they are negative."""
    values = weights(MLP, b_bias=lambda bias: np.where(np.arange(bias.size) < bias.size // 4, -1e3, bias))
    seen = checked(framework, MLP, values, backward=False).observations[0]
    second = [signal for op, signal in zip(seen.trace.ops, seen.signals, strict=True) if op.kind == "activation"][1]
    assert second.silent == 0.25
    assert second.zeros == pytest.approx((computed(MLP, values, examples(MLP))["b"] <= 0).mean())


def test_without_a_backward_pass(framework):
    report = checked(framework, MLP, backward=False)
    seen = report.observations[0]
    assert all(math.isnan(signal.gradient) for signal in seen.signals)
    assert not any(value.reached for value in seen.values.values())
    assert not seen.backward
    assert any("backward pass was left out" in note for note in report.notes)


def test_without_a_backward_pass_no_loss_is_told(framework):
    """As `Observation.loss` says."""
    assert checked(framework, MLP, backward=False).observations[0].loss is None


# What is found


@pytest.mark.parametrize("name", NETWORKS)
def test_healthy_networks(framework, name):
    report = checked(framework, NETWORKS[name], fail_on="warning")
    assert report.ok, str(report)
    assert codes(report) == set()


SICK = {
    "ZER001": ("b.weight", lambda w: 0 * w),
    "CON001": ("b.weight", lambda w: 0 * w + 0.1),
    "EQU001": ("b.weight", lambda w: np.tile(w[:, :1], (1, 32))),
    "NAN001": ("b.weight", lambda w: np.where(np.arange(w.size).reshape(w.shape) == 70, np.nan, w)),
    "LOS001": ("head.weight", lambda w: 300 * w),
    "DEA001": ("b.bias", lambda b: b - 100),
    "LAY001": ("b.weight", lambda w: 1e-4 * w),
}


@pytest.mark.parametrize("code", SICK)
def test_sick_networks(framework, code):
    label, change = SICK[code]
    report = checked(framework, MLP, weights(MLP, **{label.replace(".", "_"): change}))
    found = [one for finding in report.findings for one in finding.walk() if one.code == code]
    assert found, str(report)
    if label.endswith("weight") and code != "LOS001":
        assert framework.path(label) in found[0].paths
    if code not in ("LAY001", "DEA001"):
        assert not report.ok


def test_a_model_without_any_gradient(framework):
    """The last hidden layer is shut for every example: the head reads zeros, its bias alone learns."""
    report = checked(framework, MLP, weights(MLP, b_bias=lambda b: b - 100))
    (stuck,) = [one for finding in report.findings for one in finding.walk() if one.code == "GRD003"]
    assert stuck.place == framework.path("b.weight")
    assert not report.ok
    assert "GRD003" not in codes(checked(framework, MLP, weights(MLP, head_weight=lambda w: 0 * w)))


@pytest.mark.parametrize(("optimizer", "code"), [("sgd:1e4", {"UPD001"}), ("sgd:1e-2", set()), ("adam:1e-3", set())])
def test_an_optimizer_is_judged(framework, optimizer, code):
    assert codes(checked(framework, MLP, optimizer=optimizer)) & {"UPD001"} == code


def test_weights_are_compared_with_a_plan(framework):
    plan = planned(framework, MLP)
    model = framework.build(MLP, weights(MLP, b_weight=lambda w: 4 * w))
    model = framework.api.apply(model, plan, 0, only=[framework.path(f"{name}.weight") for name in ("a", "head")])
    report = framework.api.check(model, batch_of(framework, MLP), framework.loss, plan=plan, seeds=1)
    (found,) = [one for finding in report.findings for one in finding.walk() if one.code == "PLN001"]
    assert found.paths == (framework.path("b.weight"),)


def test_select_ignore_and_fail_on(framework):
    loud = weights(MLP, head_weight=lambda w: 300 * w)
    assert codes(checked(framework, MLP, loud, select=["LOS"])) == {"LOS001"}
    assert "LOS001" not in codes(checked(framework, MLP, loud, ignore=["LOS001"]))
    small = weights(MLP, b_weight=lambda w: 1e-4 * w)
    assert checked(framework, MLP, small, select=["LAY"]).ok
    assert not checked(framework, MLP, small, select=["LAY"], fail_on="warning").ok


def test_what_the_report_says_of_its_run(framework):
    report = checked(framework, MLP)
    assert report.framework.startswith(f"{framework.adapter} ")
    assert report.batch == f"{BATCH},16:float32"
    assert report.parameters == 16 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10
    assert report.weights == (3, 3)
    assert report.model
    assert [layer.op for layer in report.layers] == sorted(layer.op for layer in report.layers)
    assert len(report.layers) == 3
    assert json.loads(report.to_json())["batch"] == report.batch
    assert json.loads(report.to_sarif())["version"] == "2.1.0"


# Seeds, and what stays


def test_a_model_is_judged_as_it_is_found(framework):
    assert [seen.seed for seen in checked(framework, MLP).observations] == [None]


def test_a_factory_is_called_once_a_seed(framework):
    factory = framework.factory(MLP, lambda seed: weights(MLP, seed))
    report = framework.api.check(factory, batch_of(framework, MLP), framework.loss, seeds=2)
    assert [seen.seed for seen in report.observations] == [0, 1]
    first, second = (seen.values[framework.path("a.weight")].second_moment for seen in report.observations)
    assert first != second
    again = framework.api.check(factory, batch_of(framework, MLP), framework.loss, seeds=1)
    assert again.observations[0].values[framework.path("a.weight")].second_moment == first


def test_under_a_plan_the_later_seeds_are_drawn_and_the_model_stays(framework):
    model = framework.build(MLP, weights(MLP))
    before, plan = bits(framework, model, MLP), planned(framework, MLP)
    report = framework.api.check(model, batch_of(framework, MLP), framework.loss, plan=plan, seeds=3)
    assert [seen.seed for seen in report.observations] == [None, 1, 2]
    assert bits(framework, model, MLP) == before
    drawn = framework.weights(framework.api.apply(framework.build(MLP, weights(MLP)), plan, 2), MLP)["a.weight"]
    found = report.observations[2].values[framework.path("a.weight")].second_moment
    assert found == pytest.approx(np.square(drawn.astype(np.float64)).mean(), rel=1e-5)


def test_progress_is_told(framework):
    told = []
    checked(framework, MLP, progress=told.append)
    assert told == ["forward and backward"]


def test_progress_is_told_of_each_seed(framework):
    told, factory = [], framework.factory(MLP, lambda seed: weights(MLP, seed))
    framework.api.check(factory, batch_of(framework, MLP), framework.loss, seeds=2, progress=told.append)
    assert told == [f"seed {seed}: {what}" for seed in (0, 1) for what in ("build", "forward and backward")]


@pytest.mark.parametrize("name", ["conv", "norm", "residual"])
def test_a_run_leaves_the_model_as_it_was(framework, name):
    network = NETWORKS[name]
    model = framework.build(network, weights(network))
    before, batch = bits(framework, model, network), batch_of(framework, network)
    plan = framework.api.plan(model, *batch[:-1])
    report = framework.api.check(model, batch, framework.loss, plan=plan, seeds=2)
    framework.api.fix(model, report, batch, loss=framework.loss)
    framework.api.manifest(model, plan, 0)
    framework.api.verify(model, framework.api.manifest(model, plan, 0))
    assert bits(framework, model, network) == before


def test_the_batch_stays(framework):
    batch = batch_of(framework, MLP)
    before = [np.array(part).tobytes() for part in batch]
    framework.api.check(framework.build(MLP, weights(MLP)), batch, framework.loss)
    assert [np.array(part).tobytes() for part in batch] == before


# Bad arguments


BAD = {
    "seeds of 0": (ValueError, "seeds = 0", {"seeds": 0}),
    "a fraction": (TypeError, "seeds = 1.5", {"seeds": 1.5}),
    "severity": (ValueError, "fail_on = 'never': expected one of error, warning, info", {"fail_on": "never"}),
    "code": (ValueError, "XYZ", {"select": ["XYZ"]}),
    "ignored code": (ValueError, "XYZ", {"ignore": ["XYZ"]}),
    "optimizer": (ValueError, "optimizer = 'nadam': expected one of sgd", {"optimizer": "nadam:1"}),
    "rate": (ValueError, "expected a learning rate", {"optimizer": "sgd"}),
    "no optimizer": (TypeError, "optimizer = 3: expected", {"optimizer": 3}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused(framework, case):
    error, match, options = BAD[case]
    with pytest.raises(error, match=match):
        checked(framework, MLP, **options)


@pytest.mark.parametrize("verb", ["plan", "check", "calibrate", "parameters"])
def test_what_is_no_model_is_refused(framework, verb):
    batch = framework.given(examples(MLP))["x"]
    with pytest.raises(TypeError, match="expected"):
        getattr(framework.api, verb)(3, *([] if verb == "parameters" else [batch]))


def test_a_factory_that_makes_no_model_is_refused(framework):
    with pytest.raises(TypeError, match="made int: expected"):
        framework.api.check(lambda *key: 3, framework.given(examples(MLP))["x"])


@pytest.mark.parametrize("verb", ["plan", "check", "calibrate"])
def test_a_model_that_cannot_be_run_on_the_batch(framework, verb):
    model = framework.build(MLP, weights(MLP))
    with pytest.raises(framework.api.ModelError, match="on these inputs"):
        getattr(framework.api, verb)(model, framework.array(np.ones((4, 15), np.float32)))
    assert issubclass(framework.api.ModelError, RuntimeError)


# assert_healthy


def test_assert_healthy(framework):
    batch = batch_of(framework, NORM)
    report = framework.api.assert_healthy(framework.build(NORM, weights(NORM)), batch, framework.loss)
    assert report.ok
    loud = framework.build(CONV, weights(CONV, head_weight=lambda w: 300 * w))
    with pytest.raises(AssertionError, match=r"not healthy at step zero\n(.|\n)*LOS001"):
        framework.api.assert_healthy(loud, batch_of(framework, CONV), framework.loss)
    assert framework.api.assert_healthy(loud, batch_of(framework, CONV), framework.loss, select=["NAN"]).ok


def test_assert_healthy_minds_warnings_unless_told_otherwise(framework):
    small, batch = framework.build(MLP, weights(MLP, b_weight=lambda w: 1e-4 * w)), batch_of(framework, MLP)
    with pytest.raises(AssertionError, match="LAY001"):
        framework.api.assert_healthy(small, batch, framework.loss, select=["LAY"])
    assert framework.api.assert_healthy(small, batch, framework.loss, select=["LAY"], fail_on="error").findings


# Optimizers


def optimizers_of(framework, rate):
    """The same optimizer as an object, and others in words."""
    if framework.adapter == "torch":
        import torch  # noqa: PLC0415

        return [torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=rate), f"adam:{rate}", f"lion:{rate}"]
    if framework.adapter == "jax":
        optax = pytest.importorskip("optax")
        return [optax.chain(optax.clip(1e6), optax.adam(rate)), f"adam:{rate}", f"lion:{rate}"]
    import keras  # noqa: PLC0415

    return [keras.optimizers.Adam(rate), f"adam:{rate}", f"lion:{rate}"]


@pytest.mark.parametrize(("rate", "found"), [(1.0, True), (1e-3, False)])
def test_an_optimizer_is_taken_as_an_object(framework, rate, found):
    for optimizer in optimizers_of(framework, rate):
        assert ("UPD001" in codes(checked(framework, MLP, optimizer=optimizer))) == found, optimizer


@pytest.mark.parametrize(("optimizer", "found"), [("muon:10", True), ("muon:0.02", False), ("adafactor:0.01", False)])
def test_optimizers_by_their_published_rules(framework, optimizer, found):
    """Muon at 10: rms 10 / sqrt(fan_in) on weights of std sqrt(2 / fan_in) is 7 times their size."""
    assert ("UPD001" in codes(checked(framework, MLP, optimizer=optimizer))) == found


def test_a_near_miss_of_an_optimizer(framework):
    with pytest.raises(ValueError, match=r"optimizer = 'adma': expected one of sgd.* did you mean 'adam'"):
        checked(framework, MLP, optimizer="adma:1e-3")
