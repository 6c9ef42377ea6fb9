"""`check`: is this model healthy at step zero, where does it start, what mends it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import nn

from fanwise.check.arguments import OptimizerLike
from fanwise.check.findings import Severity
from fanwise.check.report import Report
from fanwise.check.session import CheckSession
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import Place
from fanwise.plan.plan import Plan
from fanwise.torch.backend import BACKEND

Factory: TypeAlias = Callable[[], nn.Module]


def check(  # noqa: PLR0913  (one parameter a choice; all but three by name)
    model: "nn.Module | Factory",
    batch: Any = None,
    loss: LossLike = None,
    *,
    optimizer: OptimizerLike = None,
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
            What yields batches, such as a data loader, gives its first.
        loss: name of a loss of torch.nn.functional, or a function of output and target that gives one number. None: the
            loss that the model returns itself; where it returns none, a random projection of its output, which gives
            gradients but no loss to judge.
        optimizer: what will train it, as in ``"adam:1e-3"``, or an optimizer of torch.optim;
            None leaves the rules on updates out.
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
        >>> import torch
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator object at ...>
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> report = check(model, (torch.randn(32, 64), torch.randint(10, (32,))), "cross_entropy")
        >>> report.ok, [finding.code for finding in report.findings]
        (True, [])
    """
    session = CheckSession(
        BACKEND,
        loss,
        optimizer=optimizer,
        plan=plan,
        seeds=seeds,
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        places=places,
        progress=progress,
        backward=backward,
    )
    return session.report(model, batch)
