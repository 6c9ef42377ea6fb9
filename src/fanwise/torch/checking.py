"""`check`: is this model healthy at step zero, where does it start, what mends it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from fanwise.check.findings import SEVERITIES, Severity
from fanwise.check.folding import chosen_codes, judge
from fanwise.check.layers import layers
from fanwise.check.observation import Observation, Place
from fanwise.check.report import Report
from fanwise.check.subject import Optimizer, Subject
from fanwise.plan.plan import Plan
from fanwise.stream.arguments import checked_choice, checked_count, checked_number
from fanwise.torch.applying import apply
from fanwise.torch.batches import LossLike, checked_loss, split
from fanwise.torch.configured import labelled
from fanwise.torch.inputs import as_inputs
from fanwise.torch.observing import observe
from fanwise.torch.planning import inputs_text
from fanwise.torch.restore import seeded
from fanwise.torch.sources import constructed, function_place

Factory: TypeAlias = Callable[[], nn.Module]

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")


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
    report = Report(judge(subject, select, ignore), (), observations, fail_on=fail_on, places=places)
    return _described(report, subject, found, way.text(found))


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


def parse_optimizer(text: str) -> Optimizer:
    """An optimizer from its name and learning rate, as in ``"adam:1e-3"``.

    Raises:
        TypeError: not a str.
        ValueError: an unknown name, or no learning rate above 0.
    """
    if not isinstance(text, str):
        raise TypeError(f"optimizer = {text!r}: expected a text such as 'adam:1e-3'")
    name, _, rate = text.partition(":")
    checked_choice(name, OPTIMIZERS, name="optimizer")
    try:
        value = checked_number(float(rate), name="learning rate")
    except ValueError:
        raise ValueError(f"optimizer = {text!r}: expected a learning rate after the name, as in 'adam:1e-3'") from None
    if value <= 0:
        raise ValueError(f"optimizer = {text!r}: expected a learning rate > 0")
    return Optimizer(name, value)


def _described(report: Report, subject: Subject, model: nn.Module, batch: str) -> Report:
    trace = subject.trace
    weights = [parameter.path for parameter in trace.parameters if len(parameter.shape) > 1]
    used = sum(bool(trace.uses[path]) for path in weights)
    return replace(
        report,
        layers=layers(subject, report.findings),
        model=type(model).__name__,
        framework=f"torch {torch.__version__.partition('+')[0]}",
        batch=batch,
        parameters=sum(tensor.numel() for tensor in model.parameters()),
        weights=(len(weights), used),
        notes=tuple(_notes(subject)),
    )


def _notes(subject: Subject) -> Iterator[str]:
    first, lengths = subject.first, {len(one.signals) for one in subject.observations}
    if len(lengths) > 1:
        yield "The runs took different ways through the model: moments are those of the first seed alone."
    if not first.backward:
        yield "The backward pass was left out: nothing is said of gradients."
    elif first.loss is None or not any(values.reached for values in first.values.values()):
        yield "No gradient came to any parameter: nothing is said of the backward pass."
    elif first.loss.probe:
        yield "No loss was given: gradients are those of a random projection of the output, and no loss was judged."
    elif first.loss.drawn:
        yield "The batch holds no target: random ones stand for it."
    unseen = [path for path in subject.cases if path not in subject.values]
    if unseen:
        yield f"{len(unseen)} parameters could not be measured (sparse or quantised), such as {unseen[0]}."
    blind = [one for one in first.trace.ops if one.kind == "other" and one.uses]
    if blind:
        yield f"{len(blind)} ops that use parameters are not known to fanwise, such as {blind[0].name}."
