"""A torch tensor's memory as NumPy sees it, and numbers drawn straight into it.

Writes go where torch's own in-place functions would put them: through any strides, into leaves that require grad and
into views of them. Nothing is recorded by autograd, but version counters move, so that a backward pass which needs the
old values fails loudly.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from reprlib import repr as short_repr
from typing import Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.nn.parameter import is_lazy

from fanwise.laws.base import Initializer, checked_layout_shape
from fanwise.laws.composite import Blocks
from fanwise.laws.elementwise import Constant, Normal, Ones, TruncatedNormal, Uniform, VarianceScaling, Zeros
from fanwise.laws.layout import Layout
from fanwise.stream.box import Box, Shape, pieces
from fanwise.stream.formats import Array, numpy_dtype
from fanwise.stream.key import KeyLike, as_key

DRAWN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""The formats that the laws draw in."""

ROUNDED = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
"""The formats that are drawn in float32 and rounded by torch."""

STAGE_BYTES = 64 * 2**20
"""Largest block drawn on the host at a time for memory that NumPy cannot reach."""

_BY_ELEMENT = (Constant, Zeros, Ones, Uniform, Normal, TruncatedNormal, VarianceScaling)


class Draw(Protocol):
    """Numbers of one stream: a law, or a function of `fanwise.stream.fill`, with everything but the place bound."""

    def __call__(self, shape: Shape, /, *, dtype: DTypeLike, box: Box, out: Array) -> Array:
        """Writes the box of a parameter of this global shape into `out` and returns it."""
        ...


@dataclass(frozen=True)
class Numbers:
    """The numbers that `draw_` writes.

    Args:
        draw: called once with the whole tensor, or once for each of its pieces.
        reach: no number is further from 0.
        by_element: each element is drawn on its own, so pieces cost no more than the whole; matrices do.
    """

    draw: Draw
    reach: float
    by_element: bool = True


@dataclass(frozen=True)
class _Refusal:
    """A kind of tensor that cannot be filled: how to tell, and the error; the text may name fields of the tensor."""

    holds: Callable[[Tensor], bool]
    error: type[Exception]
    text: str


def array_of(tensor: Tensor) -> Array:
    """A NumPy array over a CPU tensor's own memory: same shape, order and strides, no copy.

    Args:
        tensor: on the CPU, of a dtype that NumPy has, or bfloat16, which becomes that of ml_dtypes.

    Returns:
        The tensor's shape. What is written to it stands in the tensor, but moves no version counter.

    Raises:
        TypeError: on another device, or of a dtype that NumPy does not have.
        ImportError: bfloat16 without the ml_dtypes package.

    Example:
        >>> t = torch.zeros(2, 3).T
        >>> array_of(t)[2, 1] = 5
        >>> t[2, 1]
        tensor(5.)
    """
    plain = tensor.detach()
    if plain.dtype is not torch.bfloat16:
        return plain.numpy()
    bits: Array = plain.view(torch.int16).numpy()
    return bits.view(numpy_dtype("bfloat16"))


def checked_tensor(tensor: object, *, name: str = "tensor") -> Tensor:
    """A tensor that has a shape and dense elements, on any device and of any dtype.

    Raises:
        TypeError: no tensor, or one that is sparse, quantized or nested.
        ValueError: a lazy parameter whose shape is not known yet.
    """
    if not isinstance(tensor, Tensor):
        hint = " (a layer made with bias=False has no bias)" if tensor is None else ""
        raise TypeError(f"{name} = {short_repr(tensor)}: expected a torch.Tensor{hint}")
    _refuse(tensor, _KINDS, name=name)
    return tensor


def checked_state(tensor: Tensor, *, name: str = "tensor") -> Tensor:
    """A tensor in which numbers would last if they were written.

    Read-only memory is told by asking the system, on Linux and macOS. A NumPy array whose flag alone says read-only
    cannot be told from another: torch knows no such flag, and warns when it takes such an array over.

    Raises:
        ValueError: an inference tensor outside inference mode, the result of an operation, elements that share
            memory, or memory that is mapped read-only.
    """
    _refuse(tensor, _STATES, name=name)
    return tensor


def checked_writable(tensor: object, *, name: str = "tensor") -> Tensor:
    """A tensor that `draw_` and `fill_` can fill.

    Args:
        tensor: what the user passed.
        name: what an error calls it.

    Returns:
        The tensor, unchanged.

    Raises:
        TypeError: no tensor; a sparse, quantized or nested one; a subclass that keeps its elements elsewhere, such as
            DTensor; integers, bools, complex numbers.
        ValueError: a lazy or meta tensor, and those of `checked_state`.
    """
    known = checked_tensor(tensor, name=name)
    _refuse(known, _MEMORIES, name=name)
    return checked_state(known, name=name)


def fill_(
    tensor: Tensor,
    law: Initializer,
    *,
    key: KeyLike | None,
    layout: Layout | None = None,
    order: Sequence[int] | None = None,
) -> Tensor:
    """Draws a law into a tensor's own memory.

    Element i of the stream is element i of the tensor in C order over ``tensor.permute(order)``: memory formats and
    strides change no value.

    Args:
        tensor: on any device; float64, float32, float16, bfloat16, or an 8-bit float, which is rounded from float32.
        law: any initializer.
        key: the stream, a `Key` or a seed; laws that draw nothing need none.
        layout: roles of the tensor's own axes. Without one, fans follow JAX's convention (in, out), not torch's.
        order: the axes in the order in which elements are counted; that of the tensor by default.

    Returns:
        The tensor.

    Raises:
        TypeError: an argument of the wrong kind, see `checked_writable`, or no key where one is needed.
        ValueError: a tensor that cannot be filled, a layout or order that do not fit it, a scale that its dtype
            cannot hold. Nothing is written.

    Example:
        >>> from fanwise import Normal
        >>> bool((fill_(torch.empty(4, 2), Normal(1.0), key=0).numpy() == Normal(1.0)((4, 2), key=0)).all())
        True
    """
    checked_writable(tensor)
    if not isinstance(law, Initializer):
        raise TypeError(f"law = {law!r}: expected an initializer, such as fanwise.he_normal")
    checked_layout_shape(tuple(tensor.shape), layout)
    axes = checked_order(order, tensor.ndim)
    roles = None if layout is None else permuted(layout, axes)
    moments = law.moments([tensor.shape[axis] for axis in axes], layout=roles)
    draw = partial(law, key=None if key is None else as_key(key), layout=roles)
    numbers = Numbers(draw, max(-moments.low, moments.high), by_element=_is_by_element(law))
    return draw_(tensor, numbers, order=axes)


def draw_(tensor: Tensor, numbers: Numbers, *, order: Sequence[int] | None = None) -> Tensor:
    """Draws any numbers into a tensor's own memory: what `fill_` does for laws.

    Args:
        tensor: as for `fill_`.
        numbers: called with the shape of ``tensor.permute(order)``; raises before it writes, or not at all.
        order: the axes in the order in which elements are counted.

    Returns:
        The tensor.

    Raises:
        TypeError: see `checked_writable`.
        ValueError: see `checked_writable`; an order that is no permutation; numbers that an 8-bit float cannot hold.
    """
    checked_writable(tensor)
    axes = checked_order(order, tensor.ndim)
    if tensor.dtype in ROUNDED:
        _check_reach(tensor.dtype, numbers.reach)
    with torch.no_grad():
        if _is_reachable(tensor):
            _draw_in_place_(tensor, numbers, axes)
        else:
            draw_in_blocks_(tensor.detach().permute(axes), numbers)
    return tensor


def draw_in_blocks_(tensor: Tensor, numbers: Numbers, *, limit: int = STAGE_BYTES) -> None:
    """Draws on the host, block by block, and copies each block to wherever the tensor is.

    Args:
        tensor: on any device; detached.
        numbers: drawn in the tensor's dtype, or in float32 where the laws do not draw in it.
        limit: bytes on the host at a time; numbers that are not drawn by element take what the whole takes.
    """
    dtype = tensor.dtype if tensor.dtype in DRAWN else torch.float32
    target = tensor if tensor.ndim else tensor.view(1)
    shape = tuple(target.shape)
    whole = Box.whole(shape)
    for box in pieces(whole, max(limit // dtype.itemsize, 1)) if numbers.by_element else (whole,):
        # a fresh block each time: torch keeps a pinned one until the copy that reads it is done
        block = torch.empty(box.shape, dtype=dtype, device="cpu", pin_memory=tensor.is_cuda)
        array = array_of(block)
        numbers.draw(shape, dtype=array.dtype, box=box, out=array)
        target[box.slices()].copy_(block, non_blocking=tensor.is_cuda)


def checked_order(order: Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """A permutation of the axes, the identity where none is given.

    Raises:
        ValueError: not each axis once, counted from 0.
    """
    axes = tuple(range(ndim)) if order is None else tuple(order)
    if sorted(axes) != list(range(ndim)):
        raise ValueError(f"order = {order!r}: expected each of the {ndim} axes once, counted from 0")
    return axes


def permuted(layout: Layout, order: Sequence[int]) -> Layout:
    """The layout of ``array.transpose(order)``, from that of the array.

    Example:
        >>> permuted(Layout.conv("out in kernel kernel", stride=(1, 2)), (3, 2, 1, 0)).stride
        (2, 1)
    """
    windows = [axis for axis, role in enumerate(layout.axes) if role == "kernel"]
    strides = dict(zip(windows, layout.stride, strict=True)) if layout.stride else {}
    fused = layout.fused and replace(layout.fused, axis=tuple(order).index(layout.fused.axis))
    axes = tuple(layout.axes[axis] for axis in order)
    return replace(layout, axes=axes, stride=tuple(strides[axis] for axis in order if axis in strides), fused=fused)


def _draw_in_place_(tensor: Tensor, numbers: Numbers, axes: Sequence[int]) -> None:
    array = np.atleast_1d(array_of(tensor).transpose(axes))  # a scalar is drawn as one element of one axis
    numbers.draw(array.shape, dtype=array.dtype, box=Box.whole(array.shape), out=array)
    increment_version(tensor)


def _is_reachable(tensor: Tensor) -> bool:
    """Whether a law can write through a NumPy array, which must be aligned."""
    plain = tensor.device.type == "cpu" and tensor.dtype in DRAWN and not tensor.is_neg()
    return plain and tensor.data_ptr() % tensor.element_size() == 0


def _is_by_element(law: Initializer) -> bool:
    return all(map(_is_by_element, law.laws)) if isinstance(law, Blocks) else isinstance(law, _BY_ELEMENT)


def _check_reach(dtype: torch.dtype, reach: float) -> None:
    """Refuses numbers that an 8-bit float would turn into NaN or, all of them, into 0."""
    limits = torch.finfo(dtype)
    smallest = limits.smallest_normal * limits.eps
    if reach > limits.max:
        raise ValueError(f"values reach {reach:.4g}, more than {dtype} can hold ({limits.max:.4g})")
    if 0 < reach <= smallest / 2:
        raise ValueError(f"values reach {reach:.4g}: all would be stored as 0 in {dtype} (smallest {smallest:.4g})")


def _refuse(tensor: Tensor, refusals: Sequence[_Refusal], *, name: str) -> None:
    for refusal in refusals:
        if refusal.holds(tensor):
            raise refusal.error(f"{name} {refusal.text.format(tensor, kind=type(tensor).__name__)}")


def _hides_its_memory(tensor: Tensor) -> bool:
    """Whether a subclass answers for its elements itself (DTensor, FakeTensor), or a transform does (vmap, grad)."""
    if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return True
    try:
        tensor.untyped_storage()
    except NotImplementedError:
        return True
    return False


def _is_result(tensor: Tensor) -> bool:
    """Whether a tensor is the value of a differentiable operation, and not a leaf or a view of one."""
    base = tensor if tensor._base is None else tensor._base
    return not base.is_leaf


def _shares_elements(tensor: Tensor) -> bool:
    """Whether two indices may mean one address; interleaved axes, which need not, count as if they did."""
    if tensor.numel() == 0:
        return False
    reached = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride < reached:
            return True
        reached += stride * (size - 1)
    return False


def _is_read_only(tensor: Tensor) -> bool:
    if tensor.device.type != "cpu" or not tensor.numel() or _hides_its_memory(tensor):
        return False
    ours = tensor.untyped_storage().resizable()  # memory that torch allocated itself is always writable
    return not ours and _system_refuses_write(tensor.data_ptr())


def _system_refuses_write(address: int) -> bool:
    """Whether the byte at an address can be read but not written.

    The byte goes through a pipe back to where it was: for the system, unlike for a store, memory that is read-only is
    an error (EFAULT) and no signal that ends the process.
    """
    if sys.platform == "win32":  # it has no readv
        return False
    byte = (ctypes.c_char * 1).from_address(address)
    source, sink = os.pipe()
    try:
        os.write(sink, byte)
        os.readv(source, [byte])
    except OSError:
        return True
    finally:
        os.close(source)
        os.close(sink)
    return False


_KINDS = (
    _Refusal(is_lazy, ValueError, "is lazy and has no shape yet: run a forward first, with a batch"),
    _Refusal(lambda t: t.is_nested, TypeError, "is nested: fill the tensors that it is made of, tensor.unbind()"),
    _Refusal(
        lambda t: t.layout is not torch.strided,
        TypeError,
        "has layout {0.layout}: expected a dense tensor (fill one, then convert it)",
    ),
    _Refusal(
        lambda t: t.is_quantized,
        TypeError,
        "has dtype {0.dtype}, which is quantized: fill a float tensor, then quantize it",
    ),
)
_STATES = (
    _Refusal(
        lambda t: t.is_inference() and not torch.is_inference_mode_enabled(),
        ValueError,
        "was made in inference mode: fill it inside torch.inference_mode(), or fill tensor.clone()",
    ),
    _Refusal(
        _is_result,
        ValueError,
        "is the result of an operation ({0.grad_fn}), which no parameter would feel: give a parameter, a buffer or a "
        "view of one. A parametrized module (weight norm, spectral norm) computes its weight anew at every access: "
        "fill module.parametrizations.weight.original..., or assign module.weight = values",
    ),
    _Refusal(
        _shares_elements,
        ValueError,
        "of shape {0.shape} has elements that share memory (expanded or overlapping): fill tensor.clone()",
    ),
    _Refusal(_is_read_only, ValueError, "lies in memory that is mapped read-only: fill tensor.clone()"),
)
_MEMORIES = (
    _Refusal(
        _hides_its_memory,
        TypeError,
        "is a {kind} whose elements are kept elsewhere or stand for others (DTensor, FakeTensor, inside vmap or grad): "
        "fill the plain tensors below it, a box at a time where they are shards",
    ),
    _Refusal(
        lambda t: t.dtype not in DRAWN and t.dtype not in ROUNDED,
        TypeError,
        f"has dtype {{0.dtype}}: expected one of {', '.join(map(str, DRAWN + ROUNDED))}",
    ),
    _Refusal(
        lambda t: t.is_meta, ValueError, "is on the meta device and has no memory: fill it after module.to_empty(...)"
    ),
)
