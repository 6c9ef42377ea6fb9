"""`manifest` and `verify`: which bits a planned model should hold, and which of its parameters do not."""

from dataclasses import replace
from typing import Any

from fanwise.keras.trace.variables import dtype_of, parameters, variables
from fanwise.keras.weights.read_write import values_of
from fanwise.plan.manifest import Manifest, differences, digest_of
from fanwise.plan.model_fit import check_fits
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row


def manifest(model: Any, plan: Plan, seed: int) -> Manifest:
    """The plan, the seed and a digest of every parameter of a model to which they were applied.

    Args:
        model: after ``apply(model, plan, seed)``.
        plan: the plan; the manifest has the model's dtypes in it.
        seed: the seed.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a plan for another model, a seed out of range, or a model that was not built.

    Example:
        >>> import keras
        >>> from fanwise.keras import apply, plan
        >>> model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10)])
        >>> made = plan(model)
        >>> kept = manifest(apply(model, made, 7), made, 7).to_toml()
        >>> verify(model, Manifest.from_toml(kept))
        ()
    """
    held = variables(model)
    check_fits(parameters(model), plan)
    rows = tuple(replace(row, dtype=dtype_of(held[row.path])) for row in plan.rows)
    return Manifest(replace(plan, rows=rows), seed, _digests(held, plan))


def verify(model: Any, expected: Manifest) -> tuple[str, ...]:
    """What in a model is not as a manifest says.

    Args:
        model: any built Keras model, on any backend.
        expected: what should be.

    Returns:
        One sentence for each parameter that differs, which opens with its path, in the model's order; one for all where
        the manifest has a single digest; () where all agree.

    Raises:
        TypeError: no manifest, or no Keras model.
        ValueError: a manifest for another model, or without digests; a model that was not built.
    """
    if not isinstance(expected, Manifest):
        raise TypeError(
            f"expected = {type(expected).__name__}: expected a fanwise Manifest, such as Manifest.from_toml"
        )
    check_fits(parameters(model), expected.plan)
    return differences(expected, _digests(variables(model), expected.plan))


def _digests(held: dict[str, Any], plan: Plan) -> dict[str, str]:
    return {row.path: _digest(held[row.path], row) for row in plan.rows}


def _digest(variable: Any, row: Row) -> str:
    """Of the values in the order in which they are counted: ports that store them otherwise have the same."""
    values = values_of(variable)
    return digest_of(values.transpose(row.canonical_axes) if row.order == "canonical" else values)
