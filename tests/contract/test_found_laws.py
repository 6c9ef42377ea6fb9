"""What every framework says of laws with a mean, of numbers from one seed, and of factors around 0."""

import numpy as np
import pytest

from .networks import MLP, NORM, TOKENS, weights
from .test_check import batch_of, checked, codes


def drawn(seed=0):
    return np.random.default_rng(seed)


def all_maps(law):
    """Every weight of the perceptron by a law of a generator and a shape; each from numbers of its own."""
    rng = drawn(7)
    return {f"{name}_weight": lambda w: law(rng, w.shape) for name in ("a", "b", "head")}


def first_cause(report):
    """Code and kind of the first finding."""
    return (report.findings[0].code, report.findings[0].kind) if report.findings else ("", "")


ONE_SIDED = {
    "U(0, 1)": lambda rng, shape: rng.random(shape),
    "U(0, 0.1)": lambda rng, shape: rng.uniform(0, 0.1, shape),
    "|N(0, 0.1²)|": lambda rng, shape: np.abs(rng.normal(0, 0.1, shape)),
    "U(-0.3, 0)": lambda rng, shape: -rng.uniform(0, 0.3, shape),
    "U(0.1, 0.3)": lambda rng, shape: rng.uniform(0.1, 0.3, shape),
    "N(0.5, 0.1²)": lambda rng, shape: rng.normal(0.5, 0.1, shape),
}


@pytest.mark.parametrize("text", ONE_SIDED)
def test_weights_with_a_mean_are_the_first_cause(framework, text):
    report = checked(framework, MLP, weights(MLP, **all_maps(ONE_SIDED[text])))
    assert first_cause(report) == ("LAW003", "mean"), str(report)
    finding = report.findings[0]
    assert {framework.path("a.weight"), framework.path("b.weight")} <= set(finding.paths)
    assert finding.fix.safe


CENTRED = {
    "U(-0.3, 0.3)": lambda rng, shape: rng.uniform(-0.3, 0.3, shape),
    "N(0, 0.25)": lambda rng, shape: rng.normal(0, 0.25, shape),
    "N(0.01, 0.25)": lambda rng, shape: rng.normal(0.01, 0.25, shape),
    "signs": lambda rng, shape: 0.2 * rng.choice([-1.0, 1.0], shape),
    "centred |N|": lambda rng, shape: np.abs(rng.normal(0, 0.4, shape)) - 0.4 * np.sqrt(2 / np.pi),
}


@pytest.mark.parametrize("text", CENTRED)
def test_centred_weights_have_no_mean(framework, text):
    report = checked(framework, MLP, weights(MLP, **all_maps(CENTRED[text])))
    assert "LAW003" not in codes(report), str(report)


def test_biases_that_centre_take_a_mean_away(framework):
    """Positive weights of the second map, and a bias that takes away what they give on average."""
    positive = weights(MLP, b_weight=lambda w: np.abs(drawn(1).normal(0, 0.25, w.shape)))
    seen = checked(framework, MLP, positive, backward=False).observations[0]
    shift = next(signal.mean for op, signal in zip(seen.trace.ops, seen.signals, strict=True) if _uses(framework, op))
    centred = positive | {"b.bias": np.full(32, -shift, np.float32)}
    assert "LAW003" in codes(checked(framework, MLP, positive))
    assert "LAW003" not in codes(checked(framework, MLP, centred))


def _uses(framework, op):
    return framework.path("b.weight") in {use.path for use in op.uses}


def test_a_layer_norm_hides_a_mean(framework):
    positive = {"a_weight": lambda w: np.abs(drawn(1).normal(0, 0.3, w.shape))}
    found = [one for one in checked(framework, NORM, weights(NORM, **positive)).findings if one.code == "LAW003"]
    assert [one.severity for one in found] in ([], ["info"])


# Numbers of one seed


def one_seed(framework):
    """Maps of several shapes whose numbers, as they are stored, begin alike, times a std of their own."""

    def law(w):
        shape = w.shape[::-1] if framework.adapter == "torch" else w.shape
        numbers = np.sqrt(2 / w.shape[0]) * drawn(3).normal(size=shape)
        return numbers.T if framework.adapter == "torch" else numbers

    return {"a_weight": law, "b_weight": law}


def test_maps_of_one_seed_are_copies_up_to_a_factor(framework):
    report = checked(framework, MLP, weights(MLP, **one_seed(framework)))
    found = [one for one in report.findings if one.code == "COP001"]
    assert [one.kind for one in found] == ["copies"], str(report)
    assert found[0].paths == (framework.path("b.weight"),)


def test_maps_of_seeds_of_their_own_are_no_copies(framework):
    assert "COP001" not in codes(checked(framework, MLP))


def test_a_factory_that_ignores_its_seed_is_told(framework):
    same = framework.factory(MLP, lambda seed: weights(MLP, 0))
    report = framework.api.check(same, batch_of(framework, MLP), framework.loss, seeds=3)
    assert first_cause(report) == ("SEE001", "seed"), str(report)
    assert report.findings[0].severity == "warning"
    own = framework.factory(MLP, lambda seed: weights(MLP, seed))
    assert "SEE001" not in codes(framework.api.check(own, batch_of(framework, MLP), framework.loss, seeds=2))
    assert "SEE001" not in codes(framework.api.check(same, batch_of(framework, MLP), framework.loss, seeds=1))


# Factors of norms, rows of tables


NORMS = {
    "zero": (lambda scale: 0 * scale, True),
    "random signs": (lambda scale: drawn(2).normal(0, 0.02, scale.shape), True),
    "around one": (lambda scale: drawn(2).normal(1, 0.02, scale.shape), False),
    "two": (lambda scale: 2 * scale, False),
}


@pytest.mark.parametrize("name", NORMS)
def test_factors_of_norms(framework, name):
    change, sick = NORMS[name]
    report = checked(framework, NORM, weights(NORM, n_scale=change))
    if sick:
        assert first_cause(report) == ("FAC002", "norm_factor"), str(report)
        assert report.findings[0].place == framework.path("n.scale")
    else:
        assert "FAC002" not in codes(report)


@pytest.mark.parametrize("value", [1e3, 7e8, 1e-30])
def test_factors_that_no_author_writes(framework, value):
    report = checked(framework, NORM, weights(NORM, n_scale=lambda scale: scale * value))
    assert first_cause(report)[0] == "FAC001", str(report)
    assert first_cause(report)[1] == ("factor" if value == 1e3 else "skipped_init")
    assert report.findings[0].place == framework.path("n.scale")


def test_equal_rows_of_a_table(framework):
    report = checked(framework, TOKENS, weights(TOKENS, table_table=lambda t: np.tile(t[:1], (len(t), 1))))
    assert first_cause(report) == ("EQU001", "equal_rows"), str(report)
    assert report.findings[0].place == framework.path("table.table")
    padded = weights(TOKENS, table_table=lambda t: np.where(np.arange(len(t))[:, None] < 2, 0, t))
    assert "EQU001" not in codes(checked(framework, TOKENS, padded))
    assert "EQU001" not in codes(checked(framework, TOKENS))


def test_a_half_of_the_units_that_biases_switch_off(framework):
    half = weights(MLP, b_bias=lambda b: np.where(np.arange(b.size) < b.size // 2, -30.0, b))
    report = checked(framework, MLP, half)
    assert first_cause(report) == ("BIA001", "bias"), str(report)
    assert report.findings[0].place == framework.path("b.bias")
    few = weights(MLP, b_bias=lambda b: np.where(np.arange(b.size) < 4, -30.0, b))
    assert "BIA001" not in codes(checked(framework, MLP, few))
