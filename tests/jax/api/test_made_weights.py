"""Weights tied by constant indices, made by the model, or multiplied by constants: the same laws as in torch."""

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

import fanwise.jax as fwj  # noqa: E402

N, ROWS, CODE, HIDDEN, OUT = 40, 256, 12, 96, 30
ROLLED = (np.arange(N)[None] + np.arange(N)[:, None]) % N
X = jax.random.normal(jax.random.key(0), (ROWS, N))
Z = jax.random.normal(jax.random.key(1), (ROWS, CODE))


def normal(*shape):
    return jax.random.normal(jax.random.key(2), shape)


def symmetric(p, x):
    """A layer shared over a group of permutations."""
    return jnp.einsum("bs,fgs->bfg", x, p["w"][:, ROLLED]).reshape(len(x), -1)


def circulant(p, x):
    return x @ p["w"].reshape(-1)[:N][ROLLED]


def circulant_by_rolls(p, x):
    return x @ jnp.stack([jnp.roll(p["w"].reshape(-1)[:N], i) for i in range(N)])


@pytest.mark.parametrize("forward", [symmetric, circulant, circulant_by_rolls], ids=lambda forward: forward.__name__)
def test_a_tied_weight_is_a_map_of_the_contracted_axis(forward):
    def model(p, x):
        return jax.nn.relu(forward(p, x)) @ p["head"]

    params = {"w": normal(4, N)}
    params["head"] = normal(forward(params, X[:2]).shape[-1], 10)
    plan = fwj.plan((model, params), X)
    assert plan["w"].role == "weight"
    assert plan["w"].std == pytest.approx(1 / math.sqrt(N * float(jnp.square(X).mean())), rel=0.01)
    powers = []
    for key in range(40):
        _, drawn = fwj.apply((model, params), plan, key)
        powers.append(float(jnp.square(forward(drawn, X)).mean()))
    assert sum(powers) / 40 == pytest.approx(1, rel=5 * math.sqrt(2 / N / 40))


def test_a_function_of_a_tied_map_is_no_head():
    """log cosh of every symmetric feature, summed: the amplitude of a wave function."""

    def amplitude(p, x):
        y = jnp.einsum("bs,fgs->bfg", x, p["kernel"][:, ROLLED]) + p["bias"][:, None]
        return jnp.log(jnp.cosh(y)).sum((1, 2))

    spins = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (32, N)), jnp.float32)
    row = fwj.plan((amplitude, {"kernel": normal(4, N), "bias": jnp.zeros(4)}), spins)["kernel"]
    assert (row.fan_in, row.std) == (N, pytest.approx(1 / math.sqrt(N)))


def generated(p, x, z):
    h = jax.nn.relu(z @ p["code"])
    return jnp.einsum("bi,bio->bo", x, (h @ p["maker"]).reshape(-1, N, OUT))


def generated_and_scaled(p, x, z):
    h = jax.nn.relu(z @ p["code"])
    return jnp.einsum("boi,bi->bo", 0.1 * (h @ p["maker"]).reshape(-1, OUT, N), x)


@pytest.mark.parametrize("forward", [generated, generated_and_scaled], ids=lambda forward: forward.__name__)
def test_what_makes_a_weight_goes_by_the_fan_of_its_product(forward):
    def model(p, x, z):
        return jax.nn.relu(forward(p, x, z)) @ p["head"]

    params = {"code": normal(CODE, HIDDEN), "maker": normal(HIDDEN, N * OUT), "head": normal(OUT, 10)}
    plan = fwj.plan((model, params), (X, Z))
    assert "makes weights of fan_in 40" in plan["maker"].reason
    powers = []
    for key in range(8):
        _, drawn = fwj.apply((model, params), plan, key)
        powers.append(float(jnp.square(forward(drawn, X, Z)).mean()))
    assert sum(powers) / 8 == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(
    ("write", "factor"),
    [
        (lambda y: jax.nn.relu(4 * y), 4.0),
        (lambda y: jnp.tanh(y / 8), 1 / 8),
        (lambda y: jax.nn.softmax(y / 0.07), 1 / 0.07),
        (lambda y: y * jax.nn.sigmoid(1.702 * y), 1.0),
        (lambda y: 50 * jnp.tanh(y / 50), 1.0),
    ],
    ids=["relu", "tanh", "softmax", "gate of its own", "soft cap"],
)
def test_constants_before_a_nonlinearity_are_divided_out(write, factor):
    params = {"a": normal(N, 64), "b": normal(64, 64), "c": normal(64, 10)}
    plan = fwj.plan((lambda p, x: write(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["c"], params), X)
    row = plan["b"]
    assert row.gives == pytest.approx(1 / factor**2, rel=1e-3)
    assert row.std == pytest.approx(1 / math.sqrt(64 * row.fed) / factor, rel=1e-3)


def test_sines_with_a_frequency_have_the_published_laws():
    def siren(p, x):
        for w in p[:-1]:
            x = jnp.sin(30 * (x @ w))
        return x @ p[-1]

    x = jax.random.uniform(jax.random.key(3), (4096, 2), minval=-1, maxval=1)
    plan = fwj.plan((siren, [normal(2, 64), normal(64, 64), normal(64, 1)]), x)
    assert plan["0"].law.bound == 0.5
    assert plan["1"].std * math.sqrt(3) == pytest.approx(math.sqrt(6 / 64) / 30)
