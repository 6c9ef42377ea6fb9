"""`plan`: a law for every parameter of a torch model, from one run."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.laws.layout import Layout
from fanwise.plan.plan import Plan
from fanwise.plan.planner import Decision, Planner
from fanwise.plan.recipes import UNIT, Recipe
from fanwise.plan.roles import Case
from fanwise.plan.row import Row
from fanwise.theory import propagate
from fanwise.torch.inputs import as_inputs
from fanwise.torch.run import Inputs, run
from fanwise.trace import Trace

PASSES = 3
"""At most so many runs until the tables that are heads too have settled."""


def plan(model: nn.Module, inputs: Any = None, recipe: str | Recipe = "unit") -> Plan:
    """A law for every parameter."""
    given = as_inputs(model, inputs)
    chosen = UNIT if isinstance(recipe, str) else recipe
    trace = run(model, given)
    return Plan(_rows(decide(model, given, trace, chosen)), recipe=chosen.name, framework=f"torch {torch.__version__}")


def decide(model: nn.Module, inputs: Inputs, trace: Trace, recipe: Recipe) -> Planner:
    """Runs the recipe over the model: on real values where it has some, by theory where it has none."""
    real = not any(tensor.is_meta for tensor in model.parameters())
    found = _constants(model) if real else None
    heads: dict[str, float] = {}
    for _ in range(PASSES):
        planner = Planner(trace, recipe, found, heads)
        if real:
            run(model, inputs, planner)
        else:
            propagate(trace, planner)
        planner.finish()
        if not _moved(heads, planner.measured_heads):
            break
        heads = planner.measured_heads
    return planner


def _moved(before: dict[str, float], now: dict[str, float]) -> bool:
    return any(abs(value / before.get(path, 1.0) - 1) > 0.02 for path, value in now.items())  # noqa: PLR2004


def _constants(model: nn.Module) -> dict[str, float]:
    """The value of each small parameter whose values are all equal."""
    held = ((path, tensor.detach()) for path, tensor in model.named_parameters())
    return {path: float(tensor.flatten()[0]) for path, tensor in held if _is_constant(tensor)}


def _is_constant(tensor: Tensor) -> bool:
    if tensor.numel() == 0 or tensor.dim() > 1 and min(tensor.shape) > 1 or tensor.is_complex():
        return False
    return bool((tensor == tensor.flatten()[0]).all())


def _rows(planner: Planner) -> list[Row]:
    return [_row(planner.decisions[path]) for path in planner.cases]


def _layout(case: Case, law: Initializer | None) -> Layout | None:
    """A law that is made of blocks itself needs the layout of one block."""
    layout = case.layout
    if isinstance(law, Blocks) and layout is not None and layout.fused is not None:
        return replace(layout, fused=None)
    return layout


def _row(decision: Decision) -> Row:
    case, choice = decision.case, decision.choice
    parameter = case.parameter
    return Row(
        path=parameter.path,
        shape=parameter.shape,
        dtype=parameter.dtype,
        law=choice.law,
        layout=_layout(case, choice.law),
        role=case.role,
        op="" if case.op is None else case.op.kind,
        reason=choice.reason,
        source=choice.source,
        aliases=parameter.aliases,
        fed=decision.fed,
        gives=choice.gives,
        guess=choice.guess,
    )
