"""Keras as `fanwise.adapters.protocol.Backend`: what this adapter does, under the names that all adapters share."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from fanwise.adapters.protocol import PreparedRun
from fanwise.calibrate.options import Options
from fanwise.calibrate.session import CalibrationBackend, CalibrationPass, NumberSource
from fanwise.graph.op import Parameter
from fanwise.graph.trace import Trace
from fanwise.keras.measure.calibration_pass import KerasCalibration
from fanwise.keras.measure.joined_batches import joined, joining
from fanwise.keras.measure.losses import named_loss, split
from fanwise.keras.measure.observe import observe
from fanwise.keras.measure.optimizers import optimizer_of
from fanwise.keras.trace.abstract_run import structure
from fanwise.keras.trace.backend import framework
from fanwise.keras.trace.inputs import as_inputs, inputs_text, without_target
from fanwise.keras.trace.run import Inputs, on_backend, run
from fanwise.keras.trace.variables import check_model, is_tensor, parameters, variables
from fanwise.keras.weights.apply import apply
from fanwise.keras.weights.read_write import reader, values_of
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import Observation, Place
from fanwise.measure.optimizers import Optimizer
from fanwise.plan.plan import Plan
from fanwise.stream.formats import Array
from fanwise.stream.key import KeyLike


@dataclass(frozen=True)
class KerasBackend:
    """Models are built `keras.Model` or layers; a factory takes no arguments."""

    package: str = "fanwise.keras"
    forms: str = "expected a keras.Model or a layer"
    takes_key: bool = False

    @property
    def version(self) -> str:
        """Keras, its version and what it computes with."""
        return framework()

    def is_model(self, value: Any) -> bool:
        """Whether a value is a layer."""
        return isinstance(value, keras.layers.Layer)

    def seeded(self, seed: int) -> AbstractContextManager[tuple[Any, ...]]:
        """Seeds the generators of Python, NumPy and Keras' backend; the last do not go on where they were."""
        return _seeded(seed)

    def model_name(self, model: Any) -> str:
        """The name of its class."""
        return type(model).__name__

    def places(self, model: Any, factory: Any) -> Mapping[str, Place]:
        """Nothing is known."""
        return {}

    def parameters(self, model: Any) -> tuple[Parameter, ...]:
        """The variables that can be trained, those of frozen layers too."""
        return parameters(model)

    def reader(self, model: Any) -> Callable[[str], Array]:
        """Copies on the host."""
        return reader(model)

    def apply(self, model: Any, plan: Plan, key: KeyLike) -> Any:
        """The model itself."""
        return apply(model, plan, key)

    def kept(self, model: Any) -> AbstractContextManager[None]:
        """The variables that `apply` writes."""
        return _kept(model)

    def is_array(self, value: Any) -> bool:
        """Whether a value is a tensor of Keras' backend, or a NumPy array."""
        return isinstance(value, np.ndarray) or is_tensor(value)

    def split(self, batch: Any, loss: LossLike) -> tuple[Any, Any]:
        """A tuple is (inputs, target), as `keras.Model.fit` takes it."""
        return split(batch, loss)

    def taken(self, model: Any, inputs: Any) -> Any:
        """The first of a tuple (inputs, target), and a mapping without a target, for a model that says its inputs."""
        return without_target(model, inputs)

    def inputs(self, model: Any, batch: Any, *, valued: bool = False, labels: bool = False) -> Inputs:
        """Tensors of what Keras computes with; a functional model says what it takes."""
        check_model(model)
        return as_inputs(model, batch)

    def describe(self, batch: Any, inputs: Inputs) -> str:
        """The words, or shapes and dtypes."""
        return inputs_text(batch, inputs)

    def join(self, batches: Sequence[Inputs]) -> Inputs:
        """Tensors along their first axis."""
        return joined(batches)

    def join_targets(self, targets: Sequence[Any]) -> Any:
        """Tensors of what Keras computes with, along their first axis."""
        given = [None if target is None else on_backend(Inputs((target,))).args[0] for target in targets]
        return joining().targets(given)

    def calibration(self, model: Any, inputs: Inputs, source: NumberSource, options: Options) -> CalibrationPass:
        """Built models have values."""
        return KerasCalibration(model, inputs, source, options)

    def prepare(self, model: Any, inputs: Inputs) -> PreparedRun:
        """Runs with each layer's call replaced; a model that is built has values."""
        return PreparedRun(partial(run, model, inputs), is_abstract=False)

    def structure(self, model: Any, inputs: Inputs) -> Trace | None:
        """A run on symbols."""
        return structure(model, inputs)

    def check_loss(self, loss: LossLike) -> None:
        """Names are those of keras.losses, and of the losses that all adapters know."""
        named_loss(loss)

    def optimizer(self, value: Any) -> Optimizer | None:
        """Of keras.optimizers."""
        return optimizer_of(value)

    def observe(self, model: Any, inputs: Inputs, target: Any, loss: LossLike, *, backward: bool = True) -> Observation:
        """Gradients by a tape, by autograd, or by taps on JAX."""
        return observe(model, inputs, target, loss, backward=backward)


@contextmanager
def _seeded(seed: int) -> Iterator[tuple[()]]:
    """Keras' random numbers from a seed; those of Python and NumPy go on afterwards where they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  (what Keras seeds)
    keras.utils.set_random_seed(seed)
    try:
        yield ()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


@contextmanager
def _kept(model: Any) -> Iterator[None]:
    by_path = variables(model)
    copies = {path: values_of(variable) for path, variable in by_path.items()}
    try:
        yield
    finally:
        for path, variable in by_path.items():
            variable.assign(copies[path])


BACKEND: CalibrationBackend = KerasBackend()
