"""JAX keys as fanwise keys: the rule, and the hash of traced ones."""

import numpy as np
import pytest
import stream_reference

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'fanwise[jax]'")

import jax.numpy as jnp  # noqa: E402

import fanwise  # noqa: E402
from fanwise import Key  # noqa: E402
from fanwise.jax import draw, fanwise_key  # noqa: E402
from fanwise.jax.stream.keys import TracedKey, stream_key, stream_of  # noqa: E402

KEYS = {
    "threefry": lambda: jax.random.key(7),
    "large seed": lambda: jax.random.wrap_key_data(jnp.array([0xDEADBEEF, 0xFFFFFFFF], jnp.uint32)),
    "raw": lambda: jax.random.PRNGKey(5),
    "rbg": lambda: jax.random.key(3, impl="rbg"),
    "split": lambda: jax.random.split(jax.random.key(0), 5)[3],
}
each = pytest.mark.parametrize("make", KEYS.values(), ids=KEYS)


def words_of(key):
    return np.asarray(jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key).tolist()


@each
def test_the_seed_is_the_integer_of_the_words(make):
    words = words_of(make())
    seed = int.from_bytes(b"".join(word.to_bytes(4, "big") for word in words), "big")
    assert fanwise_key(make()) == Key(seed, "", f"jax key of {len(words)} words")


def test_a_seed_of_jax_is_the_seed():
    assert fanwise_key(jax.random.key(7)).seed == 7
    assert fanwise_key(Key(3, "w")) == Key(3, "w")


def test_raw_and_typed_keys_of_the_same_words_are_one():
    assert fanwise_key(jax.random.PRNGKey(5)) == fanwise_key(jax.random.key(5))
    assert fanwise_key(np.array([0, 5], np.uint32)) == fanwise_key(jax.random.key(5))


@each
@pytest.mark.parametrize("path", ["", "encoder.0.weight", "größe", "a" * 300])
def test_the_hash_of_a_traced_key_is_blake2b(make, path):
    def name(key):
        traced = stream_key(key)
        assert isinstance(traced, TracedKey)
        own = traced.child(path) if path else traced
        return stream_of(own), stream_of(own.derive("imaginary"))

    plain, derived = jax.jit(name)(make())
    key = fanwise_key(make())
    assert plain.tolist() == stream_reference.key_words(key.seed, path, key.domain)
    assert derived.tolist() == stream_reference.key_words(key.seed, path, f"{key.domain}/imaginary")


def test_keys_can_be_mapped_over():
    keys = jax.random.split(jax.random.key(0), 4)
    mapped = jax.vmap(lambda key: draw(fanwise.Normal(1.0), key, (3, 5)))(keys)
    assert np.array_equal(mapped, np.stack([draw(fanwise.Normal(1.0), key, (3, 5)) for key in keys]))


@pytest.mark.parametrize("key", [0, 7.0, None, "0", np.random.default_rng(0), np.zeros(2, np.int32), jnp.zeros(2)])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(TypeError, match=r"key .*expected a JAX key such as"):
        fanwise_key(key)


def test_a_raw_key_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="2 or 4 words"):
        fanwise_key(jnp.zeros(3, jnp.uint32))


@pytest.mark.parametrize("keys", [jax.random.split(jax.random.key(0), 3), jnp.zeros((3, 2), jnp.uint32)], ids=str)
def test_several_keys_are_refused(keys):
    with pytest.raises(ValueError, match=r"several keys.*vmap"):
        fanwise_key(keys)


def test_a_traced_key_has_no_fanwise_key():
    with pytest.raises(TypeError, match="known only when the program runs"):
        jax.jit(lambda key: fanwise_key(key).seed)(jax.random.key(0))
