"""Normal values in place of what an op read, and the moments of what it gives for them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from fanwise.stream.box import Shape
from fanwise.stream.key import Key

Probe: TypeAlias = Callable[[Sequence[tuple[float, float]]], tuple[float, float]]
"""From the means and stds of what an op reads to the mean and second moment of what it gives."""


def probe(function: Callable[..., Any], shapes: Sequence[Shape]) -> Probe:
    """What a function gives for normal values.

    Args:
        function: of NumPy arrays of these shapes, to one array.
        shapes: of what it reads.
    """

    def moments(given: Sequence[tuple[float, float]]) -> tuple[float, float]:
        numbers = np.random.default_rng(Key(0, "probe").philox().key[0])
        pairs = zip(given, shapes, strict=False)
        arrays = [mean + std * numbers.standard_normal(shape) for (mean, std), shape in pairs]
        output = np.asarray(function(*arrays))
        values = np.abs(output) if np.iscomplexobj(output) else output.astype(np.float64)
        return float(values.mean()), float(np.square(values).mean())

    return moments
