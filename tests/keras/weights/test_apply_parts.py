"""`apply` on its own: which parameters it fills, from which stream, and what it leaves alone."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from keras import layers  # noqa: E402

import fanwise  # noqa: E402
from fanwise.keras.api.plan import plan  # noqa: E402
from fanwise.keras.weights.apply import apply  # noqa: E402
from fanwise.keras.weights.read_write import read, write  # noqa: E402
from fanwise.stream.key import Key  # noqa: E402

KERNELS = ("m/a/kernel", "m/b/kernel")


def network(width=6):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(width, "relu", name="a"), layers.Dense(3, name="b")], name="m"
    )


@pytest.fixture
def model():
    built = network()
    for path in KERNELS:
        write(built, path, np.full(read(built, path).shape, 9.0))
    return built


def planned(model):
    return plan(model).edit("m/*/kernel", "he_normal").edit("m/*/bias", None)


def untouched(model):
    return [path for path in KERNELS if (read(model, path) == 9.0).all()]


def test_each_parameter_has_the_stream_of_its_path(model):
    apply(model, planned(model), 3)
    for path in KERNELS:
        shape = read(model, path).shape
        assert np.array_equal(read(model, path), fanwise.he_normal(shape, key=Key(3, path)))


def test_a_seed_and_its_key_are_the_same_and_a_child_is_another(model):
    apply(model, planned(model), 3)
    first = read(model, "m/a/kernel")
    apply(model, planned(model), Key(3))
    assert np.array_equal(read(model, "m/a/kernel"), first)
    apply(model, planned(model), Key(3).child("x"))
    assert not np.array_equal(read(model, "m/a/kernel"), first)


def test_the_model_itself_is_returned(model):
    assert apply(model, planned(model), 0) is model


def test_parameters_without_a_law_stay(model):
    write(model, "m/a/bias", np.arange(6.0))
    apply(model, planned(model), 0)
    assert read(model, "m/a/bias").tolist() == list(range(6))
    assert untouched(model) == []


@pytest.mark.parametrize("only", ["m/a/*", ["m/a/kernel"], ("m/a/*", "nothing/*")[:1]])
def test_only_what_is_named_is_filled(model, only):
    apply(model, planned(model), 0, only=only)
    assert untouched(model) == ["m/b/kernel"]


def test_what_was_loaded_is_left_alone(model):
    apply(model, planned(model), 0, skip_loaded=["m/a/kernel"])
    assert untouched(model) == ["m/a/kernel"]


def test_a_plan_for_another_model_changes_nothing(model):
    with pytest.raises(ValueError, match="m/a/kernel"):
        apply(model, planned(network(7)), 0)
    assert untouched(model) == list(KERNELS)


def test_a_key_of_another_kind_is_refused_first(model):
    with pytest.raises(TypeError):
        apply(model, planned(model), "seed")
    assert untouched(model) == list(KERNELS)
