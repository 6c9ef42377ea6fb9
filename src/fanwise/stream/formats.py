"""The number formats that weights come in, and how float32 values are rounded into them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Format:
    """A floating-point format; the only ones there are stand in `FORMATS`.

    Args:
        name: "float64", "float32", "float16" or "bfloat16".
        precision: bits of the significand, the hidden one counted.
        min_exponent: exponent of the smallest normal number, a power of two.
        max_exponent: exponent of the largest number's leading bit.
    """

    name: str
    precision: int
    min_exponent: int
    max_exponent: int

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0**self.max_exponent

    @property
    def smallest(self) -> float:
        """The smallest positive number, a subnormal."""
        return math.ldexp(1.0, self.min_exponent + 1 - self.precision)

    @property
    def working(self) -> type[np.float32] | type[np.float64]:
        """The type in which values are computed before they are rounded to this format."""
        return working_type(self.name)

    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype.

        Raises:
            ImportError: bfloat16 without the ml_dtypes package.
        """
        return numpy_dtype(self.name)

    def round_in(self, bound: float, *, upward: bool) -> float:
        """The nearest number of this format on the inner side of a bound: not below it if `upward`, else not above.

        Infinite bounds come back as they are.
        """
        if math.isinf(bound):
            return bound
        spacing = self.spacing(bound)
        steps = math.ceil(bound / spacing) if upward else math.floor(bound / spacing)
        return steps * spacing

    def below(self, bound: float) -> float:
        """The largest number of this format that is less than a finite bound."""
        inner = self.round_in(bound, upward=False)
        if inner < bound:
            return inner
        magnitude = self.spacing(math.nextafter(bound, -math.inf))  # finer just below a power of two
        return inner - magnitude

    def spacing(self, value: float) -> float:
        """Distance of neighbouring numbers of this format around a finite value."""
        exponent = math.frexp(value)[1] - 1 if value else self.min_exponent
        return math.ldexp(1.0, max(exponent, self.min_exponent) + 1 - self.precision)


@lru_cache(maxsize=16)
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a format's name.

    Raises:
        ImportError: bfloat16 without the ml_dtypes package.
    """
    if name != "bfloat16":
        return np.dtype(name)
    if find_spec("ml_dtypes") is None:
        raise ImportError("dtype 'bfloat16' needs ml_dtypes: python -m pip install 'fanwise[bfloat16]'")
    import ml_dtypes  # noqa: PLC0415  (only where bfloat16 is asked for)

    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16


def working_type(name: str) -> type[np.float32] | type[np.float64]:
    """The type in which the values of a format of this name are computed."""
    return np.float64 if name == "float64" else np.float32


def _formats() -> Mapping[str, Format]:
    formats = (
        Format("float64", 53, -1022, 1023),
        Format("float32", 24, -126, 127),
        Format("float16", 11, -14, 15),
        Format("bfloat16", 8, -126, 127),
    )
    return MappingProxyType({item.name: item for item in formats})


FORMATS = _formats()
"""Every format that weights can be drawn in, by name."""


def as_format(dtype: DTypeLike) -> Format:
    """The format that a `dtype=` argument means: a NumPy dtype, a scalar type, or a name.

    Raises:
        TypeError: not one of `FORMATS`; integers, bools, complex numbers and 8-bit floats are refused.
    """
    name = dtype if isinstance(dtype, str) and dtype in FORMATS else _dtype_name(dtype)
    if name is None or name not in FORMATS:
        raise TypeError(f"dtype = {dtype!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _dtype_name(dtype: DTypeLike) -> str | None:
    try:
        return None if dtype is None else np.dtype(dtype).name
    except TypeError:
        return None
