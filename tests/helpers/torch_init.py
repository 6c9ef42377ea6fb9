"""The functions of torch's drop-in by name, and how to call each."""

import inspect

import numpy as np
import pytest
import torch
import torch.nn.init as theirs

from fanwise.torch import init
from fanwise.torch.weights.tensors import array_of

NAMES = theirs.__all__
FILLERS = [name for name in NAMES if name.endswith("_")]
RANDOM = [name for name in FILLERS if "generator" in inspect.signature(getattr(theirs, name)).parameters]
REQUIRED = {"sparse_": {"sparsity": 0.25}, "constant_": {"val": 0.5}}
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

every_filler = pytest.mark.parametrize("name", FILLERS)
every_random = pytest.mark.parametrize("name", RANDOM)


def shape_for(name):
    """A shape that the function takes."""
    return (8, 6) if name in {"eye_", "sparse_"} else (8, 6, 3, 5)


def called(name, tensor, **options):
    """Our function on a tensor, with the arguments that have no default."""
    return getattr(init, name)(tensor, **{**REQUIRED.get(name, {}), **options})


def drawn(name, shape, dtype=torch.float32, **options):
    """A new tensor filled by our function, from key 0 unless told."""
    return called(name, torch.full(shape, 9, dtype=dtype), **{"key": 0, **options})


def values(tensor):
    """All elements in double precision."""
    return array_of(tensor).astype(np.float64).ravel()
