"""Laws without fans: what a law is for one shape and layout, and that a draw asks for it once."""

import numpy as np
import pytest

import fanwise as fw
from fanwise import ICNR, INITIALIZERS, Blocks, Box, Layout, Normal, VarianceScaling
from fanwise.laws.resolve import Part, resolve, resolved_parts

ENTRIES = list(INITIALIZERS.values())
CONVOLUTIONS = {"dirac", "delta_orthogonal", "icnr"}

every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def test_a_law_with_fans_becomes_one_without():
    assert resolve(fw.he_normal, (50, 3), None) == Normal(0.2)
    assert resolve(fw.he_normal, (50, 8), Layout.dense("out in")) == Normal(0.5)
    assert resolve(fw.glorot_uniform, (2, 4), None).bound == pytest.approx(1.0, rel=1e-15)
    assert resolve(Blocks((fw.he_normal, fw.zeros), 1), (50, 6), None) == Blocks((Normal(0.2), fw.zeros), 1)
    assert resolve(ICNR(fw.he_normal, 4), (1, 1, 50, 8), None) == ICNR(Normal(0.2), 4)


@every_entry
def test_the_resolved_law_draws_the_same_bits_and_is_its_own(entry):
    shape = (3, 3, 16, 32) if entry.name in CONVOLUTIONS else (48, 32)
    law = resolve(entry.example, shape, None)
    assert resolve(law, shape, None) == law
    assert law(shape, key=5).tobytes() == entry.example(shape, key=5).tobytes()


@pytest.mark.parametrize(
    ("law", "shape", "message"),
    [
        (fw.he_normal, (5,), "1 axes has no fans"),
        (fw.dirac, (4, 4), "no kernel axes"),
        (Blocks((fw.zeros, fw.dirac), 1), (4, 4), "no kernel axes"),
        (ICNR(fw.he_normal, 4), (1, 1, 4, 6), "do not divide the 6 outputs"),
    ],
)
def test_a_law_that_does_not_fit_is_refused(law, shape, message):
    for attempt in (resolve, resolved_parts):
        with pytest.raises(ValueError, match=message):
            attempt(law, shape, None)


def test_parts_have_the_fans_of_their_own_map():
    layout = Layout.dense("out in").fuse(1, (8, 50))
    own = Layout.dense("out in")
    assert resolved_parts(fw.he_normal, (3, 58), layout) == (
        Part(Normal(0.5), Box((0, 0), (3, 8)), own),
        Part(Normal(0.2), Box((0, 8), (3, 50)), own),
    )


def test_blocks_are_taken_apart_and_empty_ones_left_out():
    inner = Blocks((fw.ones, fw.he_normal), axis=0, sizes=(2, 50))
    parts = resolved_parts(Blocks((fw.zeros, fw.zeros, inner), axis=1, sizes=(3, 0, 4)), (52, 7), None)
    assert [part.law for part in parts] == [fw.zeros, fw.ones, Normal(0.2)]
    assert [part.box for part in parts] == [Box((0, 0), (52, 3)), Box((0, 3), (2, 4)), Box((2, 3), (50, 4))]


@pytest.mark.parametrize("layout", [None, Layout.dense("out in"), Layout.dense("in out").fuse(1, 2)])
def test_a_draw_resolves_the_law_of_each_map_once(monkeypatch, layout):
    calls, law = [], VarianceScaling.law
    monkeypatch.setattr(VarianceScaling, "law", lambda self, fans: calls.append(fans) or law(self, fans))
    drawn = fw.he_normal((4, 4), key=0, layout=layout)
    assert len(calls) == (2 if layout is not None and layout.fused else 1)
    assert np.isfinite(drawn).all()
