"""The numbers of one row of a plan, drawn into one tensor; and all that can go wrong, told before anything is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from fanwise.laws.base import Initializer
from fanwise.laws.complex_parts import complex_parts
from fanwise.laws.composite import ICNR
from fanwise.laws.structured import MatrixLaw
from fanwise.plan.row import Row, holds, placed
from fanwise.stream.box import Box, Shape, pieces
from fanwise.stream.formats import Array, working_type
from fanwise.stream.key import Key
from fanwise.torch.trace.provenance import dtype_name
from fanwise.torch.weights.tensors import (
    DRAWN,
    ROUNDED,
    STAGE_BYTES,
    Draw,
    Numbers,
    checked_state,
    checked_tensor,
    checked_writable,
    draw_,
)


@dataclass(frozen=True)
class _Plane:
    """Real numbers to be drawn: a whole parameter, or the real or imaginary parts of a complex one.

    Args:
        law: what is drawn, in the order in which elements are counted.
        domain: of the stream, "" for the parameter's own.
        part: which part of a complex parameter, None for a real one.
    """

    row: Row
    law: Initializer
    domain: str = ""
    part: int | None = None

    @property
    def counted(self) -> Row:
        """Shape, layout and law in the order in which elements are counted."""
        row = self.row if self.law is self.row.law else replace(self.row, law=self.law)
        return row.counted

    @property
    def reach(self) -> float:
        """The largest distance from 0 of a drawn number."""
        moments = self.law.moments(self.row.shape, layout=self.row.layout)
        return max(-moments.low, moments.high) * self.row.factor

    def of(self, tensor: Tensor) -> Tensor:
        """The real numbers of a tensor that are meant."""
        return tensor if self.part is None else torch.view_as_real(tensor.detach())[..., self.part]


def draw_row_(tensor: Tensor, row: Row, stream: Key) -> None:
    """Draws what a row says into a tensor's own memory.

    Element i of the stream is element i in C order over the axes in the row's order. A complex parameter has the real
    parts that a real one would have, and imaginary parts of the stream's domain "imaginary", both over sqrt(2), so that
    E |z|^2 is what the law says; constants and identities are real.

    Args:
        tensor: one that `check_row` let pass.
        row: with a law.
        stream: of the whole model.
    """
    key = stream.child(row.stream or row.path)
    for plane in _planes(row, is_complex=tensor.is_complex()):
        counted = plane.counted
        own = key.derive(plane.domain) if plane.domain else key
        draw: Draw = partial(_law_of(counted), key=own, layout=counted.layout)
        by_element = not holds(plane.law, MatrixLaw | ICNR)
        if row.factor != 1:
            draw = _Scaled(draw, row.factor, by_element)
        order = row.canonical_axes if row.order == "canonical" else None
        draw_(plane.of(tensor), Numbers(draw, plane.reach, by_element=by_element), order=order)


def check_row(tensor: Tensor, row: Row) -> None:
    """Raises what `draw_row_` would, and writes nothing.

    Args:
        tensor: the parameter.
        row: with a law.

    Raises:
        TypeError: a tensor of a kind or dtype that cannot be filled.
        ValueError: memory that cannot be written, or numbers that the dtype cannot hold.
    """
    name = f"parameter {row.path!r}"
    checked_state(checked_tensor(tensor, name=name), name=name)
    if tensor.is_conj():
        raise ValueError(f"{name} is a conjugate view of other memory: fill tensor.resolve_conj()")
    check_numbers(tensor.dtype, row)
    for plane in _planes(row, is_complex=tensor.is_complex()):
        checked_writable(plane.of(tensor), name=name)


def check_numbers(dtype: torch.dtype, row: Row) -> None:
    """Raises where a dtype cannot hold the numbers of a row.

    Args:
        dtype: of the parameter, complex ones too.
        row: with a law.

    Raises:
        TypeError: a dtype in which nothing is drawn.
        ValueError: numbers that are too large for it, or so small that they would become 0.
    """
    real = dtype.to_real()
    if real not in DRAWN and real not in ROUNDED:
        raise TypeError(f"parameter {row.path!r} has dtype {dtype}: expected one of {_names(DRAWN + ROUNDED)}")
    try:
        for plane in _planes(row, is_complex=dtype.is_complex):
            _check_plane(real, plane)
    except (TypeError, ValueError) as error:
        raise placed(error, f"parameter {row.path!r}") from error


def _law_of(row: Row) -> Initializer:
    if row.law is None:
        raise ValueError(f"parameter {row.path!r} has no law")
    return row.law


def _planes(row: Row, *, is_complex: bool) -> tuple[_Plane, ...]:
    law = _law_of(row)
    if not is_complex:
        return (_Plane(row, law),)
    return tuple(_Plane(row, own, domain, part) for part, (own, domain) in enumerate(complex_parts(law)))


@dataclass(frozen=True)
class _Scaled:
    """Numbers times a factor: one product in the type in which they are drawn, one rounding to the dtype."""

    draw: Draw
    factor: float
    by_element: bool

    def __call__(self, shape: Shape, /, *, dtype: DTypeLike, box: Box, out: Array) -> Array:
        working = working_type(np.dtype(dtype).name)
        limit = STAGE_BYTES // np.dtype(working).itemsize
        for piece in pieces(box, limit) if self.by_element else (box,):
            drawn = self.draw(shape, dtype=working, box=piece, out=np.empty(piece.shape, working))
            part: tuple[Any, ...] = (*piece.relative_to(box.start).slices(), ...)
            out[part] = drawn * working(self.factor)
        return out


def _check_plane(dtype: torch.dtype, plane: _Plane) -> None:
    """Numbers drawn one by one go by their law; whole matrices, and what is rounded again, by their bounds."""
    row = plane.counted
    drawn = dtype if dtype in DRAWN and row.factor == 1 else torch.float64 if dtype == torch.float64 else torch.float32
    _law_of(row).check_dtype(row.shape, layout=row.layout, dtype=dtype_name(drawn))
    if drawn != dtype or holds(plane.law, MatrixLaw):
        _check_reach(dtype, plane.reach)


def _check_reach(dtype: torch.dtype, reach: float) -> None:
    """Refuses numbers that a dtype would turn into inf or NaN or, all of them, into 0."""
    limits = torch.finfo(dtype)
    smallest = limits.smallest_normal * limits.eps
    if reach > limits.max:
        raise ValueError(f"values reach {reach:.4g}, more than {dtype} can hold ({limits.max:.4g})")
    if 0 < reach <= smallest / 2:
        raise ValueError(f"values reach {reach:.4g}: all would be stored as 0 in {dtype} (smallest {smallest:.4g})")


def _names(dtypes: Sequence[torch.dtype]) -> str:
    return ", ".join(map(str, dtypes))
