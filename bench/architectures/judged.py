"""One architecture: built small, planned, printed, read back, applied and checked."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import fanwise.torch as fwt
from bench.architectures.shrunk import LEVELS, shrunk
from fanwise.check.findings import at_least
from fanwise.plan.plan import Plan
from fanwise.plan.row import UNUSED
from fanwise.torch.backend import BACKEND
from fanwise.torch.cli.hf_models import configured

LARGEST = 40_000_000
"""Parameters of the largest model that is run."""


@dataclass
class Judged:
    """What came of one architecture.

    Args:
        name: its model type.
        model: class of the model.
        level: how far its configuration was made small.
        parameters: how many numbers it has.
        tensors: how many arrays of parameters.
        unused: those that no op read.
        lawless: paths of those that are drawn at random by the library and that the plan leaves as they are.
        printed: whether the plan was printed and read back, equal.
        applied: whether the plan was applied.
        findings: codes at warning or above after that.
        loss: the first loss over the best constant's, where the check has it.
        seconds: of it all.
        stage: what was done last.
        reason: why it went no further.
    """

    name: str
    model: str = ""
    level: int = 0
    parameters: int = 0
    tensors: int = 0
    unused: int = 0
    lawless: tuple[str, ...] = ()
    printed: bool = False
    applied: bool = False
    findings: tuple[str, ...] = ()
    seconds: float = 0.0
    stage: str = "build"
    reason: str = ""


def judge(name: str, config_class: type[Any], limit: int = LARGEST) -> Judged:
    """The record of one architecture.

    Args:
        name: its model type.
        config_class: of its configuration.
        limit: parameters of the largest model that is run.
    """
    record, start = Judged(name), time.perf_counter()
    try:
        config, model = _smallest(record, config_class, limit)
        _plan(record, config, model)
    except Exception as error:
        record.reason = f"{type(error).__name__}: {error}"[:600]
    record.seconds = round(time.perf_counter() - start, 2)
    return record


def _smallest(record: Judged, config_class: type[Any], limit: int) -> tuple[Any, nn.Module]:
    """The first model that can be built and run, the smallest first."""
    errors: list[Exception] = []
    for level in range(LEVELS):
        try:
            config = _config(config_class, level)
            model = _built(config, limit)
            record.level, record.model = level, type(model).__name__
            record.stage = "inputs"
            _runs(model)
            return config, model
        except Exception as error:
            errors.append(error)
    record.level = 0
    raise errors[0]


def _config(config_class: type[Any], level: int) -> Any:
    return config_class(**shrunk(config_class(), level))


def _runs(model: nn.Module) -> None:
    """Nothing where the model runs on what its configuration tells."""
    inputs = BACKEND.inputs(model, None)
    with torch.no_grad():
        model.eval()(*inputs.args, **dict(inputs.kwargs or {}))


def _built(config: Any, limit: int, seed: int = 0) -> nn.Module:
    with torch.device("meta"):
        size = sum(tensor.numel() for tensor in configured(config).parameters())
    if size > limit:
        raise ValueError(f"too large: {size} parameters")
    torch.manual_seed(seed)
    return configured(config).float()


def _plan(record: Judged, config: Any, model: nn.Module) -> None:
    record.stage = "plan"
    record.parameters = sum(tensor.numel() for tensor in model.parameters())
    plan = fwt.plan(model)
    record.tensors, record.unused = len(plan), len(plan.unused)
    kept = [row.path for row in plan.kept if row.role != UNUSED]
    record.lawless = _random(model, config, kept)
    record.stage = "print"
    record.printed = bool(str(plan)) and Plan.from_toml(plan.to_toml()) == plan
    record.stage = "apply"
    fwt.apply(model, plan, key=0)
    record.applied = True
    record.stage = "check"
    report = fwt.check(model, seeds=1)
    record.findings = tuple(
        f"{finding.code} {finding.place}: {finding.message}"
        for finding in report.findings
        if at_least(finding.severity, "warning")
    )
    record.stage = "done"


def _random(model: nn.Module, config: Any, paths: list[str]) -> tuple[str, ...]:
    """The paths whose values another seed changes."""
    if not paths:
        return ()
    here: Mapping[str, Tensor] = dict(model.named_parameters())
    other = dict(_built(config, 10**12, seed=1).named_parameters())
    return tuple(path for path in paths if here[path].requires_grad and not torch.equal(here[path], other[path]))
