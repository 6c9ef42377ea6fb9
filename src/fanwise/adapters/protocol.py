"""`Backend`: what a framework must be for fanwise to plan, check and calibrate its models.

An adapter has one module `backend`, with one value ``BACKEND: Backend``. Whatever is the same for every framework is
written against it: `fanwise.check.session`, `fanwise.calibrate.session`, `fanwise.targets.session`. A model is whatever
the framework's users call one; nothing here looks into it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from fanwise.graph.inputs import Inputs
from fanwise.graph.op import Parameter
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Visitor
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import Observation, Place
from fanwise.measure.optimizers import Optimizer
from fanwise.plan.plan import Plan
from fanwise.stream.formats import Array
from fanwise.stream.key import KeyLike


@dataclass(frozen=True)
class PreparedRun:
    """A model on inputs, ready to be run as often as it takes.

    Args:
        run: runs it once, shows a visitor each op, and gives the trace.
        is_abstract: whether parameters or inputs are shapes alone, so that nothing can be measured.
        structure: gives the trace without computing anything, where that takes less time than a run; None where it
            does not, or where what the model does depends on values.
    """

    run: Callable[[Visitor], Trace]
    is_abstract: bool
    structure: Callable[[], Trace | None] = lambda: None


class Backend(Protocol):
    """One framework. No method changes a model but `apply`, and none of them leaves anything else changed."""

    # What it is

    @property
    def package(self) -> str:
        """The adapter, which users import: "fanwise.torch"."""
        ...

    @property
    def version(self) -> str:
        """The framework with its version, as plans and reports name it: "torch 2.13.0"."""
        ...

    # Models

    def is_model(self, value: Any) -> bool:
        """Whether a value is a model of the framework; a factory of one is none."""
        ...

    @property
    def forms(self) -> str:
        """What a model may be, for messages: "expected a torch.nn.Module"."""
        ...

    @property
    def takes_key(self) -> bool:
        """Whether a factory of models is called with a random key; it is called without arguments elsewhere."""
        ...

    def seeded(self, seed: int) -> AbstractContextManager[tuple[Any, ...]]:
        """A context in which random numbers follow from a seed, and what a factory is called with in it.

        Random states are as before after it.
        """
        ...

    def model_name(self, model: Any) -> str:
        """What a report calls a model: the name of its class or function."""
        ...

    def places(self, model: Any, factory: Any) -> Mapping[str, Place]:
        """Lines of the user's sources that construct the modules of a model, by path; {} where nothing is known.

        Args:
            model: a model.
            factory: what made it, None where that is not known.
        """
        ...

    # Parameters

    def parameters(self, model: Any) -> tuple[Parameter, ...]:
        """Every parameter in the model's order, tied ones once.

        Raises:
            TypeError: no model.
            ValueError: one without parameters yet, or one whose parameters are gone.
        """
        ...

    def reader(self, model: Any) -> Callable[[str], Array]:
        """What gives a copy of a parameter's values by its path, or by another of its names.

        It raises TypeError for a parameter of a kind that cannot be read, ValueError for one without values.
        """
        ...

    def apply(self, model: Any, plan: Plan, key: KeyLike) -> Any:
        """The model with the numbers of a plan: itself where its parameters can be written, else a new one."""
        ...

    def kept(self, model: Any) -> AbstractContextManager[None]:
        """A context after which the parameters hold what they held before, whatever `apply` did in it."""
        ...

    # Inputs

    def is_array(self, value: Any) -> bool:
        """Whether a value is an array of the framework, or of NumPy where models take those."""
        ...

    def split(self, batch: Any, loss: LossLike) -> tuple[Any, Any]:
        """What the model is given, and what a loss compares its output with; None where the batch holds no target.

        `fanwise.measure.losses.split` says where a target is looked for. Without a loss all of it is for the model.
        """
        ...

    def taken(self, model: Any, inputs: Any) -> Any:
        """The inputs without a target that the model does not take; themselves where it takes all, or does not say."""
        ...

    def inputs(self, model: Any, batch: Any, *, valued: bool = False, labels: bool = False) -> Inputs:
        """What a model is called with, where the model is.

        Args:
            model: whose device and dtypes count.
            batch: an array, several of them, words (`fanwise.adapters.input_specs`), `Inputs`, or None where the model
                itself says what it takes.
            valued: arrays have values, even if the model's parameters have none.
            labels: where the model itself says what it takes, add what its own loss compares with.

        Raises:
            TypeError: a batch of no known kind.
            ValueError: words that cannot be read, or None where the model does not say.
        """
        ...

    def describe(self, batch: Any, inputs: Inputs) -> str:
        """Inputs in words: those that were given, or shapes and dtypes such as "64,784:float32".

        Args:
            batch: as the user gave it.
            inputs: what `inputs` made of it.
        """
        ...

    def join(self, batches: Sequence[Inputs]) -> Inputs:
        """Several batches as one, along their first axis; see `fanwise.calibrate.joining.Joining`.

        Raises:
            ValueError: batches that differ in more than the number of their examples.
        """
        ...

    # Runs

    def prepare(self, model: Any, inputs: Inputs) -> PreparedRun:
        """A model on these inputs, ready to be run.

        Raises:
            ModelError: it could not be traced; one that cannot be run says so when it is.
        """
        ...

    def structure(self, model: Any, inputs: Inputs) -> Trace | None:
        """What a model does, from a pass in which nothing is computed; None where that depends on values."""
        ...

    def check_loss(self, loss: LossLike) -> None:
        """Refuses what is no loss.

        Raises:
            TypeError: neither a name nor something to call, or a class.
            ValueError: an unknown name; the message lists the choices.
        """
        ...

    def optimizer(self, value: Any) -> Optimizer | None:
        """The optimizer that an object of the framework is; None for anything else."""
        ...

    def observe(self, model: Any, inputs: Inputs, target: Any, loss: LossLike, *, backward: bool = True) -> Observation:
        """One run, forward and backward, with what every op, parameter and gradient was.

        Args:
            model: with values.
            inputs: what it is called with.
            target: what the loss compares with; None: it is drawn where the loss is a known one.
            loss: None: the model's own, or a random projection of its output.
            backward: whether gradients are wanted.

        Raises:
            ModelError: the model, its loss or its backward pass could not be run.
        """
        ...
