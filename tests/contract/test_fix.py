"""`fix` in every framework: which parameters, in words, as a plan and as code; nothing else."""

import math

import numpy as np
import pytest

from .networks import CONV, MLP, NORM, TOKENS, WIDTH, Dense, Network, Relu, computed, examples, labels, weights


def batch_of(framework, network):
    return framework.given(examples(network))["x"], framework.array(labels())


def sick(framework, network=MLP):
    """A model with a head that is 300 times too loud, and the report on it."""
    model = framework.build(network, weights(network, head_weight=lambda w: 300 * w))
    return model, framework.api.check(model, batch_of(framework, network), framework.loss)


@pytest.mark.parametrize("network", [MLP, CONV], ids=lambda network: network.name)
def test_the_weight_that_is_at_fault_is_drawn_anew(framework, network):
    model, report = sick(framework, network)
    found = framework.api.fix(model, report, batch_of(framework, network), loss=framework.loss)
    path = framework.path("head.weight")
    assert [row.path for row in found.rows] == [path]
    assert found.rows[0].before == pytest.approx(np.std(300 * weights(network)["head.weight"].astype(float)), rel=1e-4)
    assert found.rows[0].after == pytest.approx(found.plan[path].std)
    assert [row.path for row in found.plan if row.law is not None] == [path]
    mended = framework.api.apply(model, found.plan, key=0)
    assert framework.api.check(mended, batch_of(framework, network), framework.loss).ok


def test_the_new_law_follows_from_what_the_plan_says(framework):
    model, report = sick(framework)
    found = framework.api.fix(model, report, batch_of(framework, MLP), loss=framework.loss, recipe="he")
    assert found.plan.recipe == "he"
    assert found.rows[0].after == pytest.approx(math.sqrt(2 / 32), rel=1e-6)


def test_nothing_is_changed_and_code_is_given(framework):
    model, report = sick(framework)
    before = framework.weights(model, MLP)["head.weight"].tobytes()
    found = framework.api.fix(model, report, batch_of(framework, MLP), loss=framework.loss)
    assert framework.weights(model, MLP)["head.weight"].tobytes() == before
    compile(found.code, "fix", "exec")
    assert framework.path("head.weight") in found.code
    assert "1 parameter would be drawn anew" in str(found.table)


def test_a_healthy_model_needs_nothing(framework):
    model = framework.build(MLP, weights(MLP))
    report = framework.api.check(model, batch_of(framework, MLP), framework.loss)
    found = framework.api.fix(model, report, batch_of(framework, MLP), loss=framework.loss)
    assert not found
    assert (found.rows, found.code, len(found.plan)) == ((), "", 0)


@pytest.mark.parametrize("form", ["inputs alone", "words"])
def test_a_batch_without_a_target(framework, form):
    model, report = sick(framework)
    batch = {"inputs alone": batch_of(framework, MLP)[0], "words": "64,16"}[form]
    assert [row.path for row in framework.api.fix(model, report, batch).rows] == [framework.path("head.weight")]


def test_it_may_be_applied_at_once_where_models_change_in_place(framework):
    model, report = sick(framework)
    batch, loss = batch_of(framework, MLP), framework.loss
    if framework.in_place:
        framework.api.fix(model, report, batch, loss=loss, apply=True, key=0)
    else:
        model = framework.api.apply(model, framework.api.fix(model, report, batch, loss=loss).plan, key=0)
    assert framework.api.check(model, batch, loss).ok


def test_bad_arguments_are_refused(framework):
    model, report = sick(framework)
    batch = batch_of(framework, MLP)
    with pytest.raises(TypeError, match="report = int: expected what check returns"):
        framework.api.fix(model, 3, batch, loss=framework.loss)
    with pytest.raises(ValueError, match="'nothing'"):
        framework.api.fix(model, report, batch, loss=framework.loss, recipe="nothing")
    with pytest.raises(TypeError, match="expected"):
        framework.api.fix(3, report, batch, loss=framework.loss)


def test_a_report_on_another_model_is_refused(framework):
    other = Network("other", (Dense("c", 16, 32), Dense("last", 32, 10)), {"x": (16,)})
    model = framework.build(other, weights(other))
    with pytest.raises(ValueError, match="the report is on another model: no parameter"):
        framework.api.fix(model, sick(framework)[1], batch_of(framework, MLP), loss=framework.loss)


def test_the_mended_model_is_checked_and_nothing_else_is_touched(framework):
    model, report = sick(framework)
    before = framework.weights(model, MLP)["head.weight"].tobytes()
    found = framework.api.fix(model, report, batch_of(framework, MLP), loss=framework.loss)
    assert found.remains == ()
    assert found.cures
    assert "finds nothing" in str(found.table)
    assert framework.weights(model, MLP)["head.weight"].tobytes() == before


def test_what_follows_from_the_data_waits_for_it(framework):
    """A head that is drawn for inputs 1000 times too large does not fit them once they are normalised."""
    model = framework.build(MLP, weights(MLP, head_weight=lambda w: 300 * w))
    classes = batch_of(framework, MLP)[1]
    given = framework.array(1000 * np.asarray(examples(MLP)["x"]))
    report = framework.api.check(model, (given, classes), framework.loss)
    found = framework.api.fix(model, report, (given, classes), loss=framework.loss)
    assert (found.rows, found.code, found.cures) == ((), "", False)
    assert found.unsafe[0].startswith("normalise the inputs: x = ")
    assert any(text.endswith("only after INP001, from which LOS001 follows, is mended") for text in found.unsafe)


def test_a_head_is_planned_behind_the_layers_as_they_are(framework):
    """Those stay twice too loud each: a head for features of unit variance would start four times too loud."""
    loud = {"a_weight": lambda w: 2 * w, "b_weight": lambda w: 2 * w, "head_weight": lambda w: 100 * w}
    model = framework.build(MLP, weights(MLP, **loud))
    batch = batch_of(framework, MLP)
    report = framework.api.check(model, batch, framework.loss)
    found = framework.api.fix(model, report, batch, loss=framework.loss)
    assert [row.path for row in found.rows] == [framework.path("head.weight")]
    values = weights(MLP, **loud)
    fed = np.square(computed(MLP, values, examples(MLP))["head.in"]).mean()
    assert found.rows[0].after * math.sqrt(WIDTH * fed) < 0.5
    mended = framework.api.apply(framework.build(MLP, weights(MLP, **loud)), found.plan, key=0)
    loss = framework.api.check(mended, batch, framework.loss).observations[0].loss
    assert loss.value < 1.1 * math.log(10)


# The printed code, run and checked again


DEEP = Network(
    "deep",
    (
        *(part for i in range(10) for part in (Dense(f"d{i}", WIDTH if i else 16, WIDTH), Relu())),
        Dense("head", WIDTH, 10),
    ),
    {"x": (16,)},
)


def deep(factor):
    return {f"d{i}_weight": lambda w: factor * w for i in range(10)}


def one_seed(w):
    return math.sqrt(2 / w.shape[0]) * np.random.default_rng(3).normal(size=w.shape)


def first_zero(b):
    return np.where(np.arange(b.size) < b.size // 2, -30.0, b)


CURED = {
    "NAN001": (MLP, {"b_weight": lambda w: np.where(np.arange(w.size).reshape(w.shape) == 70, np.nan, w)}),
    "ZER001": (MLP, {"b_weight": lambda w: 0 * w}),
    "CON001": (MLP, {"b_weight": lambda w: 0 * w + 0.1}),
    "EQU001": (MLP, {"b_weight": lambda w: np.tile(w[:, :1], (1, w.shape[1]))}),
    "EQU001 of a table": (TOKENS, {"table_table": lambda t: np.tile(t[:1], (len(t), 1))}),
    "EQU001 of half a table": (TOKENS, {"table_table": lambda t: np.tile(t[:25], (2, 1))}),
    "COP001": (DEEP, {f"d{number}_weight": one_seed for number in (3, 4, 5)}),
    "LAW003": (MLP, {f"{name}_weight": lambda w: np.abs(w) for name in "ab"}),
    "FAC001": (NORM, {"n_scale": lambda scale: 1e3 * scale}),
    "FAC001 of memory": (NORM, {"n_scale": lambda scale: 7e8 * scale}),
    "FAC002": (NORM, {"n_scale": lambda s: np.random.default_rng(2).normal(0, 0.02, s.shape)}),
    "BIA001": (MLP, {"b_bias": lambda b: b - 5}),
    "BIA001 of half": (MLP, {"b_bias": first_zero}),
    "LAY001": (DEEP, {"d4_weight": lambda w: 50 * w}),
    "FWD001": (DEEP, deep(0.4)),
    "FWD002": (DEEP, deep(2.5)),
    "LAW001": (MLP, {f"{name}_weight": lambda w: math.sqrt(2) * w for name in "ab"}),
    "WGT001": (DEEP, deep(1e-3)),
    "LOS001": (MLP, {"head_weight": lambda w: 300 * w}),
}
"""Broken networks by the code that is found, as a network and functions of its weights."""


def run_code(framework, found, model, batch):
    """The model after the printed code, which torch draws in place."""
    names = {"model": model, "batch": batch[0]}
    exec(compile(found.code, "fix", "exec"), names)
    return names["model"]


def wrong(report):
    return {one.code for root in report.findings for one in root.walk() if one.severity != "info" and not one.design}


@pytest.mark.parametrize("case", CURED)
def test_the_printed_code_cures(framework, case):
    network, changes = CURED[case]
    model, batch = framework.build(network, weights(network, **changes)), batch_of(framework, network)
    report = framework.api.check(model, batch, framework.loss)
    assert case.split()[0] in wrong(report), str(report)
    found = framework.api.fix(model, report, batch, loss=framework.loss)
    assert found.cures, str(found.table)
    after = framework.api.check(run_code(framework, found, model, batch), batch, framework.loss)
    assert wrong(after) == set(), str(after)


@pytest.mark.parametrize(("trunk", "head"), [(2.0, 300), (0.5, 3e5)])
def test_a_head_behind_a_trunk_of_another_size(framework, trunk, head):
    """Ten layers, each too loud or too quiet, stay; the head alone is drawn for what they give."""
    changes = deep(trunk) | {"head_weight": lambda w: head / 10 * w}
    model, batch = framework.build(DEEP, weights(DEEP, **changes)), batch_of(framework, DEEP)
    report = framework.api.check(model, batch, framework.loss, select=["LOS001"])
    found = framework.api.fix(model, report, batch, loss=framework.loss)
    assert [row.path for row in found.rows] == [framework.path("head.weight")]
    mended = run_code(framework, found, model, batch)
    after = framework.api.check(mended, batch, framework.loss)
    assert "LOS001" not in wrong(after), str(after)
    assert after.observations[0].loss.value < 1.15 * math.log(10)


def test_what_no_parameter_mends_is_said(framework):
    """Numbers 1000 times too large enter the model: nothing to draw, one sentence in the report and in the fix."""
    model = framework.build(MLP, weights(MLP, a_weight=lambda w: w / 1000))
    batch = framework.array(1000 * np.asarray(examples(MLP)["x"])), framework.array(labels())
    report = framework.api.check(model, batch, framework.loss, select=["INP"])
    found = framework.api.fix(model, report, batch, loss=framework.loss)
    assert (found.rows, found.code, found.remains, found.cures) == ((), "", None, False)
    (said,) = found.unsafe
    given = {"x": batch[0]}
    exec(said.removeprefix("normalise the inputs: "), given)
    assert np.std(np.asarray(given["x"])) == pytest.approx(1, rel=1e-3)
    assert not framework.api.check(model, (given["x"], batch[1]), framework.loss, select=["INP"]).findings
    assert found.unsafe[0] in " ".join(str(report).split())  # whatever the width of the terminal
    assert found.unsafe[0] in " ".join(str(found.table).split())
