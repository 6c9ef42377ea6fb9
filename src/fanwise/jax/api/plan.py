"""`plan`: a law for every parameter of a model of JAX, from one run."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fanwise.graph.visitor import Watcher
from fanwise.jax.trace.inputs import as_inputs, inputs_text
from fanwise.jax.trace.models import as_model
from fanwise.jax.trace.run import Program, program_of, traced
from fanwise.plan.fixed_point import rows_of, settled
from fanwise.plan.plan import Plan
from fanwise.plan.planner import Planner
from fanwise.plan.recipes.registry import recipe as as_recipe
from fanwise.plan.recipes.unit import Recipe
from fanwise.theory.propagation import propagate


def plan(model: Any, inputs: Any, recipe: str | Recipe = "unit") -> Plan:
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

    Returns:
        One row a parameter; print it, edit it, save it.

    Raises:
        TypeError: not a model, or inputs of no known kind.
        ValueError: an unknown recipe, or words that cannot be read.
        ModelError: the model could not be run on these inputs.

    Example:
        >>> import jax.numpy as jnp
        >>> def network(p, x):
        ...     return jax.nn.relu(x @ p["w0"]) @ p["w1"]
        >>> params = {"w0": jnp.zeros((784, 100)), "w1": jnp.zeros((100, 10))}
        >>> [(row.path, row.role, row.fan_in) for row in plan((network, params), "64,784")]
        [('w0', 'weight', 784), ('w1', 'head', 100)]
    """
    made, chosen = as_model(model), as_recipe(recipe)
    given = as_inputs(inputs, abstract=made.is_abstract)
    planner = decide(program_of(made, given), chosen)
    return Plan(rows_of(planner), chosen.name, f"jax {jax.__version__}", inputs_text(inputs, given))


def decide(program: Program, recipe: Recipe) -> Planner:
    """Runs the recipe over a program: on real values where it has some, by theory where it has none."""
    trace = traced(program, Watcher())
    found = None if program.is_abstract else constants(program.model.leaves)

    def execute(planner: Planner) -> None:
        if program.is_abstract:
            propagate(trace, planner)
        else:
            traced(program, planner)

    return settled(trace, recipe, found, execute)


def constants(leaves: Mapping[str, Any]) -> dict[str, float]:
    """The value of each small parameter whose values are all equal."""
    held = {path: np.asarray(leaf) for path, leaf in leaves.items() if _is_small(leaf)}
    return {path: float(array.flat[0]) for path, array in held.items() if bool((array == array.flat[0]).all())}


def _is_small(leaf: Any) -> bool:
    return leaf.size > 0 and (leaf.ndim < 2 or min(leaf.shape) <= 1) and not np.iscomplexobj(leaf)
