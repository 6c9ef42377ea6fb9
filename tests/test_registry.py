"""The registry of the zoo: what a name, a family, a split and a planted break promise, in each framework."""

from typing import get_args

import pytest

from bench.false_alarms import SEEN_AS
from fanwise.check.rules.causes import CAUSES
from zoo.model import FAMILIES, Framework, Model, Use
from zoo.registry import models

pytestmark = pytest.mark.slow  # all frameworks, and every model of transformers, are imported
PACKAGES = {"torch": ("torch", "transformers"), "jax": ("jax", "flax", "equinox"), "keras": ("keras", "torch")}
JUDGED = {
    "torch": {"tuned": (343, 204), "held_out": (64, 48), "reports": (14, 22), "unseen": (49, 0)},
    "jax": {"tuned": (39, 103), "reports": (6, 5), "unseen": (11, 0)},
    "keras": {"tuned": (47, 111), "reports": (3, 4), "unseen": (10, 0)},
}
"""Healthy and broken models by split, as docs/check.md, docs/jax.md and docs/keras.md count them."""
TINY = {"torch": 118, "jax": 24, "keras": 21}


@pytest.fixture(params=get_args(Framework))
def framework(request):
    """A framework, where its packages are there."""
    for package in PACKAGES[request.param]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    return request.param


def every(framework: Framework) -> list[Model]:
    return [model for use in get_args(Use) for model in models(framework, use).values()]


def test_the_judged_are_as_many_as_the_docs_say(framework):
    for split, counts in JUDGED[framework].items():
        rows = [model for model in models(framework).values() if model.split == split]
        broken = sum(model.planted is not None for model in rows)
        assert (len(rows) - broken, broken) == counts
    assert {model.split for model in models(framework).values()} == set(JUDGED[framework])
    assert len(models(framework, "structure")) == TINY[framework]


def test_every_use_has_models_in_some_framework(framework):
    uses = {model.use for model in every(framework)}
    assert uses == (set(get_args(Use)) if framework == "torch" else {"check", "structure", "families"})


def test_a_model_is_filed_under_its_name_its_framework_and_a_known_family(framework):
    for use in get_args(Use):
        for name, model in models(framework, use).items():
            assert (model.name, model.framework, model.use) == (name, framework, use)
            assert model.family in FAMILIES, name


def test_only_the_judged_belong_to_a_split(framework):
    assert all((model.split is not None) == (model.use == "check") for model in every(framework))


def test_a_break_is_of_a_kind_that_the_check_can_name_and_has_a_healthy_base(framework):
    judged = models(framework)
    for model in every(framework):
        if model.planted is None:
            assert model.place is None, model.name
            assert model.base is None, model.name
            continue
        assert set(SEEN_AS[model.planted]) <= set(CAUSES), model.name
        base = judged[model.base]
        assert base.planted is None, model.name
        assert (base.split, base.family) == (model.split, model.family), model.name
        assert model.name.startswith(f"{base.name}-{model.planted}"), model.name


def test_the_registry_is_read_only(framework):
    with pytest.raises(TypeError):
        models(framework)["new"] = None
    assert models(framework) is models(framework)


def test_two_models_of_one_name_are_refused(monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    from zoo.torch import wide  # noqa: PLC0415

    monkeypatch.setattr(wide, "MODELS", (wide.MODELS[0], wide.MODELS[0]))
    with pytest.raises(ValueError, match="two models of torch for 'theory' have the name 'MLP'"):
        models.__wrapped__("torch", "theory")
