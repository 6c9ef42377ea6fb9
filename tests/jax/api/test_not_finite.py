"""Values and gradients that are not finite on JAX: the operation that makes them, and its line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanwise.jax import ModelError, check


def model_of(function):
    numbers = np.random.default_rng(0)
    params = {
        "first": jnp.asarray(numbers.normal(size=(8, 16)) * 8**-0.5, jnp.float32),
        "last": jnp.asarray(numbers.normal(size=(16, 4)) / 4, jnp.float32),
        "own": jnp.zeros(16),
    }
    return (lambda p, x: function(x @ p["first"], p["own"]) @ p["last"]), params


def batch():
    numbers = np.random.default_rng(1)
    return jnp.asarray(numbers.normal(size=(32, 8)), jnp.float32), jnp.asarray(numbers.integers(4, size=32))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("log", lambda h, own: jnp.log(jax.nn.relu(h))),
        ("div", lambda h, own: (h * 0) / jnp.linalg.norm(h * 0, axis=-1, keepdims=True)),
        ("own", lambda h, own: h + own / jnp.linalg.norm(own)),
        ("own", lambda h, own: h + jnp.log(own)),
        ("gradients before sqrt", lambda h, own: h + jnp.sqrt(h * 0)),
        ("gradients before log", lambda h, own: jnp.where(h > 9e9, jnp.log(h * 0), h)),
    ],
)
def test_the_operation_is_named_with_its_line(name, function):
    found = check(model_of(function), batch(), "cross_entropy").findings[0]
    assert found.code == "NAN002"
    assert name in found.message
    assert f"test_not_finite.py:{function.__code__.co_firstlineno}" in found.message


def test_an_error_of_the_model_says_where_in_its_sources_and_on_what():
    def wrong(h, own):
        return h @ own[:3]

    with pytest.raises(ModelError) as error:
        check(model_of(wrong), batch(), "cross_entropy")
    assert f"test_not_finite.py:{wrong.__code__.co_firstlineno + 1}, given (32, 8))" in str(error.value)
