"""The batch that a user gives: the first of several, split into what the model takes and what a loss compares with."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fanwise.adapters.protocol import Backend
from fanwise.graph.inputs import Inputs
from fanwise.measure.losses import TARGETS, LossLike

LEFT_OUT = "without the target, which the model does not take"
"""Said of a batch from which one was left out."""


@dataclass(frozen=True)
class GivenBatch:
    """A batch, taken apart.

    Args:
        inputs: what the model is given.
        target: what a loss compares its output with, None where the batch holds none or no loss was given.
        trimmed: whether a target was left out, since no loss was given and the model does not take it.
    """

    inputs: Any
    target: Any = None
    trimmed: bool = False

    def described(self, text: str) -> str:
        """A description of the inputs, with what was left out."""
        return f"{text} ({LEFT_OUT})" if self.trimmed else text


def given_batch(backend: Backend, model: Any, batch: Any, loss: LossLike = None) -> GivenBatch:
    """A batch as a user gives it, taken apart.

    Args:
        backend: the framework.
        model: that will be run on it.
        batch: an array, a tuple, a mapping, words or `Inputs`; or a data loader, a generator or anything else that
            yields batches, of which the first is taken.
        loss: None: the batch is for the model alone; a target that the model does not take is left out.

    Raises:
        ValueError: nothing was yielded.
    """
    first = first_batch(backend, batch)
    inputs, target = backend.split(first, loss)
    if loss is not None:
        return GivenBatch(inputs, target)
    kept = backend.taken(model, inputs)
    return GivenBatch(kept, None, kept is not inputs)


def first_batch(backend: Backend, batch: Any) -> Any:
    """The first batch of what yields batches; anything else as it is."""
    if (
        isinstance(batch, str | bytes | tuple | list | Mapping | Inputs | np.ndarray)
        or backend.is_array(batch)
        or not isinstance(batch, Iterable)
    ):
        return batch
    for first in batch:
        return tuple(first) if isinstance(first, list) else first
    raise ValueError(f"inputs = {type(batch).__name__}: it yields nothing, expected at least one batch")


def taken(signature: inspect.Signature | None, inputs: Any) -> Any:
    """The inputs without a target for which a model has no argument; themselves where it has one, or is not known.

    Args:
        signature: of the model's call; None where it is not known.
        inputs: a tuple or list of positional arguments, or a mapping of named ones; anything else stays.

    Example:
        >>> taken(inspect.signature(lambda x: x), ("x", "y")), taken(inspect.signature(lambda x, y: x), ("x", "y"))
        (('x',), ('x', 'y'))
    """
    if signature is None:
        return inputs
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    if isinstance(inputs, tuple | list):
        places = sum(
            kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds
        )
        known = inspect.Parameter.VAR_POSITIONAL not in kinds and places > 0
        return tuple(inputs[:-1]) if known and len(inputs) == places + 1 else inputs
    if isinstance(inputs, Mapping) and inspect.Parameter.VAR_KEYWORD not in kinds:
        rest = {name: value for name, value in inputs.items() if name in signature.parameters or name not in TARGETS}
        return rest if 0 < len(rest) < len(inputs) else inputs
    return inputs
