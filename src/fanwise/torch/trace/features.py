"""Which features of an op's output a view of it still holds: the views are replayed on the features' numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from fanwise.graph.details import Runs
from fanwise.graph.tracking.views import ViewChain, runs_of
from fanwise.torch.trace.function_names import bare_name, tensors_in
from fanwise.torch.trace.invocation import Invocation
from fanwise.torch.trace.storage import is_abstract

LARGEST = 1 << 25
"""Elements of an output beyond which its features are followed through views alone, which take no memory."""

PURE = frozenset(
    """
    view transpose swapaxes swapdims permute movedim moveaxis t T mT expand expand_as broadcast_to squeeze unsqueeze
    getitem chunk split split_with_sizes tensor_split narrow select unbind unflatten view_as alias detach
    """.split()  # noqa: SIM905
)
"""Views that never copy."""

CASTS = frozenset(
    [
        "to",
        "float",
        "half",
        "bfloat16",
        "double",
        "type",
        "type_as",
        "contiguous",
        "clone",
        "detach",
        "cuda",
        "cpu",
        "alias",
        "data",
    ]
)


class _ViewedTensor:
    """Stands for the tensor that a view is taken of, among the view's arguments."""


_VIEWED_TENSOR = _ViewedTensor()


@dataclass(frozen=True)
class ViewStep:
    """A view as a function of the tensor that is viewed.

    Args:
        function: torch's function.
        args: its positional arguments.
        named: its named arguments.
        output: which of its outputs is meant.
    """

    function: Callable[..., Any]
    args: Any
    named: Any
    output: int

    @classmethod
    def of(cls, view: Invocation, viewed: Tensor, output: int = 0) -> "ViewStep":
        """The step that one call is: of the tensor viewed, with the view's other arguments."""
        return cls(view.function, _template(view.args, viewed), _template(view.named, viewed), output)

    def __call__(self, numbers: Tensor) -> Tensor | None:
        """The view of an array of numbers; None where its indices are not known, or where it would copy too much."""
        if any(is_abstract(tensor) for tensor in tensors_in([self.args, self.named])):
            return None
        name = bare_name(self.function)
        if numbers.numel() <= LARGEST or name in PURE:
            return list(tensors_in(self._apply(numbers)))[self.output]
        return numbers.view(self._apply(numbers.to("meta")).shape) if name in ("reshape", "flatten") else None

    def _apply(self, numbers: Tensor) -> Any:
        return self.function(*_fill(self.args, numbers), **_fill(self.named, numbers))


def viewed(chain: ViewChain, view: Invocation, tensor: Tensor, output: int) -> ViewChain:
    """The chain of a tensor with one view more; casts are left out, for they would round the numbers of the features.

    Args:
        chain: of the tensor.
        view: of it.
        tensor: that is viewed.
        output: which output of the view is meant.
    """
    return chain if view.name in CASTS else chain.then(ViewStep.of(view, tensor, output))


def runs_of_features(chain: ViewChain) -> Runs | None:
    """The features that are left; None where that cannot be told."""
    numbers = feature_numbers(chain)
    return None if numbers is None else runs_of(numbers, chain.extent)


def feature_numbers(chain: ViewChain) -> NDArray[np.int32] | None:
    """The number of the feature at each value that a chain shows; None where that cannot be told."""
    sizes = [1] * len(chain.shape)
    sizes[chain.axis] = chain.extent
    with unset_fake_temporarily():
        start = torch.arange(chain.extent, dtype=torch.int32, device="cpu").view(sizes).expand(chain.shape)
        numbers = _replayed(chain, start)
        if numbers is None and start.numel() <= LARGEST:  # a view that joins axes wants them in memory
            numbers = _replayed(chain, start.contiguous())
        return None if numbers is None or numbers.is_meta or numbers.is_floating_point() else numbers.numpy()


def _replayed(chain: ViewChain, start: Tensor) -> Tensor | None:
    try:
        numbers: Tensor | None = chain.replayed(start)
    except (RuntimeError, TypeError, IndexError, NotImplementedError):
        return None
    return numbers


def _template(value: Any, viewed: Tensor) -> Any:
    if value is viewed:
        return _VIEWED_TENSOR
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return type(value)(_template(item, viewed) for item in value) if type(value) in (tuple, list) else value
    if isinstance(value, dict):
        return {name: _template(item, viewed) for name, item in value.items()}
    return value


def _fill(value: Any, numbers: Tensor) -> Any:
    if value is _VIEWED_TENSOR:
        return numbers
    if type(value) in (tuple, list):
        return type(value)(_fill(item, numbers) for item in value)
    if isinstance(value, dict):
        return {name: _fill(item, numbers) for name, item in value.items()}
    return value
