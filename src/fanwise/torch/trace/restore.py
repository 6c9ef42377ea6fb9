"""Puts back what a run could change: parameters, buffers, attributes, training flags, inputs and random states."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fanwise.torch.trace.storage import is_abstract, is_strided


@contextmanager
def unchanged(model: nn.Module, inputs: Sequence[Tensor], *, training: bool = False) -> Iterator[None]:
    """Evaluation mode and a fixed random state for as long as the context lasts, and everything as before after it.

    With `training` the model keeps its own mode. The training flags are set one by one: `Module.train` may be
    overridden by what merges or swaps weights.
    """
    members = list(model.modules())
    modules = [_Attributes.of(module) for module in members]
    tensors = [_Values.of(tensor) for tensor in (*model.buffers(), *inputs)]
    for module in () if training else members:
        module.training = False
    try:
        with seeded(0):
            yield
    finally:
        for attributes in modules:
            attributes.restore()
        for values in tensors:
            values.restore()


@contextmanager
def seeded(seed: int) -> Iterator[tuple[()]]:
    """Random numbers of Python, NumPy and torch from a seed for as long as the context lasts; then as before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state(), _cuda_states()  # noqa: NPY002
    _seed(seed)
    try:
        yield ()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if states[3]:
            torch.cuda.set_rng_state_all(states[3])


def saved(tensor: Tensor) -> Callable[[], None]:
    """Copies the values of a tensor, and returns the function that puts them back."""
    return _Values.of(tensor).restore


@dataclass(frozen=True)
class _Values:
    tensor: Tensor
    copy: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor) -> "_Values":
        if is_abstract(tensor) or not is_strided(tensor):
            return cls(tensor, None)
        with torch.no_grad():
            return cls(tensor, tensor.detach().clone())

    def restore(self) -> None:
        if self.copy is None or _equal(self.tensor, self.copy):
            return
        with torch.no_grad():
            self.tensor.detach().copy_(self.copy)


def _equal(tensor: Tensor, copy: Tensor) -> bool:
    try:
        return torch.equal(tensor, copy)
    except (RuntimeError, NotImplementedError):  # a dtype that cannot be compared
        return False


@dataclass(frozen=True)
class _Attributes:
    """Everything that hangs on a module: its attributes, and what its dictionaries and lists hold."""

    home: dict[str, Any]
    values: dict[str, Any]
    held: tuple[tuple[Any, Any], ...]

    @classmethod
    def of(cls, module: nn.Module) -> "_Attributes":
        home = vars(module)
        containers = [value for value in home.values() if isinstance(value, (dict, list))]
        held = tuple((value, value.copy() if value else ()) for value in containers)  # most are empty
        return cls(home, dict(home), held)

    def restore(self) -> None:
        for value, copy in self.held:
            if not _same(value, copy):
                value.clear()
                (value.update if isinstance(value, dict) else value.extend)(copy)
        self.home.clear()
        self.home.update(self.values)


def _same(value: Any, copy: Any) -> bool:
    """Whether a container holds the very objects that it held."""
    if len(value) != len(copy):
        return False
    if not value:
        return True  # as most of a module's dictionaries are, those of hooks
    if isinstance(value, list):
        return all(map(is_, value, copy))
    return all(map(is_, value.values(), copy.values())) and list(value) == list(copy)


def _seed(seed: int) -> None:
    """Seeds every generator; `torch.manual_seed` would also seed a CUDA that has not started yet."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    if _cuda_runs():
        torch.cuda.manual_seed_all(seed)


def _cuda_runs() -> bool:
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if _cuda_runs() else []
