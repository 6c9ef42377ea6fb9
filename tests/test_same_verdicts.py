"""One network, one start, one batch: every check finds the same, at the same place, with the same numbers."""

import math
from itertools import pairwise

import numpy as np
import pytest

PACKAGES = {"torch": "torch", "jax": "jax", "flax": "jax", "equinox": "jax", "keras": "keras"}
for package, extra in PACKAGES.items():
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'fanwise[{extra}]'")

import equinox  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import torch  # noqa: E402
from flax import linen  # noqa: E402

import fanwise.jax as fwj  # noqa: E402
import fanwise.keras as fwk  # noqa: E402
import fanwise.torch as fwt  # noqa: E402
from fanwise import he_normal, lab  # noqa: E402

WIDTHS = (784, 100, 100, 10)
EXAMPLES = 256


@pytest.fixture(scope="module")
def batch():
    data = lab.load_digits()
    return np.ascontiguousarray(data.train_x[:EXAMPLES], np.float32), data.train_y[:EXAMPLES]


def he():
    """Kernels as (in, out), and biases, layer by layer; the head a tenth of He's, as a head should be."""
    made = [np.array(array) for array in lab.initialize(lab.Architecture(WIDTHS), he_normal, key=0).values()]
    made[4] *= 0.1
    return made


def changed(*places, by):
    """He's start with some of its arrays changed."""
    values = he()
    for place in places:
        values[place] = np.asarray(by(values[place]), np.float32)
    return values


def with_nan(array):
    broken = array.copy()
    broken[3, 4] = math.nan
    return broken


STARTS = {
    "healthy": (he, set()),
    "large": (lambda: changed(0, 2, 4, by=lambda w: 10 * w), {"WGT002", "LOS001"}),
    "zeros": (lambda: changed(2, by=np.zeros_like), {"ZER001"}),
    "equal units": (lambda: changed(2, by=lambda w: np.tile(w[:, :1], (1, 100))), {"EQU001"}),
    "loud head": (lambda: changed(4, by=lambda w: 300 * w), {"LOS001"}),
    "not a number": (lambda: changed(2, by=with_nan), {"NAN001"}),
    "dead units": (lambda: changed(3, by=lambda b: b - 30), {"DEA001"}),
}


# Each gives the report on a network that holds these values, and the names of its parameters in their order


def in_numpy(values, batch):
    names = [f"layers.{layer}.{kind}" for layer in range(3) for kind in ("weight", "bias")]
    return lab.check(lab.Architecture(WIDTHS), dict(zip(names, values, strict=True)), *batch), names


def in_torch(values, batch):
    layers = [torch.nn.Linear(*sizes) for sizes in pairwise(WIDTHS)]
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value.T.copy()))
    return fwt.check(model, tuple(map(torch.from_numpy, batch)), "cross_entropy"), [
        n for n, _ in model.named_parameters()
    ]


def in_jax(values, batch):
    names = [f"{kind}{layer}" for layer in range(3) for kind in "wb"]

    def network(p, x):
        for layer in range(2):
            x = jax.nn.relu(x @ p[f"w{layer}"] + p[f"b{layer}"])
        return x @ p["w2"] + p["b2"]

    params = {name: jnp.asarray(value) for name, value in zip(names, values, strict=True)}
    return fwj.check((network, params), batch, "cross_entropy"), names


class Network(linen.Module):
    @linen.compact
    def __call__(self, x):
        for width in WIDTHS[1:-1]:
            x = linen.relu(linen.Dense(width)(x))
        return linen.Dense(WIDTHS[-1])(x)


def in_flax(values, batch):
    held = [jnp.asarray(value) for value in values]
    params = {f"Dense_{i}": {"kernel": held[2 * i], "bias": held[2 * i + 1]} for i in range(3)}
    names = [f"Dense_{i}.{kind}" for i in range(3) for kind in ("kernel", "bias")]
    return fwj.check((Network(), {"params": params}), batch, "cross_entropy"), names


def in_equinox(values, batch):
    model = equinox.nn.MLP(WIDTHS[0], WIDTHS[-1], WIDTHS[1], depth=2, key=jax.random.key(0))
    held = [jnp.asarray(value.T) for value in values]
    for i in range(3):
        places = [lambda m, i=i: m.layers[i].weight, lambda m, i=i: m.layers[i].bias]
        for where, value in zip(places, held[2 * i : 2 * i + 2], strict=True):
            model = equinox.tree_at(where, model, value)
    names = [f"layers.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]
    return fwj.check((lambda m, x: jax.vmap(m)(x), model), batch, "cross_entropy"), names


def in_keras(values, batch):
    layers = [keras.layers.Dense(width, "relu" if i < 2 else None) for i, width in enumerate(WIDTHS[1:])]
    model = keras.Sequential([keras.Input((WIDTHS[0],)), *layers])
    model.set_weights(values)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return fwk.check(model, batch, loss), [one.path for one in fwk.parameters(model)]


FRAMEWORKS = {"torch": in_torch, "jax": in_jax, "flax": in_flax, "equinox": in_equinox, "keras": in_keras}


def verdict(report, names):
    """What was found, in the order in which it is told: rules, severities, causes, and at which parameters."""
    return [
        (one.code, one.severity, one.kind, sorted(names.index(path) for path in one.paths), len(one.follows))
        for one in report.findings
    ]


def numbers(report):
    """What the findings stand on."""
    return [value for one in report.findings for value in one.evidence.values() if isinstance(value, float)]


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("start", STARTS)
def test_the_verdict_is_that_of_numpy(start, name, batch):
    make, expected = STARTS[start]
    reference, told = in_numpy(make(), batch)
    report, names = FRAMEWORKS[name](make(), batch)
    codes = {one.code for found in reference.findings for one in found.walk() if one.severity != "info"}
    assert expected <= codes
    assert bool(codes) == bool(expected)
    assert verdict(report, names) == verdict(reference, told)
    # samples of large tensors and float32 stand against whole arrays in float64
    assert numbers(report) == pytest.approx(numbers(reference), rel=0.02, nan_ok=True)
    assert report.ok == reference.ok
