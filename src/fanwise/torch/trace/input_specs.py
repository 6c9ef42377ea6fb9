"""Specs: inputs in words, such as ``"input_ids=8,128:int64[0,50257)"``, as tensors."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from fanwise.adapters import input_specs as specs
from fanwise.adapters.input_specs import Spec
from fanwise.torch.trace.provenance import dtype_name
from fanwise.torch.trace.run import Inputs

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "float": torch.float32,
        "float32": torch.float32,
        "float64": torch.float64,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
        "complex64": torch.complex64,
        "complex128": torch.complex128,
        "int": torch.int64,
        "int64": torch.int64,
        "int32": torch.int32,
    }
)
"""The dtypes of a spec; floats are standard normal, integers uniform in a range."""


def parse(spec: str, *, device: str = "cpu", float_dtype: torch.dtype = torch.float32) -> Inputs:
    """The tensors that a spec describes, the same at every call.

    Args:
        spec: ``[name=]sizes[:dtype]`` or ``[name=]sizes:integer dtype[low,high)``, several joined by ";".
        device: "cpu", or "meta" for tensors without memory.
        float_dtype: of tensors for which no dtype is named.

    Returns:
        Tensors without a name as positional arguments, those with one as named ones.

    Raises:
        ValueError: as `fanwise.adapters.input_specs.parse`.

    Example:
        >>> parse("2,3; ids=4:int64[0,10)").kwargs["ids"].shape
        torch.Size([4])
    """
    names = {name: dtype_name(dtype) for name, dtype in DTYPES.items()}
    parsed = specs.parse(spec, float_dtype=dtype_name(float_dtype), dtypes=names)
    tensors = [(tensor_spec.name, _tensor(tensor_spec, number, device)) for number, tensor_spec in enumerate(parsed)]
    return Inputs(tuple(value for name, value in tensors if not name), {name: value for name, value in tensors if name})


def _tensor(spec: Spec, number: int, device: str) -> Tensor:
    dtype = DTYPES[spec.dtype]
    if device == "meta":
        return torch.empty(spec.shape, dtype=dtype, device="meta")
    narrow = dtype.is_floating_point and dtype.itemsize < 4  # NumPy has no bfloat16 that torch takes
    return torch.from_numpy((replace(spec, dtype="float32") if narrow else spec).drawn(number)).to(dtype)
