"""`manifest` and `verify`: which bits a planned model should hold, and which of its tensors do not."""

from torch import nn

from fanwise.plan.manifest import Manifest, differences, digest_of
from fanwise.plan.plan import Plan
from fanwise.torch.applying import check_fits
from fanwise.torch.memory import read


def manifest(model: nn.Module, plan: Plan, seed: int) -> Manifest:
    """The plan, the seed and a digest of every tensor of a model to which they were applied.

    Args:
        model: after ``apply(model, plan, seed)``.
        plan: the plan.
        seed: the seed.

    Raises:
        ValueError: a plan for another model, or parameters without values.
    """
    check_fits(model, plan)
    return Manifest(plan, seed, {row.path: digest_of(read(model, row.path)) for row in plan.rows})


def verify(model: nn.Module, expected: Manifest) -> tuple[str, ...]:
    """The tensors of a model whose bits are not those of a manifest, in the model's order; () where all agree.

    Raises:
        ValueError: a manifest for another model.
    """
    check_fits(model, expected.plan)
    digests = {row.path: digest_of(read(model, row.path)) for row in expected.plan.rows}
    return differences(expected, digests)
