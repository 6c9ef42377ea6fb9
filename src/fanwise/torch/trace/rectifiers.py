"""Masks of comparisons: rectifiers that a model writes out with them, and steps, as where spikes are made."""

from typing import Any

from torch import Tensor

from fanwise.graph.details import Activation
from fanwise.graph.op import OpKind
from fanwise.torch.trace.calls import Call
from fanwise.torch.trace.features import CASTS
from fanwise.torch.trace.function_names import PRODUCTS
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.storage import is_abstract, is_wrapped
from fanwise.torch.trace.tensor_map import TensorMap

COMPARISONS = frozenset({"gt", "ge", "lt", "le"})


class Rectifiers:
    """The masks of comparisons that a run has made so far."""

    def __init__(self) -> None:
        self._masked = TensorMap[Tensor]()  # what each mask of what is positive was asked of
        self._compared = TensorMap[Invocation]()

    def see(self, question: Invocation, answer: Any) -> None:
        """Remembers comparisons, what is greater than 0 of a tensor among them, and casts of it."""
        if not isinstance(answer, Tensor) or not question.args or not isinstance(question.args[0], Tensor):
            return
        asked, others = question.args[0], question.args[1:]
        if question.name in COMPARISONS and len(question.args) == 2:
            self._compared[answer] = question
        if question.name in ("gt", "ge") and others and _is_zero(others[0]):
            self._masked[answer] = asked
        elif question.name in CASTS and asked in self._masked:
            self._masked[answer] = self._masked[asked]

    def step(self, cast: Invocation) -> Invocation | None:
        """Comparison and cast of a mask to numbers in one function of what was compared; None for another function."""
        mask = cast.args[0] if cast.args and cast.name in CASTS else None
        question = self._compared.get(mask) if isinstance(mask, Tensor) else None
        if question is None:
            return None

        def step(*compared: Any) -> Any:
            return cast.function(question.function(*compared), *cast.args[1:], **cast.named)

        return Invocation(step, question.name, question.args, {})

    def describe(self, function: Invocation) -> Call | None:
        """The call of a function that rectifies; None for any other."""
        read = self._rectified(function)
        return None if read is None else Call(OpKind.ACTIVATION, (read,), (), -1, Activation("relu"))

    def _rectified(self, function: Invocation) -> Tensor | None:
        args, first = function.args, next(iter(function.args), None)
        if function.name in PRODUCTS and len(args) == 2:
            return next((values for mask, values in (args, args[::-1]) if self._asked(mask) is values), None)
        if function.name == "where" and len(args) == 3 and self._asked(first) is args[1] and _is_zero(args[2]):
            return args[1] if isinstance(args[1], Tensor) else None
        return None

    def _asked(self, mask: Any) -> Tensor | None:
        return self._masked.get(mask) if isinstance(mask, Tensor) else None


def _is_zero(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not is_abstract(value) and not is_wrapped(value) and not value.requires_grad and not bool(value.any())
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0
