"""The models of PyTorch that false_alarms.py judges; thresholds were chosen on the part that is not held out."""

from check_breaks import BROKEN as TUNED_BROKEN
from check_models import HEALTHY as TUNED_HEALTHY
from fresh_breaks import FRESH_BROKEN
from fresh_models import FRESH_HEALTHY
from last_breaks import LAST_BROKEN
from last_models import LAST_HEALTHY

from fanwise.torch import check

__all__ = ["BROKEN", "HEALTHY", "HELD_OUT", "check"]

HEALTHY = {**TUNED_HEALTHY, **FRESH_HEALTHY, **LAST_HEALTHY}
BROKEN = {**TUNED_BROKEN, **FRESH_BROKEN, **LAST_BROKEN}
HELD_OUT = frozenset((*LAST_HEALTHY, *LAST_BROKEN))
