"""One architecture: built small, planned, printed, read back, applied and checked."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import fanwise.torch as fwt
from bench.architectures.record import Judged
from bench.architectures.search import built, smallest
from fanwise.check.findings import at_least
from fanwise.plan.plan import Plan
from fanwise.plan.row import UNUSED

LARGEST = 40_000_000
"""Parameters of the largest model that is run."""


def judge(name: str, config_class: type[Any], limit: int = LARGEST) -> Judged:
    """The record of one architecture.

    Args:
        name: its model type.
        config_class: of its configuration.
        limit: parameters of the largest model that is run.
    """
    record, start = Judged(name), time.perf_counter()
    try:
        config, model = smallest(record, config_class, limit)
        _plan(record, config, model)
    except Exception as error:
        record.reason = f"{type(error).__name__}: {error}"[:600]
    record.seconds = round(time.perf_counter() - start, 2)
    return record


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
    other = dict(built(config, 10**12, seed=1).named_parameters())
    return tuple(path for path in paths if here[path].requires_grad and not torch.equal(here[path], other[path]))
