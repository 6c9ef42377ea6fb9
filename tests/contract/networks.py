"""The networks of the contract as data, their weights as NumPy arrays, and what they compute, in float64.

A parameter is named ``layer.kind``; kernels are stored as (in, out) or (height, width, in, out), images as channels
last. Each framework renames and transposes them (`frameworks`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.generic]
Weights: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Dense:
    """x W + b."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Conv:
    """A convolution of 3 x 3, without padding."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Norm:
    """A layer norm over the last axis."""

    name: str
    width: int
    epsilon: float = 1e-5


@dataclass(frozen=True)
class Table:
    """A lookup of integers."""

    name: str
    rows: int
    width: int


@dataclass(frozen=True)
class Join:
    """The sum of two maps of two inputs."""

    left: Dense
    right: Dense


@dataclass(frozen=True)
class Residual:
    """x + layers(x)."""

    layers: "tuple[Layer, ...]"


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True)
class Pool:
    """The mean over an image's pixels."""


@dataclass(frozen=True)
class Mean:
    """The mean square of everything: a model that returns its own loss."""


Layer: TypeAlias = Dense | Conv | Norm | Table | Join | Residual | Relu | Pool | Mean


@dataclass(frozen=True, eq=False)
class Network:
    """A network.

    Args:
        name: of it.
        layers: one after the other.
        shapes: of one example, by the name of the input.
        integers: how many there are to look up; 0 where the inputs are normal numbers.
    """

    name: str
    layers: tuple[Layer, ...]
    shapes: Mapping[str, tuple[int, ...]]
    integers: int = 0


WIDTH, CLASSES, BATCH = 32, 10, 64
_IN = {"x": (16,)}
_HEAD = Dense("head", WIDTH, CLASSES)


def _block(number: int) -> Residual:
    up, down = Dense(f"up{number}", WIDTH, 48), Dense(f"down{number}", 48, WIDTH)
    return Residual((Norm(f"norm{number}", WIDTH), up, Relu(), down))


MLP = Network("mlp", (Dense("a", 16, WIDTH), Relu(), Dense("b", WIDTH, WIDTH), Relu(), _HEAD), _IN)
CONV = Network(
    "conv",
    (Conv("a", 3, 16), Relu(), Conv("b", 16, WIDTH), Relu(), Pool(), _HEAD),
    {"x": (8, 8, 3)},
)
NORM = Network("norm", (Dense("a", 16, WIDTH), Norm("n", WIDTH), Relu(), _HEAD), _IN)
RESIDUAL = Network("residual", (Dense("a", 16, WIDTH), _block(1), _block(2), Norm("n", WIDTH), _HEAD), _IN)
PAIR = Network(
    "pair", (Join(Dense("left", 16, WIDTH), Dense("right", 8, WIDTH)), Relu(), _HEAD), {"x": (16,), "z": (8,)}
)
TOKENS = Network("tokens", (Table("table", 50, WIDTH), _HEAD), {"x": ()}, integers=50)
OWN_LOSS = Network("own", (*MLP.layers, Mean()), _IN)
NETWORKS = {network.name: network for network in (MLP, CONV, NORM, RESIDUAL)}


def leaves(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Every layer that holds no others."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from leaves(layer.layers)
        else:
            yield from (layer.left, layer.right) if isinstance(layer, Join) else (layer,)


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in leaves(network.layers):
        match layer:
            case Dense(name, inputs, outputs):
                found |= {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}
            case Conv(name, inputs, outputs):
                found |= {f"{name}.weight": (3, 3, inputs, outputs), f"{name}.bias": (outputs,)}
            case Norm(name, width):
                found |= {f"{name}.scale": (width,), f"{name}.bias": (width,)}
            case Table(name, rows, width):
                found |= {f"{name}.table": (rows, width)}
    return found


def weights(network: Network, seed: int = 0, **changed: object) -> dict[str, Array]:
    """A healthy start: He's normal numbers, biases 0, a head of a tenth.

    Args:
        network: whose.
        seed: of NumPy's generator.
        changed: functions of the parameters that are to be other ones, by name with "_" for ".".
    """
    rng, made = np.random.default_rng(seed), {}
    for label, shape in shapes(network).items():
        std = math.sqrt(2 / math.prod(shape[:-1])) * (0.1 if label.startswith("head") else 1)
        drawn = rng.normal(0, 1 if label.endswith("table") else std, shape)
        value = drawn if len(shape) > 1 else np.full(shape, float(label.endswith("scale")))
        change = changed.get(label.replace(".", "_"))
        made[label] = np.asarray(change(value) if callable(change) else value, np.float32)
    return made


def examples(network: Network, count: int = BATCH, seed: int = 1) -> dict[str, Array]:
    """Inputs by name: standard normal numbers, or integers."""
    rng = np.random.default_rng(seed)
    if network.integers:
        return {"x": rng.integers(0, network.integers, (count,), np.int32)}
    return {name: rng.normal(size=(count, *shape)).astype(np.float32) for name, shape in network.shapes.items()}


def labels(count: int = BATCH, seed: int = 2) -> Array:
    """Classes to compare with."""
    return np.random.default_rng(seed).integers(0, CLASSES, count)


# What a network computes


def computed(network: Network, values: Weights, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What each map gives, by the name of its layer; what goes into it, by "layer.in"; and "output"."""
    seen: dict[str, Array] = {}
    wide = {label: np.asarray(value, np.float64) for label, value in values.items()}
    given = {name: np.asarray(value, np.float64 if value.dtype.kind == "f" else None) for name, value in inputs.items()}
    x = given if len(given) > 1 else given["x"]
    seen["output"] = _through(network.layers, wide, x, seen)
    return seen


def _through(layers: tuple[Layer, ...], values: Weights, x: object, seen: dict[str, Array]) -> Array:
    for layer in layers:
        if isinstance(layer, Residual):
            x = x + _through(layer.layers, values, x, seen)
        elif isinstance(layer, Join):
            x = _one(layer.left, values, x["x"], seen) + _one(layer.right, values, x["z"], seen)
        else:
            x = _one(layer, values, x, seen)
    return x


def _one(layer: Layer, values: Weights, x: Array, seen: dict[str, Array]) -> Array:
    y = _applied(layer, values, x)
    if not isinstance(layer, Relu | Pool | Mean):
        seen |= {layer.name: y, f"{layer.name}.in": x}
    return y


def _applied(layer: Layer, values: Weights, x: Array) -> Array:  # noqa: PLR0911  (one a kind of layer)
    match layer:
        case Dense(name):
            return x @ values[f"{name}.weight"] + values[f"{name}.bias"]
        case Conv(name):
            return _convolved(x, values[f"{name}.weight"]) + values[f"{name}.bias"]
        case Norm(name, _, epsilon):
            centred = x - x.mean(-1, keepdims=True)
            normed = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + epsilon)
            return normed * values[f"{name}.scale"] + values[f"{name}.bias"]
        case Table(name):
            return values[f"{name}.table"][x]
        case Relu():
            return np.maximum(x, 0)
        case Pool():
            return x.mean((1, 2))
        case _:
            return np.square(x).mean()


def _convolved(x: Array, kernel: Array) -> Array:
    """Tap by tap, as it is written in books."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    return sum(x[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
