"""The meaning of Keras' layers: for each kind, the ops it is, the variables they use and in which layout.

One entry a class in `_READERS`. A layer without an entry, or with a variable that its entry does not know, is followed
through the functions that it calls.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from fanwise.graph.details import Activation, Arithmetic, Convolution, Detail, Lookup, Normalisation, Recurrence
from fanwise.graph.op import OpKind, UseRole
from fanwise.keras.trace import pools
from fanwise.keras.trace.calls import Call, Part, parts_of
from fanwise.keras.trace.variables import own_variables
from fanwise.laws.layout import Layout

Reader = Callable[[Any, Mapping[str, Any]], "LayerOp | None"]


@dataclass(frozen=True)
class LayerOp:
    """An entry's answer.

    Args:
        kind: as in `Call`.
        parts: as in `Call`.
        axis: as in `Call`.
        detail: as in `Call`.
        fused: whether the layer applies `layer.activation` at its end.
        view: whether what it gives are its input's values, moved or repeated.
    """

    kind: OpKind
    parts: tuple[Part, ...] = ()
    axis: int = -1
    detail: Detail | None = None
    fused: bool = False
    view: bool = False

    def of(self, layer: Any, data: Sequence[Any]) -> Call:
        """The call of a layer on some data."""
        return Call(self.kind, tuple(data), self.parts, self.axis, self.detail, type(layer).__name__)


def describe_layer(layer: Any, named: Mapping[str, Any]) -> LayerOp | None:
    """The op that a layer is, None for a layer that is followed through its functions.

    Args:
        layer: any.
        named: the named arguments of the call.
    """
    if isinstance(layer, layers.ReversibleEmbedding) and named.get("reverse"):
        return _reversed(layer, own_variables(layer))
    kinds: tuple[Any, ...] = type(layer).__mro__
    for kind in kinds:
        if kind in _READERS:
            reader, known = _READERS[kind]
            own = own_variables(layer)
            same = type(layer).call is kind.call  # a subclass with a call of its own computes something else
            return reader(layer, own) if set(own) <= known and same else None
    return None


def _dense(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    parts = parts_of((own.get("kernel"), UseRole.WEIGHT, Layout.dense("in out")), (own.get("bias"), UseRole.BIAS, None))
    return LayerOp(OpKind.LINEAR, parts, fused=True)


def _einsum_dense(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    equation = layer.equation
    layout = Layout.einsum(equation, operand=1)
    result = equation.replace(" ", "").partition("->")[2]
    weight = equation.replace(" ", "").partition("->")[0].split(",")[1]
    labels = [label for label, role in zip(weight, layout.axes, strict=True) if role == "out"]
    places = [result.replace("...", ".").index(label) for label in labels]
    axis = max(places) - len(result.replace("...", ".")) if places else -1
    parts = parts_of((own.get("kernel"), UseRole.WEIGHT, layout), (own.get("bias"), UseRole.BIAS, None))
    return LayerOp(OpKind.LINEAR, parts, axis, fused=True)


def _dims(layer: Any) -> int:
    return len(layer.kernel_size)


def _channels(layer: Any, dims: int) -> int:
    return -1 if layer.data_format == "channels_last" else -(dims + 1)


def _window(dims: int, roles: str) -> str:
    return "kernel " * dims + roles


def _conv(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    dims = _dims(layer)
    layout = Layout.conv(_window(dims, "in out"), groups=layer.groups, stride=_strides(layer))
    parts = parts_of((own.get("kernel"), UseRole.WEIGHT, layout), (own.get("bias"), UseRole.BIAS, None))
    return LayerOp(OpKind.CONV, parts, _channels(layer, dims), _conv_detail(layer), fused=True)


def _strides(layer: Any) -> tuple[int, ...]:
    strides = layer.strides
    return (strides,) * _dims(layer) if isinstance(strides, int) else tuple(int(step) for step in strides)


def _conv_detail(layer: Any) -> Convolution:
    return Convolution(_strides(layer), layer.padding, layer.dilation_rate)


def _depthwise(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    dims = _dims(layer)
    layout = Layout.depthwise(_window(dims, "in out"), stride=_strides(layer))
    parts = parts_of((own.get("kernel"), UseRole.WEIGHT, layout), (own.get("bias"), UseRole.BIAS, None))
    return LayerOp(OpKind.CONV, parts, _channels(layer, dims), _conv_detail(layer), fused=True)


def _conv_transpose(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    dims = _dims(layer)
    layout = Layout.conv_transpose(_window(dims, "out in"), stride=_strides(layer))
    parts = parts_of((own.get("kernel"), UseRole.WEIGHT, layout), (own.get("bias"), UseRole.BIAS, None))
    return LayerOp(OpKind.CONV_TRANSPOSE, parts, _channels(layer, dims), _conv_detail(layer), fused=True)


def _embedding(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    detail = Lookup(padding=0 if layer.mask_zero else None)
    return LayerOp(OpKind.EMBEDDING, parts_of((own.get("embeddings"), UseRole.TABLE, Layout.embedding())), -1, detail)


def _reversed(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    """The table as the map that makes the logits."""
    if own.get("reverse_embeddings") is not None:
        return LayerOp(OpKind.LINEAR, parts_of((own["reverse_embeddings"], UseRole.WEIGHT, Layout.dense("in out"))))
    return LayerOp(OpKind.LINEAR, parts_of((own.get("embeddings"), UseRole.WEIGHT, Layout.dense("out in"))))


GATES = {layers.LSTMCell: 4, layers.GRUCell: 3, layers.SimpleRNNCell: 1}
NAMES = {layers.LSTMCell: "lstm", layers.GRUCell: "gru"}


def cell_parts(cell: Any) -> tuple[Part, ...] | None:
    """The variables of a recurrent cell, None where it is none that is known."""
    gates = next((count for kind, count in GATES.items() if isinstance(cell, kind)), None)
    own = own_variables(cell)
    if gates is None or not set(own) <= {"kernel", "recurrent_kernel", "bias"}:
        return None
    layout = Layout.dense("in out")
    layout = layout.fuse(1, gates) if gates > 1 else layout
    return parts_of(
        (own.get("kernel"), UseRole.WEIGHT, layout),
        (own.get("recurrent_kernel"), UseRole.RECURRENT, layout),
        (own.get("bias"), UseRole.BIAS, None),
    )


def _cell_name(cell: Any) -> str:
    named = next((name for kind, name in NAMES.items() if isinstance(cell, kind)), None)
    return named or ("rnn_relu" if cell.activation is keras.activations.relu else "rnn_tanh")


def _recurrent(layer: Any, own: Mapping[str, Any]) -> LayerOp | None:
    cells = layer.cell.cells if isinstance(layer.cell, layers.StackedRNNCells) else [layer.cell]
    cell_lists = [cell_parts(cell) for cell in cells]
    if any(parts is None for parts in cell_lists):
        return LayerOp(
            OpKind.RECURRENT, tuple(Part(v, UseRole.OPERAND) for v in layer.trainable_variables), -1, Recurrence("own")
        )
    names = {_cell_name(cell) for cell in cells}
    known = len(names) == 1
    detail = Recurrence(names.pop(), GATES[_kind(cells[0], GATES)]) if known else Recurrence("several")
    return LayerOp(OpKind.RECURRENT, tuple(part for parts in cell_lists for part in parts or ()), -1, detail)


def _kind(layer: Any, kinds: Mapping[Any, Any]) -> Any:
    return next(kind for kind in kinds if isinstance(layer, kind))


def _cell(layer: Any, own: Mapping[str, Any]) -> LayerOp | None:
    parts = cell_parts(layer)
    return None if parts is None else LayerOp(OpKind.RECURRENT, parts, -1, Recurrence(_cell_name(layer)))


def _conv_lstm(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    cell = layer.cell
    held, dims = own_variables(cell), cell.rank
    strides = (cell.strides,) * dims if isinstance(cell.strides, int) else tuple(cell.strides)
    axis = dims + 1
    weight = Layout.conv(_window(dims, "in out"), stride=strides).fuse(axis, 4)
    state = Layout.conv(_window(dims, "in out")).fuse(axis, 4)
    parts = parts_of(
        (held.get("kernel"), UseRole.WEIGHT, weight),
        (held.get("recurrent_kernel"), UseRole.RECURRENT, state),
        (held.get("bias"), UseRole.BIAS, None),
    )
    channels = -1 if cell.data_format == "channels_last" else -(dims + 1)
    return LayerOp(OpKind.RECURRENT, parts, channels, Recurrence("lstm", 4))


def _norm(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    scale = own.get("gamma") if own.get("gamma") is not None else own.get("scale")
    return LayerOp(
        OpKind.NORM,
        parts_of((scale, UseRole.SCALE, None), (own.get("beta"), UseRole.SHIFT, None)),
        _norm_axis(layer),
        Normalisation(_NORMS[_kind(layer, _NORMS)], float(layer.epsilon)),
    )


_NORMS = {
    layers.BatchNormalization: "batch_norm",
    layers.LayerNormalization: "layer_norm",
    layers.GroupNormalization: "group_norm",
    layers.RMSNormalization: "rms_norm",
}


def _norm_axis(layer: Any) -> int:
    axis = layer.axis[-1] if isinstance(layer.axis, (tuple, list)) else layer.axis
    return axis if axis < 0 else axis - layer.input_spec.ndim if layer.input_spec is not None else -1


def _prelu(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    return LayerOp(OpKind.ACTIVATION, parts_of((own.get("alpha"), UseRole.SLOPE, None)), -1, Activation("prelu"))


def _leaky(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    slope = float(layer.negative_slope)
    return LayerOp(OpKind.ACTIVATION, (), -1, Activation("leaky_relu", slope))


def _relu(layer: Any, own: Mapping[str, Any]) -> LayerOp | None:
    if layer.threshold or layer.max_value not in (None, 6):
        return None
    slope = float(layer.negative_slope)
    if slope:
        return _leaky(layer, own) if layer.max_value is None else None
    return LayerOp(OpKind.ACTIVATION, (), -1, Activation("relu" if layer.max_value is None else "relu6"))


def _view(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    return LayerOp(OpKind.OTHER, view=True)


def _of_kind(kind: OpKind, detail: Detail | None = None) -> Reader:
    def reader(layer: Any, own: Mapping[str, Any]) -> LayerOp:
        return LayerOp(kind, (), -1, detail)

    return reader


def _pool(windows: Callable[[Any], Detail | None]) -> Reader:
    return lambda layer, own: LayerOp(OpKind.POOL, (), -1, windows(layer))


def _concat(layer: Any, own: Mapping[str, Any]) -> LayerOp:
    return LayerOp(OpKind.CONCAT)


def _entries() -> dict[type, tuple[Reader, frozenset[str]]]:
    kernel, none = frozenset({"kernel", "bias"}), frozenset[str]()
    entries: dict[type, tuple[Reader, frozenset[str]]] = {
        layers.Dense: (_dense, kernel),
        layers.EinsumDense: (_einsum_dense, kernel),
        layers.Embedding: (_embedding, frozenset({"embeddings"})),
        layers.ReversibleEmbedding: (_embedding, frozenset({"embeddings", "reverse_embeddings"})),
        layers.PReLU: (_prelu, frozenset({"alpha"})),
        layers.LeakyReLU: (_leaky, none),
        layers.ReLU: (_relu, none),
        layers.Concatenate: (_concat, none),
        layers.Subtract: (_of_kind(OpKind.ADD, Arithmetic(minus=1)), none),
        layers.Multiply: (_of_kind(OpKind.MUL), none),
        layers.UnitNormalization: (_of_kind(OpKind.NORM, Normalisation("unit_norm")), none),
    }
    entries |= dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), (_conv, kernel))
    entries |= dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), (_depthwise, kernel))
    transposed = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
    entries |= dict.fromkeys(transposed, (_conv_transpose, kernel))
    entries |= dict.fromkeys((layers.LSTM, layers.GRU, layers.SimpleRNN, layers.RNN), (_recurrent, none))
    entries |= dict.fromkeys(GATES, (_cell, frozenset({"kernel", "recurrent_kernel", "bias"})))
    entries |= dict.fromkeys((layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D), (_conv_lstm, none))
    entries |= dict.fromkeys(_NORMS, (_norm, frozenset({"gamma", "beta", "scale"})))
    views = (layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector, layers.Identity)
    moved = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D, layers.Cropping1D, layers.Cropping2D)
    entries |= dict.fromkeys((*views, *moved, layers.Cropping3D), (_view, none))
    entries |= dict.fromkeys(pools.WINDOWED, (_pool(pools.of_windows), none))
    entries |= dict.fromkeys(pools.GLOBAL, (_pool(pools.of_global), none))
    return entries | dict.fromkeys(pools.REPEATING, (_pool(pools.of_repeats), none))


_READERS = _entries()
