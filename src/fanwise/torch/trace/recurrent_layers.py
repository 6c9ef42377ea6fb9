"""Recurrent networks of several layers, layer by layer, so that what each of them reads can be measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fanwise.torch.trace.function_names import tensors_in
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.op_table import GATES


@dataclass(frozen=True)
class RecurrentLayers:
    """A call of torch.lstm and its kin: input, state, weights, and how the weights are used.

    Args:
        call: of the whole network.
        packed: whether it reads a packed sequence: values and sizes.
    """

    call: Invocation
    packed: bool

    @classmethod
    def of(cls, call: Invocation) -> "RecurrentLayers | None":
        """The layers of a call; None for another function, for one layer, and for arguments that are named."""
        if call.name not in GATES or call.named or len(call.args) < 8:
            return None
        packed = isinstance(call.args[3], (tuple, list))
        network = cls(call, packed)
        return network if network.count > 1 and len(network.weights) % network.count == 0 else None

    @property
    def _first(self) -> int:
        """Position of the state among the arguments."""
        return 1 + self.packed

    @property
    def weights(self) -> Sequence[Tensor]:
        """Those of all layers, in order."""
        return list(self.call.args[self._first + 1])

    @property
    def count(self) -> int:
        """How many layers there are."""
        return int(self.call.args[self._first + 3])

    @property
    def dropout(self) -> float:
        """The share that is dropped between layers."""
        return float(self.call.args[self._first + 4]) if self.call.args[self._first + 5] else 0.0

    @property
    def directions(self) -> int:
        """2 where every layer has one that runs backwards."""
        return 1 + bool(self.call.args[self._first + 6])

    @property
    def states(self) -> list[Tensor]:
        """The hidden state, and the memory cell where there is one, of all layers."""
        return list(tensors_in(self.call.args[self._first]))

    def layer(self, number: int, read: Tensor, states: Sequence[Tensor]) -> Invocation:
        """The call of one layer.

        Args:
            number: which it is.
            read: what it reads in place of the input.
            states: its own.
        """
        args = list(self.call.args)
        each = len(self.weights) // self.count
        args[0] = read
        args[self._first] = tuple(states) if self.call.name == "lstm" else states[0]
        args[self._first + 1] = self.weights[number * each : (number + 1) * each]
        args[self._first + 3], args[self._first + 4] = 1, 0.0
        return replace(self.call, args=args)

    def joined(self, outputs: Sequence[Sequence[Any]]) -> Iterator[list[Tensor]]:
        """The states after the last step, of all layers, each to be joined along the first axis."""
        yield from (list(states) for states in zip(*(output[1:] for output in outputs), strict=True))
