"""`check`: is this model healthy at step zero, where does it start, what mends it."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from fanwise.check.arguments import parse_optimizer
from fanwise.check.assembling import assembled
from fanwise.check.findings import SEVERITIES, Severity
from fanwise.check.report import Report
from fanwise.check.rules.judgement import chosen_codes
from fanwise.check.subject import Subject
from fanwise.keras.measure.losses import Judge, LossLike, checked_loss, split
from fanwise.keras.measure.observe import observe
from fanwise.keras.trace.backend import framework
from fanwise.keras.trace.inputs import as_inputs, inputs_text
from fanwise.keras.trace.run import Inputs, on_backend
from fanwise.keras.trace.variables import variables
from fanwise.keras.weights.apply import apply
from fanwise.keras.weights.read_write import values_of
from fanwise.measure.observation import Observation
from fanwise.plan.plan import Plan
from fanwise.stream.arguments import checked_choice, checked_count


def check(
    model: Any,
    batch: Any = None,
    loss: LossLike = None,
    *,
    optimizer: str | None = None,
    plan: Plan | None = None,
    seeds: int = 3,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: Severity = "error",
    backward: bool = True,
) -> Report:
    """Judges a model before its first training step.

    The model is run forward and backward, layer by layer, as `run` does, and left as it was. It runs for inference, but
    batch norms take the batch's own statistics. One run takes the memory of a training step; on JAX the model runs
    twice.

    Args:
        model: a built Keras model, judged as it is found; or a function without arguments that builds one, called once
            a seed.
        batch: what the model is called with, as for `plan`; with a loss a tuple (inputs, target).
        loss: name of a loss of keras.losses, an instance of one, or a function of target and output. None: a random
            projection of the output, which gives gradients but no loss to judge.
        optimizer: what will train it, as in ``"adam:1e-3"``; None leaves the rules on updates out.
        plan: what the weights should be. They are compared with it; with more than one seed, the runs after the first
            take the plan's numbers under other seeds.
        seeds: initialisations that are looked at: of a function, or of a plan.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on the report is not ok.
        backward: False leaves the backward pass out.

    Returns:
        A report: `.ok`, `.findings`, `.table`, `.to_json()`, `.to_sarif()`, `.html(path)`; printing it shows the table.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a model that was not built, an unknown loss, optimizer, code or severity, a loss without a target.
        ModelError: the model, its loss or its backward pass could not be run.

    Example:
        >>> from fanwise.keras import apply, plan
        >>> hidden = [keras.layers.Dense(64, "relu") for _ in range(3)]
        >>> model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(64, 64)).astype("float32"), rng.integers(0, 10, 64)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> report = check(apply(model, plan(model, x), key=0), (x, y), loss)
        >>> report.ok, [finding.code for finding in report.findings]
        (True, [])
    """
    function, name = checked_loss(loss)
    chosen_codes(select, ignore)
    checked_choice(fail_on, SEVERITIES, name="fail_on")
    parsed = None if optimizer is None else parse_optimizer(optimizer)
    inputs, target = split(batch, loss)
    way = _Way(inputs, Judge(function, name, _on_backend(target)), checked_count(seeds, name="seeds"), backward)
    if isinstance(model, keras.layers.Layer):
        observations = tuple(way.of_plan(model, plan)) if plan is not None else (way.one(model, None),)
        found = model
    else:
        found, observations = way.of_factory(model)
    report = assembled(Subject(observations, plan, parsed), select=select, ignore=ignore, fail_on=fail_on)
    text = inputs_text(as_inputs(found, inputs))
    return replace(report, model=type(found).__name__, framework=framework(), batch=text)


@dataclass(frozen=True)
class _Way:
    """How a model is run."""

    inputs: Any
    judge: Judge
    seeds: int
    backward: bool

    def one(self, model: Any, seed: int | None) -> Observation:
        """A run of a model as it is."""
        seen = observe(model, as_inputs(model, self.inputs), self.judge, backward=self.backward)
        return replace(seen, seed=seed)

    def of_plan(self, model: Any, plan: Plan) -> Iterator[Observation]:
        """Runs of a model as it is, and then under the numbers of a plan; its own are put back."""
        yield self.one(model, None)
        if self.seeds > 1:
            with _kept(model):
                for seed in range(1, self.seeds):
                    yield self.one(apply(model, plan, seed), seed)

    def of_factory(self, factory: Any) -> tuple[Any, tuple[Observation, ...]]:
        """Runs of a model built anew under each seed, and the first of the models."""
        if not callable(factory):
            raise TypeError(f"model = {type(factory).__name__}: expected a keras.Model, or a function that builds one")
        first = _built(factory, 0)
        rest = [self.one(_built(factory, seed), seed) for seed in range(1, self.seeds)]
        return first, (self.one(first, 0), *rest)


def _built(factory: Callable[[], Any], seed: int) -> Any:
    with _seeded(seed):
        model = factory()
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"the function made {type(model).__name__}: expected a keras.Model")
    return model


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Keras' random numbers from a seed; those of Python and NumPy go on afterwards where they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  (what Keras seeds)
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


@contextmanager
def _kept(model: Any) -> Iterator[None]:
    """Puts the values of the parameters back."""
    held = variables(model)
    copies = {path: values_of(variable) for path, variable in held.items()}
    try:
        yield
    finally:
        for path, variable in held.items():
            variable.assign(copies[path])


def _on_backend(target: Any) -> Any:
    return None if target is None else on_backend(Inputs((target,))).args[0]
