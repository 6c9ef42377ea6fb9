"""The names of torch's functions, and what each family of them does.

A function is known by its bare name (`linear`, `matmul`, `add`), whether it comes as `torch.nn.functional.linear`,
`torch.Tensor.add_` or `torch.ops.aten.mm.default`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import resolve_name


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NONLINEARITIES = _words(
    """
    relu relu6 leaky_relu prelu elu celu selu gelu silu mish hardswish hardsigmoid hardtanh hardshrink
    softshrink tanhshrink softplus softsign logsigmoid threshold sigmoid tanh sin cos erf exp glu
    """
)
"""torch's elementwise nonlinearities that go by their own name."""

NONLINEARITY_NAMES: Mapping[str, str] = MappingProxyType(
    {name: name for name in NONLINEARITIES} | {"rrelu": "leaky_relu", "expit": "sigmoid"}
)
"""Bare names of the nonlinearities, and those that the laws know them by."""

VIEWS = _words(
    """
    view reshape flatten unflatten transpose swapaxes swapdims permute movedim moveaxis t T mT H mH adjoint
    contiguous expand expand_as broadcast_to repeat tile repeat_interleave squeeze unsqueeze to float half
    bfloat16 double type type_as detach clone imag cpu cuda view_as reshape_as requires_grad data real pad roll flip
    unfold as_strided ravel alias atleast_1d atleast_2d atleast_3d view_as_real view_as_complex resolve_conj
    resolve_neg pin_memory channel_shuffle pixel_shuffle pixel_unshuffle masked_select as_subclass rename
    refine_names unsafe_view to_copy
    """
)
"""Functions whose output holds the values of their first input, moved or repeated."""

SELECTIONS = _words(
    """
    getitem chunk split split_with_sizes tensor_split narrow select unbind index_select hsplit vsplit dsplit
    gather take_along_dim take slice diagonal unsafe_chunk unsafe_split split_copy
    """
)
"""Views that may leave a part of the values out."""

CONSTANTS = _words(
    """
    zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty
    new_tensor bernoulli multinomial
    """
)
"""Functions whose output does not hold the values of their input."""

QUESTIONS = _words(
    """
    eq ne lt le gt ge equal allclose isclose isnan isinf isfinite isin logical_not logical_and logical_or all any
    contains bool len item tolist numpy size dim ndimension numel nelement stride is_contiguous storage_offset
    is_all_true is_any_true argmax argmin argsort nonzero is_floating_point is_complex data_ptr untyped_storage
    get_device index int
    """
)
"""Functions that ask something of a tensor: what they return is no data of the model."""

ANSWERS: Mapping[str, bool] = MappingProxyType(
    {"all": True, "any": False, "contains": False, "is_all_true": True, "is_any_true": False}
)
"""Answers for a tensor without values: those of an ordinary input, with nothing padded, masked or broken."""

WRITES = _words("setitem copy index_put index_copy index_fill masked_scatter fill zero")
"""Functions that write values into their first argument."""

PLACED = WRITES | _words("where masked_fill slice_scatter select_scatter diagonal_scatter scatter")
"""Functions that put values of one tensor among those of another."""

MASKS = _words("where masked_fill tril triu")
"""Functions that, of a parameter and of constants, keep some of its values."""

NORMS = _words(
    """
    layer_norm batch_norm group_norm instance_norm rms_norm normalize local_response_norm native_layer_norm
    native_group_norm native_batch_norm native_instance_norm
    """
)
POOLS = _words(
    """
    avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool1d lp_pool2d
    fractional_max_pool2d interpolate upsample grid_sample fold max_pool1d_with_indices max_pool2d_with_indices
    max_pool3d_with_indices adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices lp_pool3d
    fractional_max_pool3d max_unpool1d max_unpool2d max_unpool3d grid_sampler
    """
)
REDUCTIONS = _words(
    """
    mean sum amax amin max min prod var std var_mean std_mean norm logsumexp nanmean median vector_norm
    linalg_vector_norm linalg_norm cumsum cumprod nansum linalg_matrix_norm aminmax
    """
)
DROPOUTS = _words("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout")
SUMS = _words("add radd iadd sub rsub isub subtract index_add scatter_add")
DIFFERENCES = _words("sub rsub isub subtract")
DIVISIONS = _words("div rdiv idiv truediv rtruediv itruediv divide rdivide true_divide")
PRODUCTS = _words("mul rmul imul multiply")
JOINS = _words("cat concat concatenate stack hstack vstack dstack row_stack column_stack")
ELEMENTWISE = _words(
    """
    pow rpow ipow float_power square sqrt rsqrt reciprocal abs absolute neg negative clamp clip clamp_min clamp_max
    log log1p log2 log10 expm1 exp2 nan_to_num sign sinc atan asin acos sinh cosh asinh erfc maximum minimum
    fmax fmin positive triu tril where masked_fill lerp addcmul addcdiv masked_scatter complex polar angle conj
    floor round ceil frac fmod remainder
    """
)
BY_PLACE = _words("triu tril")
"""Those of `ELEMENTWISE` that ask where a value stands."""
SOFTMAXES = _words("softmax log_softmax gumbel_softmax softmin")
ATTENTIONS = _words("scaled_dot_product_attention flex_attention")

_OWN_NAMES = {
    torch.batch_norm: "native_batch_norm",
    torch.instance_norm: "native_instance_norm",
    torch.mm: "mm",
}
"""Functions whose arguments stand in another order than those of their namesakes in `torch.nn.functional`; and
`torch.mm`, which torch resolves to its alias `spmm`."""


@lru_cache(maxsize=4096)
def bare_name(function: Callable[..., Any]) -> str:
    """The function's name without its home, in-place underscore or dunders."""
    if function in _OWN_NAMES:
        return _OWN_NAMES[function]
    pieces = full_name(function).split(".")
    if pieces[-1] in ("__get__", "__set__", "__delete__"):
        return pieces[-2] if pieces[-1] == "__get__" else pieces[-1]
    if pieces[0] == "aten" and len(pieces) > 1:
        return pieces[1].strip("_")
    return pieces[-1].strip("_")


@lru_cache(maxsize=4096)
def full_name(function: Callable[..., Any]) -> str:
    """The function's dotted name, "torch.Tensor.add_"."""
    return resolve_name(function) or str(getattr(function, "__name__", type(function).__name__))


_OPERATORS = _words("add sub mul div truediv floordiv mod pow and or xor lshift rshift matmul")


@lru_cache(maxsize=4096)
def writes_in_place(function: Callable[..., Any]) -> bool:
    """Whether a function changes its first argument, by torch's naming: ``add_``, ``__iadd__``, ``__setitem__``."""
    own = str(getattr(function, "__name__", ""))
    if own.startswith("__"):
        return own == "__setitem__" or (own.startswith("__i") and own[3:-2] in _OPERATORS)
    return own.endswith("_")


def tensors_in(values: Any) -> Iterable[Tensor]:
    """Every tensor in nested tuples, lists and mappings, in order."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, (dict, Mapping)):  # dict first: an abstract class is asked at length
        for value in values.values():
            yield from tensors_in(value)


FACTORS = frozenset({"mul", "rmul", "div", "truediv", "divide", "multiply", "true_divide"})
"""Functions that multiply a parameter by a number before the model uses it."""


def is_attribute(func: Callable[..., Any], name: str) -> bool:
    """Whether an attribute is read that is no view: a shape, a device, a flag."""
    return getattr(func, "__name__", "") == "__get__" and name not in VIEWS
