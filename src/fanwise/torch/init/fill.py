"""Parts that the functions of the drop-in share: overriding, the stream of a call, checks, and the filling."""

import functools
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import ParamSpec, Protocol

import torch
from numpy.typing import DTypeLike
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.overrides import handle_torch_function, has_torch_function

from fanwise.stream.arguments import checked_number
from fanwise.stream.box import Box, Shape
from fanwise.stream.formats import Array
from fanwise.stream.key import Key, KeyLike, as_key
from fanwise.torch.init.transformed import deferred, entered, is_transformed
from fanwise.torch.weights.tensors import Numbers, checked_state, checked_tensor, checked_writable, draw_

P = ParamSpec("P")


class StreamDraw(Protocol):
    """A function of `fanwise.stream.fill`, or a law, with everything but the stream and the place bound."""

    def __call__(self, key: Key, shape: Shape, /, *, dtype: DTypeLike, box: Box, out: Array) -> Array:
        """Writes the box of a parameter of this global shape into `out` and returns it."""
        ...


def overridable(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """The function after a look at its first argument: subclasses, modes and transforms may take the call over."""
    name = entered(function)

    @functools.wraps(function)
    def public(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_compiling():
            return deferred(name, args, kwargs)
        tensor = args[0] if args else kwargs.get("tensor")
        lazy = isinstance(tensor, Tensor) and is_lazy(tensor)  # whose own answer to the call says less than ours
        if not lazy and has_torch_function((tensor,)):
            result: Tensor = handle_torch_function(public, (tensor,), *args, **kwargs)
            return result
        if is_transformed(checked_tensor(tensor)):
            return deferred(name, args, kwargs)
        return function(*args, **kwargs)

    return public


def drawn(
    tensor: Tensor,
    draw: StreamDraw,
    reach: float,
    *,
    generator: torch.Generator | None,
    key: KeyLike | None,
    by_element: bool = True,
) -> Tensor:
    """Fills the tensor, a complex one part by part, after everything is checked; a meta or empty one stays."""
    check_stream(generator, key)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise TypeError(f"tensor has dtype {tensor.dtype}: expected floating point or complex numbers")
    if tensor.is_meta or tensor.numel() == 0:
        return tensor
    checked_state(tensor)
    parts = _parts(tensor)
    stream = stream_of(generator, key)
    for domain, part in parts.items():
        own = stream.derive(domain) if domain else stream
        draw_(part, Numbers(partial(draw, own), reach, by_element))
    return tensor


def _parts(tensor: Tensor) -> Mapping[str, Tensor]:
    """Tensors that are drawn alone, by the domain of their stream: the tensor, or its real and imaginary parts."""
    if not tensor.is_complex():
        return {"": checked_writable(tensor)}
    if tensor.is_conj():
        raise ValueError("tensor is a lazy conjugate: fill tensor.resolve_conj()")
    pairs = torch.view_as_real(tensor.detach())
    return {"real": checked_writable(pairs[..., 0]), "imaginary": checked_writable(pairs[..., 1])}


def check_stream(generator: torch.Generator | None, key: KeyLike | None) -> None:
    """Raises what is wrong with either, also where nothing will be drawn."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator = {generator!r}: expected a torch.Generator (a seed or a Key goes to key=)")
    if generator is not None and key is not None:
        raise TypeError(f"generator and key = {key!r}: expected one of them, for each decides the numbers")
    if key is not None:
        as_key(key)


def stream_of(generator: torch.Generator | None, key: KeyLike | None) -> Key:
    """The stream of a key, or one that a generator names: 63 bits of it, drawn where it lives."""
    if key is not None:
        return as_key(key)
    device = torch.device("cpu") if generator is None else generator.device
    return Key(int(torch.empty((), dtype=torch.int64, device=device).random_(generator=generator)))


def share(tensor: Tensor) -> float:
    """Factor on the std of each drawn part: the two of a complex number share its variance."""
    return math.sqrt(0.5) if tensor.is_complex() else 1.0


def check_axes(tensor: Tensor, low: int, high: int) -> None:
    """Raises ValueError where the number of axes is not in [low, high]."""
    if not low <= tensor.ndim <= high:
        expected = f"{low} axes" if low == high else f"{low} to {high} axes"
        raise ValueError(f"tensor has shape {tuple(tensor.shape)}: expected {expected}")


def check_real(tensor: Tensor, name: str) -> None:
    """Raises TypeError where a function knows no such dtype."""
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: tensor has dtype {tensor.dtype}, expected real floating-point numbers")


def number(value: object, *, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number in [low, high]; a tensor of one counts, as in torch."""
    return checked_number(item_of(value), name=name, low=low, high=high)


def bound_or_infinity(value: object, *, name: str) -> float:
    """A number that may be infinite."""
    item = item_of(value)
    return item if isinstance(item, float) and math.isinf(item) else checked_number(item, name=name)


def item_of(value: object) -> object:
    """The number in a tensor of one; anything else as it is."""
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
