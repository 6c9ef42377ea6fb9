"""`manifest` and `verify`: which bits a planned model should hold, and which of its arrays do not."""

from typing import Any

from fanwise.jax.trace.models import parameters
from fanwise.jax.weights.apply import reader
from fanwise.plan.manifest import Manifest, manifest_of, seed_of, verified
from fanwise.plan.plan import Plan


def manifest(model: Any, plan: Plan, key: int | None = None, *, seed: int | None = None) -> Manifest:
    """The plan, the seed and a digest of every parameter of a model to which they were applied.

    Args:
        model: what ``apply(model, plan, key)`` returned.
        plan: the plan; the manifest has the model's dtypes in it.
        key: the seed, as an integer.
        seed: an old name of `key`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a plan for another model, a seed out of range, or parameters without values.

    Example:
        >>> import jax.numpy as jnp
        >>> from fanwise.jax import apply, plan
        >>> model = (lambda p, x: x @ p["w"], {"w": jnp.zeros((784, 10))})
        >>> made = plan(model, "64,784")
        >>> verify(apply(model, made, 7), manifest(apply(model, made, 7), made, 7))
        ()
    """
    return manifest_of(parameters(model), reader(model), plan, seed_of(key, seed))


def verify(model: Any, expected: Manifest) -> tuple[str, ...]:
    """Differences between a model and a manifest.

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
    return verified(parameters(model), reader(model), expected)
