"""Specs: inputs in words, such as ``"input_ids=8,128:int64[0,50257)"``."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from fanwise.stream.key import Key
from fanwise.torch.run import Inputs

GRAMMAR = (
    "expected [name=]sizes[:dtype] or [name=]sizes:integer dtype[low,high), joined by ';', such as '32,3,224,224' or "
    "'input_ids=8,128:int64[0,50257)'"
)

MOST_ELEMENTS = 1 << 31
"""Elements that one spec may ask for, all its tensors together."""

_SIZE = r"[0-9]{1,10}"
_BOUND = r"-?[0-9]{1,19}"
_SPEC = re.compile(
    rf"(?:(?P<name>[A-Za-z_][A-Za-z_0-9]*)=)?(?P<shape>{_SIZE}(?:,{_SIZE})*)"
    rf"(?::(?P<dtype>[a-z]+[0-9]*)(?:\[(?P<low>{_BOUND}),(?P<high>{_BOUND})\))?)?"
)
_SPACE = re.compile(r"\s*([,;:=\[)])\s*")
"""Spaces around signs are free; others, as in '3 2', would join numbers."""

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "float": torch.float32,
        "float32": torch.float32,
        "float64": torch.float64,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
        "complex64": torch.complex64,
        "complex128": torch.complex128,
        "int": torch.int64,
        "int64": torch.int64,
        "int32": torch.int32,
    }
)
"""The dtypes of a spec; floats are standard normal, integers uniform in a range."""


def parse(spec: str, *, device: str = "cpu", float_dtype: torch.dtype = torch.float32) -> Inputs:
    """The tensors that a spec describes, the same at every call.

    Args:
        spec: ``[name=]sizes[:dtype]`` or ``[name=]sizes:integer dtype[low,high)``, several joined by ";".
        device: "cpu", or "meta" for tensors without memory.
        float_dtype: of tensors for which no dtype is named.

    Returns:
        Tensors without a name as positional arguments, those with one as named ones.

    Raises:
        ValueError: a spec that cannot be read, an unknown dtype, a name that comes twice, integers without a range or a
            range that they do not hold, or more than `MOST_ELEMENTS`.

    Example:
        >>> parse("2,3; ids=4:int64[0,10)").kwargs["ids"].shape
        torch.Size([4])
    """
    parts = [_matched(spec, text) for text in _SPACE.sub(r"\1", spec.strip()).split(";")]
    names = [part["name"] for part in parts if part["name"]]
    if len(set(names)) < len(names):
        raise ValueError(f"inputs = {_shown(spec)}: a name comes twice")
    elements = sum(math.prod(_shape(part)) for part in parts)
    if elements > MOST_ELEMENTS:
        raise ValueError(f"inputs = {_shown(spec)}: {elements} elements, expected at most {MOST_ELEMENTS}")
    made = [(part["name"], _tensor(spec, part, (place, device, float_dtype))) for place, part in enumerate(parts)]
    return Inputs(tuple(value for name, value in made if not name), {name: value for name, value in made if name})


def _matched(spec: str, text: str) -> re.Match[str]:
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ValueError(f"inputs = {_shown(spec)}: {_shown(text)} cannot be read; {GRAMMAR}")
    if match["dtype"] and match["dtype"] not in DTYPES:
        raise ValueError(f"inputs = {_shown(spec)}: dtype {match['dtype']!r}, expected one of {', '.join(DTYPES)}")
    return match


def _shown(text: str) -> str:
    """A text as an error shows it: hostile ones are long."""
    return repr(text if len(text) <= 100 else f"{text[:97]}...")


def _shape(part: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(size) for size in part["shape"].split(","))


def _tensor(spec: str, part: re.Match[str], place: tuple[int, str, torch.dtype]) -> Tensor:
    number, device, usual = place
    dtype = DTYPES[part["dtype"]] if part["dtype"] else usual
    low, high = _range(spec, part, dtype)
    if device == "meta":
        return torch.empty(_shape(part), dtype=dtype, device="meta")
    generator = torch.Generator("cpu").manual_seed(Key(0, f"inputs.{number}").philox().key[0])
    if not dtype.is_floating_point and not dtype.is_complex:
        return torch.randint(low, high, _shape(part), generator=generator, dtype=dtype, device="cpu")
    drawn = torch.complex64 if dtype.is_complex else torch.float32
    return torch.randn(_shape(part), generator=generator, dtype=drawn, device="cpu").to(dtype)


def _range(spec: str, part: re.Match[str], dtype: torch.dtype) -> tuple[int, int]:
    """The range of integers; (0, 0) for floats, which have none."""
    if dtype.is_floating_point or dtype.is_complex:
        if part["high"]:
            raise ValueError(f"inputs = {_shown(spec)}: a range is for integers, {part['dtype']} numbers are normal")
        return 0, 0
    if part["high"] is None:
        raise ValueError(f"inputs = {_shown(spec)}: integers need a range, such as {part['dtype']}[0,50257)")
    low, high, limits = int(part["low"]), int(part["high"]), torch.iinfo(dtype)
    if not limits.min <= low < high <= limits.max:
        raise ValueError(
            f"inputs = {_shown(spec)}: range [{low},{high}), expected {limits.min} <= low < high <= {limits.max}"
        )
    return low, high
