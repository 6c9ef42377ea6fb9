"""The bits that a planned model should hold, and the sentence for a parameter that differs."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

from fanwise.keras.api.plan import plan  # noqa: E402
from fanwise.keras.weights.apply import apply  # noqa: E402
from fanwise.keras.weights.manifest import manifest, verify  # noqa: E402
from fanwise.keras.weights.read_write import read, write  # noqa: E402
from fanwise.plan.manifest import Manifest, digest_of  # noqa: E402


def network(width=6, dtype="float32"):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(width, name="a", dtype=dtype), layers.Dense(3, name="b")], name="m"
    )


def planned(model):
    return plan(model).edit("m/*/kernel", "he_normal").edit("m/*/bias", "zeros")


@pytest.fixture
def model():
    return network()


@pytest.fixture
def kept(model):
    made = planned(model)
    return manifest(apply(model, made, 7), made, 7)


def test_each_parameter_has_the_digest_of_its_values(model, kept):
    assert kept.seed == 7
    assert dict(kept.digests) == {path: digest_of(read(model, path)) for path in kept.digests}
    assert list(kept.digests) == ["m/a/kernel", "m/a/bias", "m/b/kernel", "m/b/bias"]


def test_a_model_with_the_same_bits_agrees(model, kept):
    assert verify(model, kept) == ()
    assert verify(apply(network(), planned(network()), 7), kept) == ()


def test_the_parameter_that_differs_is_named(model, kept):
    values = read(model, "m/b/kernel")
    values[0, 0] = np.nextafter(values[0, 0], np.float32(10))
    write(model, "m/b/kernel", values)
    (sentence,) = verify(model, kept)
    assert sentence.startswith("m/b/kernel")


def test_those_that_differ_are_in_the_order_of_the_model(model, kept):
    for path in ("m/b/bias", "m/a/bias"):
        write(model, path, read(model, path) + 1)
    assert [sentence.split()[0].strip(":") for sentence in verify(model, kept)] == ["m/a/bias", "m/b/bias"]


def test_another_seed_agrees_in_the_constants_alone(kept):
    other = apply(network(), planned(network()), 8)
    assert [sentence.split()[0].strip(":") for sentence in verify(other, kept)] == ["m/a/kernel", "m/b/kernel"]


def test_an_old_name_of_the_key(model, kept):
    with pytest.warns(DeprecationWarning, match="write key="):
        assert manifest(model, planned(model), seed=7) == kept
    with pytest.raises(TypeError, match="expected key, the seed that `apply` was given"):
        manifest(model, planned(model))


def test_what_is_no_manifest_or_of_another_model_is_refused(model, kept):
    with pytest.raises(TypeError):
        verify(model, "manifest")
    with pytest.raises(ValueError, match="m/a/kernel"):
        verify(network(7), kept)
    with pytest.raises(TypeError, match=r"expected a keras.Model or a layer"):
        verify("model", kept)


def test_as_text(model, kept):
    assert verify(model, Manifest.from_toml(kept.to_toml())) == ()
