"""The numbers of one row of a plan as a NumPy array, for adapters whose tensors are made of one."""

import numpy as np

from fanwise.laws.structured import MatrixLaw
from fanwise.plan.row import Row, holds, placed
from fanwise.stream.box import Box
from fanwise.stream.formats import Array, as_format, working_type
from fanwise.stream.key import Key


def row_values(row: Row, stream: Key, dtype: str, box: Box | None = None) -> Array:
    """What a row says, in the order in which the parameter is stored.

    Args:
        row: with a law.
        stream: of the whole model; the row has the child that its stream, or its path, names.
        dtype: float64, float32, float16 or bfloat16.
        box: the part wanted, in storage order; all by default.

    Returns:
        Shape of the parameter, or of the box.

    Raises:
        TypeError: another dtype.
        ValueError: a row without a law, or numbers that the dtype cannot hold.
    """
    if row.law is None:
        raise ValueError(f"parameter {row.path!r} has no law")
    counted, form = row.counted, as_format(dtype)
    axes = row.canonical_axes if row.order == "canonical" else tuple(range(len(row.shape)))
    wanted = Box.whole(row.shape) if box is None else box
    part = Box(tuple(wanted.start[axis] for axis in axes), tuple(wanted.shape[axis] for axis in axes))
    law = row.law if counted.law is None else counted.law
    drawn = working_type(form.name) if row.factor != 1 else form.dtype()
    key = stream.child(row.stream or row.path)
    values = law(counted.shape, key=key, layout=counted.layout, dtype=drawn, box=part)
    if row.factor != 1:
        values = (values * working_type(form.name)(row.factor)).astype(form.dtype())
    stored = np.ascontiguousarray(values.transpose(np.argsort(axes)))
    return stored.reshape(wanted.shape)  # NumPy gives an axis to a number


def check_row(row: Row, dtype: str) -> None:
    """Raises what `row_values` would, and draws no more than one element.

    Args:
        row: with a law.
        dtype: of the parameter.

    Raises:
        TypeError: a dtype in which nothing is drawn.
        ValueError: numbers that are too large for it, or so small that they would become 0.
    """
    try:
        form = as_format(dtype)
        if row.law is not None:
            moments = row.law.moments(row.shape, layout=row.layout)
            reach = max(-moments.low, moments.high) * row.factor
            if reach > form.largest:
                raise ValueError(f"values reach {reach:.4g}, more than {form.name} can hold ({form.largest:.4g})")
        if row.law is not None and not holds(row.law, MatrixLaw) and 0 not in row.shape:
            row_values(row, Key(0), dtype, Box((0,) * len(row.shape), (1,) * len(row.shape)))
    except (TypeError, ValueError) as error:
        raise placed(error, f"parameter {row.path!r}") from error
