"""`manifest` and `verify`: which bits a planned model should hold, and which of its tensors do not."""

from dataclasses import replace

from torch import Tensor, nn

from fanwise.plan.manifest import Manifest, differences, digest_of
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row
from fanwise.torch.trace.provenance import dtype_name
from fanwise.torch.weights.plan_fit import check_fits
from fanwise.torch.weights.read_write import values_of


def manifest(model: nn.Module, plan: Plan, seed: int) -> Manifest:
    """The plan, the seed and a digest of every tensor of a model to which they were applied.

    Args:
        model: after ``apply(model, plan, seed)``.
        plan: the plan; the manifest has the model's dtypes in it.
        seed: the seed.

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
    check_fits(model, plan)
    held = _held(model)
    rows = tuple(replace(row, dtype=dtype_name(held[row.path].dtype)) for row in plan.rows)
    return Manifest(replace(plan, rows=rows), seed, _digests(held, plan))


def verify(model: nn.Module, expected: Manifest) -> tuple[str, ...]:
    """What in a model is not as a manifest says.

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
    if not isinstance(expected, Manifest):
        raise TypeError(
            f"expected = {type(expected).__name__}: expected a fanwise Manifest, such as Manifest.from_toml"
        )
    check_fits(model, expected.plan)
    return differences(expected, _digests(_held(model), expected.plan))


def _held(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters(remove_duplicate=False))


def _digests(held: dict[str, Tensor], plan: Plan) -> dict[str, str]:
    return {row.path: _digest(held[row.path], row) for row in plan.rows}


def _digest(tensor: Tensor, row: Row) -> str:
    """Of the values in the order in which they are counted: ports that store them otherwise have the same."""
    values = values_of(tensor, row.path)
    return digest_of(values.transpose(row.canonical_axes) if row.order == "canonical" else values)
