"""An operation as it was carried out, to be carried out again on other numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanwise.graph.op import Op
from fanwise.jax.trace.calls import Step
from fanwise.jax.trace.traced_value import Drawn, Value


@dataclass(frozen=True)
class ExecutedOp:
    """An operation as it was carried out.

    Args:
        op: what it is.
        step: what computes it.
        values: what it read, parameters among it.
        first: which of its outputs is the op's.
        output: that output.
    """

    op: Op
    step: Step = field(repr=False)
    values: Sequence[Value] = field(repr=False)
    first: int
    output: Any = field(repr=False)

    def again(self, drawn: Drawn, inputs: Mapping[int, Any]) -> Any:
        """The output from other numbers.

        Args:
            drawn: in place of parameters, by path.
            inputs: in place of what it read, by place.
        """
        arrays = [value.data if value.held is None else value.held.make(drawn) for value in self.values]
        return self.step(*(inputs.get(operand, array) for operand, array in enumerate(arrays)))[self.first]
