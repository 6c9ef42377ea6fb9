"""The meaning of torch's functions: which arguments are data, which are weights, and in which layout.

`describe` answers for one call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fanwise.graph.details import (
    Activation,
    Attention,
    AttentionBlock,
    Convolution,
    Lookup,
    Normalisation,
    Recurrence,
    Softmax,
)
from fanwise.graph.op import OpKind, UseRole
from fanwise.graph.tracking.binary import Binary
from fanwise.laws.layout import Fused, Layout
from fanwise.torch.trace import function_names as names
from fanwise.torch.trace import products
from fanwise.torch.trace.calls import Arguments, Call, Part, along_axes, data_of, parts_of
from fanwise.torch.trace.function_names import tensors_in
from fanwise.torch.trace.pools import pooling
from fanwise.torch.trace.storage import is_abstract


def describe(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], weights: Callable[[Any], bool]) -> Call | None:
    """The description of a call, None for a name that the table lacks.

    Args:
        name: bare name of the function.
        args: its positional arguments.
        kwargs: its named arguments.
        weights: tells whether an argument is made of parameters.
    """
    read = _DESCRIPTIONS.get(name)
    return None if read is None else read(Arguments(tuple(args), kwargs, weights, name))


def _conv(a: Arguments) -> Call:
    if a.name == "convolution":  # aten: input, weight, bias, stride, padding, dilation, transposed, _, groups
        return _convolution(a, transposed=bool(a.get(6, "transposed", False)), groups=a.get(8, "groups", 1))
    return _convolution(a, transposed=a.name.startswith("conv_transpose"), groups=a.get(6, "groups", 1))


def _convolution(a: Arguments, *, transposed: bool, groups: int) -> Call:
    weight, source = a.tensor(1, "weight"), a.tensor(0, "input")
    dims = 0 if weight is None else weight.dim() - 2
    steps = along_axes(a.get(3, "stride", 1), dims)
    kernel = " kernel" * dims
    if transposed:
        layout = Layout.conv_transpose("in out" + kernel, groups=groups, stride=steps)
    else:
        layout = Layout.conv("out in" + kernel, groups=groups, stride=steps)
    padding, dilation = a.get(4, "padding", 0), a.get(7 if a.name.startswith("conv_transpose") else 5, "dilation", 1)
    detail = Convolution(steps, padding, dilation)
    parts = parts_of((weight, UseRole.WEIGHT, layout), (a.tensor(2, "bias"), UseRole.BIAS, None))
    return Call(OpKind.CONV_TRANSPOSE if transposed else OpKind.CONV, data_of(source), parts, -(dims + 1), detail)


def _embedding(a: Arguments) -> Call | None:
    first, second = a.tensor(0, "input"), a.tensor(1, "weight")
    if first is not None and first.is_floating_point():  # the order of torch.embedding and of aten
        first, second = second, first
    table = None if second is None else Part(second, UseRole.TABLE, Layout(("lookup", *("out",) * (second.dim() - 1))))
    mode = a.get(6, "mode", "mean") if a.name == "embedding_bag" else None
    padding = a.get(10 if a.name == "embedding_bag" else 2, "padding_idx")
    detail = Lookup(mode, padding if isinstance(padding, int) and padding >= 0 else None)
    return Call(OpKind.EMBEDDING, data_of(first), () if table is None else (table,), -1, detail)


def _bilinear(a: Arguments) -> Call:
    parts = parts_of(
        (a.tensor(2, "weight"), UseRole.WEIGHT, Layout(("out", "in", "in"))), (a.tensor(3, "bias"), UseRole.BIAS, None)
    )
    return Call(OpKind.BILINEAR, data_of(a.tensor(0, "input1"), a.tensor(1, "input2")), parts)


GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""Numbers of maps that the matrices of a recurrent cell hold."""


def _recurrent(a: Arguments) -> Call:
    """torch.lstm and its kin: input, state, weights, ... ; packed sequences: values, sizes, state, weights, ..."""
    packed = isinstance(a.get(1, "batch_sizes"), Tensor) and isinstance(a.get(3, "params"), (tuple, list))
    state, weights = a.args[1 + packed], a.args[2 + packed]
    gates = GATES[a.name]
    parts: list[Part] = []
    for tensor in weights:
        parts.append(_recurrent_part(tensor, gates, weights[0].shape[0], parts))
    last = a.args[3 + packed :]  # has_biases, num_layers, dropout, train, bidirectional, and batch_first unless packed
    detail = Recurrence(a.name, gates, bool(last[4]), None if packed else int(bool(last[5])))
    return Call(OpKind.RECURRENT, (a.args[0], *tensors_in(state)), tuple(parts), -1, detail)


def _recurrent_part(tensor: Tensor, gates: int, rows: int, before: Sequence[Part]) -> Part:
    """Weights come as input-hidden, hidden-hidden, two biases, and a projection where there is one."""
    previous = before[-1] if before else None
    if tensor.dim() == 1:
        return Part(
            tensor, UseRole.STATE_BIAS if previous is not None and previous.role == UseRole.BIAS else UseRole.BIAS
        )
    if tensor.shape[0] != rows:
        return Part(tensor, UseRole.WEIGHT, Layout.dense("out in"))
    hidden = previous is not None and previous.role == UseRole.WEIGHT and previous.input.shape[0] == rows
    return Part(tensor, UseRole.RECURRENT if hidden else UseRole.WEIGHT, _gated(gates))


def _gated(gates: int) -> Layout:
    return Layout(("out", "in"), fused=Fused(0, (), gates) if gates > 1 else None)


def _cell(a: Arguments) -> Call:
    gates = GATES[a.name.removesuffix("_cell")]
    layout = _gated(gates)
    parts = parts_of(
        (a.tensor(2, "w_ih"), UseRole.WEIGHT, layout),
        (a.tensor(3, "w_hh"), UseRole.RECURRENT, layout),
        (a.tensor(4, "b_ih"), UseRole.BIAS, None),
        (a.tensor(5, "b_hh"), UseRole.STATE_BIAS, None),
    )
    hidden = tuple(tensors_in(a.args[1]))
    return Call(OpKind.RECURRENT, (a.args[0], *hidden), parts, -1, Recurrence(a.name.removesuffix("_cell"), gates))


def _attention_block(a: Arguments) -> Call:
    """multi_head_attention_forward: packed or separate projections, and the output projection."""
    packed = Layout(("out", "in"), fused=Fused(0, (), 3))
    dense = Layout.dense("out in")
    parts = parts_of(
        (a.tensor(5, "in_proj_weight"), UseRole.WEIGHT, packed),
        (a.tensor(18, "q_proj_weight"), UseRole.QUERY, dense),
        (a.tensor(19, "k_proj_weight"), UseRole.KEY, dense),
        (a.tensor(20, "v_proj_weight"), UseRole.VALUE, dense),
        (a.tensor(6, "in_proj_bias"), UseRole.BIAS, None),
        (a.tensor(7, "bias_k"), UseRole.OPERAND, None),
        (a.tensor(8, "bias_v"), UseRole.OPERAND, None),
        (a.tensor(11, "out_proj_weight"), UseRole.OUTPUT, dense),
        (a.tensor(12, "out_proj_bias"), UseRole.BIAS, None),
    )
    causal = bool(a.get(23, "is_causal", False)) or _is_causal(a.tensor(16, "attn_mask"))
    detail = AttentionBlock(a.get(4, "num_heads"), causal)
    return Call(
        OpKind.ATTENTION_BLOCK,
        data_of(a.tensor(0, "query"), a.tensor(1, "key"), a.tensor(2, "value")),
        parts,
        detail=detail,
        blocks=("query", "key", "value"),
    )


def _attention(a: Arguments) -> Call:
    mask = a.tensor(3, "attn_mask")
    added = mask if mask is not None and mask.is_floating_point() else None
    query = a.tensor(0, "query")
    data = data_of(query, a.tensor(1, "key"), a.tensor(2, "value"), added)
    width = 1 if query is None else query.shape[-1]
    scale = a.get(6, "scale")
    causal = bool(a.get(5, "is_causal", False)) or _is_causal(mask)
    detail = Attention(width, width**-0.5 if scale is None else float(scale), causal)
    return Call(OpKind.ATTENTION, data, (), -1, detail)


SCALES = {
    "layer_norm": (2, 3),
    "native_layer_norm": (2, 3),
    "group_norm": (2, 3),
    "native_group_norm": (1, 2),
    "batch_norm": (3, 4),
    "native_batch_norm": (1, 2),
    "instance_norm": (3, 4),
    "native_instance_norm": (1, 2),
    "rms_norm": (2, 9),
}
"""Positions of a norm's scale and shift among its arguments."""

EPSILONS = {
    "layer_norm": 4,
    "native_layer_norm": 4,
    "group_norm": 4,
    "batch_norm": 7,
    "native_batch_norm": 7,
    "instance_norm": 7,
    "native_instance_norm": 7,
    "rms_norm": 3,
}
"""Positions of a norm's epsilon among its arguments."""


def _norm(a: Arguments) -> Call:
    scale, shift = SCALES.get(a.name, (99, 99))
    parts = parts_of((a.tensor(scale, "weight"), UseRole.SCALE, None), (a.tensor(shift, "bias"), UseRole.SHIFT, None))
    source = a.tensor(0, "input")
    channels = any(kind in a.name for kind in ("batch", "group", "instance"))
    axis = 1 - source.dim() if channels and source is not None else -1
    epsilon = a.get(EPSILONS.get(a.name, 99), "eps", 0.0)
    detail = Normalisation(a.name.removeprefix("native_"), float(epsilon) if isinstance(epsilon, int | float) else 0.0)
    return Call(OpKind.NORM, data_of(source), parts, axis, detail)


def _activation(a: Arguments) -> Call:
    parts = parts_of((a.tensor(1, "weight"), UseRole.SLOPE, None)) if a.name == "prelu" else ()
    slope = a.get(1, "negative_slope", 0.01) if a.name == "leaky_relu" else None
    approximate = a.get(1, "approximate", "none") if a.name == "gelu" else None
    detail = Activation(names.NONLINEARITY_NAMES[a.name], slope, approximate)
    axis = a.get(1, "dim", -1) if a.name == "glu" else -1
    return Call(OpKind.ACTIVATION, data_of(a.tensor(0, "input")), parts, axis, detail)


def _dropout(a: Arguments) -> Call:
    return Call(OpKind.DROPOUT, data_of(a.tensor(0, "input")))


def _binary(a: Arguments) -> Call:
    """A sum, product or quotient of two values, any of which may be a number."""
    operands = _operands(a)
    tensors = [value for value in operands if isinstance(value, Tensor)]
    parts = [Part(tensor, UseRole.OPERAND) for tensor in tensors if a.weights(tensor)]
    data = [tensor for tensor in tensors if not a.weights(tensor)]
    minus = int(a.name != "rsub") if a.name in names.DIFFERENCES else None
    binary = Binary(a.name in names.SUMS, a.name in names.DIVISIONS, minus)
    if parts and data:
        return binary.of_parameters(data, parts)
    if len(data) == 2:
        return binary.of_data(data, _scalar_among(data, is_product=a.name in names.PRODUCTS))
    numbers = (value for value in operands if isinstance(value, int | float) and not isinstance(value, bool))
    return binary.of_number(data, next(numbers, None), parts)


def _operands(a: Arguments) -> list[Any]:
    """The two operands of a function, and what else it is given by name."""
    if a.name in ("index_add", "scatter_add"):
        return [value for value in tensors_in([*a.args, dict(a.named)]) if value.is_floating_point()]
    return [*a.args[:2], *a.named.values()]


def _scalar_among(data: Sequence[Tensor], *, is_product: bool) -> float | None:
    """The number that the second of two tensors holds, or either of two that are multiplied; None where none does."""
    second = _scalar(data[1])
    return _scalar(data[0]) if second is None and is_product else second


def _scalar(tensor: Tensor) -> float | None:
    """The number that a tensor of one value holds, where it can be read."""
    readable = tensor.numel() == 1 and tensor.is_floating_point() and not is_abstract(tensor)
    return float(tensor.detach()) if readable else None


def _plain(kind: OpKind) -> Callable[[Arguments], Call]:
    def read(a: Arguments) -> Call:
        tensors = tuple(tensors_in([*a.args, *a.named.values()]))
        held = tuple(t for t in tensors if a.weights(t))
        data = tuple(t for t in tensors if not a.weights(t))
        return Call(kind, data, tuple(Part(t, UseRole.OPERAND) for t in held))

    return read


def _concatenation(a: Arguments) -> Call:
    return Call(OpKind.CONCAT, tuple(tensors_in([*a.args[:1], a.named.get("tensors", ())])))


def _pool(a: Arguments) -> Call:
    return replace(_plain(OpKind.POOL)(a), detail=pooling(a))


def _softmax(a: Arguments) -> Call:
    scores = a.tensor(0, "input")
    return Call(OpKind.SOFTMAX, data_of(scores), (), -1, Softmax(_is_causal(scores)))


HIDDEN = -1e3
"""Scores or masks below it hide a token."""


def _is_causal(mask: Tensor | None) -> bool:
    """Whether scores, or what is added to them, hide the last token from the first, but not the first from the last."""
    if mask is None or is_abstract(mask) or mask.dim() < 2 or mask.shape[-1] != mask.shape[-2] or mask.shape[-1] < 2:
        return False
    corners = torch.stack([mask.detach()[..., 0, -1].reshape(-1)[0], mask.detach()[..., -1, 0].reshape(-1)[0]])
    hidden = ~corners if mask.dtype == torch.bool else corners < HIDDEN
    return hidden.tolist() == [True, False]


def unknown(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], weights: Callable[[Any], bool]) -> Call:
    """The description of a function that has none: everything it reads, and the parameters among it."""
    return _plain(OpKind.OTHER)(Arguments(tuple(args), kwargs, weights, name))


def lookup(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], weights: Callable[[Any], bool]) -> Call | None:
    """Rows of a parameter taken by indices: ``table[indices]``, ``index_select``; None for any other selection.

    Where whole matrices are taken, the parameter is no table but a stack of maps, of which some are chosen.
    """
    a = Arguments(tuple(args), kwargs, weights, name)
    table = a.tensor(0, "input")
    if table is None or not a.weights(table):
        return None
    axes, indices = _look_up(a, table)
    if not indices or table.dim() - len(axes) > 1:
        return None
    layout = Layout(tuple("lookup" if axis in axes else "out" for axis in range(table.dim())))
    return Call(OpKind.EMBEDDING, indices, (Part(table, UseRole.TABLE, layout),))


def _look_up(a: Arguments, table: Tensor) -> tuple[set[int], tuple[Tensor, ...]]:
    """The axes that index tensors run over, and the tensors."""
    if a.name != "getitem":
        index = next((value for value in tensors_in([a.args[1:], dict(a.named)]) if _is_index(value)), None)
        axis = next((value for value in (a.get(1, "dim"), a.get(2, "dim")) if isinstance(value, int)), 0)
        return ({axis % table.dim()}, (index,)) if index is not None else (set(), ())
    items = a.args[1] if isinstance(a.args[1], tuple) else (a.args[1],)
    hidden = table.dim() - sum(item is not None and item is not Ellipsis for item in items)
    axes, indices, axis = set(), [], 0
    for item in items:
        if _is_index(item):
            axes.add(axis)
            indices.append(item)
        axis += hidden if item is Ellipsis else item is not None
    return axes, tuple(indices)


def _is_index(value: Any) -> bool:
    integral = isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex()
    return integral and value.dim() > 0 and value.dtype != torch.bool


def _table() -> dict[str, Callable[[Arguments], Call | None]]:
    table: dict[str, Callable[[Arguments], Call | None]] = {
        "linear": products.linear,
        "inner": products.inner,
        "tensordot": products.tensordot,
        "einsum": products.einsum,
        "rmatmul": products.reflected_matmul,
        "convolution": _conv,
        "embedding": _embedding,
        "embedding_bag": _embedding,
        "bilinear": _bilinear,
        "multi_head_attention_forward": _attention_block,
    }
    table |= dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "vdot", "sparse_mm"), products.matmul)
    table |= dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv"), products.addmm)
    table |= dict.fromkeys(("grouped_mm", "scaled_grouped_mm"), products.grouped)
    table |= {f"conv{n}d": _conv for n in (1, 2, 3)} | {f"conv_transpose{n}d": _conv for n in (1, 2, 3)}
    table |= dict.fromkeys(GATES, _recurrent) | {f"{name}_cell": _cell for name in GATES}
    table |= dict.fromkeys(names.ATTENTIONS, _attention) | dict.fromkeys(names.NORMS, _norm)
    table |= dict.fromkeys(names.NONLINEARITY_NAMES, _activation) | dict.fromkeys(names.DROPOUTS, _dropout)
    table |= dict.fromkeys(names.SUMS | names.PRODUCTS | names.DIVISIONS, _binary)
    table |= dict.fromkeys(names.SOFTMAXES, _softmax) | dict.fromkeys(names.JOINS, _concatenation)
    table |= dict.fromkeys(names.ELEMENTWISE, _plain(OpKind.ELEMENTWISE))
    table |= dict.fromkeys(names.POOLS, _pool) | dict.fromkeys(names.REDUCTIONS, _plain(OpKind.REDUCE))
    return table


_DESCRIPTIONS = _table()
