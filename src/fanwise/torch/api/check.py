"""`check`: is this model healthy at step zero, where does it start, what mends it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from fanwise.check.arguments import parse_optimizer
from fanwise.check.assembling import assembled
from fanwise.check.findings import SEVERITIES, Severity
from fanwise.check.report import Report
from fanwise.check.rules.judgement import chosen_codes
from fanwise.check.subject import Subject
from fanwise.measure.observation import Observation, Place
from fanwise.plan.plan import Plan
from fanwise.stream.arguments import checked_choice, checked_count
from fanwise.torch.api.plan import inputs_text
from fanwise.torch.measure.losses import LossLike, checked_loss, split
from fanwise.torch.measure.observe import observe
from fanwise.torch.trace.hf_inputs import labelled
from fanwise.torch.trace.inputs import as_inputs
from fanwise.torch.trace.restore import seeded
from fanwise.torch.trace.sources import constructed, function_place
from fanwise.torch.weights.apply import apply

Factory: TypeAlias = Callable[[], nn.Module]


def check(  # noqa: PLR0913  (one parameter a choice; all but three by name)
    model: "nn.Module | Factory",
    batch: Any = None,
    loss: LossLike = None,
    *,
    optimizer: str | None = None,
    plan: Plan | None = None,
    seeds: int = 3,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: Severity = "error",
    places: Mapping[str, Place] | None = None,
    progress: Callable[[str], None] | None = None,
    backward: bool = True,
) -> Report:
    """Judges a model before its first training step.

    The model is run forward and backward, op by op, as `run` does, and left as it was: parameters, buffers, `.grad`,
    hooks, random states and training flags. It runs in evaluation mode with batch statistics. One run takes the memory
    of a training step.

    Args:
        model: a module, judged as it is found; or a factory without arguments, built once a seed.
        batch: a tensor, a tuple of arguments, a mapping of named ones, a spec such as ``"32,3,224,224"``, or None for a
            transformers model. Where a `loss` is given, the last element of a tuple, or a mapping's "target" or
            "labels", is what the loss compares with; a batch without one gets targets that are drawn.
        loss: name of a loss of torch.nn.functional, or a function of output and target that gives one number. None: the
            loss that the model returns itself; where it returns none, a random projection of its output, which gives
            gradients but no loss to judge.
        optimizer: what will train it, as in ``"adam:1e-3"``; None leaves the rules on updates out.
        plan: what the weights should be. They are compared with it; with more than one seed, the runs after the first
            take the plan's numbers under other seeds.
        seeds: initialisations that are looked at: of a factory, or of a plan.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on the report is not ok.
        places: where modules are constructed, by path; None: they are looked up in the sources of their classes.
        progress: told what is done next.
        backward: False leaves the backward pass out: less memory, and a report on the forward pass alone.

    Returns:
        A report: `.ok`, `.findings`, `.table`, `.to_json()`, `.to_sarif()`, `.html(path)`; printing it shows the table.

    Raises:
        TypeError: an argument of the wrong kind, TorchScript, lazy parameters.
        ValueError: an unknown loss, optimizer, code or severity.
        ModelError: the model, its loss or its backward pass could not be run; the message says where.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator object at ...>
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> report = check(model, (torch.randn(32, 64), torch.randint(10, (32,))), "cross_entropy")
        >>> report.ok, [finding.code for finding in report.findings]
        (True, [])
    """
    checked_loss(loss)
    chosen_codes(select, ignore)
    checked_choice(fail_on, SEVERITIES, name="fail_on")
    parsed = None if optimizer is None else parse_optimizer(optimizer)
    way = _Way(batch, loss, checked_count(seeds, name="seeds"), backward, progress or (lambda text: None))
    if isinstance(model, nn.Module):
        observations = tuple(way.of_plan(model, plan) if plan is not None else [way.one(model, None)])
        found = model
    else:
        found, observations = way.of_factory(model)
    subject = Subject(observations, plan, parsed)
    if places is None:
        places = constructed(found, None if isinstance(model, nn.Module) else function_place(model))
    return replace(
        assembled(subject, select=select, ignore=ignore, fail_on=fail_on),
        model=type(found).__name__,
        framework=f"torch {torch.__version__.partition('+')[0]}",
        batch=way.text(found),
        places=places,
    )


@dataclass(frozen=True)
class _Way:
    """How a model is run."""

    batch: Any
    loss: LossLike
    seeds: int
    backward: bool
    progress: Callable[[str], None]

    def text(self, model: nn.Module) -> str:
        """The inputs in words."""
        inputs, _ = split(self.batch, self.loss)
        return inputs_text(inputs, as_inputs(model, inputs))

    def one(self, model: nn.Module, seed: int | None) -> Observation:
        """A run of a model as it is."""
        inputs, target = split(self.batch, self.loss)
        given = as_inputs(model, inputs)
        if self.batch is None and self.loss is None:
            given = as_inputs(model, labelled(model, given))
        moved = None if target is None else as_inputs(model, (target,)).args[0]
        self.progress("forward and backward" if seed is None else f"seed {seed}: forward and backward")
        return replace(observe(model, given, moved, self.loss, backward=self.backward), seed=seed)

    def of_plan(self, model: nn.Module, plan: Plan) -> Iterator[Observation]:
        """Runs of a model as it is, and then under the numbers of a plan; its own are put back."""
        yield self.one(model, None)
        if self.seeds > 1:
            with _kept(model):
                for seed in range(1, self.seeds):
                    yield self.one(apply(model, plan, seed), seed)

    def of_factory(self, factory: Factory) -> tuple[nn.Module, tuple[Observation, ...]]:
        """Runs of a model built anew under each seed, and the first of the models."""
        if not callable(factory):
            raise TypeError(f"model = {type(factory).__name__}: expected a torch.nn.Module, or a factory of one")
        self.progress("seed 0: build")
        first = _built(factory, 0)
        observations = [self.one(first, 0)]
        for seed in range(1, self.seeds):
            self.progress(f"seed {seed}: build")
            observations.append(self.one(_built(factory, seed), seed))
        return first, tuple(observations)


def _built(factory: Factory, seed: int) -> nn.Module:
    with seeded(seed):
        model = factory()
    if not isinstance(model, nn.Module):
        raise TypeError(f"the factory made {type(model).__name__}: expected a torch.nn.Module")
    return model


@contextmanager
def _kept(model: nn.Module) -> Iterator[None]:
    """Puts the values of parameters and buffers back."""
    held = [*model.parameters(), *model.buffers()]
    copies = [tensor.detach().clone() for tensor in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, copy in zip(held, copies, strict=True):
                tensor.copy_(copy)
