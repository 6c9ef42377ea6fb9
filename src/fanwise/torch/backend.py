"""PyTorch as `fanwise.adapters.protocol.Backend`: what this adapter does, under the names that all adapters share."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.adapters.batches import taken
from fanwise.adapters.protocol import PreparedRun
from fanwise.calibrate.options import Options
from fanwise.calibrate.session import CalibrationBackend, CalibrationPass, NumberSource
from fanwise.graph.op import Parameter
from fanwise.graph.trace import Trace
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import Observation, Place
from fanwise.measure.optimizers import Optimizer
from fanwise.plan.plan import Plan
from fanwise.stream.formats import Array
from fanwise.stream.key import KeyLike
from fanwise.torch.measure.calibration_pass import TorchCalibration
from fanwise.torch.measure.joined_batches import joined
from fanwise.torch.measure.losses import named_loss, split
from fanwise.torch.measure.observe import observe
from fanwise.torch.measure.optimizers import optimizer_of
from fanwise.torch.trace.abstract_run import is_large, structure
from fanwise.torch.trace.hf_labels import labelled
from fanwise.torch.trace.inputs import as_inputs, inputs_text
from fanwise.torch.trace.provenance import check_model, parameters
from fanwise.torch.trace.restore import seeded
from fanwise.torch.trace.run import Inputs, Runs
from fanwise.torch.trace.sources import construction_lines, function_line
from fanwise.torch.weights.apply import apply
from fanwise.torch.weights.read_write import reader


@dataclass(frozen=True)
class TorchBackend:
    """Models are `torch.nn.Module`; a factory takes no arguments."""

    package: str = "fanwise.torch"
    version: str = f"torch {torch.__version__.partition('+')[0]}"
    forms: str = "expected a torch.nn.Module"
    takes_key: bool = False

    def is_model(self, value: Any) -> bool:
        """Whether a value is a module."""
        return isinstance(value, nn.Module)

    def seeded(self, seed: int) -> AbstractContextManager[tuple[Any, ...]]:
        """Seeds the generators of Python, NumPy and torch."""
        return seeded(seed)

    def model_name(self, model: nn.Module) -> str:
        """The name of its class."""
        return type(model).__name__

    def places(self, model: nn.Module, factory: Any) -> Mapping[str, Place]:
        """Lines of the classes that construct its modules, and of the factory."""
        return construction_lines(model, None if factory is None else function_line(factory))

    def parameters(self, model: nn.Module) -> tuple[Parameter, ...]:
        """The parameters, as `named_parameters` has them."""
        return parameters(model)

    def reader(self, model: nn.Module) -> Callable[[str], Array]:
        """Copies on the host; 8-bit floats as float32."""
        return reader(model)

    def apply(self, model: nn.Module, plan: Plan, key: KeyLike) -> nn.Module:
        """The module itself."""
        return apply(model, plan, key)

    def kept(self, model: nn.Module) -> AbstractContextManager[None]:
        """Parameters and buffers: spectral norms keep singular vectors in the latter."""
        return _kept(model)

    def is_array(self, value: Any) -> bool:
        """Whether a value is a tensor."""
        return isinstance(value, Tensor)

    def split(self, batch: Any, loss: LossLike) -> tuple[Any, Any]:
        """A mapping that stands alone before a target holds named arguments."""
        return split(batch, loss)

    def taken(self, model: nn.Module, inputs: Any) -> Any:
        """By the signature of its forward."""
        return taken(inspect.signature(model.forward) if isinstance(model, nn.Module) else None, inputs)

    def inputs(self, model: nn.Module, batch: Any, *, valued: bool = False, labels: bool = False) -> Inputs:
        """Tensors on the model's device; a transformers model says what it takes, and what its labels are."""
        check_model(model)
        given = as_inputs(model, batch, valued=valued)
        return as_inputs(model, labelled(model, given), valued=valued) if labels else given

    def describe(self, batch: Any, inputs: Inputs) -> str:
        """The words, or shapes and dtypes."""
        return inputs_text(batch, inputs)

    def join(self, batches: Sequence[Inputs]) -> Inputs:
        """Tensors along their first axis."""
        return joined(batches)

    def join_targets(self, targets: Sequence[Any]) -> Any:
        """Tensors along their first axis, or what holds them."""
        return (
            None if any(target is None for target in targets) else joined([Inputs((each,)) for each in targets]).args[0]
        )

    def calibration(self, model: nn.Module, inputs: Inputs, source: NumberSource, options: Options) -> CalibrationPass:
        """Models on the meta device too, with a plan."""
        return TorchCalibration(model, inputs, source, options)

    def prepare(self, model: nn.Module, inputs: Inputs) -> PreparedRun:
        """Runs under a function mode."""
        is_abstract = any(tensor.is_meta for tensor in model.parameters())
        if is_abstract or not is_large(model, inputs):
            return PreparedRun(Runs(model, inputs), is_abstract)
        return PreparedRun(Runs(model, inputs), is_abstract, partial(structure, model, inputs))

    def structure(self, model: nn.Module, inputs: Inputs) -> Trace | None:
        """A run on fake tensors."""
        return structure(model, inputs)

    def check_loss(self, loss: LossLike) -> None:
        """Names are those of torch.nn.functional."""
        named_loss(loss)

    def optimizer(self, value: Any) -> Optimizer | None:
        """Of torch.optim."""
        return optimizer_of(value)

    def observe(
        self, model: nn.Module, inputs: Inputs, target: Any, loss: LossLike, *, backward: bool = True
    ) -> Observation:
        """Gradients by autograd; targets go to the model's device."""
        moved = None if target is None else as_inputs(model, (target,)).args[0]
        return observe(model, inputs, moved, loss, backward=backward)


@contextmanager
def _kept(model: nn.Module) -> Iterator[None]:
    tensors = [*model.parameters(), *model.buffers()]
    copies = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies, strict=True):
                tensor.copy_(copy)


BACKEND: CalibrationBackend = TorchBackend()
