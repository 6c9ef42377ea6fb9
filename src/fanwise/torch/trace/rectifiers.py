"""Rectifiers that a model writes out: a product with the mask of what is positive, or a choice by it."""

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


class Rectifiers:
    """The masks of what is positive that a run has made so far."""

    def __init__(self) -> None:
        self._masked = TensorMap[Tensor]()  # what each mask was asked of

    def see(self, question: Invocation, answer: Any) -> None:
        """Remembers what is greater than 0 of a tensor, and casts of it."""
        if not isinstance(answer, Tensor) or not question.args or not isinstance(question.args[0], Tensor):
            return
        asked, others = question.args[0], question.args[1:]
        if question.name in ("gt", "ge") and others and _is_zero(others[0]):
            self._masked[answer] = asked
        elif question.name in CASTS and asked in self._masked:
            self._masked[answer] = self._masked[asked]

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
