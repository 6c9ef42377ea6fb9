"""Seeds as users give them, their keys and configurations, and the variable on the call stack."""

import random

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'fanwise[keras]'")

from fanwise.keras.init.seeds import FRAMES, checked_seed, root_of, seed_config, variable_path  # noqa: E402
from fanwise.stream.key import Key  # noqa: E402


def test_integers_and_keys_stay():
    key = Key(3, "a/b", "d")
    assert checked_seed(0) == 0
    assert checked_seed((1 << 128) - 1) == (1 << 128) - 1
    assert checked_seed(np.int64(5)) == 5
    assert checked_seed(key) is key
    generator = keras.random.SeedGenerator(1)
    assert checked_seed(generator) is generator


def test_none_draws_from_the_generator_that_keras_seeds():
    state = random.getstate()
    try:
        random.seed(11)
        expected = [random.getrandbits(63), random.getrandbits(63)]
        random.seed(11)
        assert [checked_seed(None), checked_seed(None)] == expected
    finally:
        random.setstate(state)


@pytest.mark.parametrize("seed", [True, False, np.bool_(True), 1.0, "7", [7]])
def test_what_is_no_seed(seed):
    with pytest.raises(TypeError, match="seed"):
        checked_seed(seed)


@pytest.mark.parametrize("seed", [-1, 1 << 128])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match="seed"):
        checked_seed(seed)


@pytest.mark.parametrize("seed", [7, Key(3), Key(3, "a/b", "d")])
def test_a_configuration_gives_the_same_key(seed):
    config = seed_config(seed)
    assert type(config) in (int, dict)
    assert root_of(checked_seed(config)) == root_of(seed)


def test_the_configuration_of_a_generator_has_its_seed():
    again = checked_seed(seed_config(keras.random.SeedGenerator(41)))
    assert root_of(again) == root_of(keras.random.SeedGenerator(41))
    assert isinstance(again, keras.random.SeedGenerator)


def test_a_configuration_with_other_keys_is_refused():
    with pytest.raises(TypeError, match="expected the keys seed, path, domain"):
        checked_seed({"seed": 3})
    with pytest.raises(TypeError, match="expected the keys seed, path, domain"):
        checked_seed({"seed": 3, "path": "", "domain": "", "more": 1})


def test_roots():
    key = Key(3, "a", "d")
    assert root_of(3) == Key(3)
    assert root_of(key) is key


def test_a_generator_moves_on_and_gives_both_of_its_words():
    generator, twin = keras.random.SeedGenerator(9), keras.random.SeedGenerator(9)
    first, second = root_of(generator), root_of(generator)
    assert first != second
    assert first == root_of(twin)
    words = [int(word) % (1 << 64) for word in keras.ops.convert_to_numpy(keras.random.SeedGenerator(9).next())]
    assert first.seed == (words[0] << 64) + words[1]


class Told(keras.initializers.Initializer):
    """An initializer that remembers for which variable it was called."""

    def __init__(self, depth=0):
        self.depth, self.paths = depth, []

    def __call__(self, shape, dtype=None):
        self.paths.append(nested(self.depth))
        return keras.ops.zeros(shape, dtype)


def nested(depth):
    return nested(depth - 1) if depth else variable_path()


def test_the_path_of_the_variable_that_is_made():
    told = Told()
    layer = keras.layers.Dense(2, kernel_initializer=told, bias_initializer=told, name="d")
    layer.build((None, 3))
    assert told.paths == ["d/kernel", "d/bias"]


def test_there_is_none_outside_and_far_below():
    assert variable_path() is None
    far = Told(depth=FRAMES + 1)
    keras.Variable(far, shape=(2,), name="v")
    assert far.paths == [None]
    near = Told(depth=2)
    keras.Variable(near, shape=(2,), name="v")
    assert near.paths == ["v"]
