"""`plan`: a law for every parameter of a torch model, from one run."""

from typing import Any

import torch
from torch import Tensor, nn

from fanwise.graph.trace import Trace
from fanwise.plan.fixed_point import rows_of, settled
from fanwise.plan.plan import Plan
from fanwise.plan.planner import Planner
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.plan.recipes.unit import Recipe
from fanwise.theory.propagation import propagate
from fanwise.torch.trace.inputs import as_inputs, inputs_text
from fanwise.torch.trace.run import Inputs, run


def plan(model: nn.Module, inputs: Any = None, recipe: str | Recipe = "unit") -> Plan:
    """A law for every parameter of a model, from what the model does with some inputs.

    The model is run op by op, and left as it was. What feeds each op is measured on the values that the plan itself
    would put there; on the meta device it is derived by theory. Parameters that no op used are listed, not guessed.

    Args:
        model: any `torch.nn.Module`, on any device, meta too.
        inputs: a tensor, a tuple of arguments, a mapping of named ones, or a spec such as ``"32,3,224,224"`` or
            ``"input_ids=8,128:int64[0,50257)"``; None for a transformers model.
        recipe: its name, or a `Recipe`.

    Returns:
        One row a parameter; print it, edit it, save it.

    Raises:
        TypeError: no module, TorchScript, lazy parameters, or inputs of no known kind.
        ValueError: an unknown recipe, or a spec that cannot be read.
        ModelError: the model could not be run on these inputs.

    Example:
        >>> made = plan(nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)), "64,784")
        >>> [row.role for row in made]
        ['weight', 'bias', 'head', 'head_bias']
    """
    given = as_inputs(model, inputs)
    chosen = as_recipe(recipe)
    planner = decide(model, given, run(model, given), chosen)
    version = torch.__version__.partition("+")[0]
    return Plan(rows_of(planner), chosen.name, f"torch {version}", inputs_text(inputs, given))


def decide(model: nn.Module, inputs: Inputs, trace: Trace, recipe: Recipe) -> Planner:
    """Runs the recipe over the model: on real values where it has some, by theory where it has none."""
    real = not any(tensor.is_meta for tensor in model.parameters())
    found = _constants(model) if real else None

    def execute(planner: Planner) -> None:
        if real:
            run(model, inputs, planner)
        else:
            propagate(trace, planner)

    return settled(trace, recipe, found, execute)


def _constants(model: nn.Module) -> dict[str, float]:
    """The value of each small parameter whose values are all equal."""
    held = ((path, tensor.detach()) for path, tensor in model.named_parameters())
    return {path: float(tensor.flatten()[0]) for path, tensor in held if _is_constant(tensor)}


def _is_constant(tensor: Tensor) -> bool:
    if tensor.numel() == 0 or (tensor.dim() > 1 and min(tensor.shape) > 1) or tensor.is_complex():
        return False
    return bool((tensor == tensor.flatten()[0]).all())
