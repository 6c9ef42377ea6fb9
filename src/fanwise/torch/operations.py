"""What torch's functions mean: which arguments are data, which are weights, and in which layout.

`describe` answers for one call. Functions are known by their bare names (`linear`, `matmul`, `add`), whether they come
as `torch.nn.functional.linear`, `torch.Tensor.add_` or `torch.ops.aten.mm.default`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from torch.overrides import resolve_name

from fanwise.laws.layout import Fused, Layout
from torch import Tensor

NONLINEARITY_NAMES = {
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "rrelu": "leaky_relu",
    "prelu": "prelu",
    "elu": "elu",
    "celu": "celu",
    "selu": "selu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
    "hardtanh": "hardtanh",
    "hardshrink": "hardshrink",
    "softshrink": "softshrink",
    "tanhshrink": "tanhshrink",
    "softplus": "softplus",
    "softsign": "softsign",
    "logsigmoid": "logsigmoid",
    "threshold": "threshold",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "sin": "sin",
    "cos": "cos",
    "erf": "erf",
    "exp": "exp",
    "glu": "glu",
}
"""torch's elementwise nonlinearities, by bare function name."""

VIEWS = frozenset(
    ["view", "reshape", "flatten", "unflatten", "transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "t", "T", "mT", "H", "mH", "adjoint", "contiguous", "expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave", "squeeze", "unsqueeze", "to", "float", "half", "bfloat16", "double", "type", "type_as", "detach", "clone", "cpu", "cuda", "view_as", "reshape_as", "requires_grad", "data", "real", "pad", "roll", "flip", "unfold", "as_strided", "ravel", "alias", "atleast_1d", "atleast_2d", "atleast_3d", "view_as_real", "view_as_complex", "resolve_conj", "resolve_neg", "pin_memory", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "masked_select", "as_subclass", "rename", "refine_names"]
)
"""Functions whose output holds the values of their first input, moved or repeated."""

SELECTIONS = frozenset(
    ["getitem", "chunk", "split", "split_with_sizes", "tensor_split", "narrow", "select", "unbind", "index_select", "hsplit", "vsplit", "dsplit", "gather", "take_along_dim", "take", "slice"]
)
"""Views that may leave a part of the values out."""

NORMS = frozenset(
    ["layer_norm", "batch_norm", "group_norm", "instance_norm", "rms_norm", "normalize", "local_response_norm", "native_layer_norm", "native_group_norm"]
)
POOLS = frozenset(
    ["avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "lp_pool1d", "lp_pool2d", "fractional_max_pool2d", "interpolate", "upsample", "grid_sample", "fold", "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices"]
)
REDUCTIONS = frozenset(
    ["mean", "sum", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "norm", "logsumexp", "nanmean", "median", "vector_norm", "linalg_vector_norm", "linalg_norm", "cumsum"]
)
DROPOUTS = frozenset(
    ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout"]
)
SUMS = frozenset(["add", "radd", "iadd", "sub", "rsub", "isub", "subtract", "index_add", "scatter_add"])
PRODUCTS = frozenset(["mul", "rmul", "imul", "div", "rdiv", "rtruediv", "truediv", "itruediv", "multiply", "divide", "true_divide", "rdivide"])
JOINS = frozenset(["cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"])
ELEMENTWISE = frozenset(
    ["pow", "rpow", "float_power", "square", "sqrt", "rsqrt", "reciprocal", "abs", "absolute", "neg", "negative", "clamp", "clip", "clamp_min", "clamp_max", "log", "log1p", "log2", "log10", "expm1", "exp2", "nan_to_num", "sign", "sinc", "atan", "asin", "acos", "sinh", "cosh", "asinh", "erfc", "maximum", "minimum", "fmax", "fmin", "positive", "triu", "tril", "where", "masked_fill", "lerp", "addcmul", "addcdiv", "masked_scatter", "complex", "polar", "angle", "conj", "floor", "round", "ceil", "frac", "fmod", "remainder"]
)
SOFTMAXES = frozenset(["softmax", "log_softmax", "gumbel_softmax", "softmin"])
ATTENTIONS = frozenset(["scaled_dot_product_attention", "flex_attention"])


@dataclass(frozen=True)
class Part:
    """A tensor argument in a role of `Use`, with the layout of its own axes where it has one."""

    tensor: Tensor
    role: str
    layout: Layout | None = None


@dataclass(frozen=True)
class Call:
    """What one call is.

    Args:
        kind: as in `Op`.
        data: tensors that are read as data, in order.
        parts: tensors that act as parameters if they are ones, and as data if not.
        axis: of the output, that of the features.
        detail: as in `Op`.
    """

    kind: str
    data: tuple[Tensor, ...]
    parts: tuple[Part, ...] = ()
    axis: int = -1
    detail: Mapping[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def bare_name(function: Callable[..., Any]) -> str:
    """The function's name without its home, in-place underscore or dunders."""
    name = resolve_name(function) or getattr(function, "__name__", type(function).__name__)
    pieces = name.split(".")
    if pieces[-1] in ("__get__", "__set__", "__delete__"):
        return pieces[-2] if pieces[-1] == "__get__" else pieces[-1]
    if pieces[0] == "aten" and len(pieces) > 1:
        return pieces[1].strip("_")
    return pieces[-1].strip("_")


def tensors_in(values: Any) -> Iterable[Tensor]:
    """Every tensor in nested tuples, lists and mappings, in order."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_in(value)


def describe(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], weights: Callable[[Any], bool]) -> Call | None:
    """What a call is, None where its name has no description.

    Args:
        name: bare name of the function.
        args: its positional arguments.
        kwargs: its named arguments.
        weights: tells whether an argument is made of parameters.
    """
    read = _DESCRIPTIONS.get(name)
    return None if read is None else read(_Arguments(tuple(args), kwargs, weights, name))


@dataclass(frozen=True)
class _Arguments:
    args: tuple[Any, ...]
    named: Mapping[str, Any]
    weights: Callable[[Any], bool]
    name: str

    def get(self, position: int, name: str, default: Any = None) -> Any:
        if position < len(self.args):
            return self.args[position]
        return self.named.get(name, default)

    def tensor(self, position: int, name: str) -> Tensor | None:
        value = self.get(position, name)
        return value if isinstance(value, Tensor) else None


def _data(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in tensors if tensor is not None)


def _parts(*parts: tuple[Tensor | None, str, Layout | None]) -> tuple[Part, ...]:
    return tuple(Part(tensor, role, layout) for tensor, role, layout in parts if tensor is not None)


def _linear(a: _Arguments) -> Call:
    weight = a.tensor(1, "weight")
    layout = Layout.dense("out in") if weight is not None and weight.dim() == 2 else Layout(("in",))
    parts = _parts((weight, "weight", layout), (a.tensor(2, "bias"), "bias", None))
    return Call("linear", _data(a.tensor(0, "input")), parts)


def _matmul(a: _Arguments) -> Call:
    left, right = a.tensor(0, "input"), a.tensor(1, "other")
    if right is None:
        right = a.tensor(1, "mat2") if left is not None else None
    return _product(left, right, (), a)


def _rmatmul(a: _Arguments) -> Call:
    return _product(a.tensor(1, "other"), a.tensor(0, "input"), (), a)


def _addmm(a: _Arguments) -> Call:
    bias = a.tensor(0, "input")
    left, right = a.tensor(1, "mat1"), a.tensor(2, "mat2")
    if left is None:
        left, right = a.tensor(1, "batch1"), a.tensor(2, "batch2")
    return _product(left, right, _parts((bias, "bias", None)), a)


def _product(left: Tensor | None, right: Tensor | None, more: tuple[Part, ...], a: _Arguments) -> Call:
    if left is None or right is None:
        return Call("matmul", _data(left, right), more)
    if a.weights(right):
        return Call("linear", (left,), (Part(right, "weight", _stacked(right, ("in", "out"))), *more))
    if a.weights(left):
        axis = -1 if right.dim() == 1 else -2
        return Call("linear", (right,), (Part(left, "weight", _stacked(left, ("out", "in"))), *more), axis)
    return Call("matmul", (left, right), more)


def _stacked(weight: Tensor, roles: tuple[str, str]) -> Layout:
    if weight.dim() < 2:
        return Layout(("in",))
    return Layout(("stack",) * (weight.dim() - 2) + roles)


def _grouped_mm(a: _Arguments) -> Call:
    return _product(a.tensor(0, "mat_a"), a.tensor(1, "mat_b"), (), a)


def _einsum(a: _Arguments) -> Call:
    tensors = tuple(tensors_in(a.args[1:])) or tuple(tensors_in(dict(a.named)))
    held = [i for i, tensor in enumerate(tensors) if a.weights(tensor)]
    if len(held) != 1 or not isinstance(a.args[0], str) or len(tensors) == 1:
        parts = tuple(Part(tensors[i], "operand") for i in held)
        kind = "matmul" if len(tensors) > 1 else "elementwise"
        return Call(kind, tuple(t for i, t in enumerate(tensors) if i not in held), parts)
    layout, axis = einsum_layout(a.args[0], held[0], tensors)
    data = tuple(t for i, t in enumerate(tensors) if i != held[0])
    return Call("linear", data, (Part(tensors[held[0]], "weight", layout),), axis)


def einsum_layout(equation: str, which: int, operands: Sequence[Tensor]) -> tuple[Layout | None, int]:
    """Layout of one operand of an einsum, and the output's axis that it produces.

    A label that the others share and the output lacks is summed over ("in"); one that only the output shares is
    produced ("out"); one that both share stacks maps.
    """
    terms, arrow, result = equation.replace(" ", "").partition("->")
    labels = terms.split(",")
    if not arrow or len(labels) != len(operands) or "..." in labels[which]:
        return None, -1
    others = "".join(labels[:which] + labels[which + 1 :])
    roles = []
    for label in labels[which]:
        shared, kept = label in others, label in result
        roles.append("stack" if shared and kept else "out" if kept else "in")
    produced = [result.index(label) for label, role in zip(labels[which], roles, strict=True) if role == "out"]
    axis = produced[-1] - len(result) if produced else -1
    return Layout(tuple(roles)), axis


def _conv(a: _Arguments) -> Call:
    weight = a.tensor(1, "weight")
    stride = a.get(3, "stride", 1)
    if (
        a.name == "convolution"
    ):  # aten: input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
        return _convolution(a, bool(a.get(6, "transposed", False)), stride, a.get(8, "groups", 1))
    transposed = a.name.startswith("conv_transpose")
    groups = a.get(6, "groups", 1)
    del weight
    return _convolution(a, transposed, stride, groups)


def _convolution(a: _Arguments, transposed: bool, stride: Any, groups: int) -> Call:
    weight, bias = a.tensor(1, "weight"), a.tensor(2, "bias")
    dims = 0 if weight is None else weight.dim() - 2
    steps = (int(stride),) * dims if isinstance(stride, int) else tuple(int(s) for s in stride)
    steps = steps * dims if len(steps) == 1 else steps
    kernel = " kernel" * dims
    if transposed:
        layout = Layout.conv_transpose("in out" + kernel, groups=groups, stride=steps)
    else:
        layout = Layout.conv("out in" + kernel, groups=groups, stride=steps)
    padding, dilation = a.get(4, "padding", 0), a.get(7 if transposed else 5, "dilation", 1)
    detail = {"stride": steps, "padding": padding, "dilation": dilation, "groups": groups}
    parts = _parts((weight, "weight", layout), (bias, "bias", None))
    kind = "conv_transpose" if transposed else "conv"
    source = a.tensor(0, "input")
    axis = -(dims + 1)
    return Call(kind, _data(source), parts, axis, detail)


def _embedding(a: _Arguments) -> Call | None:
    first, second = a.tensor(0, "input"), a.tensor(1, "weight")
    if a.name == "embedding" and first is not None and first.is_floating_point():  # aten's order
        first, second = second, first
    table = None if second is None else Part(second, "table", Layout(("lookup", *("out",) * (second.dim() - 1))))
    detail = {"mode": a.get(6, "mode", "mean")} if a.name == "embedding_bag" else {}
    return Call("embedding", _data(first), () if table is None else (table,), -1, detail)


def _bilinear(a: _Arguments) -> Call:
    parts = _parts((a.tensor(2, "weight"), "weight", Layout(("out", "in", "in"))), (a.tensor(3, "bias"), "bias", None))
    return Call("bilinear", _data(a.tensor(0, "input1"), a.tensor(1, "input2")), parts)


GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _recurrent(a: _Arguments) -> Call:
    """torch.lstm and its kin: input, hidden, flat weights, has_biases, ... (packed: data, sizes, hidden, weights)."""
    weights = next((value for value in a.args if isinstance(value, (tuple, list)) and _all_weights(value, a)), ())
    gates = GATES[a.name]
    parts: list[Part] = []
    state = _state_size(weights, gates)
    for tensor in weights:
        parts.append(_recurrent_part(tensor, gates, state, parts))
    return Call("recurrent", (a.args[0],), tuple(parts), -1, {"cell": a.name, "gates": gates})


def _all_weights(values: Sequence[Any], a: _Arguments) -> bool:
    return bool(values) and all(isinstance(value, Tensor) and a.weights(value) for value in values)


def _state_size(weights: Sequence[Tensor], gates: int) -> int:
    return weights[0].shape[0] // gates if weights else 0


def _recurrent_part(tensor: Tensor, gates: int, state: int, before: Sequence[Part]) -> Part:
    """Flat weights come as input-hidden, hidden-hidden, two biases, and a projection where there is one."""
    if tensor.dim() == 1:
        role = "bias" if before and before[-1].role != "bias" else "state_bias"
        return Part(tensor, role)
    if tensor.shape[0] != gates * state:
        return Part(tensor, "weight", Layout.dense("out in"))
    fused = Fused(0, (), gates) if gates > 1 else None
    role = (
        "recurrent"
        if before and before[-1].role == "weight" and before[-1].tensor.shape[0] == gates * state
        else "weight"
    )
    return Part(tensor, role, Layout(("out", "in"), fused=fused))


def _cell(a: _Arguments) -> Call:
    gates = GATES[a.name.removesuffix("_cell")]
    fused = Fused(0, (), gates) if gates > 1 else None
    layout = Layout(("out", "in"), fused=fused)
    parts = _parts(
        (a.tensor(2, "w_ih"), "weight", layout),
        (a.tensor(3, "w_hh"), "recurrent", layout),
        (a.tensor(4, "b_ih"), "bias", None),
        (a.tensor(5, "b_hh"), "state_bias", None),
    )
    hidden = tuple(tensors_in(a.args[1]))
    return Call("recurrent", (a.args[0], *hidden), parts, -1, {"cell": a.name.removesuffix("_cell"), "gates": gates})


def _attention_block(a: _Arguments) -> Call:
    """multi_head_attention_forward: packed or separate projections, and the output projection."""
    packed = Layout(("out", "in"), fused=Fused(0, (), 3))
    dense = Layout.dense("out in")
    parts = _parts(
        (a.tensor(5, "in_proj_weight"), "weight", packed),
        (a.tensor(18, "q_proj_weight"), "query", dense),
        (a.tensor(19, "k_proj_weight"), "key", dense),
        (a.tensor(20, "v_proj_weight"), "value", dense),
        (a.tensor(6, "in_proj_bias"), "bias", None),
        (a.tensor(7, "bias_k"), "operand", None),
        (a.tensor(8, "bias_v"), "operand", None),
        (a.tensor(11, "out_proj_weight"), "output", dense),
        (a.tensor(12, "out_proj_bias"), "bias", None),
    )
    detail = {"heads": a.get(4, "num_heads"), "blocks": ("query", "key", "value")}
    return Call(
        "attention_block", _data(a.tensor(0, "query"), a.tensor(1, "key"), a.tensor(2, "value")), parts, -1, detail
    )


def _attention(a: _Arguments) -> Call:
    mask = a.tensor(3, "attn_mask")
    added = mask if mask is not None and mask.is_floating_point() else None
    query = a.tensor(0, "query")
    data = _data(query, a.tensor(1, "key"), a.tensor(2, "value"), added)
    width = 1 if query is None else query.shape[-1]
    scale = a.get(6, "scale")
    detail = {
        "causal": bool(a.get(5, "is_causal", False)),
        "width": width,
        "scale": width**-0.5 if scale is None else scale,
    }
    return Call("attention", data, (), -1, detail)


def _norm(a: _Arguments) -> Call:
    places = {
        "layer_norm": (2, 3),
        "native_layer_norm": (2, 3),
        "group_norm": (2, 3),
        "native_group_norm": (1, 2),
        "batch_norm": (3, 4),
        "instance_norm": (3, 4),
        "rms_norm": (2, 9),
    }
    scale, shift = places.get(a.name, (99, 99))
    parts = _parts((a.tensor(scale, "weight"), "scale", None), (a.tensor(shift, "bias"), "shift", None))
    channels = a.name in ("batch_norm", "group_norm", "instance_norm", "native_group_norm")
    source = a.tensor(0, "input")
    axis = 1 - source.dim() if channels and source is not None else -1
    return Call("norm", _data(source), parts, axis, {"norm": a.name})


def _activation(a: _Arguments) -> Call:
    parts = _parts((a.tensor(1, "weight"), "slope", None)) if a.name == "prelu" else ()
    detail: dict[str, Any] = {"nonlinearity": NONLINEARITY_NAMES[a.name]}
    if a.name == "leaky_relu":
        detail["negative_slope"] = a.get(1, "negative_slope", 0.01)
    if a.name == "gelu":
        detail["approximate"] = a.get(1, "approximate", "none")
    return Call("activation", _data(a.tensor(0, "input")), parts, -1, detail)


def _dropout(a: _Arguments) -> Call:
    return Call("dropout", _data(a.tensor(0, "input")), (), -1, {"p": a.get(1, "p", 0.5)})


def _binary(a: _Arguments) -> Call:
    values = [value for value in (*a.args[:2], *a.named.values())]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if a.name in ("index_add", "scatter_add"):
        tensors = [t for t in tensors_in([*a.args, *a.named.values()]) if t.is_floating_point()]
    held = [t for t in tensors if a.weights(t)]
    data = [t for t in tensors if not a.weights(t)]
    addition = a.name in SUMS
    if held and data:
        role = "shift" if addition else "scale"
        return Call(role, tuple(data), tuple(Part(t, role) for t in held))
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    detail = {"constant": numbers[0]} if numbers else {}
    if len(data) == 2:
        division = a.name.lstrip("ir") in ("div", "truediv", "divide", "true_divide")
        return Call("add" if addition else "elementwise" if division else "mul", tuple(data), (), -1, detail)
    return Call("elementwise", tuple(data), tuple(Part(t, "operand") for t in held), -1, detail)


def _plain(kind: str) -> Callable[[_Arguments], Call]:
    def read(a: _Arguments) -> Call:
        tensors = tuple(tensors_in([*a.args, *a.named.values()]))
        held = tuple(t for t in tensors if a.weights(t))
        data = tuple(t for t in tensors if not a.weights(t))
        return Call(kind, data, tuple(Part(t, "operand") for t in held))

    return read


def _joined(a: _Arguments) -> Call:
    return Call("concat", tuple(tensors_in([*a.args[:1], a.named.get("tensors", ())])))


def _softmax(a: _Arguments) -> Call:
    return Call("softmax", _data(a.tensor(0, "input")))


def unknown(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], weights: Callable[[Any], bool]) -> Call:
    """The description of a function that has none: everything it reads, and the parameters among it."""
    return _plain("other")(_Arguments(tuple(args), kwargs, weights, name))


def _table() -> dict[str, Callable[[_Arguments], Call | None]]:
    table: dict[str, Callable[[_Arguments], Call | None]] = {
        "linear": _linear,
        "addmm": _addmm,
        "baddbmm": _addmm,
        "addbmm": _addmm,
        "addmv": _addmm,
        "grouped_mm": _grouped_mm,
        "einsum": _einsum,
        "convolution": _conv,
        "embedding": _embedding,
        "embedding_bag": _embedding,
        "bilinear": _bilinear,
        "multi_head_attention_forward": _attention_block,
        "rmatmul": _rmatmul,
    }
    table |= dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "inner", "tensordot", "chain_matmul"), _matmul)
    table |= dict.fromkeys((f"conv{n}d" for n in (1, 2, 3)), _conv)
    table |= dict.fromkeys((f"conv_transpose{n}d" for n in (1, 2, 3)), _conv)
    table |= dict.fromkeys(GATES, _recurrent) | {f"{name}_cell": _cell for name in GATES}
    table |= dict.fromkeys(ATTENTIONS, _attention) | dict.fromkeys(NORMS, _norm)
    table |= dict.fromkeys(NONLINEARITY_NAMES, _activation) | dict.fromkeys(DROPOUTS, _dropout)
    table |= dict.fromkeys(SUMS | PRODUCTS, _binary) | dict.fromkeys(JOINS, _joined)
    table |= dict.fromkeys(SOFTMAXES, _softmax) | dict.fromkeys(ELEMENTWISE, _plain("elementwise"))
    table |= dict.fromkeys(POOLS, _plain("pool")) | dict.fromkeys(REDUCTIONS, _plain("reduce"))
    return table


_DESCRIPTIONS = _table()
