"""What each adapter does for the command line."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fanwise.calibrate.result import Calibration
from fanwise.check.fix import Mending
from fanwise.check.report import Report
from fanwise.plan.plan import Plan
from fanwise.targets.resolved import ResolvedTarget


class Commands(Protocol):
    """The commands of one framework: `fanwise.targets.session.TargetSession`. Each builds what is asked for, anew."""

    @property
    def endings(self) -> tuple[str, ...]:
        """How the names of files end to which it writes weights."""
        ...

    def planned(
        self, target: ResolvedTarget, recipes: Sequence[str], *, meta: bool = False, keep: Sequence[str] = ()
    ) -> tuple[Plan, ...]:
        """Plans of a model, which is built once: one for each recipe.

        Args:
            target: it, and its inputs.
            recipes: their names.
            meta: build the model without memory.
            keep: patterns of parameters that stay as they are, or "trained".
        """
        ...

    def checked(self, target: ResolvedTarget, progress: Callable[[str], None] | None = None) -> Report:
        """A report on a model; `progress` is told what is being done."""
        ...

    def examined(self, target: ResolvedTarget) -> Report:
        """A report on what a factory makes: a model, (model, batch) or (model, batch, loss); what it raises goes on."""
        ...

    def fixed(
        self, target: ResolvedTarget, recipe: str = "unit", progress: Callable[[str], None] | None = None
    ) -> tuple[Report, Mending]:
        """A report on a model, and what mends what it found."""
        ...

    def calibrated(self, target: ResolvedTarget, options: Mapping[str, Any]) -> tuple[Any, Calibration]:
        """A model built from seed 0 and calibrated with these options, and what was done."""
        ...

    def write_weights(self, model: Any, path: Path) -> None:
        """Writes a model's weights to a file, by the end of its name."""
        ...


def commands(framework: str) -> Commands:
    """The commands of an adapter.

    Args:
        framework: "torch", "jax" or "keras".

    Raises:
        ImportError: the framework is missing; the message names the extra.
    """
    module_commands: Commands = importlib.import_module(f"fanwise.{framework}.cli.commands").COMMANDS
    return module_commands
