"""Weights that a Keras model makes of its variables: made again of other values, and scaled as if they had been."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from fanwise.graph.arithmetic import PLAIN
from fanwise.graph.op import Op
from fanwise.graph.transform import Transform
from fanwise.keras.trace.calls import Part
from fanwise.keras.trace.execution import Execution
from fanwise.keras.trace.tensor_origins import TensorOrigins
from fanwise.keras.trace.variables import as_array, is_float, tensors_in
from fanwise.laws.base import Initializer

Make: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""What makes a tensor, from values in place of variables by path."""
Makes: TypeAlias = Callable[[int], Make]
"""The same for each output of a function."""


def made_again(origins: TensorOrigins, values: Sequence[Any], execution: Execution) -> Makes:
    """What makes the outputs of a function of variables.

    Args:
        origins: of tensors so far.
        values: tensors and variables among its arguments.
        execution: the call.
    """
    held = {id(value): make for value in values if (make := _make_of(origins, value)) is not None}

    def makes(position: int) -> Make:
        def make(given: Mapping[str, Any]) -> Any:
            new = {own: again(given) for own, again in held.items()}
            return list(tensors_in(execution.on(new)))[position]

        return make

    return makes


def _make_of(origins: TensorOrigins, value: Any) -> Make | None:
    part = origins.held(value)
    if part is None or part.make is not None:
        return None if part is None else part.make
    path, variable = str(origins.path(part)), part.input
    return lambda given: given.get(path, variable.value)


def transform_of(part: Part, own: Mapping[str, Any]) -> Transform | None:
    """What makes a weight of other values of its variables; None of one that is a variable, or a view of one.

    Args:
        part: the weight.
        own: its variables, by path.
    """
    make = part.make
    if make is None or not own or set(part.steps) <= PLAIN:
        return None

    def again(arrays: Mapping[str, Any]) -> Any:
        types = {path: keras.backend.standardize_dtype(own[path].dtype) for path in arrays}
        given = {path: keras.ops.convert_to_tensor(array, types[path]) for path, array in arrays.items()}
        return as_array(make(given))

    try:
        shape = np.shape(again({}))
    except Exception:  # a symbol, or a function that cannot be carried out again
        return None
    kinds = {path: (tuple(int(size) for size in variable.shape), False) for path, variable in own.items()}
    return Transform(shape, part.seen, kinds, again)


def as_drawn(op: Op, laws: Mapping[str, Initializer], output: Any) -> Any:
    """What a map gives, scaled as if the weight that is made for it had the moments of the law it should have."""
    use = next((use for use in op.uses if use.transform is not None and use.path in laws), None)
    if use is None or use.transform is None or not keras.ops.is_tensor(output) or not is_float(output):
        return output
    wanted, now = laws[use.path].moments(use.transform.shape), use.transform.moments({})
    before = 0.0 if now is None else math.hypot(*now)
    after = math.hypot(wanted.mean, wanted.std)
    return output * (after / before) if before > 0 and after > 0 else output
