"""Values that leave autograd's graph as NumPy arrays, lists or numbers, and come back as constants."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fanwise.measure.observation import Choice, RoundTrip
from fanwise.torch.trace.function_names import WRITES, bare_name, tensors_in
from fanwise.torch.trace.recorder import Recorder
from fanwise.torch.trace.tensor_map import TensorMap

LEAVES = frozenset({"numpy", "tolist", "item", "float", "array"})
"""Functions that give a tensor's numbers to the world outside, when they give no tensor."""
RETURNS = frozenset({"tensor", "as_tensor", "asarray", "full", "full_like", "new_tensor", "scalar_tensor"})
"""Functions that make a tensor of numbers from outside; torch.from_numpy is one that no mode sees."""
ARRAYS = ("numpy", "array")
"""Functions that make an array of a tensor."""
CHOICES = frozenset({"argmin", "argmax", "topk", "min", "max"})
"""Functions that give, with or beside values, which of them were chosen."""
CASTS = frozenset({"long", "int", "to", "type", "short", "byte"}) | CHOICES
"""Functions that may make integers of numbers: what is made of those passes no gradient."""


@dataclass(frozen=True)
class _Departure:
    """Values that left.

    Args:
        by: the function.
        op: that gave them; None where a parameter holds them.
        paths: of the parameters that hold them.
        size: how many they are.
        choice: what was chosen among them.
    """

    by: str
    op: int | None
    paths: tuple[str, ...]
    size: int = field(compare=False)
    choice: Choice | None = None


class RoundTrips(TorchFunctionMode):
    """Watches a run beside its recorder, each function before it does.

    Args:
        recorder: of the run.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder
        self._left: dict[_Departure, None] = {}
        self._scalars: dict[float, _Departure] = {}
        self._constants = TensorMap[tuple[_Departure, ...]]()  # tensors made of what left
        self._readers: dict[int | None, dict[_Departure, None]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Executes a function, and notes what leaves the graph and what comes back."""
        named, name = dict(kwargs or {}), bare_name(func)
        before = tuple(self._returned(args, named)) if self._left or self._constants else ()
        output = func(*args, **named)
        if name in LEAVES and args and isinstance(args[0], Tensor) and not isinstance(output, Tensor):
            self._leave(name, args[0], output)
        elif name in RETURNS and self._left and isinstance(output, Tensor) and output.is_floating_point():
            self._constants[output] = self._matching(output)
        elif name in CASTS:
            self._cast(name, args, output)
        if before:
            self._follow(args[:1] if name in WRITES else (), output, before)
        return output

    def found(self, outputs: Sequence[Tensor]) -> tuple[RoundTrip, ...]:
        """The round trips of the run, given what the model returned."""
        for tensor in outputs:
            self._read(None, tuple(self._returned((tensor,), {})) if tensor.is_floating_point() else ())
        return tuple(
            RoundTrip(departure.by, departure.op, departure.paths, reader, departure.choice)
            for reader, departures in self._readers.items()
            for departure in departures
        )

    def _leave(self, name: str, tensor: Tensor, output: Any) -> None:
        departure = self._departure(name, tensor)
        if departure is not None:
            self._left[departure] = None
            if isinstance(output, float) and output != round(output, 3):
                self._scalars[output] = departure

    def _departure(self, name: str, tensor: Tensor) -> _Departure | None:
        """What leaves with a tensor, None where that is neither data behind an op nor a parameter."""
        if not tensor.is_floating_point():
            return None
        source = self._recorder.sources.get(tensor)
        if source is not None:
            return _Departure(name, source.op, (), tensor.numel()) if source.op >= 0 else None
        held = self._recorder.provenance.find(tensor)
        return None if held is None else _Departure(name, None, held.paths, tensor.numel())

    def _cast(self, name: str, args: Sequence[Any], output: Any) -> None:
        """Keeps where integers come from: they are no data of the graph."""
        integers = [tensor for tensor in tensors_in(output) if not tensor.is_floating_point()]
        departure = self._departure(name, args[0]) if integers and args and isinstance(args[0], Tensor) else None
        if departure is not None:
            choice = _choice(args, integers[0]) if name in CHOICES else None
            self._constants[integers[0]] = (replace(departure, choice=choice),)

    def _matching(self, tensor: Tensor) -> tuple[_Departure, ...]:
        """What left in the size of a tensor that came back, or else all that left."""
        alike = tuple(departure for departure in self._left if departure.size == tensor.numel())
        return alike or tuple(self._left)

    def _returned(self, args: Sequence[Any], named: Mapping[str, Any]) -> Iterator[_Departure]:
        """What left and is read by a function again."""
        for tensor in tensors_in((args, named)):
            yield from self._constants.get(tensor) or self._as_array(tensor)
        for value in (*args, *named.values()) if self._scalars else ():
            if isinstance(value, float) and value in self._scalars:
                yield self._scalars[value]

    def _as_array(self, tensor: Tensor) -> tuple[_Departure, ...]:
        """What left as an array of the size of a tensor that no function made."""
        arrays = [departure for departure in self._left if departure.by in ARRAYS]
        known = not arrays or tensor in self._recorder.sources or self._recorder.provenance.find(tensor) is not None
        if known or not tensor.is_floating_point():
            return ()
        return tuple(departure for departure in arrays if departure.size == tensor.numel())

    def _follow(self, targets: Sequence[Any], output: Any, before: Sequence[_Departure]) -> None:
        """What a function makes of what came back: an op that reads it, or another constant."""
        for tensor in tensors_in((output, *targets)):
            source = self._recorder.sources.get(tensor)
            if source is None:
                self._constants[tensor] = tuple(before)
            elif tensor.is_floating_point():
                self._read(source.op, before)

    def _read(self, reader: int | None, departures: Sequence[_Departure]) -> None:
        if departures:
            self._readers.setdefault(reader, {}).update(dict.fromkeys(departures))


def _choice(args: Sequence[Any], chosen: Tensor) -> Choice | None:
    """What was chosen, where it is places along one axis that was reduced, or shortened, to them."""
    asked = args[0]
    axes = [axis for axis, size in enumerate(chosen.shape) if axis < asked.dim() and size != asked.shape[axis]]
    if chosen.dim() == asked.dim():
        reduced = axes[0] if len(axes) == 1 else None
    else:
        shapes = [asked.shape[:axis] + asked.shape[axis + 1 :] for axis in range(asked.dim())]
        reduced = next((axis for axis in reversed(range(asked.dim())) if shapes[axis] == chosen.shape), None)
    if reduced is None or not chosen.numel():
        return None
    each = chosen.shape[reduced] if chosen.dim() == asked.dim() else 1
    with torch._C.DisableTorchFunction():
        return Choice(asked.shape[reduced], len(torch.unique(chosen)), chosen.numel() // each, each)
