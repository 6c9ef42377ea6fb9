"""Maps side by side along one axis add up: their sizes are no shape, however many there are."""

import numpy as np
import pytest

import fanwise as fw
from fanwise.laws.composite import Blocks
from fanwise.laws.elementwise import Normal
from fanwise.laws.layout import Layout
from fanwise.laws.resolve import Part, named_parts
from fanwise.plan.codegen import pasted
from fanwise.plan.formula import formula
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row

HEADS = 112
"""Of the largest BLOOM; query, key and value of each are maps of their own: 336 maps, whose sizes multiply to 8^336."""
SIZES = (8,) * (3 * HEADS)
LAYOUT = Layout.dense("out in").fuse(0, SIZES)
SHAPE = (sum(SIZES), 16)


def row(law, layout=LAYOUT, shape=SHAPE):
    return Row("qkv", shape, "float32", law, layout, "weight", "linear", "why")


def by_part(query, other):
    """A law for each map: that of a query for every third."""
    return Blocks([query, other, other] * HEADS, 0, SIZES)


def test_a_layout_holds_many_maps():
    fans = LAYOUT.block_fans(SHAPE)
    assert [(each.fan_in, each.fan_out) for each in fans] == [(16, 8)] * 3 * HEADS


def test_each_map_gets_its_own_law():
    values = by_part(fw.zeros, fw.ones)(SHAPE, key=0, layout=LAYOUT).reshape(HEADS, 3, 8, 16)
    assert not values[:, 0].any()
    assert np.all(values[:, 1:] == 1)


@pytest.mark.parametrize("law", [fw.he_normal, by_part(Normal(0.5), fw.he_normal)], ids=["one law", "a law a map"])
def test_a_plan_with_many_maps_is_printed_and_read_back(law):
    plan = Plan((row(law),))
    assert Plan.from_toml(plan.to_toml()) == plan
    assert "qkv" in str(plan)
    assert "qkv" in pasted(plan.rows)


def test_sizes_are_still_checked():
    for wrong, error in (((3, -1), ValueError), ((3, 1.5), TypeError), ("ab", TypeError)):
        with pytest.raises(error):
            Layout.dense("out in").fuse(0, wrong)
        with pytest.raises(error):
            Blocks((fw.zeros, fw.zeros), 0, wrong)


def test_a_formula_stands_for_each_law_where_the_layout_is_cut_too():
    """He's normal law at fan_in 32 has std 0.25."""
    layout = Layout.dense("out in").fuse(0, (64, 64, 64))
    law = Blocks((Normal(0.1), fw.he_normal, fw.he_normal), 0, (64, 64, 64))
    assert formula(row(law, layout, (192, 32))) == "N(0, 0.1²) | N(0, 0.25²)"
    assert [(part.law, part.box.start) for part in named_parts(law, (192, 32), layout)] == [
        (Normal(0.1), (0, 0)),
        (fw.he_normal, (64, 0)),
        (fw.he_normal, (128, 0)),
    ]


def test_a_law_over_the_other_axis_is_cut_by_both():
    layout = Layout.dense("out in").fuse(0, 2)
    parts = named_parts(Blocks((fw.zeros, fw.ones), 1), (4, 6), layout)
    assert [part.box.start for part in parts] == [(0, 0), (0, 3), (2, 0), (2, 3)]
    assert all(isinstance(part, Part) and part.box.shape == (2, 3) for part in parts)
