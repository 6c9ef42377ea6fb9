"""Weights as users hold them: a list or a mapping of arrays and of pairs, read as layers with names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fanwise.numpy.windows import Array

EXPECTED = "expected a list of arrays such as [W1, b1, W2, b2], of pairs (W, b), or a dict of arrays by name"
BIAS_NAMES = re.compile(r"bias(es)?|b", re.IGNORECASE)
WEIGHT_NAMES = re.compile(r"weights?|kernels?|filters?|w|k", re.IGNORECASE)
WORDS = re.compile(r"[A-Za-z]+|\d+")


@dataclass(frozen=True, eq=False)
class GivenArray:
    """One array.

    Args:
        path: name in reports.
        values: its numbers.
        access: Python that reads it from what was given.
    """

    path: str
    values: Array
    access: str

    @property
    def is_vector(self) -> bool:
        """Whether at most one axis is longer than 1, as in a bias that is kept as a row or a column."""
        return self.values.ndim < 2 or max(self.values.shape) == self.values.size


@dataclass(frozen=True, eq=False)
class GivenLayer:
    """A weight and its bias.

    Args:
        weight: two axes or more.
        bias: of one axis; None for none.
    """

    weight: GivenArray
    bias: GivenArray | None = None


Entry = tuple[GivenArray, ...]
"""What stands at one place: one array, or a weight and a bias."""


def given_layers(weights: Any) -> tuple[GivenLayer, ...]:
    """The layers, in order.

    Args:
        weights: a sequence or mapping of arrays and of pairs (W, b), b None for none; mappings may be nested.

    Raises:
        TypeError: anything else.
        ValueError: an array that is no weight and no bias of one.

    Example:
        >>> layers = given_layers([np.ones((3, 4)), np.zeros(4), np.ones((4, 2))])
        >>> [(layer.weight.path, layer.bias and layer.bias.path) for layer in layers]
        [('W1', 'b1'), ('W2', None)]
    """
    if isinstance(weights, np.ndarray):
        raise TypeError(f"weights = an array of shape {weights.shape}: {EXPECTED}; one layer is [W] or [(W, b)]")
    if not isinstance(weights, Mapping | Sequence) or isinstance(weights, str | bytes):
        raise TypeError(f"weights = {type(weights).__name__}: {EXPECTED}")
    if not weights:
        raise ValueError(f"weights is empty: {EXPECTED}")
    entries = list(_entries(weights, "weights", ""))
    layers = _in_pairs(entries) if any(len(entry) > 1 for entry in entries) else _alone(weights, entries)
    if isinstance(weights, Mapping):
        return tuple(layers)
    return tuple(_renamed(layer, f"W{i}", f"b{i}") for i, layer in enumerate(layers, 1))


# What stands where


def _entries(weights: Any, access: str, prefix: str) -> Iterator[Entry]:
    items = weights.items() if isinstance(weights, Mapping) else enumerate(weights)
    for key, value in items:
        here, name = f"{access}[{key!r}]", f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _entries(value, here, f"{name}.")
        elif isinstance(value, tuple | list) and any(isinstance(each, np.ndarray) for each in value):
            yield _pair(value, here, name)
        else:
            yield (GivenArray(name, _array(value, here), here),)


def _pair(value: Sequence[Any], access: str, name: str) -> Entry:
    """A weight and a bias, named as the attributes of a layer."""
    if len(value) not in (1, 2):
        raise ValueError(f"{access} holds {len(value)} values: expected a pair (W, b), b None for a layer without bias")
    if value[0] is None:
        raise ValueError(f"{access} has no weight: expected a pair (W, b)")
    places = zip((f"{name}.weight", f"{name}.bias"), (f"{access}[0]", f"{access}[1]"), value, strict=False)
    return tuple(GivenArray(path, _array(each, where), where) for path, where, each in places if each is not None)


def _array(value: Any, where: str) -> Array:
    """The values as an array of floating point.

    Raises:
        TypeError: no array, or one of numbers that no weight has.
        ValueError: an empty one.
    """
    if not isinstance(value, np.ndarray | list):
        package = type(value).__module__.partition(".")[0]
        other = f"; models of {package} are for fanwise.{package}.check" if package in ("torch", "jax", "keras") else ""
        raise TypeError(f"{where} is {type(value).__name__}: expected a NumPy array{other}")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where} is no array, its rows differ in length: {error}") from None
    if array.dtype.kind != "f":
        how = f", as in {where}.astype(float)" if array.dtype.kind in "bui" else ""
        raise TypeError(f"{where} holds {array.dtype}: expected numbers of floating point{how}")
    if not array.size:
        raise ValueError(f"{where} has shape {array.shape} and no values")
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array


# Which bias belongs to which weight


def _in_pairs(entries: Sequence[Entry]) -> list[GivenLayer]:
    return [_layer(entry[0], entry[1] if len(entry) > 1 else None) for entry in entries]


def _alone(weights: Any, entries: Sequence[Entry]) -> list[GivenLayer]:
    """Layers of arrays that stand alone: by their names, where those tell, else by their order."""
    arrays = [entry[0] for entry in entries]
    named = _by_names(arrays) if isinstance(weights, Mapping) else None
    return named or _apart(arrays) or _followed(arrays)


def _by_names(arrays: Sequence[GivenArray]) -> list[GivenLayer] | None:
    """Each bias beside the weight whose name is alike; None where names do not tell."""
    called = {array.path: _called(array.path) for array in arrays}
    biases = {called[array.path][1]: array for array in arrays if array.is_vector and called[array.path][0] == "bias"}
    weights = [array for array in arrays if array not in biases.values()]
    stems = [called[weight.path][1] for weight in weights]
    if not biases or not set(biases) <= set(stems) or len(set(stems)) < len(stems):
        return None
    return [_layer(weight, biases.get(stem)) for weight, stem in zip(weights, stems, strict=True)]


def _called(path: str) -> tuple[str, tuple[str, ...]]:
    """What a name says, "bias", "weight" or nothing, and its other words.

    Example:
        >>> _called("fc1.bias"), _called("W2")
        (('bias', ('fc', '1')), ('weight', ('2',)))
    """
    words = WORDS.findall(path)
    for kind, pattern in (("bias", BIAS_NAMES), ("weight", WEIGHT_NAMES)):
        place = next((i for i in reversed(range(len(words))) if pattern.fullmatch(words[i])), None)
        if place is not None:
            return kind, tuple(words[:place] + words[place + 1 :])
    return "", tuple(words)


def _apart(arrays: Sequence[GivenArray]) -> list[GivenLayer] | None:
    """The layers of all weights and then all biases; None for any other order."""
    half = len(arrays) // 2
    weights, biases = arrays[:half], arrays[half:]
    if half < 2 or len(arrays) % 2 or any(array.is_vector for array in weights):
        return None
    pairs = list(zip(weights, biases, strict=True))
    if not all(bias.is_vector and bias.values.size in weight.values.shape for weight, bias in pairs):
        return None
    return [_layer(*pair) for pair in pairs]


def _followed(arrays: Sequence[GivenArray]) -> list[GivenLayer]:
    """The layers of weights that may each have a bias behind them."""
    layers: list[GivenLayer] = []
    for array in arrays:
        before = layers[-1] if layers else None
        if before is not None and before.bias is None and _is_bias(before.weight, array, layers[:-1]):
            layers[-1] = _layer(before.weight, array)
        else:
            layers.append(_layer(array, None))
    return layers


def _is_bias(weight: GivenArray, array: GivenArray, earlier: Sequence[GivenLayer]) -> bool:
    """Whether an array that follows a weight is its bias: a vector, or a row or column as long as the weight is wide.

    A column belongs to weights (out, in), a row to weights (in, out); any other may be the next weight. Behind a square
    weight it is what followed the weights before.

    Raises:
        ValueError: it may be either.
    """
    shape, wide = array.values.shape, weight.values.shape
    if len(shape) < 2:
        return True
    if len(shape) > 2 or not array.is_vector:
        return False
    if len(wide) > 2:
        return array.values.size in (wide[0], wide[-1])
    size: int = array.values.size
    out, read = wide if shape[1] == 1 else wide[::-1]
    if out == read == size > 1 and earlier:
        return all(layer.bias is not None for layer in earlier)
    if out == read == size > 1:
        raise ValueError(
            f"{array.access} has shape {shape} and follows a square weight: it may be a bias or the next weight; "
            "give pairs (W, b), or a bias of one axis"
        )
    return bool(out == size)


def _layer(weight: GivenArray, bias: GivenArray | None) -> GivenLayer:
    shape = weight.values.shape
    if weight.values.ndim < 2:
        raise ValueError(
            f"{weight.access} has shape {shape}: expected a weight of two axes, (in, out) or (out, in), or more for "
            "a convolution; a bias stands behind its weight"
        )
    if bias is not None and not bias.is_vector:
        raise ValueError(f"{bias.access} has shape {bias.values.shape}: expected a bias of one axis")
    return GivenLayer(weight, None if bias is None else replace(bias, values=bias.values.reshape(-1)))


def _renamed(layer: GivenLayer, weight: str, bias: str) -> GivenLayer:
    held = None if layer.bias is None else replace(layer.bias, path=bias)
    return GivenLayer(replace(layer.weight, path=weight), held)
