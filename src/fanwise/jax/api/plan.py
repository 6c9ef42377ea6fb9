"""`plan`: a law for every parameter of a model of JAX, from one run."""

from typing import Any

from fanwise.adapters.planning import Keep, plan_model
from fanwise.jax.backend import BACKEND
from fanwise.jax.trace.models import as_model
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.recipe import Recipe


def plan(model: Any, inputs: Any, recipe: str | Recipe = "unit", *, keep: Keep = None) -> Plan:
    """A law for every parameter of a model, from what the model does with some inputs.

    The model is traced and interpreted op by op. What feeds each op is measured on the values that the plan itself
    would put there; where the parameters or the inputs are shapes alone, it is derived by theory. Parameters that no op
    used are listed, not guessed.

    Args:
        model: ``(function, params)`` with ``function(params, *inputs)``, ``(linen module, variables)``, an nnx module
            or an Equinox module; with arrays, or with shapes as `jax.eval_shape` gives them.
        inputs: an array, a tuple of arguments, a mapping of named ones, or words such as ``"32,224,224,3"`` or
            ``"8,128:int32[0,50257)"``.
        recipe: its name, or a `Recipe`.
        keep: patterns of paths, such as ``"encoder.*"``, whose parameters stay as they are; ``"trained"`` for the
            weights that look trained.

    Returns:
        One row a parameter; print it, edit it, save it.

    Raises:
        TypeError: not a model, or inputs of no known kind.
        ValueError: a pattern that matches no parameter, an unknown recipe, or words that cannot be read.
        ModelError: the model could not be run on these inputs.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> def network(p, x):
        ...     return jax.nn.relu(x @ p["w0"]) @ p["w1"]
        >>> params = {"w0": jnp.zeros((784, 100)), "w1": jnp.zeros((100, 10))}
        >>> [(row.path, row.role, row.fan_in) for row in plan((network, params), "64,784")]
        [('w0', 'weight', 784), ('w1', 'head', 100)]
    """
    return plan_model(BACKEND, as_model(model), inputs, recipe, keep)
