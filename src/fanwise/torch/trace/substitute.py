"""Other tensors in place of a call's arguments: drawn weights, arrays to replay a function on, batch statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from fanwise.graph.op import Parameter
from fanwise.graph.tracking.tracker import Measured, Parts, drawn_values, stand_in_seed
from fanwise.laws.base import Initializer
from fanwise.laws.layout import Layout
from fanwise.stream.key import Key
from fanwise.torch.trace.calls import along_axes
from fanwise.torch.trace.function_names import NONLINEARITIES, tensors_in, writes_in_place
from fanwise.torch.trace.storage import is_abstract, is_wrapped, outside_transforms, unwrapped, wrapped_like

BATCH_NORM_ARGUMENTS = {
    "batch_norm": ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    "native_batch_norm": ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps"),
}
"""Order of the arguments of `torch.nn.functional.batch_norm` and of `torch.batch_norm`."""


SAME_SHAPE = (NONLINEARITIES - {"glu"}) | {"layer_norm", "group_norm", "instance_norm", "rms_norm", "softmax"}
"""Functions whose output has the shape of their first argument."""

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
"""Functions of input, weight, bias, stride, padding, dilation and groups."""


def swapped(values: Any, new: Mapping[int, Any]) -> Any:
    """Nested tuples, lists and dictionaries with tensors replaced, by their `id`."""
    if isinstance(values, Tensor):
        return new.get(id(values), values)
    if isinstance(values, list) or type(values) is tuple:
        return type(values)(swapped(value, new) for value in values)
    if isinstance(values, dict):
        return {name: swapped(value, new) for name, value in values.items()}
    return values


def drawn(
    shown: tuple[Parameter, Parts], law: Initializer, tensor: Tensor, *, layout: Layout | None, itself: bool
) -> Tensor:
    """Values for a tensor that stands for a parameter.

    Args:
        shown: which it is, and what it shows of it: other parts get other numbers.
        law: what is drawn.
        tensor: whose shape, dtype and device are wanted.
        layout: of the parameter.
        itself: whether the tensor is the parameter or a view of it. A part of it, or a function of it, gets normal
            numbers of the law's moments.
    """
    if is_abstract(tensor):
        return torch.empty_like(tensor)
    with outside_transforms():
        values = _drawn(shown, law, unwrapped(tensor)[0], layout=layout, itself=itself)
    return wrapped_like(values, tensor)


def _drawn(
    shown: tuple[Parameter, Parts], law: Initializer, tensor: Tensor, *, layout: Layout | None, itself: bool
) -> Tensor:
    parameter, parts = shown
    if itself and tuple(tensor.shape) == parameter.shape and not tensor.is_complex():
        values = torch.from_numpy(drawn_values(parameter, law, layout))
    else:
        moments = law.moments(parameter.shape, layout=layout)
        generator = torch.Generator("cpu").manual_seed(stand_in_seed(parameter.path, parts))
        normal = torch.randn(tuple(tensor.shape), generator=generator, device="cpu")
        values = normal * moments.std + moments.mean
    return values.to(device=tensor.device, dtype=tensor.dtype)


def with_batch_statistics(func: Callable[..., Any], name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Runs a batch norm on the batch's own statistics, and leaves the running ones alone."""
    places = BATCH_NORM_ARGUMENTS[name]
    own = {"running_mean": None, "running_var": None, "training": True}
    given = [own.get(argument, value) for argument, value in zip(places, args, strict=False)] + list(
        args[len(places) :]
    )
    rest = {argument: own.get(argument, value) for argument, value in named.items()}
    needed = (
        {argument: own[argument] for argument in own if places.index(argument) >= len(args)}
        if name == "batch_norm"
        else {}
    )
    try:
        return func(*given, **(needed | rest))
    except ValueError:  # one value a channel has no variance
        return func(*args, **named)


def without_values(func: Callable[..., Any], name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Runs a function on tensors without values; the frequent ones by a rule of shapes, in a tenth of torch's time."""
    if not args or not isinstance(args[0], Tensor) or not is_abstract(args[0]):
        return func(*args, **named)
    if name in BATCH_NORM_ARGUMENTS or (name in SAME_SHAPE and not _is_special(func, args, named)):
        return _empty(args[0], args[0].shape)
    if name == "linear" and len(args) > 1 and args[1].dim() == 2:
        return _empty(args[0], (*args[0].shape[:-1], args[1].shape[0]))
    if name in CONVOLUTIONS and not named and args[0].dim() == args[1].dim() and _in_order(args[:2]):
        shape = _convolved(args[0].shape, args[1].shape, args[3:6])
        return func(*args) if shape is None else _empty(args[0], shape)
    if name == "grouped_mm" and len(args) > 1 and args[0].dim() == 2 and args[1].dim() == 3:
        return _empty(args[0], (args[0].shape[0], args[1].shape[-1]))  # torch's own rule knows bfloat16 alone
    return func(*args, **named)


def _in_order(tensors: Sequence[Tensor]) -> bool:
    """Whether the memory format is torch's own: an output in another is left to torch."""
    return all(tensor.is_contiguous() for tensor in tensors)


def _convolved(shape: Sequence[int], kernel: Sequence[int], window: Sequence[Any]) -> Sequence[int] | None:
    """The shape of a convolution's output; None where the padding is given in words, or something does not fit.

    Args:
        shape: of the input.
        kernel: shape of the weight, (out, in, ...).
        window: stride, padding and dilation as far as they are given.
    """
    defaults: Sequence[Any] = (1, 0, 1)
    steps, padding, dilation = [*window, *defaults[len(window) :]]
    if isinstance(padding, str):
        return None
    each = [along_axes(number, len(kernel) - 2) for number in (steps, padding, dilation)]
    rows = zip(shape[2:], kernel[2:], *each, strict=True)
    sizes = [(n + 2 * pad - wide * (size - 1) - 1) // step + 1 for n, size, step, pad, wide in rows]
    return (shape[0], kernel[0], *sizes) if min(sizes) > 0 else None


def _is_special(func: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether a function may write to its input, or give another dtype."""
    asked = [*args[1:], *(named.get(name) for name in ("inplace", "dtype"))]
    return writes_in_place(func) or any(value is True or isinstance(value, torch.dtype) for value in asked)


def _empty(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor without values of another's kind."""
    if type(tensor) is not FakeTensor:
        return tensor.new_empty(shape)
    return FakeTensor(tensor.fake_mode, torch.empty(shape, dtype=tensor.dtype, device="meta"), tensor.device)


@dataclass(frozen=True)
class _Slot:
    position: int


def replayable(func: Callable[..., Any], call: tuple[Any, Any], data: Sequence[Tensor]) -> Callable[..., Any] | None:
    """A function of NumPy arrays in place of `data`; None where other tensors have a say.

    Args:
        func: torch's function.
        call: its positional and its named arguments.
        data: the tensors that the arrays stand for.
    """
    if any(is_wrapped(tensor) or all(tensor is not known for known in data) for tensor in tensors_in(list(call))):
        return None
    slots = {id(tensor): _Slot(position) for position, tensor in enumerate(data)}
    args, named = swapped(list(call[0]), slots), swapped(dict(call[1]), slots)

    def replay(*arrays: Any) -> Any:
        tensors = [torch.tensor(array, device="cpu") for array in arrays]
        with torch.no_grad():
            return func(*_fill(args, tensors), **_fill(named, tensors)).numpy()

    return replay


def probing(
    func: Callable[..., Any], call: tuple[Any, Any], data: Sequence[Tensor]
) -> Callable[[Sequence[tuple[float, float]]], tuple[float, float]] | None:
    """Mean and second moment of what a function gives for normal values in place of `data`; None without values."""
    if not data or any(is_abstract(operand) or not operand.is_floating_point() for operand in data):
        return None
    if any(map(is_wrapped, tensors_in(list(call)))):
        return None  # they are gone by then
    slots = {id(tensor): _Slot(position) for position, tensor in enumerate(data)}
    args, named = swapped(list(call[0]), slots), swapped(dict(call[1]), slots)
    shapes = [(tuple(operand.shape), operand.dtype, operand.device) for operand in data]

    def probe(given: Sequence[tuple[float, float]]) -> tuple[float, float]:
        generator = torch.Generator("cpu").manual_seed(Key(0, "probe").philox().key[0])
        tensors = []
        for (mean, std), (shape, dtype, device) in zip(given, shapes, strict=False):
            values = torch.randn(shape, generator=generator, device="cpu") * std + mean
            tensors.append(values.to(device, dtype))
        with torch.no_grad():
            output = next(iter(tensors_in(func(*_fill(args, tensors), **_fill(named, tensors)))))
        values = output.abs() if output.is_complex() else output
        return float(values.double().mean()), second_moment(output)

    return probe


def _fill(value: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(value, _Slot):
        return tensors[value.position]
    if isinstance(value, list) or type(value) is tuple:
        return type(value)(_fill(item, tensors) for item in value)
    if isinstance(value, dict):
        return {name: _fill(item, tensors) for name, item in value.items()}
    return value


def moments_of(read: Sequence[Tensor]) -> Measured[Tensor]:
    """Second moments of what an op reads."""
    return Measured(tuple(read), second_moment, lambda tensor: not is_abstract(tensor))


def second_moment(tensor: Tensor) -> float:
    """E x^2 over a tensor, in float32 or better; NaN where it holds no numbers, or is meta or fake."""
    if is_abstract(tensor) or tensor.numel() == 0:
        return float("nan")
    if is_wrapped(tensor):
        with outside_transforms():
            return second_moment(unwrapped(tensor)[0])
    values = tensor.detach().abs() if tensor.is_complex() else tensor.detach()
    return float(values.to(torch.promote_types(values.dtype, torch.float32)).square().mean())
