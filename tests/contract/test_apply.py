"""`apply`, `read` and `write` in every framework: which bits, in which parameters, and what stays."""

import dataclasses

import numpy as np
import pytest

import fanwise
from fanwise import Key

from .frameworks import planned
from .networks import CONV, MLP, NORM, TOKENS, shapes, weights

NETWORKS = {network.name: network for network in (MLP, CONV, NORM, TOKENS)}


def started(framework, network):
    """A model and its plan."""
    return framework.build(network, weights(network)), planned(framework, network)


def bits(framework, model, network):
    return {label: value.tobytes() for label, value in framework.weights(model, network).items()}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


def test_a_parameter_is_what_its_law_draws_under_its_path(framework, network):
    model, plan = started(framework, network)
    model = framework.api.apply(model, plan, 7)
    for row in plan:
        expected = row.law(row.shape, key=Key(7).child(row.path), layout=row.layout)
        assert framework.api.read(model, row.path).tobytes() == expected.tobytes(), row.path


def shared(framework, plan, network):
    """The plan with one stream and one order for every framework."""
    names = {framework.path(label): label for label in shapes(network)}
    rows = [dataclasses.replace(row, stream=names[row.path], order="canonical") for row in plan]
    return dataclasses.replace(plan, rows=rows)


def test_one_stream_gives_the_same_numbers_however_they_are_stored(framework, network):
    model, plan = started(framework, network)
    plan = shared(framework, plan.edit("*", fanwise.Normal(0.3)), network)
    found = framework.weights(framework.api.apply(model, plan, 7), network)
    for label, shape in shapes(network).items():
        expected = fanwise.Normal(0.3)(shape, key=Key(7).child(label))
        assert found[label].tobytes() == expected.tobytes(), label


def test_the_key_is_a_seed_or_a_key_and_has_a_name(framework):
    model, plan = started(framework, MLP)
    first = bits(framework, framework.api.apply(model, plan, 7), MLP)
    assert bits(framework, framework.api.apply(model, plan, key=Key(7)), MLP) == first
    other = bits(framework, framework.api.apply(model, plan, 8), MLP)
    assert all((other[label] == first[label]) == label.endswith("bias") for label in first)


@pytest.mark.parametrize("choice", ["only", "several", "skip_loaded"])
def test_what_is_not_meant_stays(framework, choice):
    model, plan = started(framework, MLP)
    before, path = bits(framework, model, MLP), framework.path("b.weight")
    others = tuple(framework.path(label) for label in before if label != "b.weight")
    options = {
        "only": {"only": path.replace("b", "[b]", 1)},
        "several": {"only": [path, framework.path("b.bias")]},
        "skip_loaded": {"skip_loaded": others},
    }
    changed = bits(framework, framework.api.apply(model, plan, 7, **options[choice]), MLP)
    assert {label for label in before if changed[label] != before[label]} == {"b.weight"}


def test_a_law_that_is_none_leaves_a_parameter(framework):
    model, plan = started(framework, MLP)
    before = bits(framework, model, MLP)
    changed = bits(framework, framework.api.apply(model, plan.edit(framework.path("a.weight"), None), 7), MLP)
    assert changed["a.weight"] == before["a.weight"]
    assert changed["b.weight"] != before["b.weight"]


def test_the_model_comes_back_in_its_form(framework):
    model, plan = started(framework, MLP)
    before = bits(framework, model, MLP)
    made = framework.api.apply(model, plan, 7)
    assert type(made) is type(model)
    if framework.in_place:
        assert made is model
    else:
        assert bits(framework, model, MLP) == before


def test_read_gives_a_copy(framework):
    model, path = framework.build(MLP, weights(MLP)), framework.path("a.weight")
    found = framework.api.read(model, path)
    found[:] = 0
    assert framework.api.read(model, path).all()
    assert found.dtype == np.float32
    with pytest.raises(KeyError, match=r"no parameter 'nothing'"):
        framework.api.read(model, "nothing")


BAD = {
    "no plan": (TypeError, "plan = int: expected a fanwise Plan", lambda f, plan: (3, 0, {})),
    "no key": (TypeError, "expected", lambda f, plan: (plan, "seed", {})),
    "a fraction": (TypeError, r"0\.5", lambda f, plan: (plan, 0.5, {})),
    "a truth value": (TypeError, "True", lambda f, plan: (plan, True, {})),
    "nothing": (TypeError, "expected", lambda f, plan: (plan, None, {})),
    "a generator": (TypeError, "expected", lambda f, plan: (plan, np.random.default_rng(0), {})),
    "a negative seed": (ValueError, r"expected an integer in \[0, 2\*\*128\)", lambda f, plan: (plan, -1, {})),
    "nothing meant": (
        ValueError,
        "only = 'nothing' matches no parameter",
        lambda f, plan: (plan, 0, {"only": "nothing"}),
    ),
    "no name": (TypeError, "only = 3: expected names", lambda f, plan: (plan, 0, {"only": 3})),
    "nothing loaded": (ValueError, "skip_loaded: none of", lambda f, plan: (plan, 0, {"skip_loaded": ["nothing"]})),
    "too large": (
        ValueError,
        "b.(weight|kernel)",
        lambda f, plan: (plan.edit(f.path("b.weight"), fanwise.Normal(1e38)), 0, {}),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_and_change_nothing(framework, case):
    error, match, make = BAD[case]
    model, plan = started(framework, MLP)
    before = bits(framework, model, MLP)
    made, key, options = make(framework, plan)
    with pytest.raises(error, match=match):
        framework.api.apply(model, made, key, **options)
    assert bits(framework, model, MLP) == before


def test_a_plan_for_another_model_is_refused_with_all_that_differs(framework):
    model, _ = started(framework, MLP)
    _, plan = started(framework, CONV)
    before = bits(framework, model, MLP)
    with pytest.raises(ValueError, match="the plan is for another model, differences: 3") as caught:
        framework.api.apply(model, plan, 0)
    assert f"{framework.path('b.weight')}: shape (32, 32) in the model" in str(caught.value)
    assert framework.path("a.weight") in str(caught.value)
    assert bits(framework, model, MLP) == before
