"""Values drawn from a visitor's laws, in place of parameters and of what is made of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fanwise.graph.op import Op, Parameter
from fanwise.graph.tracking.tracker import drawn_values, stand_in_seed
from fanwise.jax.trace.traced_value import Provenance, Value
from fanwise.laws.base import Initializer
from fanwise.laws.layout import Layout


class StandIns:
    """The parameters that were drawn so far, and what they make of a program's values.

    Args:
        parameters: of the model, by path.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters
        self._drawn: dict[str, Any] = {}

    def numbers(self, value: Value) -> Any:
        """The numbers of a value, made of drawn parameters where it shows some."""
        return value.data if value.held is None else value.held.make(self._drawn)

    def replaced(
        self, laws: Mapping[str, Initializer], op: Op, values: Sequence[Value], arrays: Sequence[Any]
    ) -> list[Any]:
        """The arrays that an op reads, with numbers drawn from laws in place of the parameters.

        Args:
            laws: by path.
            op: that reads them.
            values: its inputs.
            arrays: their numbers.
        """
        return [
            self._stand_in(laws, op, value, value.held)
            if array is not None and value.held is not None and value.held.paths[0] in laws
            else array
            for value, array in zip(values, arrays, strict=True)
        ]

    def _stand_in(self, laws: Mapping[str, Initializer], op: Op, value: Value, held: Provenance) -> Any:
        """The parameters themselves are drawn, and what functions make of them in numbers of the law's moments."""
        if not set(held.steps) - {"cat"}:
            self._draw({path: laws[path] for path in held.paths if path in laws}, op)
            return held.make(self._drawn)
        path = held.paths[0]
        moments = laws[path].moments(self._parameters[path].shape, layout=_layout(op, path))
        normal = np.random.default_rng(stand_in_seed(path)).standard_normal(value.shape)
        return jnp.asarray(normal * moments.std + moments.mean, value.dtype)

    def _draw(self, laws: Mapping[str, Initializer], op: Op) -> None:
        for path, law in laws.items():
            parameter = self._parameters[path]
            self._drawn[path] = jnp.asarray(drawn_values(parameter, law, _layout(op, path)), parameter.dtype)


def _layout(op: Op, path: str) -> Layout | None:
    return next((use.layout for use in op.uses if use.path == path), None)
