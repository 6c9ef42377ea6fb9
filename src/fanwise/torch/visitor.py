"""What is shown each op of a run, and may answer with laws and factors."""

from collections.abc import Callable, Mapping
from typing import Protocol

from fanwise.laws.base import Initializer
from fanwise.trace import Op


class Visitor(Protocol):
    """What is shown each op as the model runs."""

    def before(self, op: Op, moment: Callable[[int], float]) -> Mapping[str, Initializer]:
        """Before an op is executed.

        Args:
            op: without its shape.
            moment: second moment of the op's n-th input, computed when it is called; inputs that are constants, which
                the op does not list, follow those that it lists.

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

    def before(self, op: Op, moment: Callable[[int], float]) -> Mapping[str, Initializer]:
        """Nothing is replaced."""
        return {}

    def after(self, op: Op, moment: Callable[[], float]) -> float | None:
        """Nothing is measured."""
        return None
