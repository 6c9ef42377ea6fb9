"""`manifest` and `verify`: which bits a planned model should hold, and which of its parameters do not."""

from typing import Any

from fanwise.keras.trace.variables import parameters
from fanwise.keras.weights.read_write import reader
from fanwise.plan.manifest import Manifest, manifest_of, seed_of, verified
from fanwise.plan.plan import Plan


def manifest(model: Any, plan: Plan, key: int | None = None, *, seed: int | None = None) -> Manifest:
    """The plan, the seed and a digest of every parameter of a model to which they were applied.

    Args:
        model: after ``apply(model, plan, key)``.
        plan: the plan; the manifest has the model's dtypes in it.
        key: the seed, as an integer.
        seed: an old name of `key`.

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
    return manifest_of(parameters(model), reader(model), plan, seed_of(key, seed))


def verify(model: Any, expected: Manifest) -> tuple[str, ...]:
    """Differences between a model and a manifest.

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
    return verified(parameters(model), reader(model), expected)
