"""`CheckSession`: a model, or what a factory makes under several seeds, run and judged; the same in every framework."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanwise.adapters.batches import given_batch
from fanwise.adapters.hints import hint_for
from fanwise.adapters.protocol import Backend
from fanwise.check.arguments import OptimizerLike, parse_optimizer
from fanwise.check.assembly import assembled
from fanwise.check.findings import SEVERITIES, Severity
from fanwise.check.report import Report
from fanwise.check.rules.judgement import chosen_codes
from fanwise.check.subject import Subject
from fanwise.graph.inputs import Inputs
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import Observation, Place
from fanwise.measure.optimizers import Optimizer
from fanwise.plan.plan import Plan
from fanwise.stream.arguments import checked_choice, checked_count

TRIMMED = "The batch holds a target, and no loss was given: the model was run without the target."


@dataclass(frozen=True)
class _Batch:
    """A batch, split and made ready once for all runs.

    Args:
        inputs: of the model.
        target: what its loss compares with, None where the batch holds none.
        text: the inputs in words.
    """

    inputs: Inputs
    target: Any
    text: str


@dataclass(frozen=True)
class CheckSession:
    """How models are judged.

    Args:
        backend: the framework.
        loss: name, function, or None for the model's own.
        optimizer: what will train them, such as "adam:1e-3", or an object of the framework's own.
        plan: what the weights should be.
        seeds: initialisations that are looked at: of a factory, or of a plan.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on a report is not ok.
        places: where modules are constructed, by path; None: the backend looks.
        progress: called with what is done next, in words.
        backward: whether there is a backward pass.

    Raises:
        TypeError, ValueError: an argument of the wrong kind, or an unknown name among them.
    """

    backend: Backend
    loss: LossLike = None
    optimizer: OptimizerLike = None
    plan: Plan | None = None
    seeds: int = 3
    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    fail_on: Severity = "error"
    places: Mapping[str, Place] | None = None
    progress: Callable[[str], None] | None = None
    backward: bool = True

    def __post_init__(self) -> None:
        self.backend.check_loss(self.loss)
        chosen_codes(self.select, self.ignore)
        checked_choice(self.fail_on, SEVERITIES, name="fail_on")
        checked_count(self.seeds, name="seeds")
        self._optimizer()

    def report(self, model: Any, batch: Any) -> Report:
        """Runs and judges a model.

        Args:
            model: a model, judged as it is found; or a factory, called once a seed.
            batch: its inputs, with or without a target.

        Raises:
            TypeError: neither a model nor a factory of models.
            ModelError: the model, its loss or its backward pass could not be run.
        """
        factory = None if self.backend.is_model(model) else model
        first = model if factory is None else self._built(factory, 0)
        given = given_batch(self.backend, first, batch, self.loss)
        ready = self._ready(first, given.inputs, given.target)
        observations = tuple(self._observations(first, factory, ready))
        judged = assembled(
            Subject(observations, self.plan, self._optimizer()),
            select=self.select,
            ignore=self.ignore,
            fail_on=self.fail_on,
        )
        return replace(
            judged,
            model=self.backend.model_name(first),
            framework=self.backend.version,
            batch=ready.text,
            notes=(*judged.notes, *([TRIMMED] if given.trimmed else [])),
            places=self.backend.places(first, factory) if self.places is None else self.places,
        )

    def _optimizer(self) -> Optimizer | None:
        if self.optimizer is None:
            return None
        return self.backend.optimizer(self.optimizer) or parse_optimizer(self.optimizer)

    def _ready(self, model: Any, given: Any, target: Any) -> _Batch:
        inputs = self.backend.inputs(model, given)
        text = self.backend.describe(given, inputs)
        if given is None and self.loss is None:
            inputs = self.backend.inputs(model, given, labels=True)
        return _Batch(inputs, target, text)

    def _observations(self, first: Any, factory: Any, batch: _Batch) -> Iterator[Observation]:
        """Runs of a model as it is and under the numbers of a plan, or of what a factory makes."""
        yield self._observed(first, batch, None if factory is None else 0)
        if factory is not None:
            yield from (self._observed(self._built(factory, seed), batch, seed) for seed in range(1, self.seeds))
        elif self.plan is not None and self.seeds > 1:
            with self.backend.kept(first):
                for seed in range(1, self.seeds):
                    yield self._observed(self.backend.apply(first, self.plan, seed), batch, seed)

    def _observed(self, model: Any, batch: _Batch, seed: int | None) -> Observation:
        self._tell("forward and backward" if seed is None else f"seed {seed}: forward and backward")
        inputs = self.backend.inputs(model, batch.inputs)
        seen = self.backend.observe(model, inputs, batch.target, self.loss, backward=self.backward)
        return replace(seen, seed=seed)

    def _built(self, factory: Any, seed: int) -> Any:
        if not callable(factory):
            expected = f"{self.backend.forms}, or a factory of one{hint_for(factory)}"
            raise TypeError(f"model = {type(factory).__name__}: {expected}")
        self._tell(f"seed {seed}: build")
        with self.backend.seeded(seed) as key:
            model = factory(*key)
        if not self.backend.is_model(model):
            raise TypeError(f"the factory made {type(model).__name__}: {self.backend.forms}{hint_for(model)}")
        return model

    def _tell(self, text: str) -> None:
        if self.progress is not None:
            self.progress(text)
