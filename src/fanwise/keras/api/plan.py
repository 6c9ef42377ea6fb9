"""`plan`: a law for every parameter of a Keras model, from one run."""

from typing import Any

from fanwise.adapters.planning import Keep, plan_model
from fanwise.keras.backend import BACKEND
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.recipe import Recipe


def plan(model: Any, inputs: Any = None, recipe: str | Recipe = "unit", *, keep: Keep = None) -> Plan:
    """A law for every parameter of a model, from what the model does with some inputs.

    The model is run layer by layer, and left as it was. What feeds each op is measured on the values that the plan
    itself would put there. Parameters that no op used are listed, not guessed.

    Args:
        model: any built Keras model, on any backend.
        inputs: what the model is called with: an array or tensor, or a list or mapping of them; `Inputs` for more
            arguments; None for a functional model of floating-point inputs.
        recipe: its name, or a `Recipe`.
        keep: patterns of paths, such as ``"encoder.*"``, whose parameters stay as they are; ``"trained"`` for the
            weights that look trained.

    Returns:
        One row a parameter; print it, edit it, save it.

    Raises:
        TypeError: no Keras model, or inputs of no known kind.
        ValueError: a model that was not built, an unknown pattern or recipe, or no inputs where the model does not say
            them.
        ModelError: the model could not be run on these inputs.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(100, "relu", name="a"), keras.layers.Dense(10, name="b")]
        >>> made = plan(keras.Sequential([keras.Input((784,)), *layers], name="m"))
        >>> [(row.path, row.role) for row in made]
        [('m/a/kernel', 'weight'), ('m/a/bias', 'bias'), ('m/b/kernel', 'head'), ('m/b/bias', 'head_bias')]
    """
    return plan_model(BACKEND, model, inputs, recipe, keep)
