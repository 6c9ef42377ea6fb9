"""Whether a plan is one for a module, and which of its rows are meant."""

from torch import nn

from fanwise.plan import fitting
from fanwise.plan.fitting import chosen_rows
from fanwise.plan.plan import Plan
from fanwise.torch.held import parameters

__all__ = ["check_fits", "chosen_rows"]


def check_fits(model: nn.Module, plan: Plan) -> None:
    """Raises where a plan is not one for this model; see `fanwise.plan.fitting.check_fits`.

    Raises:
        TypeError: no plan, or no module that can be read.
        ValueError: parameters that the plan lacks, rows that the model lacks, other shapes, other ties: all of them.
    """
    fitting.check_fits(parameters(model), plan)
