"""Specs: inputs in words, such as ``"ids=8,128:int32[0,50257)"``, as NumPy arrays."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fanwise.stream import fill
from fanwise.stream.formats import FORMATS, Array, numpy_dtype
from fanwise.stream.key import Key

GRAMMAR = (
    "expected [name=]sizes[:dtype] or [name=]sizes:integer dtype[low,high), joined by ';', such as '32,224,224,3' or "
    "'8,128:int32[0,50257)'"
)
MOST_ELEMENTS = 1 << 31
"""Elements that one spec may ask for, all its arrays together."""

FLOATS = tuple(FORMATS)
COMPLEX = ("complex64", "complex128")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
DTYPES: Mapping[str, str] = MappingProxyType({name: name for name in (*FLOATS, *COMPLEX, *INTEGERS)})

_SIZE, _BOUND = r"[0-9]{1,10}", r"-?[0-9]{1,19}"
_SPEC = re.compile(
    rf"(?:(?P<name>[A-Za-z_][A-Za-z_0-9]*)=)?(?P<shape>{_SIZE}(?:,{_SIZE})*)"
    rf"(?::(?P<dtype>[a-z]+[0-9]*)(?:\[(?P<low>{_BOUND}),(?P<high>{_BOUND})\))?)?"
)
_SPACE = re.compile(r"\s*([,;:=\[)])\s*")
"""Spaces around signs are free; others, as in '3 2', would join numbers."""


@dataclass(frozen=True)
class Spec:
    """One array in words.

    Args:
        name: of the argument, "" for a positional one.
        shape: of the array.
        dtype: its name.
        low: smallest integer; 0 for floats.
        high: the first integer beyond; 0 for floats.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: int = 0
    high: int = 0

    def drawn(self, number: int) -> Array:
        """Its values, the same at every call and in every framework: normal ones, integers uniform in their range.

        The mean of the squares of normal ones is 1, so that what is planned from them does not depend on chance.

        Args:
            number: of the spec among its kind, which names the stream.
        """
        key = Key(0, f"inputs.{number}")
        if self.dtype in FLOATS:
            return _of_unit_size(fill.normal(key, self.shape)).astype(numpy_dtype(self.dtype))
        if self.dtype in COMPLEX:
            planes = _of_unit_size(fill.normal(key, (*self.shape, 2))) * math.sqrt(0.5)
            return (planes[..., 0] + 1j * planes[..., 1]).astype(self.dtype)
        generator = np.random.default_rng(key.philox().key[0])
        return generator.integers(self.low, self.high, self.shape, self.dtype)


def _of_unit_size(values: Array) -> NDArray[np.float64]:
    """Values over the root of the mean of their squares; a lone 0 stays."""
    size = math.sqrt(float(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
    return values / np.float64(size or 1.0)


def parse(text: str, *, float_dtype: str = "float32", dtypes: Mapping[str, str] = DTYPES) -> tuple[Spec, ...]:
    """The arrays that a text describes.

    Args:
        text: ``[name=]sizes[:dtype]`` or ``[name=]sizes:integer dtype[low,high)``, several joined by ";".
        float_dtype: of arrays for which no dtype is named.
        dtypes: those that a text may name, by the names that it may use.

    Raises:
        ValueError: a text that cannot be read, an unknown dtype, a name that comes twice, integers without a range or a
            range that they do not hold, or more than `MOST_ELEMENTS`.

    Example:
        >>> parse("2,3; ids=4:int32[0,10)")[1]
        Spec(name='ids', shape=(4,), dtype='int32', low=0, high=10)
    """
    specs = tuple(_spec(text, part, (float_dtype, dtypes)) for part in _SPACE.sub(r"\1", text.strip()).split(";"))
    names = [spec.name for spec in specs if spec.name]
    if len(set(names)) < len(names):
        raise ValueError(f"inputs = {shown(text)}: a name comes twice")
    elements = sum(math.prod(spec.shape) for spec in specs)
    if elements > MOST_ELEMENTS:
        raise ValueError(f"inputs = {shown(text)}: {elements} elements, expected at most {MOST_ELEMENTS}")
    return specs


def _spec(text: str, part: str, known: tuple[str, Mapping[str, str]]) -> Spec:
    usual, dtypes = known
    match = _SPEC.fullmatch(part)
    if match is None:
        raise ValueError(f"inputs = {shown(text)}: {shown(part)} cannot be read; {GRAMMAR}")
    shape, asked = tuple(int(size) for size in match["shape"].split(",")), match["dtype"]
    if asked and asked not in dtypes:
        raise ValueError(f"inputs = {shown(text)}: dtype {asked!r}, expected one of {', '.join(dtypes)}")
    dtype = dtypes[asked] if asked else usual
    return Spec(match["name"] or "", shape, dtype, *_range(text, match, dtype))


def _range(text: str, match: re.Match[str], dtype: str) -> tuple[int, int]:
    """The range of integers; (0, 0) for other numbers, which have none."""
    if dtype not in INTEGERS:
        if match["high"]:
            raise ValueError(f"inputs = {shown(text)}: a range is for integers, {dtype} numbers are normal")
        return 0, 0
    if match["high"] is None:
        raise ValueError(f"inputs = {shown(text)}: integers need a range, such as {dtype}[0,50257)")
    low, high, limits = int(match["low"]), int(match["high"]), np.iinfo(dtype)
    least, most = int(limits.min), int(limits.max) + 1
    if not least <= low < high <= most:
        raise ValueError(f"inputs = {shown(text)}: range [{low},{high}), expected {least} <= low < high <= {most}")
    return low, high


def shown(text: str) -> str:
    """A text as an error shows it: hostile ones are long."""
    return repr(text if len(text) <= 100 else f"{text[:97]}...")
