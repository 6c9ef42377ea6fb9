"""Inputs in every framework: arrays, tuples, mappings, words, and how a plan and a report tell them."""

import numpy as np
import pytest

from fanwise.adapters.input_specs import parse

from .networks import MLP, PAIR, TOKENS, examples, labels, weights

FED = {"left.weight": "x", "right.weight": "z"}


def model_of(framework, network):
    return framework.build(network, weights(network))


def check_fed(framework, plan, inputs):
    """Each map of `PAIR` read its own input."""
    for label, name in FED.items():
        expected = np.square(inputs[name].astype(np.float64)).mean()
        assert plan[framework.path(label)].fed == pytest.approx(expected, rel=0.005)


def unlike():
    """Two inputs of different sizes, so that they cannot be taken for each other."""
    inputs = examples(PAIR)
    return {"x": inputs["x"], "z": 3 * inputs["z"]}


@pytest.mark.parametrize("form", ["tuple", "list", "mapping", "reversed"])
def test_two_inputs_by_place_and_by_name(framework, form):
    given = framework.given(unlike())
    forms = {"tuple": tuple(given.values()), "list": list(given.values()), "mapping": given}
    forms["reversed"] = dict(reversed(given.items()))
    check_fed(framework, framework.api.plan(model_of(framework, PAIR), forms[form]), unlike())


def test_two_inputs_in_words(framework):
    model = model_of(framework, PAIR)
    first = framework.api.plan(model, "64,16; 64,8")
    named = framework.api.plan(model, "x=64,16; z=64,8")
    assert [row.std for row in first] == [row.std for row in named]
    fed = [row for row in first if row.path in map(framework.path, FED)]
    assert [row.fed for row in fed] == [1.0, 1.0]
    assert {row.fan_in for row in fed} == {16, 8}


def test_words_are_the_same_numbers_in_every_framework(framework):
    spec = parse("64,16")[0].drawn(0)
    plan = framework.api.plan(model_of(framework, MLP), "64,16")
    seen = framework.api.check(model_of(framework, MLP), "64,16").observations[0]
    assert seen.inputs[0].second_moment == pytest.approx(np.square(spec.astype(np.float64)).mean(), rel=1e-5)
    assert plan[framework.path("a.weight")].fed == pytest.approx(seen.inputs[0].second_moment, rel=0.005)


def test_integers_in_words(framework):
    model = model_of(framework, TOKENS)
    plan = framework.api.plan(model, "64:int32[0,50)")
    assert plan[framework.path("table.table")].role == "embedding"
    assert framework.api.check(model, "64:int32[0,50)").observations[0].inputs == ()


def test_integers_given(framework):
    seen = framework.api.check(model_of(framework, TOKENS), framework.given(examples(TOKENS))["x"]).observations[0]
    table = weights(TOKENS)["table.table"].astype(np.float64)[examples(TOKENS)["x"]]
    assert seen.signals[0].second_moment == pytest.approx(np.square(table).mean(), rel=1e-4)
    assert (seen.inputs, seen.given) == ((), (None,))


def test_arguments_may_be_given_as_they_are_called(framework):
    """`Inputs` holds what the call takes: positional and named arguments."""
    given = framework.given(examples(MLP))["x"]
    inputs = framework.api.Inputs((given,))
    assert (inputs.args, dict(inputs.kwargs or {})) == ((given,), {})
    model = model_of(framework, MLP)
    assert framework.api.plan(model, inputs) == framework.api.plan(model, given)
    assert framework.api.run(model, inputs).ops


@pytest.mark.parametrize("words", ["64,16", "64,16:float32", " 64 , 16 "])
def test_a_plan_and_a_report_tell_the_words_that_they_were_given(framework, words):
    model = model_of(framework, MLP)
    assert framework.api.plan(model, words).inputs == words
    assert framework.api.check(model, words).batch == words


def test_a_plan_and_a_report_tell_shapes_and_dtypes(framework):
    given = framework.given(examples(PAIR))
    model = model_of(framework, PAIR)
    assert framework.api.plan(model, tuple(given.values())).inputs == "64,16:float32; 64,8:float32"
    assert framework.api.check(model, tuple(given.values())).batch == "64,16:float32; 64,8:float32"
    tokens = framework.api.plan(model_of(framework, TOKENS), framework.given(examples(TOKENS))["x"])
    assert tokens.inputs == "64:int32"


def test_a_plan_and_a_report_tell_names(framework):
    given = framework.given(examples(PAIR))
    assert framework.api.plan(model_of(framework, PAIR), given).inputs == "x=64,16:float32; z=64,8:float32"


BAD_WORDS = {
    "64,": "cannot be read",
    "": "cannot be read",
    "64,16:text": "dtype 'text', expected one of",
    "64:int32": "integers need a range",
    "64:int32[5,5)": "expected .* <= low < high",
    "64,16:float32[0,2)": "a range is for integers",
    "x=64,16;x=64,8": "a name comes twice",
}


@pytest.mark.parametrize("words", BAD_WORDS)
@pytest.mark.parametrize("verb", ["plan", "check", "calibrate"])
def test_words_that_cannot_be_read(framework, words, verb):
    with pytest.raises(ValueError, match=f"inputs = .*{BAD_WORDS[words]}"):
        getattr(framework.api, verb)(model_of(framework, MLP), words)


@pytest.mark.parametrize("verb", ["plan", "check", "calibrate"])
def test_what_is_no_input_is_refused(framework, verb):
    with pytest.raises(TypeError, match="inputs = object: expected"):
        getattr(framework.api, verb)(model_of(framework, MLP), object())


@pytest.mark.parametrize(
    ("error", "match", "given"), [(ValueError, "'nothing'", "nothing"), (TypeError, "recipe = 3: expected", 3)]
)
def test_recipes_that_there_are_not(framework, error, match, given):
    with pytest.raises(error, match=match):
        framework.api.plan(model_of(framework, MLP), framework.given(examples(MLP))["x"], given)


# What yields batches, and targets beside the inputs


def batches(framework):
    """Batches of inputs and classes, the first of 64."""
    for count in (64, 32):
        yield [framework.given(examples(MLP, count))["x"], framework.array(labels(count))]


SOURCES = {
    "generator": batches,
    "list": lambda framework: [tuple(batch) for batch in batches(framework)],
    "iterator": lambda framework: iter(list(batches(framework))),
    "loader": lambda framework: type("Loader", (), {"__iter__": lambda self: batches(framework)})(),
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_first_batch_of_what_yields_them(framework, source):
    model, make = model_of(framework, MLP), lambda: SOURCES[source](framework)
    first = tuple(next(batches(framework)))
    report = framework.api.check(model, make(), framework.loss)
    assert report.batch == "64,16:float32"
    assert (
        report.observations[0].loss.value
        == framework.api.check(model, first, framework.loss).observations[0].loss.value
    )
    assert framework.api.fix(model, report, make(), loss=framework.loss).rows == ()
    assert framework.api.plan(model, make()).rows == framework.api.plan(model, first[0]).rows
    assert framework.calibrated(model_of(framework, MLP), make(), loss=framework.loss)[1].batch == "64,16:float32"


@pytest.mark.parametrize("verb", ["plan", "check", "calibrate"])
def test_a_source_that_yields_nothing(framework, verb):
    with pytest.raises(ValueError, match="it yields nothing"):
        getattr(framework.api, verb)(model_of(framework, MLP), iter([]))


def test_a_target_beside_the_inputs_is_left_out_and_said(framework):
    model, x = model_of(framework, MLP), framework.given(examples(MLP))["x"]
    pair = (x, framework.array(labels())) if framework.adapter == "keras" else (x, x, framework.array(labels()))
    plan = framework.api.plan(model, pair)
    assert plan.rows == framework.api.plan(model, pair[0] if framework.adapter == "keras" else pair[:-1]).rows
    assert "without the target" in plan.inputs
    report = framework.api.check(model, pair)
    assert any("without the target" in note for note in report.notes)
    assert framework.calibrated(model, pair)[1].factors


def test_a_target_by_name_is_left_out(framework):
    model, given = model_of(framework, PAIR), framework.given(unlike())
    plan = framework.api.plan(model, given | {"target": framework.array(labels())})
    check_fed(framework, plan, unlike())
    assert "without the target" in plan.inputs
    assert "without" not in framework.api.plan(model, given).inputs
