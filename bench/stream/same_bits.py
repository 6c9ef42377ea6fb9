"""The same bits everywhere: one SHA-256 for every law and dtype, wherever its numbers are drawn.

    python -m bench same_bits                          # a few minutes on two cores
    python -m bench same_bits --laws normal,he_normal  # these alone

For one seed, path and shape, every law of the registry that draws element by element is drawn by the NumPy definition;
by the native kernel; by torch, through a plan and through `fanwise.torch.init` where that has the law; by JAX eagerly,
compiled, and sharded over eight devices, eagerly and compiled; by Keras on each of its backends; by TensorFlow
eagerly, in a `tf.function`, and in one that XLA compiles. Each framework has a process of its own. What is digested are
the array's bytes, little-endian in C order. A framework that is not installed is named and left out.

Exit code 1: a digest differs, or a process failed.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from fanwise import INITIALIZERS, Key, Layout
from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Constant, Normal, Ones, TruncatedNormal, Uniform, VarianceScaling, Zeros

SEED, PATH = 2026, "weight"
KEY = Key(SEED, PATH)
SHAPE = (104, 75)
"""Eight shards of thirteen rows, which begin at every place in a block of four words."""
LAYOUT = Layout.dense("out in")
DTYPES = ("float32", "bfloat16", "float16", "float64")
DEVICES = 8
DEFINITION = "NumPy definition"

ELEMENTWISE = Constant | Normal | Ones | TruncatedNormal | Uniform | VarianceScaling | Zeros
LAWS = {name: entry.example for name, entry in INITIALIZERS.items() if isinstance(entry.example, ELEMENTWISE)}

Draw = Callable[[Initializer, str], Any]
"""Draws a law in a dtype: something that NumPy takes as an array."""
Digests = Mapping[str, str]
"""By law and dtype, as in "he_normal bfloat16"."""


def digest(values: Any) -> str:
    array = np.asarray(values)
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def digests(draw: Draw, names: list[str]) -> Digests:
    return {f"{name} {dtype}": digest(draw(LAWS[name], dtype)) for name in names for dtype in DTYPES}


# What runs in the processes: each yields places and the digests found there


def of_numpy(names: list[str]) -> Iterator[tuple[str, Digests]]:
    from fanwise.stream import native  # noqa: PLC0415

    place = f"native kernel, {native.ISA}" if native.ISAS else DEFINITION
    yield place, digests(lambda law, dtype: law(SHAPE, key=KEY, layout=LAYOUT, dtype=dtype), names)


def of_torch(names: list[str]) -> Iterator[tuple[str, Digests]]:
    import torch  # noqa: PLC0415

    import fanwise.torch as fwt  # noqa: PLC0415
    from fanwise.plan.plan import Plan  # noqa: PLC0415
    from fanwise.plan.row import Row  # noqa: PLC0415
    from fanwise.torch import init  # noqa: PLC0415

    in_place = {
        "zeros": init.zeros_,
        "ones": init.ones_,
        "constant": partial(init.constant_, val=LAWS["constant"].value),
        "normal": partial(init.normal_, std=LAWS["normal"].std, key=KEY),
        "lecun_normal": partial(init.kaiming_normal_, nonlinearity="linear", key=KEY),
        "lecun_uniform": partial(init.kaiming_uniform_, nonlinearity="linear", key=KEY),
        "glorot_normal": partial(init.xavier_normal_, key=KEY),
        "glorot_uniform": partial(init.xavier_uniform_, key=KEY),
        "he_normal": partial(init.kaiming_normal_, nonlinearity="relu", key=KEY),
        "he_uniform": partial(init.kaiming_uniform_, nonlinearity="relu", key=KEY),
    }
    by_law = {LAWS[name]: fill for name, fill in in_place.items()}

    def module(dtype):
        return torch.nn.Linear(SHAPE[1], SHAPE[0], bias=False, dtype=getattr(torch, dtype))

    def planned(law, dtype):
        row = Row(PATH, SHAPE, dtype, law, LAYOUT, "weight", "linear", "Drawn everywhere.")
        return fwt.read(fwt.apply(module(dtype), Plan((row,)), SEED), PATH)

    def called(law, dtype):
        made = module(dtype)
        by_law[law](made.weight)
        return fwt.read(made, PATH)

    yield "torch apply", digests(planned, names)
    yield "torch init", digests(called, [name for name in names if name in in_place])


def of_jax(names: list[str]) -> Iterator[tuple[str, Digests]]:
    import jax  # noqa: PLC0415
    from jax.sharding import AxisType, NamedSharding, PartitionSpec  # noqa: PLC0415

    from fanwise.jax import draw  # noqa: PLC0415

    mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(AxisType.Auto,), devices=jax.devices()[:DEVICES])
    shards = NamedSharding(mesh, PartitionSpec("rows"))

    def drawn(law, dtype, *, sharding=None, compiled=False):
        make = partial(draw, law, KEY, SHAPE, layout=LAYOUT, dtype=dtype, out_sharding=sharding)
        with jax.enable_x64(dtype == "float64"):
            made = jax.jit(make)() if compiled else make()
        if len(made.addressable_shards) != (1 if sharding is None else DEVICES):
            raise RuntimeError(f"{law!r} lies in {len(made.addressable_shards)} shards, sharding = {sharding}")
        return made

    yield "JAX eager", digests(drawn, names)
    yield "JAX jit", digests(partial(drawn, compiled=True), names)
    yield f"JAX eager, {DEVICES} shards", digests(partial(drawn, sharding=shards), names)
    yield f"JAX jit, {DEVICES} shards", digests(partial(drawn, sharding=shards, compiled=True), names)


def of_keras(names: list[str]) -> Iterator[tuple[str, Digests]]:
    import keras  # noqa: PLC0415

    from fanwise.keras import initializers  # noqa: PLC0415

    def drawn(law, dtype):
        return keras.ops.convert_to_numpy(initializers.Law(law, LAYOUT, seed=KEY)(SHAPE, dtype))

    yield f"Keras on {keras.config.backend()}", digests(drawn, names)


def of_tensorflow(names: list[str]) -> Iterator[tuple[str, Digests]]:
    import tensorflow as tf  # noqa: PLC0415

    from fanwise.tensorflow import Law  # noqa: PLC0415

    def eager(law, dtype):
        return Law(law, LAYOUT, seed=KEY, dtype=dtype)(SHAPE).numpy()

    def in_graph(law, dtype, *, compiled):
        init = Law(law, LAYOUT, seed=KEY, dtype=dtype)
        return tf.function(lambda: init(SHAPE), jit_compile=compiled)().numpy()

    yield "TensorFlow eager", digests(eager, names)
    yield "TensorFlow tf.function", digests(partial(in_graph, compiled=False), names)
    yield "TensorFlow XLA", digests(partial(in_graph, compiled=True), names)


# The processes

FRAMEWORKS = {"numpy": of_numpy, "torch": of_torch, "jax": of_jax, "keras": of_keras, "tensorflow": of_tensorflow}
SHARDED = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}", "JAX_PLATFORMS": "cpu"}
PROCESSES = (
    ("numpy", (), {"FANWISE_NATIVE": "0"}),
    ("numpy", (), {"FANWISE_NATIVE": "1"}),
    ("torch", ("torch",), {}),
    ("jax", ("jax",), SHARDED),
    ("keras", ("keras", "tensorflow"), {"KERAS_BACKEND": "tensorflow"}),
    ("keras", ("keras", "jax"), {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}),
    ("keras", ("keras", "torch"), {"KERAS_BACKEND": "torch"}),
    ("tensorflow", ("tensorflow",), {}),
)
"""Of each process: what runs in it, the packages that this takes, and its environment."""
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}


def found_by(framework: str, environment: Mapping[str, str], names: list[str]) -> dict[str, Digests]:
    """Places and their digests, from a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, __file__, "--child", framework, "--laws", ",".join(names)]
    variables = {**os.environ, **QUIET, **environment}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        raise RuntimeError(f"the process of {framework}, {dict(environment)}, failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def everywhere(names: list[str]) -> dict[str, Digests]:
    """Places and their digests, of all that is installed; as many processes at a time as there are cores, four at most.

    Raises:
        RuntimeError: a process failed.
    """
    present = []
    for framework, packages, environment in PROCESSES:
        absent = [package for package in packages if find_spec(package) is None]
        if absent:
            print(f"left out: {framework} {environment or ''}: {', '.join(absent)} is not installed")
        else:
            present.append((framework, environment, names))
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        found = pool.map(found_by, *zip(*present, strict=True))
    return {place: one for places in found for place, one in places.items()}


def differing(found: Mapping[str, Digests], case: str) -> dict[str, str]:
    """Places whose digest of a law and dtype is not the definition's."""
    expected = found[DEFINITION][case]
    return {place: one[case] for place, one in found.items() if one.get(case, expected) != expected}


def report(found: Mapping[str, Digests]) -> bool:
    """Prints the table; whether all agree."""
    print(f"seed {SEED}, path {PATH!r}, shape {SHAPE}; {len(found)} places: {', '.join(found)}\n")
    wrong = Counter()
    for case, expected in found[DEFINITION].items():
        law, dtype = case.split()
        count, others = sum(case in one for one in found.values()), differing(found, case)
        said = ", ".join(f"{place} has {other[:12]}" for place, other in others.items())
        print(f"{law:18s}{dtype:10s}{expected[:12]}  {said or f'one digest in {count} places'}")
        wrong.update(others)
    print("\nevery digest agrees" if not wrong else f"\nDIFFERS: {dict(wrong)}")
    return not wrong


def chosen(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in LAWS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}: expected some of {', '.join(LAWS)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laws", type=chosen, default=list(LAWS), help="names of the registry, with commas between")
    parser.add_argument("--child", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(dict(FRAMEWORKS[asked.child](asked.laws))))
        return 0
    return 0 if report(everywhere(asked.laws)) else 1


if __name__ == "__main__":
    sys.exit(main())
