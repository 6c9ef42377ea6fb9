"""`apply`, `read`, `write`, `manifest` and `verify`: which bits stand in a model, and what is refused."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

import fanwise  # noqa: E402
import fanwise.keras as fwk  # noqa: E402
from fanwise import Key  # noqa: E402


def network(width=40, dtype="float32", name="m"):
    hidden = [layers.Dense(width, "relu", name="a", dtype=dtype), layers.Dense(10, name="b", dtype=dtype)]
    return keras.Sequential([keras.Input((30,), dtype=dtype), *hidden], name=name)


def planned(**options):
    model = network(**options)
    return model, fwk.plan(model).edit("m/a/kernel", "he_normal")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_dtype_only_rounds(dtype):
    model, plan = planned(dtype=dtype)
    fwk.apply(model, plan, 7)
    drawn = fwk.read(model, "m/a/kernel")
    assert drawn.dtype.name == dtype
    exact = fanwise.he_normal((30, 40), key=Key(7, "m/a/kernel"))
    assert np.array_equal(drawn, exact.astype(drawn.dtype))


def test_numbers_that_a_dtype_cannot_hold_change_nothing():
    model = network(dtype="float16")
    plan = fwk.plan(model).edit("m/b/kernel", {"name": "normal", "std": 70000.0})
    before = fwk.read(model, "m/a/kernel")
    with pytest.raises(ValueError, match=r"parameter 'm/b/kernel': .* more than float16 can hold"):
        fwk.apply(model, plan, 0)
    assert np.array_equal(fwk.read(model, "m/a/kernel"), before)


def test_read_and_write():
    model = network()
    values = np.arange(40.0)
    fwk.write(model, "m/a/bias", values)
    assert np.array_equal(fwk.read(model, "m/a/bias"), values)
    fwk.read(model, "m/a/bias")[:] = 9  # a copy
    assert np.array_equal(fwk.read(model, "m/a/bias"), values)
    with pytest.raises(KeyError, match=r"no parameter 'm/a/bais'.*m/a/bias"):
        fwk.read(model, "m/a/bais")
    with pytest.raises(ValueError, match=r"values of shape \(3,\) for 'm/a/bias'"):
        fwk.write(model, "m/a/bias", np.zeros(3))
    with pytest.raises(TypeError, match="expected real numbers"):
        fwk.write(model, "m/a/bias", np.array(["x"] * 40))
    small = network(dtype="float16")
    with pytest.raises(ValueError, match="more than float16 can hold"):
        fwk.write(small, "m/a/bias", np.full(40, 1e6))


def test_the_manifest_is_the_same_on_every_backend():
    model = network()
    plan = fwk.plan(model).edit("m/*/kernel", "he_normal")
    kept = fwk.manifest(fwk.apply(model, plan, 7), plan, 7)
    assert kept.digest == "a04526f928daff56061b91093dfbf296"


def test_sharded_variables_are_drawn_part_by_part():
    if keras.config.backend() != "jax":
        return
    import jax  # noqa: PLC0415

    mesh = keras.distribution.DeviceMesh((1, len(jax.devices())), ["batch", "model"])
    layouts = keras.distribution.LayoutMap(mesh)
    layouts["m/a/kernel"] = (None, "model")
    with keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch").scope():
        model = network()
    plan = fwk.plan(network()).edit("m/a/kernel", "he_normal")
    spec = model.layers[0].kernel.value.sharding.spec
    fwk.apply(model, plan, 7)
    assert model.layers[0].kernel.value.sharding.spec == spec == jax.sharding.PartitionSpec(None, "model")
    assert np.array_equal(fwk.read(model, "m/a/kernel"), fanwise.he_normal((30, 40), key=Key(7, "m/a/kernel")))
