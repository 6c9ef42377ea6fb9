"""`Chain`: a network as stages, one after the other, each of which knows its own derivative."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from fanwise.graph.details import Activation, Convolution, Detail, Pooling
from fanwise.graph.op import INPUT, Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.laws.nonlinearities import Nonlinearity
from fanwise.numpy.windows import (
    Array,
    Pairs,
    average_pool,
    average_pool_back,
    convolve,
    convolve_back,
    max_pool,
    max_pool_back,
    padded,
)
from fanwise.stream.box import Shape

Arrays: TypeAlias = Mapping[str, Array]
"""Values of parameters, by path."""
Back: TypeAlias = Callable[[Array], tuple[Array, dict[str, Array]]]
"""From the gradient at an output to that at the input, and those at the parameters, by path."""
STEP = np.finfo(np.float64).eps ** (1 / 3)
"""Step of a central difference, in units of the value or of 1: rounding and curvature then err alike, by 1e-10."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One op of a chain.

    Args:
        kind: what it does.
        name: of the function.
        module: the layer that it belongs to.
        run: from its input and the parameters to its output, and its derivative there.
        uses: of parameters.
        detail: what its kind needs.
        axis: of the features of its output.
        replay: the function on arrays of one axis, where it works on each value alone.
    """

    kind: OpKind
    name: str
    module: str
    run: Callable[[Array, Arrays], tuple[Array, Back]]
    uses: tuple[Use, ...] = ()
    detail: Detail | None = None
    axis: int = -1
    replay: Callable[..., Any] | None = None


@dataclass(frozen=True, eq=False)
class Chain:
    """A network and its parameters.

    Args:
        stages: in order.
        arrays: the parameters by path, in the order in which they were given.
        name: for a report.
        access: Python that reads each parameter from what was given, such as 'weights["W1"]', by path.
        notes: what was assumed in reading it, one sentence each.
    """

    stages: tuple[Stage, ...]
    arrays: Arrays
    name: str = "network"
    access: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def with_arrays(self, arrays: Arrays) -> "Chain":
        """The network with other numbers in some parameters."""
        return replace(self, arrays={**self.arrays, **arrays})

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every parameter, in order."""
        return tuple(Parameter(path, array.shape, str(array.dtype)) for path, array in self.arrays.items())

    def op(self, index: int, read: Shape, shape: Shape = ()) -> Op:
        """One of its stages as an op of a trace.

        Args:
            index: which.
            read: shape of what it reads.
            shape: of what it gives, where that is known.
        """
        stage = self.stages[index]
        earlier = sum(before.module == stage.module for before in self.stages[:index])
        op = Op(index, stage.kind, stage.name, stage.module, 0, earlier, (index - 1,), stage.uses, shape, stage.axis)
        given = (0,) if index - 1 == INPUT else ()
        return replace(op, detail=stage.detail, replay=stage.replay, reads=(read,), given=given)

    def trace(self, ops: Sequence[Op]) -> Trace:
        """What a run did."""
        return Trace(tuple(ops), self.parameters, (len(ops) - 1,))


def dense(weight: Use, bias: Use | None, *, flatten: bool = False) -> Stage:
    """A matrix product over the last axis of what it reads, or over all of an example, and a bias.

    Args:
        weight: with the layout "in out" or "out in".
        bias: None for none.
        flatten: whether each example is one row.
    """
    is_transposed = weight.layout is not None and weight.layout.axes[0] == "out"

    def run(x: Array, arrays: Arrays) -> tuple[Array, Back]:
        held = arrays[weight.path]
        matrix, rows = held.T if is_transposed else held, x.reshape(len(x), -1) if flatten else x

        def back(gradient: Array) -> tuple[Array, dict[str, Array]]:
            flat = gradient.reshape(-1, matrix.shape[1])
            at_matrix = rows.reshape(-1, matrix.shape[0]).T @ flat
            at_parameters = {weight.path: at_matrix.T if is_transposed else at_matrix}
            return (gradient @ matrix.T).reshape(x.shape), at_parameters | _at_bias(bias, flat)

        return _with_bias(rows @ matrix, bias, arrays, -1), back

    return Stage(OpKind.LINEAR, "linear", _layer(weight.path), run, _uses(weight, bias))


def convolution(weight: Use, bias: Use | None, *, padding: Pairs, stride: int, channels: int) -> Stage:
    """A convolution and a bias.

    Args:
        weight: with a layout of one "in", one "out" and "kernel" axes.
        bias: None for none.
        padding: zeros around the input.
        stride: of the windows.
        channels: the axis of the channels in what it reads and gives: 1 or -1.
    """
    roles = weight.layout.axes if weight.layout is not None else ()
    order = [roles.index("out"), roles.index("in"), *(i for i, role in enumerate(roles) if role == "kernel")]

    def run(x: Array, arrays: Arrays) -> tuple[Array, Back]:
        whole = padded(np.moveaxis(x, channels, 1), padding)
        kernel = arrays[weight.path].transpose(order)

        def back(gradient: Array) -> tuple[Array, dict[str, Array]]:
            inner = np.moveaxis(gradient, channels, 1)
            at_whole, at_kernel = convolve_back(whole, kernel, stride, inner)
            sizes = zip(padding, at_whole.shape[2:], strict=True)
            kept = (slice(before, size - after) for (before, after), size in sizes)
            at_x = np.moveaxis(at_whole[(slice(None), slice(None), *kept)], 1, channels)
            at_parameters = {weight.path: at_kernel.transpose(np.argsort(order))}
            return at_x, at_parameters | _at_bias(bias, np.moveaxis(inner, 1, -1))

        return _with_bias(np.moveaxis(convolve(whole, kernel, stride), 1, channels), bias, arrays, channels), back

    number = len(padding)
    detail = Convolution((stride,) * number, padding, (1,) * number)
    axis = -1 if channels == -1 else -1 - number
    return Stage(OpKind.CONV, f"conv{number}d", _layer(weight.path), run, _uses(weight, bias), detail, axis)


def pooling(module: str, takes: str, size: int, place: tuple[int, int]) -> Stage:
    """The largest value of each window, or its mean.

    Args:
        module: the layer that it belongs to.
        takes: "max" or "average".
        size: of the window along each axis.
        place: how many spatial axes there are, and the axis of the channels: 1 or -1.
    """
    number, channels = place

    def run(x: Array, arrays: Arrays) -> tuple[Array, Back]:
        inner = np.moveaxis(x, channels, 1)
        pooled, back_inner = _pooled(inner, takes, size)

        def back(gradient: Array) -> tuple[Array, dict[str, Array]]:
            return np.moveaxis(back_inner(np.moveaxis(gradient, channels, 1)), 1, channels), {}

        return np.moveaxis(pooled, 1, channels), back

    space = (size,) * number
    window = (1, *space, 1) if channels == -1 else (1, 1, *space)
    taken = "max" if takes == "max" else "mean"
    detail = Pooling(taken, window, window, ((0, 0),) * len(window), (1,) * len(window))
    return Stage(OpKind.POOL, f"{takes}_pool{number}d", module, run, detail=detail)


def _pooled(inner: Array, takes: str, size: int) -> tuple[Array, Callable[[Array], Array]]:
    """What is taken of each window, and its derivative."""
    if takes == "average":
        return average_pool(inner, size), lambda gradient: average_pool_back(inner.shape, size, gradient)
    largest, where = max_pool(inner, size)
    return largest, lambda gradient: max_pool_back(inner.shape, size, where, gradient)


def activation(module: str, unit: Nonlinearity, detail: Activation) -> Stage:
    """A nonlinearity; its derivative is a central difference where it has no slope."""

    def run(x: Array, arrays: Arrays) -> tuple[Array, Back]:
        wide = x.astype(np.float64)
        output = np.asarray(unit.function(wide), x.dtype)
        return output, lambda gradient: (gradient * slope_of(unit, wide).astype(x.dtype), {})

    return Stage(OpKind.ACTIVATION, detail.nonlinearity, module, run, detail=detail, replay=unit.function)


def slope_of(unit: Nonlinearity, x: Array) -> Array:
    """The derivative of a nonlinearity at each value."""
    if unit.slope is not None:
        return np.asarray(unit.slope(x))
    step = STEP * np.maximum(np.abs(x), 1.0)
    return np.asarray((unit.function(x + step) - unit.function(x - step)) / (2 * step))


def weight_use(path: str, layout: Layout) -> Use:
    """A weight as a map."""
    return Use(path, UseRole.WEIGHT, layout)


def bias_use(path: str) -> Use:
    """A bias."""
    return Use(path, UseRole.BIAS)


def _layer(path: str) -> str:
    head, _, last = path.rpartition(".")
    return head if head and last in ("weight", "kernel", "W", "w") else path


def _uses(weight: Use, bias: Use | None) -> tuple[Use, ...]:
    return (weight,) if bias is None else (weight, bias)


def _with_bias(output: Array, bias: Use | None, arrays: Arrays, axis: int) -> Array:
    if bias is None:
        return output
    shape = [1] * output.ndim
    shape[axis] = -1
    summed: Array = output + arrays[bias.path].reshape(shape)
    return summed


def _at_bias(bias: Use | None, gradient: Array) -> dict[str, Array]:
    """The gradient at a bias, from that at an output with its features in the last axis."""
    return {} if bias is None else {bias.path: gradient.reshape(-1, gradient.shape[-1]).sum(0)}
