"""`read` and `write`: one parameter's values as NumPy arrays."""

from collections.abc import Callable
from reprlib import repr as short_repr

import numpy as np
import torch
from torch import Tensor, nn

from fanwise.plan.row import nearest
from fanwise.stream.formats import Array
from fanwise.torch.trace.provenance import check_model
from fanwise.torch.trace.storage import is_abstract
from fanwise.torch.weights.tensors import array_of, checked_state, checked_tensor, checked_writable


def read(model: nn.Module, path: str) -> Array:
    """A copy of a parameter's values.

    Args:
        model: any module.
        path: the parameter's dotted name.

    Returns:
        Shape of the parameter, in its own dtype; 8-bit floats as float32.

    Raises:
        KeyError: no such parameter.
        TypeError: a sparse, quantized or nested one.
        ValueError: it is on the meta device, or fake.

    Example:
        >>> read(nn.Linear(3, 2), "bias").shape
        (2,)
    """
    return values_of(_parameter(model, path), path)


def write(model: nn.Module, path: str, values: Array) -> None:
    """Puts values into a parameter, in place, rounded to its dtype.

    Args:
        model: any module.
        path: the parameter's dotted name.
        values: shape of the parameter; what `read` returns, or any real numbers (complex ones for a complex parameter).

    Raises:
        KeyError: no such parameter.
        TypeError: a parameter of a kind that cannot be written, or values that are no numbers for it.
        ValueError: another shape, memory that cannot be written, or finite values that the dtype cannot hold. Nothing
            was written.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> write(layer, "bias", np.array([1, 2]))
        >>> layer.bias.tolist()
        [1.0, 2.0]
    """
    tensor = _parameter(model, path)
    _check_writable(tensor, f"parameter {path!r}")
    if np.shape(values) != tuple(tensor.shape):
        raise ValueError(f"values of shape {np.shape(values)} for {path!r}, which has {tuple(tensor.shape)}")
    given = torch.from_numpy(_numbers(values, path, is_complex=tensor.is_complex()))
    _check_range(given, tensor.dtype, path)
    with torch.no_grad():
        tensor.copy_(given)


def held_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters of a model under all of their names.

    Raises:
        TypeError: no module, TorchScript, or lazy parameters.
    """
    check_model(model)
    return dict(model.named_parameters(remove_duplicate=False))


def reader(model: nn.Module) -> Callable[[str], Array]:
    """A function that reads a parameter's values by any of its names; see `read`."""
    tensors = held_tensors(model)
    return lambda path: values_of(tensors[path], path)


def held_tensor(model: nn.Module, path: str) -> Tensor:
    """The parameter of a name.

    Raises:
        KeyError: there is none; the message lists the nearest names.
    """
    held = held_tensors(model)
    if path not in held:
        raise KeyError(
            f"no parameter {path!r}{nearest(path, held)}" if held else f"no parameter {path!r}: there is none"
        )
    return held[path]


def values_of(tensor: Tensor, name: str) -> Array:
    """A copy of a tensor's values; 8-bit floats as float32.

    Raises:
        TypeError: a sparse, quantized or nested tensor.
        ValueError: one without values.
    """
    checked_tensor(tensor, name=f"parameter {name!r}")
    if is_abstract(tensor):
        raise ValueError(f"parameter {name!r} is on the meta device, or fake: it has no values")
    host = tensor.detach().cpu().resolve_conj().resolve_neg()
    return np.array(array_of(host.float() if host.is_floating_point() and host.dtype.itemsize == 1 else host))


def _parameter(model: nn.Module, path: str) -> Tensor:
    return held_tensor(model, path)


def _check_writable(tensor: Tensor, name: str) -> None:
    checked_tensor(tensor, name=name)
    if is_abstract(tensor):
        raise ValueError(f"{name} is on the meta device, or fake: it has no memory")
    checked_state(tensor, name=name)
    checked_writable(torch.view_as_real(tensor.detach().resolve_conj()) if tensor.is_complex() else tensor, name=name)


def _numbers(values: Array, path: str, *, is_complex: bool) -> Array:
    """Values in a dtype that torch has, as wide as they come."""
    given = np.asarray(values)
    if given.dtype.kind not in ("biufV" + "c" * is_complex) or given.dtype.names:
        kind = "complex or real" if is_complex else "real"
        raise TypeError(f"values = {short_repr(values)} for {path!r}: expected {kind} numbers")
    return np.array(given, np.result_type(given, np.float32))


def _check_range(given: Tensor, dtype: torch.dtype, path: str) -> None:
    """Refuses finite values that would become infinite or NaN."""
    sizes = (torch.view_as_real(given) if given.is_complex() else given).abs()
    largest = float(sizes[sizes.isfinite()].max()) if bool(sizes.isfinite().any()) else 0.0
    limit = torch.finfo(dtype).max
    if largest > limit:
        raise ValueError(f"values for {path!r} reach {largest:.4g}, more than {dtype} can hold ({limit:.4g})")
