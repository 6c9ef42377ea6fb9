"""Attention in every spelling: one law for the queries, scores of unit variance at any length, and a true reason."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import fanwise.torch as fwt  # noqa: E402
from fanwise.laws.composite import Blocks  # noqa: E402
from fanwise.laws.elementwise import VarianceScaling  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402

from ..attentions import HAND, SIZE, SPELLINGS, WITHOUT_LAW, Scores  # noqa: E402

DRAWS = 4
CLOSE = 0.2
"""A head's variance is that of products of 16 values over 48 places or more, in at least one head and 4 draws: its
standard error is 2 to 4 %."""

every = pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.name)


def planned(spelling, places=24):
    torch.manual_seed(0)
    return fwt.plan(spelling.build(), spelling.batch(places))


def query_law(plan, spelling):
    row = plan[f"maps.{spelling.query}.weight"]
    return row, row.law.laws[0] if isinstance(row.law, Blocks) else row.law


def score_variance(spelling, plan):
    """Measured at the softmax, over draws of the plan."""
    with Scores() as scores, torch.no_grad():
        for key in range(DRAWS):
            fwt.apply(spelling.build(), plan, key)(spelling.batch(seed=key))
    return sum(scores.variances) / len(scores.variances)


@every
def test_scores_have_unit_variance(spelling):
    plan = planned(spelling)
    assert score_variance(spelling, plan) == pytest.approx(1, abs=CLOSE)
    assert Plan.from_toml(plan.to_toml()) == plan
    assert "maps.out.weight" in str(plan)


@every
def test_the_queries_make_up_for_what_the_model_leaves_out(spelling):
    row, law = query_law(planned(spelling), spelling)
    assert math.sqrt(law.scale * (row.fed or 1)) == pytest.approx(1 / spelling.std, rel=0.005)
    assert ("attention scores" in row.reason) == (spelling.std != 1)
    assert f"std {spelling.std:.3g} in this model" in row.reason or spelling.std == 1


@every
def test_the_law_does_not_depend_on_the_length(spelling):
    laws = [query_law(planned(spelling, places), spelling) for places in (16, 60, 96)]
    gains = [math.sqrt(law.scale * (row.fed or 1)) for row, law in laws]
    assert gains == pytest.approx([1 / spelling.std] * 3, rel=0.005)


@pytest.mark.parametrize("spelling", WITHOUT_LAW, ids=lambda spelling: spelling.name)
def test_queries_are_left_alone_where_their_size_is_not_that_of_scores(spelling):
    row, law = query_law(planned(spelling), spelling)
    assert law.scale * row.fed == pytest.approx(1, rel=0.005)
    assert "scores" not in row.reason


def test_a_softmax_by_hand_is_one():
    row, law = query_law(planned(HAND), HAND)
    assert math.sqrt(law.scale * row.fed) == pytest.approx(1 / 4, rel=0.005)


def test_queries_a_third_too_large_would_be_seen():
    spelling = next(one for one in SPELLINGS if one.name == "einsum unscaled")
    plan = planned(spelling)
    _, law = query_law(plan, spelling)
    larger = plan.edit("maps.q.weight", VarianceScaling(law.scale * (4 / 3) ** 2, "fan_in", "normal"))
    assert score_variance(spelling, larger) > 1 + 2 * CLOSE
    assert SIZE == 16
