"""The report of a check: what `fanwise.torch.check` returns."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fanwise.check.findings import Finding, Severity, at_least
from fanwise.check.jsonable import to_jsonable
from fanwise.check.page import page
from fanwise.check.sarif import to_sarif
from fanwise.check.table import document
from fanwise.check.words import verdict
from fanwise.measure.observation import Observation, Place
from fanwise.plan.table import terminal_width, text_of
from fanwise.report.document import Document
from fanwise.report.html import write_html
from fanwise.report.jsonable import to_json
from fanwise.report.terminal import rich_lines

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text


@dataclass(frozen=True)
class Layer:
    """One line of the report: a weight op.

    Args:
        number: place in the order of execution among the weight ops, from 1.
        op: index of the op in the trace.
        name: path of its first weight, without ".weight" or ".kernel".
        kind: of the op: "linear", "conv", "embedding" ...
        law: the law recognised in its values, such as "U(±sqrt(1/fan_in)), torch default".
        rms: root mean square of its output, mean over the seeds (in the logarithm).
        gradient: root mean square of the gradient at its output; NaN without a backward pass.
        expected: rms that the plan gives the output; without a plan that of the first map of its stretch, which a
            signal should keep; NaN where neither is known.
        dead: share of silent units of the activation that it feeds; NaN where it feeds none.
        saturated: share of saturated values of that activation; NaN where it does not saturate.
        severity: of the gravest finding that starts here; None where there is none.
        codes: of the findings that start here.
        design: what is by design here, in words; "" elsewhere.
        predicted: rms that theory gives the output, from the inputs and the sizes of the parameters; NaN where it has
            none.
        band: between which the measured rms lies in 19 of 20 initialisations, as the network is of finite width.
        predicted_gradient: the same of the gradient, from that at the model's output.
    """

    number: int
    op: int
    name: str
    kind: str
    law: str
    rms: float
    gradient: float
    expected: float
    dead: float
    saturated: float
    severity: Severity | None = None
    codes: tuple[str, ...] = ()
    design: str = ""
    predicted: float = math.nan
    band: tuple[float, float] = (math.nan, math.nan)
    predicted_gradient: float = math.nan


@dataclass(frozen=True, repr=False)
class Report:
    """What a check found.

    Args:
        findings: the causes, gravest and earliest first; what follows from each is folded under it.
        layers: one a weight op, in the order of execution.
        observations: one a seed.
        model: name of its class.
        framework: such as "torch 2.13.0".
        batch: the inputs in words, such as "64,3,96,96:float32".
        parameters: how many numbers the model holds.
        weights: how many weights of two or more axes it has, and how many of them the run used.
        fail_on: from which severity on the model is not `ok`.
        places: where each module is constructed, by its path; those of libraries are left out.
        notes: what the check could not see, one sentence each.
        suppressed: how many findings `ignore` or a baseline left out.
    """

    findings: tuple[Finding, ...]
    layers: tuple[Layer, ...]
    observations: tuple[Observation, ...]
    model: str = ""
    framework: str = ""
    batch: str = ""
    parameters: int = 0
    weights: tuple[int, int] = (0, 0)
    fail_on: Severity = "error"
    places: Mapping[str, Place] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    suppressed: int = 0

    @cached_property
    def ok(self) -> bool:
        """Whether nothing as grave as `fail_on` was found."""
        return not any(at_least(finding.severity, self.fail_on) for finding in self.findings)

    @property
    def table(self) -> Document:
        """The report for a terminal; `fanwise.check.table.document` takes a width, and whether to fold."""
        return document(self)

    def constructed(self, path: str) -> Place | None:
        """Where in the sources a module is constructed, or else the nearest module around it.

        Args:
            path: of a parameter or a module; "" for the model.
        """
        parts = path.split(".") if path else []
        around = (".".join(parts[:count]) for count in range(len(parts), -1, -1))
        return next((self.places[name] for name in around if name in self.places), None)

    def to_json(self) -> str:
        """The report as JSON text, in the form that ``fanwise/check/report.schema.json`` describes."""
        return to_json(to_jsonable(self))

    def to_sarif(self, *, root: str | Path | None = None) -> str:
        """The report as a SARIF 2.1.0 log.

        Args:
            root: folder to which files below it are told relatively; None is the working directory.
        """
        from fanwise.check.rules import RULES  # noqa: PLC0415  (the rules know the report)

        return to_json(to_sarif(self, RULES, root=Path.cwd() if root is None else root))

    def html(self, path: str | Path) -> Path:
        """Write the report as a page that opens from a file and loads nothing.

        Returns:
            The path, as a Path.
        """
        return write_html(page(self), path)

    def __repr__(self) -> str:
        return f"<Report of {self.model or 'a model'}: {verdict(self).text}>"

    def __str__(self) -> str:
        width = terminal_width()
        return text_of(document(self, width=width), width)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator["Text"]:
        item = document(self, width=options.max_width)
        return rich_lines(item, options.max_width, ascii_only=options.ascii_only)
