"""The report of a check as data: what the renderers read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fanwise.check.findings import Finding, Severity, at_least
from fanwise.measure.observation import Observation, Place
from fanwise.theory.propagation import Grounds


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
        grounds: what the prediction stands on: a measurement outside a band that stands on rules alone says that the
            weights or inputs are not what their moments say.
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
    grounds: Grounds = Grounds.NOTHING


@dataclass(frozen=True, repr=False)
class ReportData:
    """What a check found; `fanwise.check.report.Report` is the same with ways to show it.

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

    def constructed(self, path: str) -> Place | None:
        """Line of the sources that constructs a module, or else the nearest module around it.

        Args:
            path: of a parameter or a module; "" for the model.
        """
        parts = path.split(".") if path else []
        around = (".".join(parts[:count]) for count in range(len(parts), -1, -1))
        return next((self.places[name] for name in around if name in self.places), None)
