"""Functions with derivatives of their own: the gradients that the check measures are those of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanwise.jax import check, plan


@jax.custom_vjp
def reversed_gradient(x):
    return x


reversed_gradient.defvjp(lambda x: (x, None), lambda _, gradient: (-3 * gradient,))


@jax.custom_jvp
def through(x):
    """Rounds, and passes the gradient on."""
    return jnp.round(x)


through.defjvp(lambda primals, tangents: (through(*primals), tangents[0]))


@jax.custom_vjp
def spikes(x):
    return (x > 0).astype(x.dtype)


spikes.defvjp(lambda x: (spikes(x), x), lambda x, gradient: (gradient / (1 + jnp.abs(x)) ** 2,))


@jax.custom_jvp
def bounded(x):
    """Two operations inside."""
    return jnp.tanh(2 * x) / 2


bounded.defjvp(lambda primals, tangents: (bounded(*primals), 0.5 * tangents[0]))

FUNCTIONS = {
    "reversed": reversed_gradient,
    "rounds": through,
    "spikes": spikes,
    "bounded": bounded,
    "relu of zeros": lambda x: jax.nn.relu(0 * x),
    "relu": jax.nn.relu,
    "softmax": jax.nn.softmax,
    "logsumexp": lambda x: x - jax.nn.logsumexp(x, axis=-1, keepdims=True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_training(name):
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"a": jax.random.normal(keys[0], (8, 16)), "b": jax.random.normal(keys[1], (16, 4))}
    x, y = jax.random.normal(keys[2], (32, 8)), jnp.ones((32, 4))

    def model(params, x):
        return FUNCTIONS[name](x @ params["a"]) @ params["b"]

    def loss(output, target):
        return jnp.square(output - target).mean()

    seen = check((model, params), (x, y), loss).observations[0]
    expected = jax.grad(lambda params: loss(model(params, x), y))(params)
    for path, gradient in expected.items():
        assert seen.values[path].gradient == pytest.approx(float(np.square(gradient).mean()), rel=1e-4), path


def _reversed_by_hand(x, w):
    return x @ jax.lax.stop_gradient(w)


by_vjp, by_jvp = jax.custom_vjp(_reversed_by_hand), jax.custom_jvp(_reversed_by_hand)
by_vjp.defvjp(lambda x, w: (_reversed_by_hand(x, w), (x, w)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))


@by_jvp.defjvp
def _derivative(primals, tangents):
    return by_jvp(*primals), tangents[0] @ primals[1] + primals[0] @ tangents[1]


@pytest.mark.parametrize(("product", "is_trained"), [(by_vjp, True), (by_jvp, True), (_reversed_by_hand, False)])
def test_what_stops_gradients_stops_none_where_the_derivative_is_written_apart(product, is_trained):
    keys = jax.random.split(jax.random.key(0), 3)

    def forward(parameters, x):
        return jnp.tanh(product(x, parameters["w"])) @ parameters["v"]

    parameters = {"w": jax.random.normal(keys[0], (16, 16)), "v": jax.random.normal(keys[1], (16, 3))}
    x = jax.random.normal(keys[2], (8, 16))
    gradient = jax.grad(lambda parameters: forward(parameters, x).sum())(parameters)["w"]
    assert bool(jnp.abs(gradient).sum() > 0) == is_trained  # JAX itself says whether it is trained
    assert (plan((forward, parameters), x)["w"].law is not None) == is_trained
