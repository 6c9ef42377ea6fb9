"""What collapses at step zero, and gradients that are cut, in JAX: the same findings as in PyTorch."""

import math

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
nn = pytest.importorskip("flax.linen", reason="flax is not installed")

import numpy as np  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from fanwise.jax import ModelError, check  # noqa: E402

ROWS, FEATURES, WIDTH, CLASSES = 32, 16, 24, 5


def dense(width, gain=1.0, bias=0.0):
    def first(key, shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype).at[0].set(bias)

    return nn.Dense(width, kernel_init=nn.initializers.variance_scaling(gain**2, "fan_in", "normal"), bias_init=first)


class Iterated(nn.Module):
    gain: float

    @nn.compact
    def __call__(self, x):
        step, read = dense(WIDTH, self.gain), dense(WIDTH)(x)
        state = jnp.zeros_like(read)
        for _ in range(16):
            state = nn.relu(step(state) + read)
        return dense(CLASSES, 0.3)(state)


class Scanned(nn.Module):
    gain: float

    @nn.compact
    def __call__(self, x):
        law = nn.initializers.variance_scaling(self.gain**2, "fan_in", "normal")
        step, read = self.param("step", law, (WIDTH, WIDTH)), dense(WIDTH)(x)
        state, _ = jax.lax.scan(lambda state, _: (nn.relu(state @ step + read), None), read, None, length=16)
        return dense(CLASSES, 0.3)(state)


class Averaging(nn.Module):
    past: bool

    @nn.compact
    def __call__(self, x):
        x = dense(WIDTH)(x.reshape(ROWS, 8, FEATURES // 8))
        for _ in range(8):
            queries, keys, values = jnp.split(dense(3 * WIDTH)(x), 3, -1)
            mixed = nn.softmax(queries @ keys.transpose(0, 2, 1) / math.sqrt(WIDTH)) @ values
            x = nn.LayerNorm()(x + mixed if self.past else mixed)
        return dense(CLASSES, 0.3)(x)


class Attending(nn.Module):
    gain: float

    @nn.compact
    def __call__(self, x):
        x = dense(WIDTH)(x.reshape(ROWS, 8, FEATURES // 8))
        for gain in (1.0, self.gain, 1.0):
            queries, keys, values = dense(WIDTH, gain)(x), dense(WIDTH, gain)(x), dense(WIDTH)(x)
            mixed = nn.softmax(queries @ keys.transpose(0, 2, 1) / math.sqrt(WIDTH)) @ values
            x = nn.LayerNorm()(x + dense(WIDTH)(mixed))
        return dense(CLASSES, 0.3)(x.mean(1))


class Mixture(nn.Module):
    bias: float

    @nn.compact
    def __call__(self, x):
        share = nn.softmax(dense(8, bias=self.bias)(x))
        return dense(CLASSES, 0.3)(sum(share[:, i : i + 1] * dense(WIDTH, 1.4)(x) for i in range(8)))


class Sines(nn.Module):
    omega: float

    @nn.compact
    def __call__(self, x):
        x = jnp.sin(dense(WIDTH)(x))
        for _ in range(3):
            x = jnp.sin(self.omega * dense(WIDTH)(x))
        return dense(CLASSES, 0.3)(x)


class Cut(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x):
        x = nn.relu(dense(WIDTH, 1.4)(x))
        x = {"stop": jax.lax.stop_gradient, "round": jnp.round, "integers": _integers, "none": lambda x: x}[self.kind](
            x
        )
        return dense(CLASSES, 0.3)(nn.relu(dense(WIDTH, 1.4)(x)))


def _integers(x):
    return (4 * x).astype(jnp.int32).astype(jnp.float32)


class Leaving(nn.Module):
    kind: str

    @nn.compact
    def __call__(self, x):
        x = dense(WIDTH)(x)
        if self.kind == "asarray":
            x = jnp.asarray(np.asarray(x))
        elif self.kind == "float":
            x = x * float(x.mean())
        elif self.kind == "condition":
            x = x if x.mean() > 0 else -x
        else:
            x = jax.pure_callback(np.abs, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        return dense(CLASSES, 0.3)(x)


@pytest.mark.parametrize("kind", ["asarray", "float", "condition"])
def test_values_that_leave_jax_are_named_with_the_line_and_a_remedy(kind):
    with pytest.raises(ModelError, match=r"values of the model are read as NumPy .* at .*test_collapses.py:\d+.*numpy"):
        findings_of(Leaving(kind))


def test_a_callback_without_a_derivative_is_named_with_a_remedy():
    with pytest.raises(ModelError, match=r"pure_callback.* has no derivative.*custom_vjp"):
        findings_of(Leaving("callback"))


def findings_of(model):
    """Of parameters that are made without a run of what leaves."""
    x = jax.random.normal(jax.random.key(0), (ROWS, FEATURES))
    values = Leaving("callback").init(jax.random.key(1), x)
    return check((model, values), (x, jnp.arange(ROWS) % CLASSES), "cross_entropy").findings


def findings(model, target=None):
    x = jax.random.normal(jax.random.key(0), (ROWS, FEATURES))
    target = jnp.arange(ROWS) % CLASSES if target is None else target
    model = (model, model.init(jax.random.key(1), x))
    return [found for found in check(model, (x, target), "cross_entropy").findings if found.severity != "info"]


SICK = {
    "REC001": (Iterated(3.0), Iterated(0.9), "Dense_0.kernel"),
    "REC001 scanned": (Scanned(3.0), Scanned(0.9), "step"),
    "ATT001": (Attending(7.0), Attending(1.0), None),
    "CHO001": (Mixture(30.0), Mixture(0.0), "Dense_0.bias"),
    "SIN001": (Sines(30.0), Sines(1.4), "Dense_1.kernel"),
    "GRD001 stop": (Cut("stop"), Cut("none"), "Dense_0.kernel"),
    "GRD001 round": (Cut("round"), Cut("none"), "Dense_0.kernel"),
    "GRD001 integers": (Cut("integers"), Cut("none"), "Dense_0.kernel"),
}


@pytest.mark.parametrize("name", SICK)
def test_a_break_is_named_first_and_its_twin_is_not_flagged(name):
    sick, well, place = SICK[name]
    found = findings(sick)[0]
    assert found.code == name.split()[0]
    assert place in (None, found.place)
    assert found.code not in [other.code for other in findings(well)]


def test_places_that_became_alike_are_named():
    per_place = jnp.arange(ROWS * 8).reshape(ROWS, 8) % CLASSES
    assert findings(Averaging(past=False), per_place)[0].code == "OUT002"
    assert "OUT002" not in [found.code for found in findings(Averaging(past=True), per_place)]
