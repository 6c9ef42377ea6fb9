"""The meaning of JAX's primitives: which inputs are data, which are weights, and in which layout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from fanwise.graph.details import Activation, Convolution, Pooling, Product, Reduction
from fanwise.graph.op import OpKind, UseRole
from fanwise.graph.tracking.binary import Binary
from fanwise.jax.trace.calls import Call, Part, Step
from fanwise.jax.trace.traced_value import Value
from fanwise.laws.layout import Layout

PRODUCTS = ("dot_general", "conv_general_dilated", "ragged_dot_general")
PASSED = ("device_put", "optimization_barrier")
"""Primitives that give what they are given."""

COMBINING = ("reduce", "scatter", "select_and_scatter", "sort", "cum", "argm")
"""Beginnings of the names of primitives whose programs only say how numbers are combined."""

CALLS: Mapping[str, str] = MappingProxyType(
    {
        "jit": "jaxpr",
        "pjit": "jaxpr",
        "closed_call": "call_jaxpr",
        "core_call": "call_jaxpr",
        "checkpoint": "jaxpr",
        "remat": "jaxpr",
        "remat2": "jaxpr",
        "custom_jvp_call": "call_jaxpr",
        "custom_vjp_call": "call_jaxpr",
        "custom_vjp_call_jaxpr": "fun_jaxpr",
        "custom_lin": "call_jaxpr",
    }
)
"""Primitives that only call a program, and which of their parameters holds it."""

VIEWS = frozenset(
    """
    reshape transpose squeeze expand_dims broadcast_in_dim convert_element_type copy copy_p reduce_precision rev
    stop_gradient sharding_constraint mesh_cast reshard name real_to_complex pvary pcast pad
    """.split()  # noqa: SIM905
)
"""Primitives whose output holds the values of their first input, moved or repeated."""

SELECTIONS = frozenset({"slice", "dynamic_slice", "gather", "split"})
"""Views that may leave a part of the values out."""

ACTIVATIONS: Mapping[str, str] = MappingProxyType(
    {"tanh": "tanh", "logistic": "sigmoid", "erf": "erf", "sin": "sin", "cos": "cos", "exp": "exp"}
)
"""Primitives that are nonlinearities of their own."""

ELEMENTWISE = frozenset(
    """
    abs neg sign floor ceil round exp2 expm1 log log1p sqrt rsqrt cbrt square integer_pow pow rem clamp max min select_n
    nextafter atan2 real imag conj complex tan asin acos atan sinh cosh asinh acosh atanh erfc erf_inv lgamma digamma
    div add sub mul add_any is_finite not and or xor eq ne lt le gt ge tanh logistic erf sin cos exp
    convert_element_type copy stop_gradient reduce_precision name
    """.split()  # noqa: SIM905
)
"""Primitives that work on each value alone."""

REDUCTIONS = frozenset(
    """
    reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce argmax argmin cumsum cumprod cummax cummin
    cumlogsumexp psum pmax pmin psum_invariant
    """.split()  # noqa: SIM905
)
WRITES = frozenset(
    "dynamic_update_slice scatter scatter_add scatter-add scatter_mul scatter_max scatter_min".split()  # noqa: SIM905
)

PLACED = ("dynamic_update_slice", "scatter", "select_n")
"""Primitives that put values of one array among those of another."""


def describe(step: Step, values: Sequence[Value]) -> Call:
    """The description of an operation on data, or on a parameter and a constant."""
    read = _DESCRIPTIONS.get(step.name)
    call = None if read is None else read(step, values)
    return call or _plain(_kind(step.name), values)


def _kind(name: str) -> OpKind:
    if name in ELEMENTWISE or name in WRITES:
        return OpKind.ELEMENTWISE
    if name in REDUCTIONS:
        return OpKind.REDUCE
    return OpKind.POOL if name.startswith(("reduce_window", "select_and_gather")) else OpKind.OTHER


def _placed(step: Step, values: Sequence[Value]) -> Call:
    """Values put among others: those of a parameter are data there, such as mask tokens."""
    tokens = {operand for operand, value in enumerate(values) if value.held is not None and value.size > 1}
    data = tuple(i for i, value in enumerate(values) if value.is_float and (value.is_data or i in tokens))
    rest = (i for i, value in enumerate(values) if value.held is not None and i not in tokens)
    return Call(OpKind.ELEMENTWISE, data, tuple(Part(operand, UseRole.OPERAND) for operand in rest))


def _added(step: Step, values: Sequence[Value]) -> Call | None:
    """Rows added at some places, as `x.at[indices].add(rows)`."""
    if values[0].is_data and values[2].held is not None:
        return Binary(is_sum=True).of_parameters([0], [Part(2, UseRole.OPERAND)])
    return None


def _plain(kind: OpKind, values: Sequence[Value]) -> Call:
    """A call of a kind on all data that a step reads, with the parameters among its inputs."""
    data = tuple(operand for operand, value in enumerate(values) if value.is_data and value.is_float)
    held = tuple(Part(operand, UseRole.OPERAND) for operand, value in enumerate(values) if value.held is not None)
    return Call(kind, data, held)


# Linear maps


def _dot(step: Step, values: Sequence[Value]) -> Call | None:
    """A product over `contracting` axes, with `batch` axes: of data and a weight, or of two arrays of data."""
    contracting, batch = step.params["dimension_numbers"]
    held = [operand for operand in (0, 1) if values[operand].held is not None]
    if not held:
        return _product(values, contracting, batch)
    weight = held[-1]
    return _map(values, weight, (tuple(contracting[weight]), tuple(batch[weight])), len(step.outs[0][0]))


def _product(values: Sequence[Value], contracting: Any, batch: Any) -> Call:
    width = 1
    for axis in contracting[0]:
        width *= values[0].shape[axis]
    free = [values[side].shape for side in (0, 1)]
    counts = [len(free[side]) - len(contracting[side]) - len(batch[side]) for side in (0, 1)]
    sides = ("b",) * len(batch[0]) + ("l",) * counts[0] + ("r",) * counts[1]
    data = tuple(operand for operand in (0, 1) if values[operand].is_data)
    return Call(OpKind.MATMUL, data, (), -1, Product(width, sides=sides))


def _map(values: Sequence[Value], weight: int, axes: tuple[tuple[int, ...], tuple[int, ...]], rank: int) -> Call:
    contracting, batch = axes
    roles = tuple(
        "in" if axis in contracting else "stack" if axis in batch else "out"
        for axis in range(len(values[weight].shape))
    )
    data = tuple(operand for operand in (0, 1) if operand != weight)
    outputs = roles.count("out")
    axis = -1 if weight == 1 or not outputs else len(batch) + outputs - 1 - rank
    if "in" not in roles:
        return Call(OpKind.SCALE, data, (Part(weight, UseRole.SCALE),), axis)
    return Call(OpKind.LINEAR, data, (Part(weight, UseRole.WEIGHT, Layout(roles)),), axis)


def _ragged(step: Step, values: Sequence[Value]) -> Call | None:
    """A stack of matrices, one for each group of rows."""
    numbers = step.params["ragged_dot_dimension_numbers"]
    (_, contracting), _ = numbers.dot_dimension_numbers
    groups = numbers.rhs_group_dimensions
    if values[1].held is None:
        return None
    roles = tuple(
        "in" if axis in contracting else "stack" if axis in groups else "out" for axis in range(len(values[1].shape))
    )
    return Call(OpKind.LINEAR, (0,), (Part(1, UseRole.WEIGHT, Layout(roles)),))


def _conv(step: Step, values: Sequence[Value]) -> Call | None:
    """A convolution; it is a transposed one where its input is dilated."""
    if values[0].held is not None or not (values[1].held is not None or values[1].is_data):
        return None
    layout, numbers = _kernel_layout(step), step.params["dimension_numbers"]
    steps, spread = (tuple(int(n) for n in step.params[name]) for name in ("window_strides", "lhs_dilation"))
    transposed = layout.transposed
    if values[1].held is None:  # a kernel that the model makes
        width = max(round(layout.fans(values[1].shape).fan_in), 1)
        return Call(OpKind.MATMUL, (0, 1), (), int(numbers.out_spec[1]) - len(step.outs[0][0]), Product(width))
    dilation = tuple(step.params["rhs_dilation"])
    detail = Convolution(spread if transposed else steps, step.params["padding"], dilation)
    axis = int(numbers.out_spec[1]) - len(step.outs[0][0])
    return Call(
        OpKind.CONV_TRANSPOSE if transposed else OpKind.CONV, (0,), (Part(1, UseRole.WEIGHT, layout),), axis, detail
    )


@dataclass(frozen=True)
class OperandRoles:
    """Roles of the axes of a product's operand.

    Args:
        axes: as in a layout.
        fan_in: how many products a value sums; None for those of the axes that are summed over.
    """

    axes: tuple[str, ...]
    fan_in: float | None = None


def operand_roles(step: Step, values: Sequence[Value]) -> Mapping[int, OperandRoles]:
    """Roles of the axes of each operand, by its place; empty for what is no product of two operands."""
    if step.name == "conv_general_dilated":
        layout = _kernel_layout(step)
        return {1: OperandRoles(layout.axes, float(layout.fans(values[1].shape).fan_in))}
    if step.name != "dot_general":
        return {}
    contracting, batch = step.params["dimension_numbers"]
    return {
        side: OperandRoles(
            tuple(
                "in" if axis in contracting[side] else "stack" if axis in batch[side] else "out"
                for axis in range(len(values[side].shape))
            )
        )
        for side in (0, 1)
    }


def _kernel_layout(step: Step) -> Layout:
    """The layout of a convolution's kernel."""
    numbers, groups = step.params["dimension_numbers"], int(step.params["feature_group_count"])
    spec = numbers.rhs_spec
    roles = ["kernel"] * len(spec)
    roles[spec[0]], roles[spec[1]] = "out", "in"
    spread = tuple(int(n) for n in step.params["lhs_dilation"])
    transposed = any(n > 1 for n in spread)
    steps = tuple(int(n) for n in step.params["window_strides"])
    stride = _in_storage_order(spread if transposed else steps, spec)
    return Layout(tuple(roles), groups, "out", stride, transposed)


def _in_storage_order(stride: tuple[int, ...], spec: Sequence[int]) -> tuple[int, ...]:
    """Strides of the kernel axes, in the order in which the weight stores them; () where all are 1."""
    if set(stride) <= {1}:
        return ()
    return tuple(stride[i] for i in sorted(range(len(stride)), key=lambda i: spec[2 + i]))


# Sums and products


def _sum(step: Step, values: Sequence[Value]) -> Call | None:
    return _binary(UseRole.SHIFT, step, values)


def _multiplication(step: Step, values: Sequence[Value]) -> Call | None:
    return _binary(UseRole.SCALE, step, values)


def _binary(role: UseRole, step: Step, values: Sequence[Value]) -> Call | None:
    """A sum, product or quotient of data with data, a parameter, a number, or constants."""
    data = [operand for operand in (0, 1) if values[operand].is_data]
    parts = [Part(operand, UseRole.OPERAND) for operand in (0, 1) if values[operand].held is not None]
    binary = Binary(role == UseRole.SHIFT, step.name == "div")
    if parts:
        return binary.of_parameters(data, parts) if data else None
    if step.name == "sub" and len(data) == 2:
        one_statistic = _of_one_size(values)  # E x^2 - (E x)^2
        return binary.of_number(data, None) if one_statistic else replace(binary, minus=1).of_data(data)
    number = values[1 - data[0]].number if len(data) == 1 else None
    if number is None:
        return binary.of_data(data)
    is_reflected = step.name == "div" and data[0] == 1
    return binary.of_number(data, None if is_reflected else number)


def _of_one_size(values: Sequence[Value]) -> bool:
    """Whether two values are statistics over the same axes."""
    return values[0].reduced and values[1].reduced and values[0].extent == values[1].extent


def _maximum(step: Step, values: Sequence[Value]) -> Call | None:
    """max(x, 0) is a rectifier, unless x is a statistic."""
    data = [operand for operand in (0, 1) if values[operand].is_data]
    if step.name != "max" or len(data) != 1 or values[data[0]].reduced:
        return None
    if values[1 - data[0]].number != 0:
        return None
    return Call(OpKind.ACTIVATION, tuple(data), (), -1, Activation("relu"), "relu")


def _activation(step: Step, values: Sequence[Value]) -> Call | None:
    if values[0].reduced or not values[0].is_data:
        return None
    return Call(OpKind.ACTIVATION, (0,), (), -1, Activation(ACTIVATIONS[step.name]))


# Others


POOLS: Mapping[str, str] = MappingProxyType(
    {"reduce_window_sum": "sum", "reduce_window_max": "max", "reduce_window_min": "min"}
)
"""What primitives take of their windows."""


def _pool(step: Step, values: Sequence[Value]) -> Call:
    """A reduction over windows; what is read apart, as gradients do, has no rule."""
    numbers = {name: tuple(step.params[name]) for name in ("window_dimensions", "window_strides", "window_dilation")}
    apart = max(step.params["base_dilation"], default=1) > 1
    window, stride, dilation = numbers.values()
    detail = Pooling(POOLS[step.name], window, stride, tuple(step.params["padding"]), dilation)
    return replace(_plain(OpKind.POOL, values), detail=None if apart else detail)


def _reduced(step: Step, values: Sequence[Value]) -> Call:
    rank = len(values[0].shape)
    return replace(_plain(OpKind.REDUCE, values), detail=Reduction(tuple(axis - rank for axis in step.params["axes"])))


def _concatenated(step: Step, values: Sequence[Value]) -> Call:
    return Call(OpKind.CONCAT, tuple(operand for operand, value in enumerate(values) if not value.is_constant))


def _gather(step: Step, values: Sequence[Value]) -> Call | None:
    """Rows of a parameter taken by indices; where whole matrices are taken it is a stack, not a table."""
    numbers = step.params["dimension_numbers"]
    if values[0].held is None or numbers.operand_batching_dims:
        return None
    axes, rank = set(numbers.collapsed_slice_dims), len(values[0].shape)
    if not axes or rank - len(axes) > 1:
        return None
    layout = Layout(tuple("lookup" if axis in axes else "out" for axis in range(rank)))
    data = (1,) if values[1].is_data else ()
    return Call(OpKind.EMBEDDING, data, (Part(0, UseRole.TABLE, layout),))


_DESCRIPTIONS: Mapping[str, Callable[[Step, Sequence[Value]], Call | None]] = MappingProxyType(
    {
        "dot_general": _dot,
        "ragged_dot_general": _ragged,
        "conv_general_dilated": _conv,
        "add": _sum,
        "add_any": _sum,
        "sub": _sum,
        "mul": _multiplication,
        "div": _multiplication,
        "max": _maximum,
        "concatenate": _concatenated,
        "stack": _concatenated,
        "gather": _gather,
        "scatter-add": _added,
    }
    | dict.fromkeys(POOLS, _pool)
    | dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min"), _reduced)
    | dict.fromkeys(PLACED, _placed)
    | dict.fromkeys(ACTIVATIONS, _activation)
)
