"""`plan`: a law for every parameter of a torch model, from one run."""

from typing import Any

from torch import nn

from fanwise.adapters.planning import Keep, plan_model
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.recipe import Recipe
from fanwise.torch.backend import BACKEND


def plan(model: nn.Module, inputs: Any = None, recipe: str | Recipe = "unit", *, keep: Keep = None) -> Plan:
    """A law for every parameter of a model, from what the model does with some inputs.

    The model is run op by op, and left as it was. What feeds each op is measured on the values that the plan itself
    would put there; on the meta device it is derived by theory. Parameters that no op used are listed, not guessed.

    Args:
        model: any `torch.nn.Module`, on any device, meta too.
        inputs: a tensor, a tuple of arguments, a mapping of named ones, or a spec such as ``"32,3,224,224"`` or
            ``"input_ids=8,128:int64[0,50257)"``; None for a transformers model.
        recipe: its name, or a `Recipe`.
        keep: patterns of paths, such as ``"encoder.*"``, whose parameters stay as they are; ``"trained"`` for the
            weights that look trained.

    Returns:
        One row a parameter; print it, edit it, save it.

    Raises:
        TypeError: no module, TorchScript, lazy parameters, or inputs of no known kind.
        ValueError: a pattern that matches no parameter, an unknown recipe, or a spec that cannot be read.
        ModelError: the model could not be run on these inputs.

    Example:
        >>> made = plan(nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)), "64,784")
        >>> [row.role for row in made]
        ['weight', 'bias', 'head', 'head_bias']
    """
    return plan_model(BACKEND, model, inputs, recipe, keep)
