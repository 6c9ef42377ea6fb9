"""`plan` in every framework: roles and fans by hand, stds by formula."""

import math

import numpy as np
import pytest

import fanwise
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.registry import recipe as recipe_of

from .frameworks import planned
from .networks import BATCH, CONV, MLP, NETWORKS, NORM, RESIDUAL, TOKENS, computed, examples, shapes, weights

ROLES = {
    "mlp": {"a": "weight", "b": "weight", "head": "head"},
    "conv": {"a": "weight", "b": "weight", "head": "head"},
    "norm": {"a": "weight", "head": "head"},
    "residual": {
        "a": "weight",
        "up1": "weight",
        "down1": "branch_end",
        "up2": "weight",
        "down2": "branch_end",
        "head": "head",
    },
}
FANS = {
    "mlp": {"a": (16, 32), "b": (32, 32), "head": (32, 10)},
    "conv": {"a": (9 * 3, 9 * 16), "b": (9 * 16, 9 * 32), "head": (32, 10)},
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


def test_every_parameter_has_one_row_in_the_model_s_order(framework, network):
    model = framework.build(network, weights(network))
    rows = planned(framework, network).rows
    assert [row.path for row in rows] == [one.path for one in framework.api.parameters(model)]
    assert {row.path for row in rows} == {framework.path(label) for label in shapes(network)}
    assert all(row.dtype == "float32" and row.law is not None and not row.aliases for row in rows)


def test_parameters_are_told_as_they_are_stored(framework, network):
    values = weights(network)
    found = {one.path: one for one in framework.api.parameters(framework.build(network, values))}
    for label, value in values.items():
        one = found[framework.path(label)]
        assert one.shape == framework.stored(label, value).shape
        assert (one.dtype, one.trained) == ("float32", True)


def test_roles(framework, network):
    plan = planned(framework, network)
    for name, role in ROLES[network.name].items():
        assert plan[framework.path(f"{name}.weight")].role == role
        assert plan[framework.path(f"{name}.bias")].role == ("head_bias" if role == "head" else "bias")
    for label in (label for label in shapes(network) if label.endswith("scale")):
        assert plan[framework.path(label)].role == "norm_scale"


@pytest.mark.parametrize("name", FANS)
def test_fans_are_those_counted_by_hand(framework, name):
    plan = planned(framework, NETWORKS[name])
    for layer, fans in FANS[name].items():
        assert [(one.fan_in, one.fan_out) for one in plan[framework.path(f"{layer}.weight")].fans] == [fans]


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_first_map_gives_unit_second_moment_from_what_the_batch_holds(framework, scale):
    row = planned(framework, MLP, scale=scale)[framework.path("a.weight")]
    fed = np.square(scale * examples(MLP)["x"].astype(np.float64)).mean()
    assert row.fed == pytest.approx(fed, rel=0.005)  # three digits of it
    assert row.std == pytest.approx(1 / math.sqrt(16 * fed), rel=0.0025)
    assert row.gives == 1


def test_a_map_s_std_follows_from_what_feeds_it_and_what_it_gives(framework, network):
    plan = planned(framework, network)
    for name in ROLES[network.name]:
        row = plan[framework.path(f"{name}.weight")]
        assert row.std**2 * row.fan_in * row.fed == pytest.approx(row.gives, rel=0.001)


def test_the_head_starts_two_percent_above_the_loss_of_a_guess(framework, network):
    """Logits of variance v start v / 2 above ln 10."""
    row = planned(framework, network)[framework.path("head.weight")]
    assert row.gives == pytest.approx(2 * 0.02 * math.log(10), rel=0.001)


def test_what_feeds_each_map_is_what_the_planned_network_computes(framework, network):
    plan, ratios = planned(framework, network), {name: [] for name in ROLES[network.name]}
    model = framework.build(network, weights(network))
    for seed in range(8):
        model = framework.api.apply(model, plan, seed)
        seen = computed(network, framework.weights(model, network), examples(network))
        for name, found in ratios.items():
            found.append(np.square(seen[f"{name}.in"]).mean() / plan[framework.path(f"{name}.weight")].fed)
    for name, found in ratios.items():
        # one draw of 32 units is known to 20 %, of pooled ones to 40 %, and so is the draw that the plan measured
        assert 0.4 < np.mean(found) < 2.5, name


FORMULAS = {
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "lecun": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
    "glorot": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "gpt2": lambda fan_in, fan_out: 0.02,
}


@pytest.mark.parametrize("recipe", FORMULAS)
@pytest.mark.parametrize("name", FANS)
def test_published_recipes_by_their_formula(framework, recipe, name):
    plan = planned(framework, NETWORKS[name], recipe)
    assert plan.recipe == recipe
    row = plan[framework.path("b.weight")]
    assert row.std == pytest.approx(FORMULAS[recipe](*FANS[name]["b"]), rel=1e-6)
    assert plan[framework.path("b.bias")].std == 0


def test_a_recipe_may_be_a_value(framework):
    assert planned.__wrapped__(framework, MLP, recipe_of("he")).rows == planned(framework, MLP, "he").rows


def test_branch_ends_get_a_share_of_the_stream(framework):
    """Two branches join the stream: each end gives half of what it joins."""
    plan = planned(framework, RESIDUAL)
    first, second = (plan[framework.path(f"down{number}.weight")] for number in (1, 2))
    assert second.gives == pytest.approx((1 + 1 / 2) * first.gives, rel=0.1)
    assert first.gives == pytest.approx(1 / 2, rel=0.25)


def test_a_table_is_looked_up(framework):
    row = planned(framework, TOKENS)[framework.path("table.table")]
    assert (row.role, row.op, row.fan_in) == ("embedding", "embedding", 1)


def test_what_the_plan_is_of(framework):
    plan = planned(framework, MLP)
    assert plan.framework.startswith(f"{framework.adapter} ")
    assert plan.inputs == f"{BATCH},16:float32"


@pytest.mark.parametrize("network", [MLP, CONV, NORM], ids=lambda network: network.name)
def test_two_plans_are_equal_and_a_file_keeps_one(framework, network):
    plan = planned(framework, network)
    assert planned.__wrapped__(framework, network) == plan
    assert Plan.from_toml(plan.to_toml()) == plan


def test_an_edited_plan_is_applied(framework):
    plan = planned(framework, MLP).edit(framework.path("b.weight"), fanwise.zeros)
    model = framework.api.apply(framework.build(MLP, weights(MLP)), plan, 0)
    found = framework.weights(model, MLP)
    assert not found["b.weight"].any()
    assert found["a.weight"].all()
