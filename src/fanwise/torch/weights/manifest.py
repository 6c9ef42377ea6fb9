"""`manifest` and `verify`: which bits a planned model should hold, and which of its tensors do not."""

from torch import nn

from fanwise.plan.manifest import Manifest, manifest_of, seed_of, verified
from fanwise.plan.plan import Plan
from fanwise.torch.trace.provenance import parameters
from fanwise.torch.weights.read_write import reader


def manifest(model: nn.Module, plan: Plan, key: int | None = None, *, seed: int | None = None) -> Manifest:
    """The plan, the seed and a digest of every tensor of a model to which they were applied.

    Args:
        model: after ``apply(model, plan, key)``.
        plan: the plan; the manifest has the model's dtypes in it.
        key: the seed, as an integer.
        seed: an old name of `key`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a plan for another model, a seed out of range, or parameters without values.

    Example:
        >>> from fanwise.torch import apply, plan
        >>> model = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
        >>> made = plan(model, "64,784")
        >>> kept = manifest(apply(model, made, 7), made, 7).to_toml()
        >>> verify(model, Manifest.from_toml(kept))
        ()
    """
    return manifest_of(parameters(model), reader(model), plan, seed_of(key, seed))


def verify(model: nn.Module, expected: Manifest) -> tuple[str, ...]:
    """Differences between a model and a manifest.

    Args:
        model: any module.
        expected: what should be.

    Returns:
        One sentence for each tensor that differs, which opens with its path, in the model's order; one for all where
        the manifest has a single digest; () where all agree.

    Raises:
        TypeError: no manifest.
        ValueError: a manifest for another model, or without digests; parameters without values.
    """
    return verified(parameters(model), reader(model), expected)
