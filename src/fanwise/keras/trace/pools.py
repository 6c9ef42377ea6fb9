"""What Keras's pools take of their windows: functions and layers."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from fanwise.graph.details import Pooling

TAKES = {"max_pool": "max", "average_pool": "mean", "adaptive_average_pool": "mean", "adaptive_max_pool": "max"}
"""What the functions take."""


def of_function(name: str, rank: int, get: Any) -> Pooling | None:
    """The windows of a pool of `keras.ops`; None for one that takes something else.

    Args:
        name: of the function.
        rank: of what it reads.
        get: its arguments, by position and name.
    """
    takes, dims = TAKES.get(name), rank - 2
    if takes is None or dims < 1:
        return None
    last = get(4 if name in ("max_pool", "average_pool") else 2, "data_format") != "channels_first"
    if name.startswith("adaptive"):
        whole = _each(get(1, "output_size"), dims) == (1,) * dims
        return Pooling(takes, _whole_rank((0,) * dims, last=last)) if whole else None
    window = _each(get(1, "pool_size"), dims)
    steps = get(2, "strides")
    stride = window if steps is None else _each(steps, dims)
    padding = str(get(3, "padding") or "valid")
    return Pooling(takes, _whole_rank(window, last=last), _whole_rank(stride, last=last), padding)


WINDOWED = {vars(layers)[f"{kind}Pooling{n}D"]: (kind, n) for kind in ("Average", "Max") for n in (1, 2, 3)}
GLOBAL = {vars(layers)[f"Global{kind}Pooling{n}D"]: (kind, n) for kind in ("Average", "Max") for n in (1, 2, 3)}
REPEATING = {vars(layers)[f"UpSampling{n}D"]: n for n in (1, 2, 3)}
"""Layers of each kind, and how many axes they pool."""
_WORDS = {"Average": "mean", "Max": "max"}


def of_windows(layer: Any) -> Pooling:
    """The windows of a pooling layer."""
    kind, dims = next(said for owner, said in WINDOWED.items() if isinstance(layer, owner))
    last = layer.data_format != "channels_first"
    window, stride = (_whole_rank(_each(numbers, dims), last=last) for numbers in (layer.pool_size, layer.strides))
    return Pooling(_WORDS[kind], window, stride, str(layer.padding))


def of_global(layer: Any) -> Pooling:
    """One window, over all places."""
    kind, dims = next(said for owner, said in GLOBAL.items() if isinstance(layer, owner))
    return Pooling(_WORDS[kind], _whole_rank((0,) * dims, last=layer.data_format != "channels_first"))


def of_repeats(layer: Any) -> Pooling | None:
    """Values that are repeated; None where they are mixed."""
    dims = next(said for owner, said in REPEATING.items() if isinstance(layer, owner))
    mixed = isinstance(layer, layers.UpSampling2D) and layer.interpolation != "nearest"
    return None if mixed else Pooling("mean", (1,) * (dims + 2))


def _each(numbers: Any, dims: int) -> tuple[int, ...]:
    return (numbers,) * dims if isinstance(numbers, int) else tuple(int(number) for number in numbers)


def _whole_rank(sizes: Sequence[int], *, last: bool) -> tuple[int, ...]:
    return (1, *sizes, 1) if last else (1, 1, *sizes)
