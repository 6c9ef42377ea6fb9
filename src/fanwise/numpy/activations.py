"""Nonlinearities as users give them: names, functions, one for all layers or one each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from fanwise.graph.details import Activation
from fanwise.laws.nonlinearities import NONLINEARITIES, Nonlinearity, leaky_relu, nonlinearity
from fanwise.stream.arguments import near_names

ActivationLike: TypeAlias = "str | Nonlinearity | Callable[[Any], Any] | None"
"""One nonlinearity: its name, as in "leaky_relu(0.2)"; any function of arrays; None for none."""
SOFTMAX = Nonlinearity("softmax", np.array)
"""Stands for a softmax at the end, which belongs to the loss."""
PROBES = np.linspace(-8.0, 8.0, 65) + 0.01
"""Values at which a function is compared with those that have a name: beyond the bends of all."""
SAME = 1e-6
"""By what two functions may differ that are the same, of values up to 8, in float32."""


def read_activations(given: Any, count: int) -> tuple[Nonlinearity | None, ...]:
    """The nonlinearity behind each layer; None for none.

    Args:
        given: one for all layers but the last; or a list, of one for each layer, or for each but the last.
        count: of layers.

    Raises:
        TypeError: something that is no nonlinearity.
        ValueError: an unknown name; a list of another length; a function that mixes values.
    """
    if not isinstance(given, list | tuple):
        return (*(read_activation(given),) * (count - 1), None)
    if len(given) not in (count - 1, count):
        raise ValueError(
            f"activation lists {len(given)}: expected one for each of the {count} layers, or for all but the last"
        )
    read = tuple(read_activation(each, last=i == count - 1) for i, each in enumerate(given))
    return (*read, None)[:count]


def read_activation(given: ActivationLike, *, last: bool = False) -> Nonlinearity | None:
    """One nonlinearity; a function that is one with a name gets it.

    Args:
        given: by the user.
        last: whether it stands behind the last layer, where a softmax may.
    """
    if given is None:
        return None
    if isinstance(given, str):
        unit = _by_name(given, last=last)
    elif isinstance(given, Nonlinearity):
        unit = given
    elif callable(given) and not isinstance(given, type):
        unit = _by_function(given, last=last)
    else:
        raise TypeError(f"activation = {given!r}: expected a name such as 'relu', a function of arrays, or None")
    return None if unit.name == "linear" else unit


def detail_of(unit: Nonlinearity) -> Activation:
    """What a trace says of a nonlinearity."""
    base, _, inside = unit.name.partition("(")
    slope = float(inside.rstrip(")")) if base == "leaky_relu" and inside else None
    return Activation("gelu" if base == "gelu_tanh" else base, slope, "tanh" if base == "gelu_tanh" else None)


def _by_name(name: str, *, last: bool) -> Nonlinearity:
    plain = name.strip().lower().replace("-", "_")
    if plain == "softmax":
        return _softmax(last=last)
    try:
        return nonlinearity(plain)
    except ValueError:
        names = [*NONLINEARITIES, *(synonym for entry in NONLINEARITIES.values() for synonym in entry.synonyms)]
        near = near_names(plain.partition("(")[0], [*names, "softmax"], 1)
        hint = f": did you mean {near[0]!r}?" if near else ":"
        raise ValueError(
            f"activation = {name!r}{hint} expected one of {', '.join(NONLINEARITIES)}, or a function of arrays"
        ) from None


def _softmax(*, last: bool) -> Nonlinearity:
    if not last:
        raise ValueError(
            "activation = 'softmax' between layers: it belongs to the loss; give loss='softmax' and the nonlinearity "
            "of the layers before it"
        )
    return SOFTMAX


def _by_function(function: Callable[[Any], Any], *, last: bool) -> Nonlinearity:
    name = _name_of(function)
    values = _tried(function, PROBES, name)
    if _mixes(function, name):
        if last and "softmax" in name:
            return SOFTMAX
        raise ValueError(f"activation {name} mixes the values of an example: a softmax belongs to the loss")
    known = next((unit for unit in _known() if _same(unit.function(PROBES), values)), None) or _leaky(values)
    return known or Nonlinearity(name, lambda x: _tried(function, x, name))


def _name_of(function: Callable[[Any], Any]) -> str:
    name = str(getattr(function, "__name__", type(function).__name__))
    return "function" if name == "<lambda>" else name


def _tried(function: Callable[[Any], Any], x: Any, name: str) -> Any:
    """The values of a function.

    Raises:
        TypeError: it gives no array like the one it was given.
    """
    with np.errstate(all="ignore"):
        try:
            values = function(x.copy())
        except Exception as error:
            raise TypeError(
                f"activation {name} could not be computed of an array of shape {x.shape}: {type(error).__name__}: "
                f"{error}; expected a function of each value, such as np.tanh"
            ) from error
    if not isinstance(values, np.ndarray) or values.shape != x.shape:
        what = f"shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(f"activation {name} gave {what} for an array of shape {x.shape}: expected the same shape")
    return np.asarray(values, np.float64)


def _mixes(function: Callable[[Any], Any], name: str) -> bool:
    """Whether a value of the result depends on more than the value at its place."""
    rows = PROBES[:48].reshape(4, 12)
    alone = np.concatenate([_tried(function, rows[:, i : i + 1], name) for i in range(12)], 1)
    return not _same(_tried(function, rows, name), alone)


@lru_cache(maxsize=1)
def _known() -> tuple[Nonlinearity, ...]:
    """The nonlinearities that need no number."""
    names = [entry.name for entry in NONLINEARITIES.values() if "(" not in entry.example or entry.name == "elu"]
    return tuple(nonlinearity(name) for name in names)


def _leaky(values: Any) -> Nonlinearity | None:
    """A leaky ReLU of these values."""
    slope = float(values[0] / PROBES[0])
    unit = leaky_relu(round(slope, 9))
    return unit if 0 < abs(slope) < 1 and _same(unit.function(PROBES), values) else None


def _same(values: Any, others: Any) -> bool:
    return bool(np.allclose(values, others, rtol=SAME, atol=SAME, equal_nan=True))


def wide(unit: Nonlinearity) -> Nonlinearity:
    """A nonlinearity whose values come as float64, whatever its function gives."""
    return replace(unit, function=lambda x: np.asarray(unit.function(x), np.float64))


def names_of(units: Sequence[Nonlinearity | None]) -> str:
    """The nonlinearities of a network in words."""
    return " and ".join(dict.fromkeys(unit.name for unit in units if unit is not None)) or "linear"
