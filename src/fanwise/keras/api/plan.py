"""`plan`: a law for every parameter of a Keras model, from one run."""

from typing import Any

import numpy as np

from fanwise.graph.trace import Trace
from fanwise.keras.trace.backend import framework
from fanwise.keras.trace.inputs import as_inputs, inputs_text
from fanwise.keras.trace.run import Inputs, run
from fanwise.keras.trace.variables import as_array, check_model, variables
from fanwise.plan.fixed_point import rows_of, settled
from fanwise.plan.plan import Plan
from fanwise.plan.planner import Planner
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.plan.recipes.unit import Recipe


def plan(model: Any, inputs: Any = None, recipe: str | Recipe = "unit") -> Plan:
    """A law for every parameter of a model, from what the model does with some inputs.

    The model is run layer by layer, and left as it was. What feeds each op is measured on the values that the plan
    itself would put there. Parameters that no op used are listed, not guessed.

    Args:
        model: any built Keras model, on any backend.
        inputs: what the model is called with: an array or tensor, or a list or mapping of them; `Inputs` for more
            arguments; None for a functional model of floating-point inputs.
        recipe: its name, or a `Recipe`.

    Returns:
        One row a parameter; print it, edit it, save it.

    Raises:
        TypeError: no Keras model, or inputs of no known kind.
        ValueError: a model that was not built, an unknown recipe, or no inputs where the model does not say them.
        ModelError: the model could not be run on these inputs.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(100, "relu", name="a"), keras.layers.Dense(10, name="b")]
        >>> made = plan(keras.Sequential([keras.Input((784,)), *layers], name="m"))
        >>> [(row.path, row.role) for row in made]
        [('m/a/kernel', 'weight'), ('m/a/bias', 'bias'), ('m/b/kernel', 'head'), ('m/b/bias', 'head_bias')]
    """
    check_model(model)
    given, chosen = as_inputs(model, inputs), as_recipe(recipe)
    planner = decide(model, given, run(model, given), chosen)
    return Plan(rows_of(planner), chosen.name, framework(), inputs_text(given))


def decide(model: Any, inputs: Inputs, trace: Trace, recipe: Recipe) -> Planner:
    """Runs the recipe over the model."""

    def execute(planner: Planner) -> None:
        run(model, inputs, planner)

    return settled(trace, recipe, _constants(model), execute)


def _constants(model: Any) -> dict[str, float]:
    """The value of each small parameter whose values are all equal."""
    arrays = ((path, as_array(variable.value)) for path, variable in variables(model).items())
    return {path: float(array.flat[0]) for path, array in arrays if _is_constant(array)}


def _is_constant(array: Any) -> bool:
    if array.size == 0 or (array.ndim > 1 and min(array.shape) > 1):
        return False
    return bool(np.all(array == array.flat[0]))
