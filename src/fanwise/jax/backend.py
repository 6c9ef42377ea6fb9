"""JAX as `fanwise.adapters.protocol.Backend`: what this adapter does, under the names that all adapters share."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from fanwise.adapters.batches import taken
from fanwise.adapters.protocol import PreparedRun
from fanwise.calibrate.options import Options
from fanwise.calibrate.session import CalibrationBackend, CalibrationPass, NumberSource
from fanwise.graph.op import Parameter
from fanwise.graph.trace import Trace
from fanwise.jax.measure.calibration_pass import JaxCalibration
from fanwise.jax.measure.joined_batches import JOINING, joined
from fanwise.jax.measure.losses import named_loss
from fanwise.jax.measure.observe import observe
from fanwise.jax.measure.optimizers import optimizer_of
from fanwise.jax.trace.abstract_run import structure_of
from fanwise.jax.trace.inputs import as_inputs, inputs_text
from fanwise.jax.trace.models import FORMS, as_model, is_model, parameters
from fanwise.jax.trace.run import Inputs, program_of, traced
from fanwise.jax.weights.apply import apply, reader
from fanwise.measure.losses import LossLike, split
from fanwise.measure.observation import Observation, Place
from fanwise.measure.optimizers import Optimizer
from fanwise.plan.plan import Plan
from fanwise.stream.formats import Array
from fanwise.stream.key import KeyLike


@dataclass(frozen=True)
class JaxBackend:
    """Models are what `fanwise.jax.trace.models.as_model` takes; a factory takes a random key."""

    package: str = "fanwise.jax"
    version: str = f"jax {jax.__version__}"
    forms: str = FORMS
    takes_key: bool = True

    def is_model(self, value: Any) -> bool:
        """Whether a value has one of the forms of a model."""
        return is_model(value)

    def seeded(self, seed: int) -> AbstractContextManager[tuple[Any, ...]]:
        """A key, for JAX keeps no random state."""
        return nullcontext((jax.random.key(seed),))

    def model_name(self, model: Any) -> str:
        """The name of its class, or of its function."""
        return as_model(model).name

    def places(self, model: Any, factory: Any) -> Mapping[str, Place]:
        """Nothing is known."""
        return {}

    def parameters(self, model: Any) -> tuple[Parameter, ...]:
        """The floating-point arrays of a pytree."""
        return parameters(model)

    def reader(self, model: Any) -> Callable[[str], Array]:
        """Copies on the host."""
        return reader(model)

    def apply(self, model: Any, plan: Plan, key: KeyLike) -> Any:
        """A new model of the same form."""
        return apply(model, plan, key)

    def kept(self, model: Any) -> AbstractContextManager[None]:
        """Nothing is to be done: arrays cannot be written."""
        return nullcontext()

    def is_array(self, value: Any) -> bool:
        """Whether a value is an array of JAX or NumPy."""
        return isinstance(value, jax.Array | np.ndarray)

    def split(self, batch: Any, loss: LossLike) -> tuple[Any, Any]:
        """A mapping before a target is one argument, a pytree."""
        return split(batch, loss)

    def taken(self, model: Any, inputs: Any) -> Any:
        """By the signature of its call."""
        return taken(as_model(model).signature, inputs)

    def inputs(self, model: Any, batch: Any, *, valued: bool = False, labels: bool = False) -> Inputs:
        """Arrays; shapes for a model of shapes alone. No model says what it takes."""
        return as_inputs(batch, abstract=not valued and as_model(model).is_abstract)

    def describe(self, batch: Any, inputs: Inputs) -> str:
        """The words, or shapes and dtypes."""
        return inputs_text(batch, inputs)

    def join(self, batches: Sequence[Inputs]) -> Inputs:
        """Arrays along their first axis."""
        return joined(batches)

    def join_targets(self, targets: Sequence[Any]) -> Any:
        """Arrays along their first axis, or what holds them."""
        return JOINING.targets(targets)

    def calibration(self, model: Any, inputs: Inputs, source: NumberSource, options: Options) -> CalibrationPass:
        """Each run makes a new model."""
        return JaxCalibration(model, inputs, source, options)

    def prepare(self, model: Any, inputs: Inputs) -> PreparedRun:
        """The model becomes a program once; each run interprets it."""
        program = program_of(model, inputs)
        return PreparedRun(partial(traced, program), program.is_abstract)

    def structure(self, model: Any, inputs: Inputs) -> Trace | None:
        """The program interpreted on shapes."""
        read = structure_of(program_of(model, inputs))
        return None if read is None else read.trace

    def check_loss(self, loss: LossLike) -> None:
        """Names are those of `fanwise.jax.measure.losses.LOSSES`."""
        named_loss(loss)

    def optimizer(self, value: Any) -> Optimizer | None:
        """Of optax."""
        return optimizer_of(value)

    def observe(self, model: Any, inputs: Inputs, target: Any, loss: LossLike, *, backward: bool = True) -> Observation:
        """Gradients with respect to zeros that are added at every op."""
        return observe(model, inputs, target, loss, backward=backward)


BACKEND: CalibrationBackend = JaxBackend()
