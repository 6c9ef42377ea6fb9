"""`manifest` and `verify`: which bits a planned model should hold, and which of its arrays do not."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from fanwise.jax.trace.models import Model, as_model, parameters
from fanwise.jax.weights.apply import values_of
from fanwise.plan.manifest import Manifest, differences, digest_of
from fanwise.plan.model_fit import check_fits
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row


def manifest(model: Any, plan: Plan, seed: int) -> Manifest:
    """The plan, the seed and a digest of every parameter of a model to which they were applied.

    Args:
        model: what ``apply(model, plan, seed)`` returned.
        plan: the plan; the manifest has the model's dtypes in it.
        seed: the seed.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a plan for another model, a seed out of range, or parameters without values.

    Example:
        >>> from fanwise.jax import apply, plan
        >>> model = (lambda p, x: x @ p["w"], {"w": jnp.zeros((784, 10))})
        >>> made = plan(model, "64,784")
        >>> verify(apply(model, made, 7), manifest(apply(model, made, 7), made, 7))
        ()
    """
    made = as_model(model)
    check_fits(parameters(made), plan)
    rows = tuple(replace(row, dtype=jnp.dtype(made.leaves[row.path].dtype).name) for row in plan.rows)
    return Manifest(replace(plan, rows=rows), seed, _digests(made, plan))


def verify(model: Any, expected: Manifest) -> tuple[str, ...]:
    """What in a model is not as a manifest says.

    Args:
        model: any model.
        expected: what should be.

    Returns:
        One sentence for each parameter that differs, which opens with its path, in the model's order; one for all where
        the manifest has a single digest; () where all agree.

    Raises:
        TypeError: no manifest.
        ValueError: a manifest for another model, or without digests; parameters without values.
    """
    if not isinstance(expected, Manifest):
        raise TypeError(
            f"expected = {type(expected).__name__}: expected a fanwise Manifest, such as Manifest.from_toml"
        )
    made = as_model(model)
    check_fits(parameters(made), expected.plan)
    return differences(expected, _digests(made, expected.plan))


def _digests(model: Model, plan: Plan) -> dict[str, str]:
    return {row.path: _digest(model.leaves[row.path], row) for row in plan.rows}


def _digest(leaf: Any, row: Row) -> str:
    """Of the values in the order in which they are counted: ports that store them otherwise have the same."""
    values = values_of(leaf, row.path)
    return digest_of(values.transpose(row.canonical_axes) if row.order == "canonical" else values)
