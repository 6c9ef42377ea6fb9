"""What the verbs are called with in every framework: names, kinds, defaults; and which names there are."""

import inspect

import pytest

from fanwise.graph.visitor import ModelError

KEYWORD = inspect.Parameter.KEYWORD_ONLY
VERBS = {
    "plan": "model inputs recipe * keep",
    "apply": "model plan key * only skip_loaded",
    "check": "model batch loss * optimizer plan seeds select ignore fail_on progress backward",
    "assert_healthy": "model batch loss * fail_on options",
    "calibrate": "model batch * more mode statistic target head branches gain_after only plan key balance loss",
    "fix": "model report batch * loss recipe",
    "manifest": "model plan key * seed",
    "verify": "model expected",
    "parameters": "model",
    "read": "model path",
    "run": "model inputs visitor",
}
ALONE = {
    ("torch", "check"): {"places"},  # where modules are constructed in the user's sources
    ("torch", "fix"): {"apply", "key"},
    ("keras", "fix"): {"apply", "key"},
}
"""Arguments that an adapter has besides, where `differences.MEANT` says why: JAX changes no model in place."""
DEFAULTS = {
    "plan": {"recipe": "unit", "keep": None},
    "apply": {"only": None, "skip_loaded": ()},
    "check": {"loss": None, "seeds": 3, "select": (), "ignore": (), "fail_on": "error", "backward": True},
    "assert_healthy": {"loss": None, "fail_on": "warning"},
    "calibrate": {"more": (), "mode": "layer", "statistic": "std", "target": 1.0, "head": "loss", "branches": "share"},
    "fix": {"loss": None, "recipe": "unit"},
    "manifest": {"seed": None},
    "run": {"visitor": None},
}
NAMES = {"Inputs", "ModelError", *VERBS}


def parameters_of(framework, verb):
    return inspect.signature(getattr(framework.api, verb)).parameters


@pytest.mark.parametrize("verb", VERBS)
def test_arguments_have_one_name_and_one_order(framework, verb):
    found = [name for name in parameters_of(framework, verb) if name not in ALONE.get((framework.adapter, verb), ())]
    assert found == VERBS[verb].replace("* ", "").split()


@pytest.mark.parametrize("verb", VERBS)
def test_choices_are_given_by_name(framework, verb):
    found = {name for name, one in parameters_of(framework, verb).items() if one.kind is KEYWORD}
    expected = set(VERBS[verb].partition("* ")[2].split()) - {"options"}
    assert found - ALONE.get((framework.adapter, verb), set()) == expected


@pytest.mark.parametrize("verb", DEFAULTS)
def test_defaults(framework, verb):
    found = parameters_of(framework, verb)
    assert {name: found[name].default for name in DEFAULTS[verb]} == DEFAULTS[verb]


def test_what_changes_a_model_in_place_may_mend_it_at_once(framework):
    wanted = {"apply", "key"} if framework.in_place else set()
    assert wanted == {"apply", "key"} & set(parameters_of(framework, "fix"))


def test_the_stream_of_a_model_has_one_name(framework):
    """`apply` and `manifest` take the same seed, as their third argument."""
    names = [list(parameters_of(framework, verb))[2] for verb in ("apply", "manifest")]
    assert len(set(names)) == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page(framework, verb):
    page = inspect.getdoc(getattr(framework.api, verb))
    assert "Args:" in page
    for name in parameters_of(framework, verb):
        assert f"    {name}: " in page, name
    assert verb in ("parameters", "read", "fix", "run", "manifest", "verify") or "Raises:" in page


def test_what_there_is_to_import(framework):
    assert set(framework.api.__all__) >= NAMES
    assert framework.api.ModelError is ModelError
    assert list(framework.api.__all__) == sorted(framework.api.__all__)


@pytest.mark.parametrize("name", ["Visitor", "Mending"])
def test_what_verbs_take_and_return_can_be_imported(framework, name):
    assert name in framework.api.__all__


def test_inputs_hold_named_arguments_in_a_mapping(framework):
    assert framework.api.Inputs((1,)).kwargs == {}
