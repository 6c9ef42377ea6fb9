"""Whether a plan is one for a module."""

from torch import nn

from fanwise.plan import model_fit as fitting
from fanwise.plan.plan import Plan
from fanwise.torch.trace.provenance import parameters


def check_fits(model: nn.Module, plan: Plan) -> None:
    """Raises where a plan is not one for this model; see `fanwise.plan.model_fit.check_fits`.

    Args:
        model: any module.
        plan: what should be one for it.

    Raises:
        TypeError: no plan, or no module that can be read.
        ValueError: parameters that the plan lacks, rows that the model lacks, other shapes, other ties: all of them.
    """
    fitting.check_fits(() if not isinstance(plan, Plan) else parameters(model), plan)
