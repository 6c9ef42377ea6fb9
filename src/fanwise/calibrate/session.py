"""`CalibrationSession`: a model run op by op and scaled as it runs; the same in every framework."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fanwise.adapters.batches import given_batch
from fanwise.adapters.protocol import Backend
from fanwise.calibrate.calibrator import Calibrator, Change
from fanwise.calibrate.decisions import Decisions, calibrated, check_plan, with_factors
from fanwise.calibrate.options import Options
from fanwise.calibrate.result import Calibration
from fanwise.calibrate.units import Spread
from fanwise.graph.inputs import Inputs
from fanwise.graph.visitor import ModelError
from fanwise.measure.losses import LossLike
from fanwise.plan.plan import Plan


class CalibrationPass(Protocol):
    """A model on inputs, to be run while its outputs are scaled."""

    def kept(self, *, early: bool) -> AbstractContextManager[None]:
        """A context that puts everything back where something fails in it.

        Args:
            early: whether parameters are written before all is decided.
        """
        ...

    def undone(self, paths: Collection[str]) -> AbstractContextManager[None]:
        """A context after which these parameters hold what they held before."""
        ...

    def draw(self, plan: Plan) -> Any:
        """The model with the numbers of a plan; it is what runs from now on."""
        ...

    def structure(self) -> Any | None:
        """What the model does, from a pass without values; None where that depends on values."""
        ...

    def seen(self) -> Any:
        """Structure of the model, from a run."""
        ...

    def passed(self, structure: Any) -> Calibrator | None:
        """A run in which every factor is decided; None where the model does other things than its structure says."""
        ...

    def changed(self, changes: Mapping[str, Change], spreads: Mapping[str, Spread]) -> Any:
        """The model with its parameters changed: itself where they can be written, else a new one.

        Args:
            changes: by path.
            spreads: how the units lie in the weights that are changed unit by unit.

        Raises:
            TypeError, ValueError: a parameter that cannot hold its change; nothing was changed.
        """
        ...


class CalibrationBackend(Backend, Protocol):
    """A framework whose models can be calibrated."""

    def join_targets(self, targets: Sequence[Any]) -> Any:
        """What a loss compares several batches with, as one; None where a batch has none."""
        ...

    def calibration(self, model: Any, inputs: Inputs, source: "NumberSource", options: Options) -> CalibrationPass:
        """A model on these inputs, to be calibrated.

        Args:
            model: with values, or with a plan that draws them where the framework can do so.
            inputs: with values.
            source: where the model's numbers come from.
            options: what should be reached.

        Raises:
            TypeError, ValueError: a model or inputs without values.
        """
        ...


@dataclass(frozen=True)
class NumberSource:
    """Origin of a model's numbers: a plan draws them, or they are there already.

    Args:
        plan: what draws them, None where they are there.
        key: of the plan's numbers: a seed, a `Key`, or a key of the framework's own.
        balance: whether gradients are wanted, which need all parameters at once.
    """

    plan: Plan | None = None
    key: Any = None
    balance: bool = False


@dataclass(frozen=True)
class CalibrationSession:
    """How models are calibrated.

    Args:
        backend: the framework.
        options: what should be reached.
        plan: whose numbers the model gets first, and which carries the factors in the result: `apply` with it and the
            same key makes the calibrated model again, bit for bit.
        key: of the plan's numbers: a seed, a `Key`, or a key of the framework's own.
        balance: makes the ratios of gradient to weight equal along chains of maps and positively homogeneous
            functions, with another forward pass and a backward pass; the model's function is kept.
        loss: as `check` takes it; it is computed for `balance` alone.

    Raises:
        TypeError: no loss.
        ValueError: a plan without a key, or in mode "channel"; an unknown loss.
    """

    backend: CalibrationBackend
    options: Options
    plan: Plan | None = None
    key: Any = None
    balance: bool = False
    loss: LossLike = None

    def __post_init__(self) -> None:
        check_plan(self.plan, self.key, self.options)
        self.backend.check_loss(self.loss)

    def result(self, model: Any, batches: Sequence[Any]) -> Calibration:
        """Calibrates a model; where anything fails, nothing was changed.

        Args:
            model: with values, or with a plan that draws them.
            batches: of the same kind: all are run as one, so that their statistics are pooled at every op. Where there
                is a loss, the last element of a tuple is what it compares with.

        Raises:
            TypeError, ValueError: a model or batches that cannot be calibrated, or that do not fit each other.
            ModelError: the model could not be run, or does other things in each of two runs.
        """
        given = [given_batch(self.backend, model, batch, self.loss) for batch in batches]
        inputs = self.backend.join([self.backend.inputs(model, each.inputs, valued=True) for each in given])
        run = self.backend.calibration(model, inputs, NumberSource(self.plan, self.key, self.balance), self.options)
        with run.kept(early=self.balance or self.plan is not None):
            decisions = self._found(run)
            if self.balance:
                decisions = self._balanced(
                    run, decisions, inputs, self.backend.join_targets([each.target for each in given])
                )
            calibrated_model, planned = self._changed(run, decisions)
        description = self.backend.describe(None if len(batches) > 1 else given[0].inputs, inputs)
        name = self.backend.model_name(model)
        return replace(decisions.settled(planned), name=name, batch=description, model=calibrated_model)

    def _found(self, run: CalibrationPass) -> Decisions:
        if self.plan is not None:
            run.draw(self.plan)
        decisions = calibrated(run.structure, run.seen, run.passed)
        if decisions is None:
            raise ModelError("the model does other things in each of two runs on the same inputs: nothing to calibrate")
        return decisions

    def _balanced(self, run: CalibrationPass, decisions: Decisions, inputs: Inputs, target: Any) -> Decisions:
        """Decisions with equal ratios of gradient to weight, from a run of the calibrated model."""
        with run.undone(decisions.changes if self.plan is None else ()):
            calibrated_model, _ = self._changed(run, decisions)
            values = self.backend.observe(calibrated_model, inputs, target, self.loss).values
        return decisions.balanced(values)

    def _changed(self, run: CalibrationPass, decisions: Decisions) -> tuple[Any, Plan | None]:
        """The model with what was decided, and the plan that says it."""
        if self.plan is None:
            return run.changed(decisions.changes, decisions.spreads), None
        planned = with_factors(self.plan, decisions.changes)
        return run.draw(planned), planned
