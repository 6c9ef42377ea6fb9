"""The same bits across frameworks: one digest of every law, and one manifest for one network in six frameworks."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

PACKAGES = {"torch": "torch", "jax": "jax", "flax": "jax", "equinox": "jax", "keras": "keras", "tensorflow": "keras"}
for package, extra in PACKAGES.items():
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'fanwise[{extra}]'")

import equinox  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402
from flax import linen  # noqa: E402

import fanwise.jax as fwj  # noqa: E402
import fanwise.keras as fwk  # noqa: E402
import fanwise.tensorflow as fwtf  # noqa: E402
import fanwise.torch as fwt  # noqa: E402
from bench.stream import same_bits  # noqa: E402
from fanwise import Key, Layout, Normal  # noqa: E402
from fanwise.lab.data import load_digits  # noqa: E402
from fanwise.plan.manifest import Manifest, digest_of  # noqa: E402
from fanwise.plan.plan import Plan  # noqa: E402

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SEED, BATCH = 2026, 64
WIDTHS = (784, 100, 100, 10)
UNIT = 2.0**-24
"""Half the distance from 1 to the next float32: what one rounding errs by, relatively."""
STREAMS = tuple(f"{layer}.{kind}" for layer in (0, 2, 4) for kind in ("weight", "bias"))
"""The plan's own names: those of the torch model."""


# The laws, each framework in a process of its own


def test_every_framework_draws_one_digest_of_every_law_and_dtype():
    command = [sys.executable, "-m", "bench", "same_bits"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "one digest in" in line]
    assert len(rows) == len(same_bits.LAWS) * len(same_bits.DTYPES) == 13 * 4
    places = {int(line.split()[-2]) for line in rows}
    assert places <= {12, 13, 14}  # not all laws are in torch's init, and the kernel may be absent
    assert "left out" not in done.stdout


def test_a_digest_that_differs_is_found(capsys):
    alike = {same_bits.DEFINITION: {"normal float32": "aa"}, "here": {"normal float32": "aa"}, "elsewhere": {}}
    assert same_bits.report(alike)
    assert "one digest in 2 places" in capsys.readouterr().out
    assert not same_bits.report({**alike, "elsewhere": {"normal float32": "ab"}})
    assert "elsewhere has ab" in capsys.readouterr().out


def test_one_step_of_one_number_is_another_digest():
    drawn = Normal(0.02)(same_bits.SHAPE, key=same_bits.KEY)
    other = drawn.copy()
    other[-1, -1] = np.nextafter(other[-1, -1], np.float32(1))
    assert same_bits.digest(drawn) == same_bits.digest(drawn.astype(">f4")) != same_bits.digest(other)


# The reference network: built by each framework, filled from one manifest


class Network(linen.Module):
    @linen.compact
    def __call__(self, x):
        for width in WIDTHS[1:-1]:
            x = linen.relu(linen.Dense(width)(x))
        return linen.Dense(WIDTHS[-1])(x)


def torch_network():
    layers = [torch.nn.Linear(*sizes) for sizes in pairwise(WIDTHS)]
    return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])


def one_manifest(order="canonical"):
    """As it comes from its file: He's laws, and biases that are not zero, so that they are seen too."""
    plan = fwt.plan(torch_network(), "64,784", "he").edit("*.bias", Normal(0.1))
    return Manifest.from_toml(
        Manifest(replace(plan, rows=tuple(replace(row, order=order) for row in plan)), SEED).to_toml()
    )


def ported(plan, names, axes):
    """The plan for a port: its paths and its layout, the streams of the plan."""
    rows = []
    for stream, path in zip(STREAMS, names, strict=True):
        row = plan[stream]
        if row.layout is None:
            rows.append(replace(row, path=path, stream=stream))
        else:
            shape = row.shape if axes == "out in" else row.shape[::-1]
            rows.append(replace(row, path=path, stream=stream, shape=shape, layout=Layout.dense(axes)))
    return Plan(tuple(rows))


def numpy_port(plan):
    """By the laws alone: neither rows, nor plans, nor adapters have a part in it."""
    values = []
    for stream in STREAMS:
        row = plan[stream]
        layout = None if row.layout is None else Layout.dense("in out")
        values.append(row.law(row.shape[::-1], key=Key(SEED, stream), layout=layout))

    def forward(x):
        for kernel, bias in zip(values[0:4:2], values[1:4:2], strict=True):
            x = np.maximum(x @ kernel + bias, 0)
        return x @ values[4] + values[5]

    return values, forward, None


def torch_port(plan):
    made = fwt.apply(torch_network(), plan, SEED)
    values = [fwt.read(made, name).T for name in STREAMS]
    return values, lambda x: made(torch.from_numpy(x)).detach().numpy(), fwt.manifest(made, plan, SEED)


def jax_port(model, plan, forward):
    made = fwj.apply(model, plan, SEED)
    values = [fwj.read(made, row.path) for row in plan]
    return values, lambda x: np.asarray(forward(made, jnp.asarray(x))), fwj.manifest(made, plan, SEED)


def plain_jax_port(plan):
    params = {
        f"{kind}{i}": jnp.zeros(shape)
        for i in range(3)
        for kind, shape in (("w", WIDTHS[i : i + 2]), ("b", WIDTHS[i + 1]))
    }

    def network(p, x):
        for i in range(2):
            x = jax.nn.relu(x @ p[f"w{i}"] + p[f"b{i}"])
        return x @ p["w2"] + p["b2"]

    names = [f"{kind}{i}" for i in range(3) for kind in "wb"]
    return jax_port((network, params), ported(plan, names, "in out"), lambda made, x: jax.jit(network)(made[1], x))


def flax_port(plan):
    module = Network()
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, WIDTHS[0])))
    model = module, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    names = [f"Dense_{i}.{kind}" for i in range(3) for kind in ("kernel", "bias")]
    return jax_port(model, ported(plan, names, "in out"), lambda made, x: module.apply(made[1], x))


def equinox_port(plan):
    model = equinox.nn.MLP(WIDTHS[0], WIDTHS[-1], WIDTHS[1], depth=2, key=jax.random.key(0))
    names = [f"layers.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]
    values, forward, made = jax_port(model, ported(plan, names, "out in"), lambda made, x: jax.vmap(made)(x))
    return [value.T for value in values], forward, made


def keras_port(plan):
    dense = [keras.layers.Dense(width, name=f"dense{i}") for i, width in enumerate(WIDTHS[1:])]
    layers = [dense[0], keras.layers.ReLU(), dense[1], keras.layers.ReLU(), dense[2]]
    model = keras.Sequential([keras.Input((WIDTHS[0],)), *layers], name="net")
    names = [f"net/dense{i}/{kind}" for i in range(3) for kind in ("kernel", "bias")]
    rows = ported(plan, names, "in out")
    fwk.apply(model, rows, SEED)
    values = [fwk.read(model, name) for name in names]
    return values, lambda x: keras.ops.convert_to_numpy(model(x)), fwk.manifest(model, rows, SEED)


def tensorflow_port(plan):
    variables = []
    for stream in STREAMS:
        row = plan[stream]
        layout = None if row.layout is None else Layout.dense("in out")
        variables.append(tf.Variable(fwtf.Law(row.law, layout, seed=Key(SEED, stream))(row.shape[::-1])))

    @tf.function
    def network(x):
        for kernel, bias in zip(variables[0:4:2], variables[1:4:2], strict=True):
            x = tf.nn.relu(tf.matmul(x, kernel) + bias)
        return tf.matmul(x, variables[4]) + variables[5]

    return [variable.numpy() for variable in variables], lambda x: network(x).numpy(), None


PORTS = {
    "numpy": numpy_port,
    "torch": torch_port,
    "jax": plain_jax_port,
    "flax": flax_port,
    "equinox": equinox_port,
    "keras": keras_port,
    "tensorflow": tensorflow_port,
}
"""Each gives its parameters, kernels as (in, out), a function from inputs to logits, and a manifest if it makes one."""


def exact(values, x):
    """Logits in float64, and five standard errors of what float32 rounds in them, in whatever order it sums.

    n roundings of a sum, by u or less each and independent, come to sqrt(n) u of the sum of absolute values at most,
    as a standard error (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019, theorem 2.4).
    Those of the layer before are multiplied by the weights; a ReLU enlarges nothing.
    """
    signal, variance = x.astype(np.float64), np.zeros(x.shape)
    for layer in range(3):
        kernel, bias = (value.astype(np.float64) for value in values[2 * layer : 2 * layer + 2])
        roundings = 2 * kernel.shape[0] + 1  # of every product, of every sum, of the bias
        own = roundings * (UNIT * (abs(signal) @ abs(kernel) + abs(bias))) ** 2
        variance = variance @ kernel**2 + own
        signal = signal @ kernel + bias
        signal = np.maximum(signal, 0) if layer < 2 else signal
    return signal, 5 * np.sqrt(variance)


@pytest.fixture(scope="module")
def plan():
    return one_manifest().plan


@pytest.fixture(scope="module")
def reference(plan):
    """What the NumPy laws say: parameters, logits in float64, what float32 may err by, and the inputs."""
    values, x = numpy_port(plan)[0], np.ascontiguousarray(load_digits().test_x[:BATCH], np.float32)
    return values, *exact(values, x), x


@pytest.mark.parametrize("name", PORTS)
def test_one_manifest_fills_the_network_in(name, plan, reference):
    expected, logits, error, x = reference
    values, forward, made = PORTS[name](plan)
    assert [value.shape for value in values] == [value.shape for value in expected]
    assert [value.dtype for value in values] == [np.dtype(np.float32)] * 6
    assert [value.tobytes() for value in values] == [value.tobytes() for value in expected]
    assert (abs(forward(x) - logits) <= error).all()
    if made is not None:  # one digest a parameter, whatever its name and its layout
        digests = dict(zip(STREAMS, map(digest_of, expected), strict=True))
        assert {row.stream or row.path: made.digests[row.path] for row in made.plan} == digests


def test_the_tolerance_is_a_small_share_of_the_logits(reference):
    _, logits, error, _ = reference
    assert error.max() < 1e-2 * logits.std()


def test_counted_as_it_is_stored_it_is_another_network(reference):
    """The mutant: torch's weights in storage order are not those of its ports."""
    expected, logits, error, x = reference
    values, forward, _ = torch_port(one_manifest("storage").plan)
    same = [value.tobytes() == other.tobytes() for value, other in zip(values, expected, strict=True)]
    assert same == [False, True] * 3  # a bias has one axis
    assert (abs(forward(x) - logits) > error).mean() > 0.9
