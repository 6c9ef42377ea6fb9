"""Sharded variables: each device draws the box that it holds, and the whole is what one device would draw."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")
jax = pytest.importorskip("jax", reason="jax is not installed: pip install jax")

from fanwise.keras.weights.sharding import sharded  # noqa: E402

VALUES = np.arange(24, dtype="float32").reshape(4, 6)
DEVICES = len(jax.devices())


def mesh(count=1):
    return jax.sharding.Mesh(np.array(jax.devices()[:count]).reshape(count, 1), ("rows", "columns"))


class Boxes:
    """Draws boxes of `VALUES`, and remembers which."""

    def __init__(self):
        self.seen = []

    def __call__(self, box):
        self.seen.append((box.start, box.shape))
        return VALUES[box.slices()]


@pytest.mark.parametrize("spec", [(), ("rows",), ("rows", "columns"), (None, "columns")])
def test_one_device_draws_the_whole(spec):
    draw, sharding = Boxes(), jax.sharding.NamedSharding(mesh(), jax.sharding.PartitionSpec(*spec))
    array = sharded(draw, (4, 6), sharding)
    assert np.array_equal(array, VALUES)
    assert array.sharding.is_equivalent_to(sharding, 2)
    assert set(draw.seen) == {((0, 0), (4, 6))}


def test_a_sharding_of_a_single_device():
    draw = Boxes()
    array = sharded(draw, (4, 6), jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    assert np.array_equal(array, VALUES)
    assert draw.seen == [((0, 0), (4, 6))]


def test_each_device_draws_its_own_rows():
    count = max(n for n in (1, 2, 4) if n <= DEVICES)
    draw, rows = Boxes(), jax.sharding.PartitionSpec("rows")
    array = sharded(draw, (4, 6), jax.sharding.NamedSharding(mesh(count), rows))
    height = 4 // count
    assert sorted(draw.seen) == [((first, 0), (height, 6)) for first in range(0, 4, height)]
    assert np.array_equal(array, VALUES)


def test_each_device_draws_its_own_columns():
    count = max(n for n in (1, 2, 3) if n <= DEVICES)
    draw, columns = Boxes(), jax.sharding.PartitionSpec(None, "rows")
    array = sharded(draw, (4, 6), jax.sharding.NamedSharding(mesh(count), columns))
    width = 6 // count
    assert sorted(draw.seen) == [((0, first), (4, width)) for first in range(0, 6, width)]
    assert np.array_equal(array, VALUES)


def test_a_number_has_no_axes():
    array = sharded(lambda box: np.full(box.shape, 3.0, "float32"), (), jax.sharding.NamedSharding(mesh(), SPEC))
    assert array.shape == ()
    assert float(array) == 3.0


SPEC = jax.sharding.PartitionSpec()


@pytest.mark.parametrize("layout", ["rows", ("rows", None), SPEC, 3])
def test_other_layouts_are_refused(layout):
    with pytest.raises(TypeError, match=r"expected a keras.distribution.TensorLayout or a jax.sharding.Sharding"):
        sharded(Boxes(), (4, 6), layout)
