"""The operators of PyTorch's tensors, seen by a mode that PyTorch keeps for each thread."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fanwise.keras.trace.execution import Execution
from fanwise.keras.trace.recorder import Recorder

OPERATORS: Mapping[Any, tuple[str, bool]] = MappingProxyType(
    {
        torch.Tensor.add: ("add", False),
        torch.Tensor.sub: ("subtract", False),
        torch.Tensor.__rsub__: ("subtract", True),
        torch.Tensor.mul: ("multiply", False),
        torch.Tensor.div: ("divide", False),
        torch.Tensor.__rtruediv__: ("divide", True),
        torch.Tensor.matmul: ("matmul", False),
        torch.Tensor.__rmatmul__: ("matmul", True),
        torch.Tensor.__pow__: ("power", False),
        torch.Tensor.neg: ("negative", False),
        torch.Tensor.__getitem__: ("getitem", False),
    }
)
"""What PyTorch calls for an operator, the function of Keras that it is, and whether its operands come in reverse."""


class OperatorMode(TorchFunctionMode):
    """The mode in which a run records the operators that its thread applies to tensors.

    Args:
        recorder: what is told.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Records an operator and executes it; executes everything else."""
        operator = None if kwargs or not self._recorder.active else OPERATORS.get(func)
        if operator is None:
            return func(*args, **(kwargs or {}))
        function, turned = operator
        if turned:
            return self._recorder.function(function, Execution(lambda *given: func(*given[::-1]), args[::-1]))
        return self._recorder.function(function, Execution(func, args))
