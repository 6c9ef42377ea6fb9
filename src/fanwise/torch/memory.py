"""`read` and `write`: one parameter's values as NumPy arrays."""

import numpy as np
import torch
from torch import Tensor, nn

from fanwise.stream.formats import Array
from fanwise.torch.held import check_model
from fanwise.torch.tensors import array_of, checked_writable


def read(model: nn.Module, path: str) -> Array:
    """A copy of a parameter's values.

    Args:
        model: any module.
        path: the parameter's dotted name.

    Returns:
        Shape of the parameter, in its own dtype; 8-bit floats as float32.

    Raises:
        KeyError: no such parameter.
        ValueError: it is on the meta device.
    """
    tensor = _parameter(model, path)
    if tensor.is_meta:
        raise ValueError(f"parameter {path!r} is on the meta device: it has no values")
    return np.array(array_of(on_host(tensor)))


def write(model: nn.Module, path: str, values: Array) -> None:
    """Puts values into a parameter, rounded to its dtype.

    Args:
        model: any module.
        path: the parameter's dotted name.
        values: shape of the parameter.

    Raises:
        KeyError: no such parameter.
        TypeError: a parameter whose memory cannot be written.
        ValueError: another shape.
    """
    tensor = _parameter(model, path)
    checked_writable(tensor, name=path)
    if np.shape(values) != tuple(tensor.shape):
        raise ValueError(f"values of shape {np.shape(values)} for {path!r}, which has {tuple(tensor.shape)}")
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.array(values, np.result_type(values, np.float32))))


def on_host(tensor: Tensor) -> Tensor:
    """A tensor's values in memory that NumPy can read, detached; 8-bit floats as float32."""
    host = tensor.detach().cpu()
    return host.float() if host.dtype.itemsize == 1 else host


def _parameter(model: nn.Module, path: str) -> Tensor:
    check_model(model)
    held = dict(model.named_parameters(remove_duplicate=False))
    if path not in held:
        raise KeyError(f"{path!r}: the model has {', '.join(list(held)[:8])}{', ...' if len(held) > 8 else ''}")
    return held[path]
