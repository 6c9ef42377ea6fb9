"""`check`: is this model healthy at step zero, where does it start, what mends it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from fanwise.check.arguments import parse_optimizer
from fanwise.check.assembling import assembled
from fanwise.check.findings import SEVERITIES, Severity
from fanwise.check.report import Report
from fanwise.check.rules.judgement import chosen_codes
from fanwise.check.subject import Subject
from fanwise.jax.measure.losses import LossLike, checked_loss, split
from fanwise.jax.measure.observe import observe
from fanwise.jax.trace.inputs import as_inputs, inputs_text
from fanwise.jax.trace.models import as_model, is_model
from fanwise.jax.weights.apply import apply
from fanwise.measure.observation import Observation
from fanwise.plan.plan import Plan
from fanwise.stream.arguments import checked_choice, checked_count


def check(  # noqa: PLR0913  (one parameter a choice; all but three by name)
    model: Any,
    batch: Any,
    loss: LossLike = None,
    *,
    optimizer: str | None = None,
    plan: Plan | None = None,
    seeds: int = 3,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: Severity = "error",
    progress: Callable[[str], None] | None = None,
    backward: bool = True,
) -> Report:
    """Judges a model before its first training step.

    The model's program is interpreted op by op, forward, and again for the gradients; nothing of the model changes.

    Args:
        model: as for `fanwise.jax.plan`, judged as it is found; or a function of a JAX key that makes one, called once
            a seed.
        batch: inputs as for `fanwise.jax.plan`. Where a `loss` is given, the last element of a tuple, or a mapping's
            "target" or "labels", is what the loss compares with; a batch without one gets targets that are drawn.
        loss: "cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", or a function of output and target that
            gives one number. None: the loss that the model returns itself; where it returns none, a random projection
            of its output, which gives gradients but no loss to judge.
        optimizer: what will train it, as in ``"adam:1e-3"``; None leaves the rules on updates out.
        plan: what the weights should be. They are compared with it; with more than one seed, the runs after the first
            take the plan's numbers under other seeds.
        seeds: initialisations that are looked at: of a function that makes models, or of a plan.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on the report is not ok.
        progress: told what is done next.
        backward: False leaves the backward pass out: a report on the forward pass alone.

    Returns:
        A report: `.ok`, `.findings`, `.table`, `.to_json()`, `.to_sarif()`, `.html(path)`; printing it shows the table.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an unknown loss, optimizer, code or severity.
        ModelError: the model, its loss or its backward pass could not be run; the message says where.

    Example:
        >>> import jax.numpy as jnp
        >>> from fanwise.jax import initializers
        >>> def network(p, x):
        ...     return jax.nn.relu(x @ p["w0"]) @ p["w1"]
        >>> init, keys = initializers.he_normal(), jax.random.split(jax.random.key(0), 3)
        >>> params = {"w0": init(keys[0], (64, 64)), "w1": 0.1 * init(keys[1], (64, 10))}
        >>> batch = jax.random.normal(keys[2], (32, 64)), jnp.arange(32) % 10
        >>> check((network, params), batch, "cross_entropy").ok
        True
    """
    checked_loss(loss)
    chosen_codes(select, ignore)
    checked_choice(fail_on, SEVERITIES, name="fail_on")
    parsed = None if optimizer is None else parse_optimizer(optimizer)
    way = _Way(batch, loss, checked_count(seeds, name="seeds"), backward, progress or (lambda text: None))
    if is_model(model):
        found, observations = model, tuple(way.of_plan(model, plan) if plan is not None else [way.one(model, None)])
    else:
        found, observations = way.of_factory(model)
    report = assembled(Subject(observations, plan, parsed), select=select, ignore=ignore, fail_on=fail_on)
    unseen = observations[0].trace.unseen
    notes = (*report.notes, *(f"Not looked into: {text}." for text in unseen))
    return replace(
        report, model=as_model(found).name, framework=f"jax {jax.__version__}", batch=way.text(), notes=notes
    )


@dataclass(frozen=True)
class _Way:
    """How a model is run."""

    batch: Any
    loss: LossLike
    seeds: int
    backward: bool
    progress: Callable[[str], None]

    def text(self) -> str:
        """The inputs in words."""
        inputs, _ = split(self.batch, self.loss)
        return inputs_text(inputs, as_inputs(inputs))

    def one(self, model: Any, seed: int | None) -> Observation:
        """A run of a model as it is."""
        inputs, target = split(self.batch, self.loss)
        self.progress("forward and backward" if seed is None else f"seed {seed}: forward and backward")
        return replace(observe(model, as_inputs(inputs), target, self.loss, backward=self.backward), seed=seed)

    def of_plan(self, model: Any, plan: Plan) -> Iterator[Observation]:
        """Runs of a model as it is, and then under the numbers of a plan."""
        yield self.one(model, None)
        for seed in range(1, self.seeds):
            yield self.one(apply(model, plan, seed), seed)

    def of_factory(self, factory: Any) -> tuple[Any, tuple[Observation, ...]]:
        """Runs of a model made anew of each key, and the first of the models."""
        if not callable(factory):
            as_model(factory)  # raises, with the forms that there are
        first = _made(factory, 0)
        observations = [self.one(first, 0)]
        observations += [self.one(_made(factory, seed), seed) for seed in range(1, self.seeds)]
        return first, tuple(observations)


def _made(factory: Callable[[Any], Any], seed: int) -> Any:
    model = factory(jax.random.key(seed))
    if not is_model(model):
        raise TypeError(f"the function made {type(model).__name__}: expected a model, as fanwise.jax.plan takes it")
    return model
