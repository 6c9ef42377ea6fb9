"""The native kernel: the same bits as the NumPy definition, at memory speed. Absent where none was compiled.

Two environment variables choose a path when the process starts: ``FANWISE_NATIVE=0`` turns the kernel off, and
``FANWISE_ISA`` names one of `ISAS` instead of the fastest.
"""

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from fanwise.stream.box import Box, Shape
from fanwise.stream.formats import Array
from fanwise.stream.key import PhiloxKey
from fanwise.stream.law import Law, Scaled, TruncatedFixed
from fanwise.stream.normal import normal_fixed

DTYPES: Mapping[str, int] = MappingProxyType({"uint32": 0, "float64": 1, "float32": 2, "float16": 3, "bfloat16": 4})
"""How the kernel numbers the dtypes of a target."""

BFLOAT16 = DTYPES["bfloat16"]

WORDS, UNIFORM, NORMAL, TRUNCATED = range(4)
"""How the kernel numbers the integer maps."""


def _load() -> ModuleType | None:
    """The compiled module; None where it was not built, or is turned off."""
    if os.environ.get("FANWISE_NATIVE") == "0":
        return None
    try:
        from fanwise.stream.native import _kernel  # type: ignore[attr-defined]  # noqa: PLC0415
    except ImportError:
        return None
    module: ModuleType = _kernel
    return module


_KERNEL = _load()

ISAS: Mapping[str, int] = MappingProxyType(_KERNEL.isas() if _KERNEL else {})
"""The paths that this processor can take, by name, the fastest last; empty without the kernel."""


def _chosen_isa() -> str:
    asked = os.environ.get("FANWISE_ISA")
    if not ISAS:
        return "numpy"
    if asked and asked not in ISAS:
        raise ImportError(f"FANWISE_ISA = {asked!r}: this processor has {', '.join(ISAS)}")
    return asked or max(ISAS, key=lambda name: ISAS[name])


ISA = _chosen_isa()
"""The path in use: "avx512", "avx2", "neon", "portable", or "numpy" for the definition."""


def library_path() -> Path | None:
    """The shared library with the plain C functions of kernel.h; None without the kernel."""
    return Path(str(_KERNEL.__file__)) if _KERNEL else None


@lru_cache(maxsize=1)
def default_threads() -> int:
    """How many processors this process may use: its affinity, and its cgroup's share of processor time."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(allowed, cgroup_processors(Path("/sys/fs/cgroup/cpu.max"))))


def cgroup_processors(path: Path) -> int:
    """Processors that a cgroup (version 2) grants, rounded up; very many where it sets no limit."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return 1 << 16


def fill(
    target: Array, stream: PhiloxKey, law: Law | None, box: Box, *, shape: Shape, threads: int | None, isa: str = ISA
) -> bool:
    """Fills an array with a box of a law's values, or of words where `law` is None.

    Args:
        target: writable, aligned and without overlap, of the box's shape; its dtype is one of `DTYPES`.
        stream: whose numbers.
        law: what the words become.
        box: which elements.
        shape: the global shape.
        threads: how many to use at most; None for `default_threads`. Small boxes take one.
        isa: which path, of `ISAS`.

    Returns:
        Whether it was done: not without the kernel, nor for a law without an integer map.
    """
    number = _kernel_law(law)
    if _KERNEL is None or number is None:
        return False
    dtype = _kernel_dtype(target.dtype)
    _KERNEL.fill(
        target.view(np.uint16) if dtype == BFLOAT16 else target,  # NumPy exports no buffer of that dtype
        stream.packed,
        number.integers,
        dtype,
        number.unit,
        number.mean,
        number.low,
        number.high,
        number.first,
        number.cells,
        box.start,
        shape,
        default_threads() if threads is None else threads,
        ISAS[isa],
    )
    return True


@dataclass(frozen=True)
class _KernelLaw:
    """A law as the kernel takes it: the number of its integer map, its scale, and the cells of a truncated one."""

    integers: int
    unit: float = 1.0
    mean: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    first: int = 0
    cells: int = 1


@lru_cache(maxsize=256)
def _kernel_law(law: Law | None) -> _KernelLaw | None:
    """What the kernel is told of a law; None for one without an integer map."""
    if law is None:
        return _KernelLaw(WORDS)
    if not isinstance(law.centred, Scaled):
        return None
    integer, scale = law.centred.integer, (law.centred.unit, law.mean, law.low, law.high)
    if isinstance(integer, TruncatedFixed):
        return _KernelLaw(TRUNCATED, *scale, integer.first, integer.count)
    return _KernelLaw(NORMAL if integer is normal_fixed else UNIFORM, *scale)


@lru_cache(maxsize=16)
def _kernel_dtype(dtype: np.dtype[Any]) -> int:
    return DTYPES[dtype.name]
