"""What to say where values of a model leave JAX, so that no gradient can come back along them."""

from collections.abc import Sequence

import jax

from fanwise.graph.tracking.source_lines import raising_line, said_by
from fanwise.stream.box import Shape

LEAVING = (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError)
"""Errors of values that are asked for while a program is traced: by NumPy, float(), int() or a condition."""
CALLBACKS = "callbacks do not support JVP"
"""What JAX says of a callback that it is to differentiate."""


def said(error: BaseException, given: Sequence[Shape] = ()) -> str:
    """An error of the user's model in words: what to do, where its values leave JAX.

    Args:
        error: that was caught.
        given: shapes of the inputs.
    """
    if not isinstance(error, LEAVING) and CALLBACKS not in str(error):
        return f"{type(error).__name__}: {said_by(error, given)}"
    line = raising_line(error)
    where = "" if line is None else f" at {line[0]}:{line[1]}"
    if CALLBACKS in str(error):
        return (
            f"pure_callback{where} has no derivative, so that no gradient comes back to what feeds it: write the "
            "function in jax.numpy, give it a derivative (jax.custom_vjp), or cut it on purpose (jax.lax.stop_gradient)"
        )
    return (
        f"values of the model are read as NumPy arrays or Python numbers{where}, which JAX can neither compile nor "
        f"differentiate ({type(error).__name__}): write it in jax.numpy"
    )
