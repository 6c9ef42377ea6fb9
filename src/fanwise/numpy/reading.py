"""What a user gives as one network and one batch: weights, inputs and targets that fit one another."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fanwise.graph.op import Use
from fanwise.laws.layout import Layout
from fanwise.laws.nonlinearities import Nonlinearity
from fanwise.numpy.activations import detail_of, names_of, read_activations
from fanwise.numpy.chain import Chain, Stage, activation, bias_use, convolution, dense, pooling, weight_use
from fanwise.numpy.geometry import Fitted, Windows, fitted, guessed_squares
from fanwise.numpy.given import GivenLayer, given_layers
from fanwise.numpy.targets import Aim, as_targets, read_loss, read_targets
from fanwise.numpy.windows import Array


@dataclass(frozen=True)
class Choices:
    """What weights and a batch do not tell.

    Args:
        activation: one for all layers but the last, or a list.
        loss: its name or a function; None to choose by the targets.
        dense: "in out" or "out in"; None where shapes tell.
        windows: of convolutions.
    """

    activation: Any = "relu"
    loss: Any = None
    dense: str | None = None
    windows: Windows = field(default_factory=Windows)


@dataclass(frozen=True, eq=False)
class Reading:
    """A network and a batch.

    Args:
        chain: the network.
        x: its inputs, examples first.
        aim: what it is compared with.
    """

    chain: Chain
    x: Array
    aim: Aim


def read(weights: Any, x: Any, y: Any, choices: Choices) -> Reading:
    """A network and a batch, as `fanwise.check_weights` takes them.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: parts that do not fit one another; the message names them and their shapes.
    """
    loss = read_loss(choices.loss)
    layers = given_layers(weights)
    units = read_activations(choices.activation, len(layers))
    ends = "" if units[-1] is None else units[-1].name
    if ends == "softmax" and loss not in (None, "cross_entropy"):
        raise ValueError(
            "activation ends in softmax, whose loss is loss='softmax'; a function of your own takes what the last "
            "layer gives, and has its softmax within"
        )
    batch = _fitting(layers, _inputs(x, layers), as_targets(y), choices)
    aim = read_targets(batch.y, (len(batch.x), *batch.layers[-1].shape), loss, ends)
    kept = (*units[:-1], None) if ends and ends in (aim.ends_in, "softmax") else units
    notes = (*batch.notes, *([aim.note] if aim.note else []))
    return Reading(_chain(layers, batch, kept, notes), batch.x, aim)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Inputs and targets with examples first, and the layers on them."""

    x: Array
    y: Array | None
    layers: tuple[Fitted, ...]
    notes: tuple[str, ...] = ()


def _inputs(x: Any, layers: Sequence[GivenLayer]) -> Array:
    """The inputs as numbers of floating point, in a dtype that holds those of the weights, too."""
    if x is None:
        raise TypeError("x = None: expected a batch of inputs, shape (examples, features)")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"x is no array, its rows differ in length: {error}") from None
    if array.dtype.kind not in "buif":
        raise TypeError(f"x holds {array.dtype}: expected a batch of numbers, shape (examples, features)")
    if array.ndim < 2:
        hint = ", as x[:, None] where each example is one value" if array.ndim else ""
        raise ValueError(f"x has shape {array.shape}: expected (examples, features){hint}")
    if not array.size:
        raise ValueError(f"x has shape {array.shape} and no values")
    held = np.result_type(*(layer.weight.values for layer in layers))
    array = array.astype(np.result_type(held, array.dtype) if array.dtype.kind == "f" else held)
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        count = int((~np.isfinite(array)).sum())
        raise ValueError(f"x holds {count} numbers that are not finite, the first at {place}: {array[place]}")
    return array


def _fitting(layers: Sequence[GivenLayer], x: Array, y: Array | None, choices: Choices) -> _Batch:
    """The batch in the first form on which the layers fit: as it is, or with what it lacks."""
    failure: ValueError | None = None
    for batch in _forms(layers, x, y):
        try:
            done = fitted(layers, batch.x.shape[1:], choices.windows, choices.dense)
        except ValueError as error:
            failure = failure or error
            continue
        guessed = guessed_squares(layers, done, choices.dense)
        columns = bool(guessed) and batch.x is not x
        notes = (*batch.notes, *_said(guessed, columns=columns))
        return _Batch(batch.x, batch.y, _as_columns(done) if columns else done, notes)
    raise failure or ValueError("the weights do not fit x")


def _forms(layers: Sequence[GivenLayer], x: Array, y: Array | None) -> Iterator[_Batch]:
    """What a user may mean by x: examples in rows, in columns, or pictures without an axis of channels."""
    first = layers[0].weight.values
    rows = _Batch(x, y, ())
    if x.ndim == first.ndim - 1 and first.ndim > 2:
        yield _Batch(x[:, None], y, (), ("x has no axis of channels: it was read as one channel.",))
        yield _Batch(x[..., None], y, (), ("x has no axis of channels: it was read as one channel.",))
    if x.ndim == 2 and first.ndim == 2 and x.shape[0] != x.shape[1]:
        is_line = 1 in layers[-1].weight.values.shape
        columns = _Batch(
            x.T, _turned(y, x.shape[1], is_line=is_line), (), ("x was read with examples in its columns.",)
        )
        yield from (columns, rows) if _is_in_columns(y, x) else (rows, columns)
    else:
        yield rows


def _is_in_columns(y: Array | None, x: Array) -> bool:
    """Whether there are as many targets as x has columns, and not as it has rows."""
    return y is not None and y.shape[0] != x.shape[0] and y.shape[-1] == x.shape[1]


def _turned(y: Array | None, examples: int, *, is_line: bool) -> Array | None:
    """Targets whose examples stand in columns, as rows.

    Args:
        y: None for none.
        examples: how many.
        is_line: whether the network gives one value for each, as one row: targets of one axis fit it as they are.
    """
    if y is None or y.ndim > 2 or y.shape[-1] != examples:
        return y
    return y[:, None] if y.ndim == 1 and is_line else y.T


def _as_columns(done: Sequence[Fitted]) -> tuple[Fitted, ...]:
    """Square weights as W x, which is how weights stand before columns."""
    return tuple(replace(here, layout=Layout.dense("out in")) if here.is_square else here for here in done)


def _said(guessed: Sequence[str], *, columns: bool) -> Iterator[str]:
    if guessed:
        order = "(out, in)" if columns else "(in, out)"
        yield f"{guessed[0]} is square and was read as {order}: dense= says otherwise."


def _chain(
    layers: Sequence[GivenLayer], batch: _Batch, units: Sequence[Nonlinearity | None], notes: tuple[str, ...]
) -> Chain:
    stages = [
        stage
        for layer, here, unit in zip(layers, batch.layers, units, strict=True)
        for stage in _stages(layer, here, unit)
    ]
    held = [array for layer in layers for array in (layer.weight, layer.bias) if array is not None]
    widths = [batch.x.shape[batch.layers[0].channels], *(_width(here) for here in batch.layers)]
    if not batch.layers[0].is_convolution:
        widths[0] = math.prod(batch.x.shape[1:]) if batch.layers[0].flatten else batch.x.shape[-1]
    name = f"{names_of(units)} network {'-'.join(map(str, widths))}"
    arrays = {array.path: array.values for array in held}
    return Chain(tuple(stages), arrays, name, {array.path: array.access for array in held}, notes)


def _width(here: Fitted) -> int:
    return here.shape[here.channels - 1] if here.channels > 0 else here.shape[-1]


def _stages(layer: GivenLayer, here: Fitted, unit: Nonlinearity | None) -> Iterator[Stage]:
    """The ops of a layer: a map, a nonlinearity and a pooling where it has them."""
    weight: Use = weight_use(layer.weight.path, here.layout)
    bias = None if layer.bias is None else bias_use(layer.bias.path)
    if here.is_convolution:
        first = convolution(weight, bias, padding=here.padding, stride=here.stride, channels=here.channels)
    else:
        first = dense(weight, bias, flatten=here.flatten)
    yield first
    if unit is not None:
        yield activation(first.module, unit, detail_of(unit))
    if here.pool > 1:
        yield pooling(first.module, here.pooling, here.pool, (len(here.padding), here.channels))
