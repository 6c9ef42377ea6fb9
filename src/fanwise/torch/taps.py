"""Statistics of what each op gives, and of the gradient there, kept on the device until the end of a run.

Large tensors are sampled at a stride that is prime to their sizes, so that every feature and every example has its
turn. All numbers go to the host together, in one copy a device.
"""

import math
from collections.abc import Callable, Sequence
from itertools import count

import torch
from torch import Tensor

from fanwise.check.observation import Signal
from fanwise.torch.storage import is_abstract, is_strided
from fanwise.trace import WEIGHT_KINDS, Op

MOST = 1 << 16
"""Values of a tensor that are looked at: the second moment of that many independent ones errs by 0.6 %."""
EXAMPLES, FEATURES = 16, 1024
"""Examples that are compared with one another, and how many values of each."""
SATURATION = 0.05
"""A value is saturated where the slope is below this share of the steepest, as in `fanwise.lab`."""
LIMITS = {
    "tanh": (-math.sqrt(1 - SATURATION), math.sqrt(1 - SATURATION)),
    "sigmoid": ((1 - math.sqrt(1 - SATURATION)) / 2, (1 + math.sqrt(1 - SATURATION)) / 2),
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "relu6": (-math.inf, 6.0),
    "softsign": (1 / (1 + math.sqrt(SATURATION)) - 1, 1 - 1 / (1 + math.sqrt(SATURATION))),
}
"""Outputs beyond which each bounded nonlinearity is saturated: tanh' = 1 - y^2, sigmoid' = y (1 - y)."""
BOUNDED = ("tanh", "sigmoid", "hardtanh", "hardsigmoid", "softsign")
"""Nonlinearities whose units fall silent on a slope, or are saturated, but have no dead side."""
COMPARED = (*WEIGHT_KINDS, "add", "norm", "activation")
"""Kinds after which the examples of a batch are compared."""


class Taps:
    """Watches the ops of one run."""

    def __init__(self) -> None:
        self._numbers: list[Tensor] = []
        self._slots: list[tuple[int, str]] = []
        self._removers: list[Callable[[], None]] = []

    def see(self, op: Op, output: Tensor) -> None:
        """Measures what an op gave; follows its gradient from here back."""
        self.measure(op.index, output, compared=op.kind in COMPARED)
        if op.kind in ("activation", "recurrent"):
            self._activation(op, output)
        if output.requires_grad:
            self._follow(op.index, output)

    def measure(self, place: int, tensor: Tensor, *, compared: bool) -> None:
        """Measures a tensor under a number of its own."""
        if is_abstract(tensor) or not is_strided(tensor) or not tensor.numel():
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            values = sampled(tensor)
            self._put(place, "mean", values.mean())
            self._put(place, "second_moment", values.square().mean())
            if compared and tensor.dim() > 1 and len(tensor) > 1:
                self._put(place, "likeness", likeness(tensor))

    def signals(self, total: int) -> list[Signal]:
        """What was measured under the numbers from 0 on; one copy to the host a device."""
        found: list[dict[str, float]] = [{} for _ in range(total)]
        for (place, name), number in zip(self._slots, fetched(self._numbers), strict=True):
            if 0 <= place < total:
                found[place][name] = number
        return [Signal(**numbers) for numbers in found]

    def close(self) -> None:
        """Takes the hooks off."""
        while self._removers:
            self._removers.pop()()

    def _put(self, place: int, name: str, number: Tensor) -> None:
        self._slots.append((place, name))
        self._numbers.append(number)

    def _activation(self, op: Op, output: Tensor) -> None:
        if is_abstract(output) or not is_strided(output) or not output.numel():
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            values = sampled(output)
            self._put(op.index, "zeros", (values == 0).float().mean())
            name = "tanh" if op.kind == "recurrent" else str(op.detail.get("nonlinearity"))
            limits = LIMITS.get(name)
            if limits is not None:
                self._put(op.index, "saturated", ((values <= limits[0]) | (values >= limits[1])).float().mean())
            if output.dim() > 1 and name not in (*BOUNDED, "sin", "cos"):
                self._put(op.index, "silent", silent(output, op.axis))

    def _follow(self, place: int, output: Tensor) -> None:
        def hook(gradient: Tensor) -> None:
            with torch.no_grad(), torch._C.DisableTorchFunction():
                if is_strided(gradient) and gradient.numel():
                    self._put(place, "gradient", sampled(gradient).square().mean())

        self._removers.append(output.register_hook(hook).remove)  # type: ignore[no-untyped-call]


def fetched(numbers: Sequence[Tensor]) -> list[float]:
    """The values of tensors of one number each; one copy a device."""
    values = [0.0] * len(numbers)
    groups: dict[torch.device, list[int]] = {}
    for i, number in enumerate(numbers):
        groups.setdefault(number.device, []).append(i)
    for places in groups.values():
        for i, value in zip(places, torch.stack([numbers[i].double() for i in places]).tolist(), strict=True):
            values[i] = value
    return values


def sampled(tensor: Tensor, most: int = MOST) -> Tensor:
    """At most about `most` of a tensor's values, in one axis, in float32 or better."""
    values = tensor.detach()
    values = values.abs() if values.is_complex() else values
    flat = values.flatten() if values.is_contiguous() else _in_memory(values)
    if flat.numel() > 2 * most:
        flat = flat[:: stride_prime_to(tensor.shape, flat.numel() // most)]
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def _in_memory(tensor: Tensor) -> Tensor:
    """All values in one axis, without a copy where some order of the axes allows it."""
    steps = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda axis: -steps[axis])
    return tensor.permute(order).flatten()


def stride_prime_to(shape: Sequence[int], wanted: int) -> int:
    """The least stride from `wanted` on that has no factor in common with any of the sizes."""
    return next(stride for stride in count(max(wanted, 1)) if all(math.gcd(stride, size) == 1 for size in shape))


def likeness(tensor: Tensor) -> Tensor:
    """Mean cosine between the examples of a batch, the first axis."""
    examples = tensor[:EXAMPLES].detach()
    examples = examples.abs() if examples.is_complex() else examples
    rows = examples.reshape(len(examples), -1)
    if rows.shape[1] > 2 * FEATURES:
        rows = rows[:, :: stride_prime_to(tensor.shape[1:], rows.shape[1] // FEATURES)]
    rows = rows.double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    number = len(rows)
    found: Tensor = (rows.sum(0).square().sum() - number) / (number * (number - 1))
    return found


def silent(tensor: Tensor, axis: int) -> Tensor:
    """Share of units that give one and the same value at every example and position that is looked at."""
    units = tensor.detach().movedim(axis, -1)
    rows = units.reshape(-1, units.shape[-1])
    most = max(MOST * 4 // max(units.shape[-1], 1), 64)
    if len(rows) > 2 * most:
        rows = rows[:: stride_prime_to(units.shape[:-1], len(rows) // most)]
    low, high = rows.amin(0).float(), rows.amax(0).float()
    return (high - low <= 1e-6 * (high.amax() - low.amin())).float().mean()
