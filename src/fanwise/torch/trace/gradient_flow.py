"""Where the model's code lets no gradient back to its parameters: `detach`, `.data`, `no_grad` and inference mode."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import FrameType

import torch
from torch import Tensor
from torch.autograd import Function

from fanwise.graph.op import Use
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.tensor_map import TensorMap

CUTS = frozenset({"detach", "data"})
"""Functions that keep the values and let no gradient back."""
GRADIENT_MODE = "set_grad_enabled"
"""Name of the function that every context of gradients calls."""
OWN_BACKWARD = Function.apply.__qualname__
"""Name of the function that runs the forward pass of an autograd function."""


class GradientFlow:
    """Follows which tensors made of parameters no gradient passes, whatever mode the run itself is in."""

    def __init__(self) -> None:
        self._cut = TensorMap[bool]()
        self._modes = [True]
        self._is_inference = torch.is_inference_mode_enabled()

    def see_mode(self, call: Invocation) -> None:
        """A context is entered, or left for the one around it.

        What is set on leaving is the mode of the run before, which says nothing of the model's.
        """
        frame = sys._getframe(2)
        callers = [code.co_qualname for code in (frame.f_code, frame.f_back.f_code if frame.f_back else frame.f_code)]
        if callers[0] == "set_grad_enabled.__enter__":
            return  # where it is made, it has set the mode already
        if callers[0] == "set_grad_enabled.__call__" or any(caller.endswith("__exit__") for caller in callers):
            self._modes = self._modes[:-1] or [True]
        else:
            self._modes.append(self._modes[-1] if _has_own_backward() else bool(call.args[0]))

    def follow(self, function: Invocation, sources: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Marks what a function made of parameters, where no gradient comes back through it."""
        if (function.name in CUTS and not _has_own_backward()) or all(map(self.is_cut, sources)):
            for tensor in outputs:
                if not any(tensor is source for source in sources):  # as `to` gives what it is given
                    self._cut[tensor] = True

    def is_cut(self, tensor: Tensor) -> bool:
        """Whether no gradient comes back through a tensor where it is read now."""
        is_off = not self._modes[-1] or (torch.is_inference_mode_enabled() and not self._is_inference)
        return is_off or tensor in self._cut

    def step_of(self, sources: Sequence[Tensor]) -> tuple[str, ...]:
        """The step that says that no gradient comes back to some of the tensors that a function joins."""
        cut = [self.is_cut(tensor) for tensor in sources]
        return ("detach",) if any(cut) and not all(cut) else ()

    def marked(self, tensor: Tensor, uses: Iterator[Use]) -> Iterator[Use]:
        """Uses of the parameters behind a tensor, which say where no gradient comes back."""
        is_cut = self.is_cut(tensor)
        return (replace(use, steps=(*use.steps, "detach")) if is_cut else use for use in uses)


def _has_own_backward() -> bool:
    """Whether the code that runs is the forward pass of an autograd function, whose backward pass is written apart.

    Reversible layers and checkpoints that are run again are written so, and run their layers under `no_grad`.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_qualname != OWN_BACKWARD:
        frame = frame.f_back
    return frame is not None
