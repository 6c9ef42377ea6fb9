"""Weights that a model makes of its parameters alone: what an op sees, for values that stand in for the parameters."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from fanwise.laws.layout import Layout
from fanwise.stream.box import Shape
from fanwise.stream.key import Key

Spread: TypeAlias = tuple[float, float]
"""Mean and std."""
ENOUGH = 1 << 14
"""Numbers after which moments are known to about a percent."""
SAME = 1e-3
"""Sizes of the same draws that differ by less are equal."""
MOST_DRAWS = 64
"""Draws of small parameters."""


@dataclass(frozen=True)
class Transform:
    """What an op sees of parameters by way of functions.

    Args:
        shape: of it.
        layout: of it; None where it has no roles.
        parameters: those that it is made of, by path: shape, and whether they are complex. Those that only scale or
            shift it are not listed: they keep the values that they have.
        make: what the op sees, from arrays in place of some of the parameters; it raises where it cannot be computed
            again.
        degree: how it grows with a lone parameter, where the functions tell (`fanwise.graph.tracking.homogeneity`).
    """

    shape: Shape
    layout: Layout | None
    parameters: Mapping[str, tuple[Shape, bool]]
    make: Callable[[Mapping[str, Any]], Any]
    degree: float | None = None

    @property
    def fan_in(self) -> float:
        """How many products a value of the op's output sums; 1 for a factor."""
        if self.layout is None or len(self.layout.axes) != len(self.shape):
            return 1.0
        return max(float(self.layout.block_fans(self.shape)[0].fan_in), 1.0)

    @cached_property
    def fingerprint(self) -> float:
        """A number that differs for different weights; 0 where it cannot be computed."""
        try:
            seen = np.asarray(self.make({})).ravel()
            return float(np.abs(np.dot(seen, np.cos(np.arange(seen.size)))))
        except Exception:  # as in `moments`
            return 0.0

    def moments(self, given: Mapping[str, Spread]) -> Spread | None:
        """Mean and std of what the op sees; None where it is not finite or cannot be computed again.

        Args:
            given: means and stds of values in place of parameters, normal around 0 and even around any other mean;
                the others keep their values.
        """
        try:
            return self._moments(given)
        except Exception:  # a model's own functions, run outside their context
            return None

    def ignores_size(self, path: str) -> bool:
        """Whether what the op sees is as large for twice a parameter, as that of a direction of unit length is."""
        once, twice = (self.moments({path: (0.0, std)}) for std in (1.0, 2.0))
        return once is not None and twice is not None and abs(twice[1] - once[1]) <= SAME * once[1]

    def _moments(self, given: Mapping[str, Spread]) -> Spread | None:
        numbers = np.random.default_rng(Key(0, "transform").philox().key[0])
        count, total, squares = 0, 0.0 + 0.0j, 0.0
        for _ in range(MOST_DRAWS):
            arrays = {path: self._drawn(path, spread, numbers) for path, spread in given.items()}
            seen = np.asarray(self.make(arrays))
            seen = seen.astype(np.complex128 if np.iscomplexobj(seen) else np.float64)
            count, total = count + seen.size, total + complex(seen.sum())
            squares += float(np.square(np.abs(seen)).sum())
            if count >= ENOUGH or not seen.size:
                break
        if not count or not math.isfinite(squares):
            return None
        mean = total / count
        variance = max(squares / count - abs(mean) ** 2, 0.0)
        return abs(mean) if mean.imag else mean.real, math.sqrt(variance)

    def _drawn(self, path: str, spread: Spread, numbers: np.random.Generator) -> Any:
        shape, is_complex = self.parameters[path]
        mean, std = spread
        if mean:
            return numbers.uniform(mean - math.sqrt(3) * std, mean + math.sqrt(3) * std, shape)
        values = numbers.standard_normal(shape) * std
        if is_complex:
            values = (values + 1j * numbers.standard_normal(shape) * std) / math.sqrt(2)
        return values
