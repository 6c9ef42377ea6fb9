"""Statistics of what each op gives, and of the gradient there, kept on the device until the end of a run.

Large tensors are sampled at a stride that is prime to their sizes, so that every feature and every example has its
turn. All numbers go to the host together, in one copy a device.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fanwise.graph.kinds import COMPARED, NONLINEAR
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.trace import feature_axis
from fanwise.measure.observation import Signal
from fanwise.measure.signal_statistics import (
    BOUNDED,
    CELLS,
    EXAMPLES,
    FEATURES,
    LIMITS,
    MOST,
    PLACES,
    SIDE,
    SPANS,
    SURE,
    WINDOWS,
    begins,
    has_places,
    softmax_axis,
    stride_prime_to,
)
from fanwise.torch.trace.function_names import WRITES
from fanwise.torch.trace.storage import is_abstract, is_strided


class Taps:
    """Watches the ops of one run."""

    def __init__(self) -> None:
        self._numbers: list[Tensor] = []
        self._slots: list[tuple[int, str]] = []
        self._removers: list[Callable[[], None]] = []
        self._features: dict[int, tuple[torch.Size, int]] = {}

    def see(self, op: Op, output: Tensor) -> None:
        """Measures what an op gave; follows its gradient from here back."""
        self._features[op.index] = (
            output.shape,
            feature_axis(op, output.shape, self._features.get(op.inputs[0] if op.inputs else INPUT)),
        )
        self.measure(op.index, output, compared=op.kind in COMPARED)
        if begins(op):
            self.compare_places(op.index, output, self._features[op.index][1])
            self.compare_windows(op.index, output, self._features[op.index][1])
        if op.kind in NONLINEAR:
            self._activation(op, output)
        self._compare_within(op, output)
        written = op.name in WRITES and output._is_view()  # a hook on one may take torch's process down
        if output.requires_grad and not written and not _is_written_overlap(output):
            self._follow(op.index, output)

    def measure(self, slot: int, tensor: Tensor, *, compared: bool) -> None:
        """Measures a tensor under a number of its own."""
        if is_abstract(tensor) or not is_strided(tensor) or not tensor.numel():
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            values = sampled(tensor)
            wide = values.double()
            self._put(slot, "mean", wide.mean())
            self._put(slot, "second_moment", _second_moment(wide, values.dtype))
            if compared and tensor.dim() > 1 and len(tensor) > 1:
                self._put(slot, "likeness", likeness(tensor))

    def compare_places(self, slot: int, tensor: Tensor, axis: int) -> None:
        """Measures how alike the values of a feature are at two places of one example."""
        if is_abstract(tensor) or not is_strided(tensor) or tensor.dim() < 3 or not tensor.numel():
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            self._put(slot, "alike", alike(tensor, axis))

    def compare_windows(self, slot: int, tensor: Tensor, axis: int) -> None:
        """Measures how alike the windows of an input are."""
        if is_abstract(tensor) or not is_strided(tensor) or tensor.dim() < 2 or not tensor.numel():
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            self._put(slot, "overlap", overlap(tensor, axis))

    def signals(self, total: int) -> list[Signal]:
        """Statistics of the slots from 0 on; one copy to the host a device."""
        statistics: list[dict[str, float]] = [{} for _ in range(total)]
        for (slot, name), number in zip(self._slots, fetch(self._numbers), strict=True):
            if 0 <= slot < total:
                statistics[slot][name] = number
        return [Signal(**numbers) for numbers in statistics]

    def close(self) -> None:
        """Takes the hooks off."""
        while self._removers:
            self._removers.pop()()

    def _put(self, slot: int, name: str, number: Tensor) -> None:
        self._slots.append((slot, name))
        self._numbers.append(number)

    def _activation(self, op: Op, output: Tensor) -> None:
        if is_abstract(output) or not is_strided(output) or not output.numel():
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            values = sampled(output)
            self._put(op.index, "zeros", (values == 0).float().mean())
            name = str(CELLS.get(op.cell or "", op.nonlinearity or ""))
            limits = LIMITS.get(name)
            if limits is not None:
                self._put(op.index, "saturated", ((values <= limits[0]) | (values >= limits[1])).float().mean())
            axis = self._features[op.index][1]
            if output.numel() > output.shape[axis] and name not in (*BOUNDED, "sin", "cos"):
                self._put(op.index, "silent", silent(output, axis))

    def _compare_within(self, op: Op, output: Tensor) -> None:
        """Measures the distributions of a softmax, and how alike the places of an example are."""
        if is_abstract(output) or not is_strided(output) or not output.numel():
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            if op.kind == OpKind.SOFTMAX:
                for name, number in zip(("saturated", "mode"), distribution(output, softmax_axis(op)), strict=True):
                    self._put(op.index, name, number)
            if has_places(op, output.shape, self._features[op.index][1]):
                self._put(op.index, "places", places(output))

    def _follow(self, slot: int, output: Tensor) -> None:
        def hook(gradient: Tensor | None) -> None:
            if gradient is None:  # as a quantised op gives
                return
            with torch.no_grad(), torch._C.DisableTorchFunction():
                if is_strided(gradient) and gradient.numel():
                    values = sampled(gradient)
                    self._put(slot, "gradient", _second_moment(values.double(), values.dtype))

        self._removers.append(output.register_hook(hook).remove)  # type: ignore[no-untyped-call]


def _second_moment(wide: Tensor, dtype: torch.dtype) -> Tensor:
    """E x^2, in double precision, for squares of small numbers are 0 in float32; infinite where it is beyond that.

    Args:
        wide: the values along one axis, in double precision.
        dtype: in which they were found.
    """
    moment = wide.dot(wide) / len(wide)
    return torch.where(moment > torch.finfo(dtype).max, math.inf, moment)


def _is_written_overlap(tensor: Tensor) -> bool:
    """Whether a view that overlaps itself was written to: a hook on one takes torch's process down."""
    if not tensor._is_view() or tensor._version == 0:
        return False
    reach = 0
    for step, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and step <= reach:
            return True
        reach += step * (size - 1)
    return False


def fetch(numbers: Sequence[Tensor]) -> list[float]:
    """The values of tensors of one number each; one copy a device."""
    values = [0.0] * len(numbers)
    groups: dict[torch.device, list[int]] = {}
    for i, number in enumerate(numbers):
        groups.setdefault(number.device, []).append(i)
    for places in groups.values():
        for i, value in zip(places, torch.stack([numbers[i].double() for i in places]).tolist(), strict=True):
            values[i] = value
    return values


def _lengths(tensor: Tensor) -> Tensor:
    """Its values; of complex ones how long they are."""
    values = tensor.detach()
    return values.abs() if values.is_complex() else values


def sampled(tensor: Tensor, most: int = MOST) -> Tensor:
    """At most about `most` of a tensor's values, in one axis, in float32 or better."""
    values = _lengths(tensor)
    flat = in_memory(values)
    if flat.numel() > 2 * most:
        flat = flat[:: stride_prime_to(tensor.shape, flat.numel() // most)]
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def in_memory(tensor: Tensor) -> Tensor:
    """All values in one axis, without a copy where some order of the axes allows it."""
    if tensor.is_contiguous():
        return tensor.flatten()
    steps = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda axis: -steps[axis])
    return tensor.permute(order).flatten()


def likeness(tensor: Tensor) -> Tensor:
    """Mean cosine between the examples of a batch, the first axis."""
    examples = _lengths(tensor[:EXAMPLES])
    rows = examples.reshape(len(examples), -1)
    if rows.shape[1] > 2 * FEATURES:
        rows = rows[:, :: stride_prime_to(tensor.shape[1:], rows.shape[1] // FEATURES)]
    rows = rows.double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    number = len(rows)
    cosine: Tensor = (rows.sum(0).square().sum() - number) / (number * (number - 1))
    return cosine


def alike(tensor: Tensor, axis: int) -> Tensor:
    """E x x' of a feature at two places of one example, over E x^2."""
    values = _lengths(tensor[:EXAMPLES]).movedim(axis, 1).flatten(2).double()
    places = values.shape[2]
    squares = values.square().mean()
    products = (values.mean(2).square().mean() * places - squares) / max(places - 1, 1)
    return products / squares


def overlap(tensor: Tensor, axis: int) -> Tensor:
    """E (x . x')^2 over (E x . x)^2 of two windows, as in `Signal`."""
    values = tensor[:WINDOWS].detach()
    values = (values.abs() if values.is_complex() else values).movedim(axis, -1).double()
    windowed = values.dim() > 3 and min(values.shape[1:-1]) >= SIDE
    for place in range(1, values.dim() - 1) if windowed else ():
        values = values.unfold(place, SIDE, SIDE)
    features = math.prod(values.shape[tensor.dim() - 1 :])
    rows = values.reshape(-1, features)
    total = len(rows)
    rows = rows[:: stride_prime_to((total,), max(total // WINDOWS, 1))][:WINDOWS]
    products, size = (rows @ rows.T).square(), rows.square().sum(1).mean().square()
    own, number = products.trace(), len(rows)
    pairs = (products.sum() - own) / max(number * (number - 1), 1)
    return (pairs * (total - 1) / total + own / number / total) / size


def distribution(tensor: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """What share of distributions are sure, and the largest mean of an outcome, as in `Signal`."""
    rows = tensor.detach().movedim(axis, -1).reshape(-1, tensor.shape[axis])
    rows = rows[:: max(rows.numel() // (2 * MOST), 1)].double()
    rows = torch.where(rows.amax() <= 0, rows.exp(), rows)
    outcomes = rows.shape[-1]
    sure = (1 - rows.square().sum(-1) < SURE * (1 - 1 / outcomes)).double().mean()
    return (sure if outcomes > 1 else sure * math.nan), rows.mean(0).amax()


def places(tensor: Tensor) -> Tensor:
    """Mean cosine between the places of an example, as in `Signal`."""
    rows = _lengths(tensor[:2])[..., :SPANS].flatten(1, -2)
    rows = rows[:, :: max(rows.shape[1] // PLACES, 1)][:, :PLACES].double()
    rows = rows / rows.norm(dim=-1, keepdim=True)
    number = rows.shape[1]
    cosines: Tensor = (rows.sum(1).square().sum(-1) - number) / (number * (number - 1))
    return cosines.mean()


def silent(tensor: Tensor, axis: int) -> Tensor:
    """Share of units that give one and the same value at every example and position that is looked at."""
    units = _lengths(tensor).movedim(axis, -1)
    rows = units.reshape(-1, units.shape[-1])
    most = max(MOST * 4 // max(units.shape[-1], 1), 64)
    if len(rows) > 2 * most:
        rows = rows[:: stride_prime_to(units.shape[:-1], len(rows) // most)]
    low, high = rows.amin(0).float(), rows.amax(0).float()
    return (high - low <= 1e-6 * (high.amax() - low.amin())).float().mean()
