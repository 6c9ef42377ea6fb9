"""What watches a model as it runs: one interface for runs of real models and for propagation by theory."""

from collections.abc import Callable, Mapping
from typing import Protocol

from fanwise.graph.op import Op
from fanwise.laws.base import Initializer


class ModelError(RuntimeError):
    """A model could not be run; the message says where: in which module or layer, at which op."""


class Moment(Protocol):
    """Second moments of what an op reads, computed when they are asked for."""

    def __call__(self, operand: int, /) -> float:
        """E x^2 of the op's input at this place; NaN where there are no numbers."""
        ...

    def known(self, operand: int, /) -> bool:
        """Whether it was measured or derived; otherwise it stands on an assumption."""
        ...


class Visitor(Protocol):
    """Onlooker that is shown each op, in the order of execution."""

    def before(self, op: Op, moment: Moment) -> Mapping[str, Initializer]:
        """Before an op is executed.

        Args:
            op: without its shape on a real run.
            moment: second moments of its inputs.

        Returns:
            Laws for parameters, by path: the op then sees values drawn from them instead of the model's own.
        """

    def after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """After it; `moment` computes the second moment of its output.

        Returns:
            A factor by which the output is scaled before the model goes on, None for 1.
        """


class Watcher:
    """A visitor that only looks: the trace alone is wanted."""

    def before(self, op: Op, moment: Moment) -> Mapping[str, Initializer]:
        """Nothing is replaced."""
        return {}

    def after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """Nothing is measured."""
        return None
