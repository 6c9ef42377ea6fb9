"""The meaning of the functions of Keras' backends, by name: those that layers without an entry call, and models."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from fanwise.graph.details import Activation, Attention, Convolution, Normalisation, Product, Softmax
from fanwise.graph.op import OpKind, UseRole
from fanwise.graph.tracking.binary import Binary
from fanwise.keras.trace import pools
from fanwise.keras.trace.calls import Call, Part
from fanwise.keras.trace.moments import numbers
from fanwise.keras.trace.variables import shape_of, tensors_in
from fanwise.laws.layout import Layout


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VIEWS = _words(
    """
    reshape transpose squeeze expand_dims swapaxes moveaxis cast convert_to_tensor stop_gradient copy ravel
    broadcast_to repeat tile flip roll pad rot90 array identity view diagonal stop_gradient unravel_index
    """
)
"""Functions whose output holds the values of their first input, moved or repeated."""

SELECTIONS = _words("getitem split array_split take take_along_axis unstack slice hsplit vsplit dsplit diagonal")
"""Views that may leave a part of the values out."""

QUOTIENTS = ("divide", "true_divide", "divide_no_nan")
NONLINEARITIES: Mapping[str, str] = {
    **{name: name for name in ("relu", "relu6", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "elu", "selu")},
    **{name: name for name in ("softplus", "celu", "glu", "log_sigmoid", "sin", "erf")},
    "swish": "silu",
    "soft_sign": "softsign",
    "hard_tanh": "hardtanh",
    "hard_sigmoid": "hardsigmoid",
    "hard_silu": "hardswish",
    "squareplus": "squareplus",
    "sparse_plus": "sparse_plus",
    "tanh_shrink": "tanh_shrink",
    "soft_shrink": "softshrink",
    "hard_shrink": "hardshrink",
    "threshold": "threshold",
}
BY_PLACE = _words("triu tril")
"""Functions of each value and of where it stands."""
POOLS = _words("max_pool average_pool adaptive_average_pool adaptive_max_pool resize affine_transform")
REDUCTIONS = _words(
    "mean sum amax amin max min prod var std norm logsumexp median cumsum cumprod average moments any all count_nonzero"
)
JOINS = _words("concatenate stack hstack vstack append dstack")
POINTWISE = _words(
    """
    power square sqrt rsqrt reciprocal abs absolute negative clip log log1p log2 log10 exp expm1 exp2 sign cos maximum
    minimum where floor ceil round mod floor_divide tril triu nan_to_num erfinv cosh sinh arctan arcsin arccos divide
    true_divide divide_no_nan
    """
)
SOFTMAXES = _words("softmax log_softmax sparsemax")
IGNORED = _words(
    """
    shape is_tensor arange zeros ones full eye zeros_like ones_like full_like linspace equal not_equal less less_equal
    greater greater_equal logical_and logical_or logical_not argmax argmin argsort isnan isinf isfinite bincount
    convert_to_numpy one_hot multi_hot in_top_k searchsorted digitize result_type tri meshgrid empty random_seed_dtype
    """
)
"""Functions that make constants or answer questions."""


@dataclass(frozen=True)
class Arguments:
    """Arguments of a call.

    Args:
        name: of the function.
        args: positional arguments.
        named: named ones.
        holds: the variable that a value is or was made of by views, None for data.
    """

    name: str
    args: tuple[Any, ...]
    named: Mapping[str, Any]
    holds: Callable[[Any], Part | None]

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """The argument at a position or of a name."""
        return self.args[position] if position < len(self.args) else self.named.get(name, default)

    @property
    def values(self) -> tuple[Any, ...]:
        """Tensors and variables among the arguments, in order."""
        return tuple(_values([*self.args, *self.named.values()]))

    @property
    def held(self) -> tuple[Part, ...]:
        """The variables among them."""
        return tuple(part for value in self.values if (part := self.holds(value)) is not None)

    @property
    def data(self) -> tuple[Any, ...]:
        """The tensors among them that are data."""
        return tuple(value for value in self.values if self.holds(value) is None)


def _values(values: Any) -> Any:
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from _values(value)
        elif isinstance(value, keras.Variable):
            yield value
        else:
            yield from tensors_in(value)


def describe(a: Arguments) -> Call | None:
    """The description of a call; None for a function that makes constants."""
    if a.name in IGNORED:
        return None
    reader = _READERS.get(a.name)
    call = None if reader is None else reader(a)
    return replace(call or _plain(OpKind.OTHER)(a), name=a.name)


def _plain(kind: OpKind) -> Callable[[Arguments], Call]:
    def read(a: Arguments) -> Call:
        return Call(kind, a.data, tuple(replace(part, role=UseRole.OPERAND) for part in a.held))

    return read


def _softmax(a: Arguments) -> Call:
    axis = a.get(1, "axis", -1)
    last = axis[-1] if isinstance(axis, (tuple, list)) and axis else axis
    along = last - len(shape_of(a.args[0])) if isinstance(last, int) and last >= 0 else last
    return replace(_plain(OpKind.SOFTMAX)(a), detail=Softmax(axis=along if isinstance(along, int) else -1))


def _pool(a: Arguments) -> Call:
    return replace(_plain(OpKind.POOL)(a), detail=pools.of_function(a.name, len(shape_of(a.args[0])), a.get))


def _joined(a: Arguments) -> Call:
    """Variables among what is joined are read as data."""
    return Call(OpKind.CONCAT, a.values)


def _placed(a: Arguments) -> Call:
    """Values put among others: those of a variable are data there, such as mask tokens."""
    parts = tuple(part for part in a.held if math.prod(part.input.shape) == 1)
    single = {id(part.input) for part in parts}
    data = tuple(value for value in a.values if id(value) not in single)
    return Call(OpKind.ELEMENTWISE, data, tuple(replace(part, role=UseRole.OPERAND) for part in parts))


def _activation(a: Arguments) -> Call:
    name = NONLINEARITIES[a.name]
    slope = float(a.get(1, "negative_slope", 0.2)) if name == "leaky_relu" else None
    approximate = ("tanh" if a.get(1, "approximate", True) else "none") if name == "gelu" else None
    detail = Activation(name, slope, approximate)
    axis = a.get(1, "axis", -1) if name == "glu" else -1
    return Call(OpKind.ACTIVATION, a.data[:1], tuple(replace(p, role=UseRole.SLOPE) for p in a.held), axis, detail)


def _binary(a: Arguments) -> Call:
    """A sum, product or quotient of two values, any of which may be a number or a variable."""
    data, held = a.data, a.held
    binary = Binary(a.name in ("add", "subtract"), a.name in QUOTIENTS, 1 if a.name == "subtract" else None)
    if held and data:
        return binary.of_parameters(data, held)
    if len(data) == 2:
        first = () if binary.is_quotient else data[:1]
        return binary.of_data(data, next((n for value in (data[1], *first) if (n := _one_number(value))), None))
    constants = (float(value) for value in (*a.args[:2], *a.named.values()) if _is_number(value))
    return binary.of_number(data, next(constants, None), held)


def _one_number(value: Any) -> float | None:
    """The number that a tensor of one number holds; None where it holds more, or is a symbol."""
    values = numbers(value) if all(size == 1 for size in shape_of(value)) else np.zeros(0)
    return float(values.ravel()[0]) if values.size else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)


def _matmul(a: Arguments) -> Call | None:
    left, right = (a.get(i, f"x{i + 1}") for i in (0, 1))
    if left is None or right is None:
        return None
    held = [a.holds(value) for value in (left, right)]
    if held[0] is not None and held[1] is not None:
        return None
    if held[1] is not None:
        return Call(OpKind.LINEAR, (left,), (_weight(held[1], right, ("in", "out")),))
    if held[0] is not None:
        return Call(OpKind.LINEAR, (right,), (_weight(held[0], left, ("out", "in")),), -2)
    return Call(OpKind.MATMUL, (left, right), (), -1, Product(shape_of(left)[-1]))


def _weight(part: Part, seen: Any, roles: tuple[str, str]) -> Part:
    """A variable as the weight of a product; its layout where the product sees it as it is stored, or transposed."""
    stored, shape = shape_of(part.input), shape_of(seen)
    axes = ("stack",) * (len(shape) - 2) + roles if len(shape) > 1 else ("in",)
    whole = Layout(axes)
    if part.turned and len(stored) == 2:
        axes = axes[::-1]
    layout = Layout(axes) if len(stored) == len(axes) else None
    return replace(part, role=UseRole.WEIGHT, layout=layout, seen=whole)


def _einsum(a: Arguments) -> Call | None:
    equation, operands = a.args[0], a.args[1:]
    if not isinstance(equation, str) or len(operands) != 2 or "->" not in equation:
        return None
    held = [a.holds(value) for value in operands]
    if held == [None, None]:
        return _einsum_of_data(equation, operands)
    which = 0 if held[0] is not None else 1
    part, data = held[which], operands[1 - which]
    return None if part is None or held[1 - which] is not None else _einsum_of_weight(equation, part, (which, data))


def _einsum_of_weight(equation: str, part: Part, operands: tuple[int, Any]) -> Call | None:
    """A product of data and of a variable, which is one operand or the other."""
    which, data = operands
    try:
        layout = Layout.einsum(equation, operand=which)
    except ValueError:  # a label that stands in neither of the others
        return None
    is_stored = len(layout.axes) == len(part.input.shape)
    if not is_stored and not part.steps:
        return None
    if "in" not in layout.axes:
        return Call(OpKind.SCALE, (data,), (replace(part, role=UseRole.SCALE),))
    result = equation.replace(" ", "").partition("->")[2].replace("...", ".")
    term = equation.replace(" ", "").partition("->")[0].split(",")[which]
    places = [result.index(label) for label, role in zip(term, layout.axes, strict=True) if role == "out"]
    axis = max(places) - len(result) if places else -1
    return Call(OpKind.LINEAR, (data,), (_of_layout(part, layout, is_stored=is_stored),), axis)


def _of_layout(part: Part, layout: Layout, *, is_stored: bool) -> Part:
    """A weight, or what was made of one with other axes."""
    return replace(part, role=UseRole.WEIGHT, layout=layout if is_stored else None, seen=layout)


def _einsum_of_data(equation: str, operands: Sequence[Any]) -> Call:
    """A product of data: the operand that makes the last axis of the output is the second."""
    terms, _, result = equation.replace(" ", "").partition("->")
    first, second = terms.split(",")
    pair = (operands[1], operands[0]) if result and result[-1] not in second else tuple(operands)
    sizes = {**_sizes(second, shape_of(operands[1])), **_sizes(first, shape_of(operands[0]))}
    width = math.prod(size for label, size in sizes.items() if label not in result)
    return Call(OpKind.MATMUL, pair, (), -1, Product(width))


def _sizes(term: str, shape: Sequence[int]) -> dict[str, int]:
    """The extent of each label of an einsum's operand; what stands for "..." has none."""
    before, _, after = term.partition("...")
    return dict(zip(before, shape, strict=False)) | dict(zip(after[::-1], shape[::-1], strict=False))


def _attention(a: Arguments) -> Call:
    query, key, value = (a.get(i, name) for i, name in enumerate(("query", "key", "value")))
    width, scale = shape_of(query)[-1], a.get(5, "scale")
    scale = width**-0.5 if scale is None else float(scale)
    detail = Attention(width, scale, bool(a.get(6, "is_causal", False)))
    return Call(OpKind.ATTENTION, (query, key, value), (), -1, detail)


def _take(a: Arguments) -> Call | None:
    """Rows of a variable taken by indices; None for any other selection."""
    part, indices = a.holds(a.args[0]), a.get(1, "indices")
    if part is None or len(part.input.shape) != 2:
        return None
    axis = a.get(2, "axis", 0)
    if axis not in (0, None):
        return None
    data = tuple(tensors_in([indices]))
    return Call(OpKind.EMBEDDING, data, (replace(part, role=UseRole.TABLE, layout=Layout.embedding()),))


def _conv(a: Arguments) -> Call | None:
    part = a.holds(a.get(1, "kernel"))
    if part is None or a.name == "separable_conv":
        return None
    dims = len(part.input.shape) - 2
    steps = a.get(2, "strides", 1)
    stride = (steps,) * dims if isinstance(steps, int) else tuple(steps)
    window = "kernel " * dims
    if a.name == "conv":
        inputs = shape_of(a.args[0])
        channels = inputs[-1] if a.named.get("data_format") != "channels_first" else inputs[1]
        groups = max(channels // int(part.input.shape[-2]), 1)
        layout = Layout.conv(window + "in out", groups=groups, stride=stride)
    elif a.name == "depthwise_conv":
        layout = Layout.depthwise(window + "in out", stride=stride)
    else:
        layout = Layout.conv_transpose(window + "out in", stride=stride)
    axis = -1 if a.named.get("data_format") != "channels_first" else -(dims + 1)
    kind = OpKind.CONV_TRANSPOSE if a.name == "conv_transpose" else OpKind.CONV
    return Call(kind, (a.args[0],), (_of_layout(part, layout, is_stored=True),), axis, Convolution(stride))


def _norm(a: Arguments) -> Call:
    roles = {"gamma": UseRole.SCALE, "scale": UseRole.SCALE, "beta": UseRole.SHIFT, "offset": UseRole.SHIFT}
    parts = [
        replace(part, role=role) for name, role in roles.items() if (part := a.holds(a.named.get(name))) is not None
    ]
    known = {id(part.input) for part in parts}
    rest = [replace(part, role=UseRole.SCALE) for part in a.held if id(part.input) not in known]
    given = a.named.get("epsilon") if a.name != "normalize" else None  # there it is the least length
    detail = Normalisation(a.name, float(given) if isinstance(given, int | float) else 0.0)
    return Call(OpKind.NORM, a.data[:1], (*parts, *rest), -1, detail)


def _table() -> dict[str, Callable[[Arguments], Call | None]]:
    table: dict[str, Callable[[Arguments], Call | None]] = {
        "matmul": _matmul,
        "dot": _matmul,
        "einsum": _einsum,
        "dot_product_attention": _attention,
        "take": _take,
    }
    table |= dict.fromkeys(NONLINEARITIES, _activation)
    table |= dict.fromkeys(("add", "subtract", "multiply", *QUOTIENTS), _binary)
    table |= dict.fromkeys(("conv", "depthwise_conv", "conv_transpose", "separable_conv"), _conv)
    table |= dict.fromkeys(("layer_normalization", "rms_normalization", "batch_normalization", "normalize"), _norm)
    table |= dict.fromkeys(POOLS, _pool) | dict.fromkeys(REDUCTIONS, _plain(OpKind.REDUCE))
    table |= dict.fromkeys(JOINS, _joined) | dict.fromkeys(SOFTMAXES, _softmax)
    table |= dict.fromkeys(("where", "slice_update", "scatter_update"), _placed)
    return dict.fromkeys(POINTWISE, _plain(OpKind.ELEMENTWISE)) | table


_READERS = _table()
