"""Statistics of outputs over all their values, and weights and outputs rescaled."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fanwise.calibrate.calibrator import Change
from fanwise.calibrate.measuring import ROUNDING, Answer, Float64, Moments
from fanwise.calibrate.units import Spread
from fanwise.torch.measure.taps import in_memory
from fanwise.torch.weights.overlap import check_apart
from fanwise.torch.weights.tensors import checked_state, checked_tensor, checked_writable
from fanwise.torch.weights.weight_norm import refresh_

CHUNK = 1 << 22
"""Values that are copied to double precision at a time."""
CACHED = 1 << 16
"""The same on a processor: their copy stays in its cache, and needs no new pages from the system."""
FEW = 2
"""Examples that are compared before all are."""


class Measured:
    """Statistics of one output, in double precision over all its values.

    Args:
        output: what the op gave.
        axis: of its features.
    """

    def __init__(self, output: Tensor, axis: int) -> None:
        self._output = output.detach()
        self._axis = axis

    def whole(self) -> Moments:
        """Moments of all values together."""
        return moments(self._output)

    def units(self) -> tuple[Float64, Float64]:
        """Mean and variance of each unit."""
        rows = _rows(self._output, self._axis)
        parts = torch.split(rows, max(CHUNK // max(rows.shape[1], 1), 1))
        means = torch.stack([part.double().sum(0) for part in parts]).sum(0) / len(rows)
        squares = torch.stack([(part.double() - means).square().sum(0) for part in parts]).sum(0)
        return means.cpu().numpy(), (squares / len(rows)).cpu().numpy()

    def varies(self) -> bool:
        """Whether any unit gives different values; True where it gives one alone."""
        few = self._output[:FEW] if self._axis % self._output.dim() else self._output
        if _differ(few, self._axis):
            return True
        single = self._output.numel() < 2 * self._output.shape[self._axis]
        return single or _differ(self._output, self._axis)

    def through(self, function: Callable[..., Any], factor: float) -> Moments:
        """Moments of a function of the values times a factor, computed on the host."""
        values = self._output.to(torch.promote_types(self._output.dtype, torch.float32))
        results = np.asarray(function((values * factor).flatten().cpu().numpy()), np.float64)
        return Moments(float(results.mean()), float(results.var()))


def _rows(output: Tensor, axis: int) -> Tensor:
    """The output as a matrix: a row for each example and position, a column for each unit."""
    moved = output.movedim(axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def _differ(output: Tensor, axis: int) -> bool:
    """Whether any unit gives values that differ by more than rounding."""
    others = [other for other in range(output.dim()) if other != axis % output.dim()]
    if not others:
        return False  # without axes to reduce, torch would reduce all
    low, high = output.amin(others), output.amax(others)
    size = torch.maximum(low.abs(), high.abs()).amax()
    return not bool((high - low <= ROUNDING * size).all())


def moments(tensor: Tensor) -> Moments:
    """Mean and variance over all values of a tensor; NaN where it has none that can be measured.

    Each chunk is measured by itself while it is in the processor's cache: with n_i values of mean m_i and sum of
    squares q_i about m_i, the sum of squares about the mean m of all is the sum of q_i + n_i (m_i - m)^2.

    References:
        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    values = tensor.detach()
    if not values.is_floating_point() or not values.numel():
        return Moments(math.nan, math.nan)
    size = CACHED if values.device.type == "cpu" else CHUNK
    parts = torch.split(in_memory(values), size)
    totals = [torch.stack(column) for column in zip(*map(_part, parts), strict=True)]
    sums, squares = torch.stack(totals, 1).unbind(1)  # strided: torch adds up a contiguous vector in another order
    counts = torch.tensor([part.numel() for part in parts], dtype=sums.dtype, device=sums.device)
    mean = sums.sum() / values.numel()
    spread = squares.sum() + (counts * (sums / counts - mean).square()).sum()
    return Moments(float(mean), float(spread) / values.numel())


def _part(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, and sum of squares about the mean, of some values."""
    wide = values.to(torch.float64, copy=True)
    total = wide.sum()
    wide -= total / values.numel()
    return total, wide.dot(wide)


def adjust_(output: Tensor, answer: Answer, bias: Tensor | None, axis: int) -> None:
    """Makes of an output what the op gives once its parameters are changed; one rounding.

    Args:
        output: what the op gave.
        answer: what is made of it.
        bias: as the model holds it, None where the op has none.
        axis: of the features.
    """
    if answer.scale.ndim == 0 and not answer.more.any() and not answer.shift.any():
        output.mul_(float(answer.scale))
        return
    wide = output.double() * _along_axis(answer.scale, output, axis) + _along_axis(answer.shift, output, axis)
    if bias is not None and answer.more.any():
        added = bias.detach().double().flatten() * torch.from_numpy(np.array(answer.more)).to(bias.device)
        wide += _spread(added, output.dim(), axis)
    output.copy_(wide)


def check_changes(held: Mapping[str, Tensor], changes: Mapping[str, Change]) -> None:
    """Raises where a parameter cannot be changed, and changes nothing.

    Raises:
        TypeError: a tensor of a kind that cannot be written.
        ValueError: memory that cannot be written or is shared with another parameter, or a factor that takes the
            values out of the dtype's range.
    """
    for path, change in changes.items():
        tensor, name = held[path], f"parameter {path!r}"
        checked_writable(checked_state(checked_tensor(tensor, name=name), name=name), name=name)
        reach = float(tensor.detach().abs().amax()) * float(abs(change.scale).max()) + float(abs(change.shift).max())
        limits = torch.finfo(tensor.dtype)
        if reach > limits.max or 0 < reach < limits.smallest_normal * limits.eps:
            raise ValueError(f"{name} would reach {reach:.4g}, which {tensor.dtype} cannot hold")
    check_apart([(path, held[path]) for path in changes])


def change_(model: nn.Module, changes: Mapping[str, Change], spreads: Mapping[str, Spread]) -> None:
    """Changes parameters, in place: one product, and one sum where there is a shift.

    Args:
        model: whose.
        changes: by path; `check_changes` let them pass.
        spreads: how the units lie in the weights that are changed unit by unit.
    """
    held = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for path, change in changes.items():
            _change(held[path], change, spreads.get(path))
    refresh_(model, [held[path] for path in changes])


def changed(tensor: Tensor, change: Change, lies: Spread | None) -> Tensor:
    """A copy of a parameter with its change."""
    copy = tensor.detach().clone()
    _change(copy, change, lies)
    return copy


def _change(tensor: Tensor, change: Change, lies: Spread | None) -> None:
    if change.scale.ndim == 0 and not change.shift.any():
        tensor.mul_(float(change.scale))
        return
    view = tensor.detach().view(lies.view) if lies is not None else tensor.detach()
    shape = lies.units if lies is not None else tuple(tensor.shape)
    scale, shift = (_reshape(numbers, shape, tensor.device) for numbers in (change.scale, change.shift))
    view.copy_(view.double() * scale + shift)


def _reshape(numbers: Float64, shape: tuple[int, ...], device: torch.device) -> Tensor:
    factors = torch.from_numpy(np.array(numbers, np.float64)).to(device)
    return factors if factors.dim() == 0 else factors.reshape(shape)


def _along_axis(numbers: Float64, output: Tensor, axis: int) -> Tensor:
    factors = torch.from_numpy(np.array(numbers, np.float64)).to(output.device)
    return factors if factors.dim() == 0 else _spread(factors, output.dim(), axis)


def _spread(units: Tensor, dims: int, axis: int) -> Tensor:
    """Numbers of the units, in a shape that broadcasts along an axis."""
    return units.reshape([-1 if i == axis % dims else 1 for i in range(dims)])
