"""The distributions that a loss makes of a model's outputs, and how sure they are."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fanwise.torch.measure.taps import distribution
from fanwise.torch.trace.function_names import bare_name
from fanwise.torch.trace.storage import is_abstract

SOFTMAXES: Mapping[str, int] = {"softmax": -1, "log_softmax": -1, "logsumexp": -1, "cross_entropy": 1}
"""Functions that make a distribution of scores, or the sum that it is divided by; along which axis if nobody says."""


class Distributions(TorchFunctionMode):
    """Watches a loss for the softmaxes that it computes, in its own words or in torch's."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Executes a function, and notes the scores of a softmax."""
        named, name = dict(kwargs or {}), bare_name(func)
        if name in SOFTMAXES and args and isinstance(args[0], Tensor):
            self._see(args[0], _axis(name, args, named))
        return func(*args, **named)

    def surest(self, op_of: Callable[[Tensor], int | None]) -> tuple[float, int | None]:
        """The share of sure distributions of the surest softmax, and the op whose output it is made of."""
        shares = [(float(share), op_of(scores)) for scores, share in self._seen]
        return max(shares, key=lambda pair: pair[0], default=(math.nan, None))

    def _see(self, scores: Tensor, axis: int) -> None:
        if not scores.is_floating_point() or not -scores.dim() <= axis < scores.dim() or is_abstract(scores):
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            share = distribution(scores.detach().double().softmax(axis), axis)[0]
        self._seen.append((scores, share))


def _axis(name: str, args: Sequence[Any], named: Mapping[str, Any]) -> int:
    """The axis over which a softmax is taken; -1 for those of several."""
    if name == "cross_entropy":
        return 1 if args[0].dim() > 1 else 0
    axis = named.get("dim", args[1] if len(args) > 1 else SOFTMAXES[name])
    axis = axis[0] if isinstance(axis, tuple | list) and axis else axis
    return axis if isinstance(axis, int) else -1
