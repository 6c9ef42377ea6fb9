"""The models of PyTorch that false_alarms.py judges; thresholds were chosen on the part that is not held out."""

from fanwise.torch import check
from zoo.torch.breaks.changes import BROKEN as TUNED_BROKEN
from zoo.torch.breaks.held_out import LAST_BROKEN
from zoo.torch.breaks.tuned import FRESH_BROKEN
from zoo.torch.held_out import LAST_HEALTHY
from zoo.torch.mlp import HEALTHY as TUNED_HEALTHY
from zoo.torch.second import FRESH_HEALTHY

__all__ = ["BROKEN", "HEALTHY", "HELD_OUT", "check"]

HEALTHY = {**TUNED_HEALTHY, **FRESH_HEALTHY, **LAST_HEALTHY}
BROKEN = {**TUNED_BROKEN, **FRESH_BROKEN, **LAST_BROKEN}
HELD_OUT = frozenset((*LAST_HEALTHY, *LAST_BROKEN))
