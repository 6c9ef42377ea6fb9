"""Boxes and shardings of a draw: which part of the values an index means, and where an array goes."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

from fanwise import Box, Constant, Key, Normal, orthogonal  # noqa: E402
from fanwise.jax.stream.draw import UniformBetween, box_of, draw, known_sharding, placed, stream_law  # noqa: E402
from fanwise.stream.formats import FORMATS  # noqa: E402
from fanwise.stream.law import normal_law, uniform_between_law  # noqa: E402

MESH = Mesh(np.array(jax.devices()[:1]), ("x",))
SHARDING = NamedSharding(MESH, PartitionSpec("x"))
SHAPE = (6, 4)

BOXES = {
    "all": ((slice(None), slice(None)), Box((0, 0), (6, 4))),
    "a part": ((slice(2, 5), slice(None, 1)), Box((2, 0), (3, 1))),
    "from the end": ((slice(-2, None), slice(1, 100)), Box((4, 1), (2, 3))),
    "nothing": ((slice(3, 3), slice(None)), Box((3, 0), (0, 4))),
}


@pytest.mark.parametrize("name", BOXES)
def test_the_box_of_an_index(name):
    index, box = BOXES[name]
    assert box_of(index, SHAPE) == box
    assert np.zeros(SHAPE)[index].shape == box.shape


def test_an_index_has_a_slice_for_each_axis():
    assert box_of((), ()) == Box((), ())
    with pytest.raises(ValueError, match="zip"):
        box_of((slice(None),), SHAPE)


@pytest.mark.parametrize("law", [Normal(1.0), Constant(2.0), UniformBetween(1.0, 3.0)], ids=str)
def test_a_box_of_a_law_is_cut_out_of_its_values(law):
    whole = law(SHAPE, key=Key(3))
    part = law(SHAPE, key=Key(3), box=Box((2, 1), (3, 2)))
    assert part.tobytes() == whole[2:5, 1:3].tobytes()


# Shardings


def test_a_sharding_is_itself_and_a_spec_is_one_of_the_mesh():
    assert known_sharding(None) is None
    assert known_sharding(SHARDING) is SHARDING
    with jax.set_mesh(MESH):
        assert known_sharding(PartitionSpec("x")).is_equivalent_to(SHARDING, 2)
    with pytest.raises(ValueError, match="no mesh is set"):
        known_sharding(PartitionSpec("x"))
    with pytest.raises(TypeError, match="out_sharding = 'x': expected"):
        known_sharding("x")


def test_a_draw_lies_where_it_should_and_has_the_same_bits():
    law, wanted = Normal(1.0), Normal(1.0)(SHAPE, key=Key(3))
    for made in (
        draw(law, Key(3), SHAPE, out_sharding=SHARDING),
        jax.jit(lambda: draw(law, Key(3), SHAPE, out_sharding=SHARDING))(),
    ):
        assert made.sharding.is_equivalent_to(SHARDING, 2)
        assert np.asarray(made).tobytes() == wanted.tobytes()


def test_an_array_without_a_key_is_placed():
    def make():
        return jnp.full(SHAPE, 2.0)

    here = make()
    assert placed(lambda: here, SHAPE, here.dtype, None) is here
    for array in (
        placed(make, SHAPE, here.dtype, SHARDING),
        jax.jit(lambda: placed(make, SHAPE, here.dtype, SHARDING))(),
    ):
        assert array.sharding.is_equivalent_to(SHARDING, 2)
        assert (array == 2).all()


# Laws of the adapter's own


def test_uniform_numbers_between_two_others():
    values = UniformBetween(1.0, 3.0)((4096,), key=Key(3))
    assert 1 <= values.min() < 1.01
    assert 2.99 < values.max() < 3
    moments = UniformBetween(1.0, 3.0).moments((2,))
    assert (moments.mean, moments.low, moments.high) == (2, 1, 3)
    assert moments.std == pytest.approx(3**-0.5)
    assert (UniformBetween(2.0, 2.0)((3,), key=Key(3)) == 2).all()
    with pytest.raises(ValueError, match="expected low <= high"):
        UniformBetween(3.0, 1.0)


def test_only_laws_of_single_elements_are_laws_of_the_stream():
    form = FORMATS["float32"]
    assert stream_law(UniformBetween(1.0, 3.0), form) == uniform_between_law(form, 1.0, 3.0)
    assert stream_law(Normal(0.5), form) == normal_law(form, 0.5, 0.0)
    with pytest.raises(TypeError, match="draws each element alone"):
        stream_law(orthogonal, form)
