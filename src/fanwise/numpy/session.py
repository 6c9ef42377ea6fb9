"""The check and the fix of weights that are NumPy arrays: what `fanwise.numpy.api` hands on."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fanwise.check.arguments import parse_optimizer
from fanwise.check.findings import Finding, Severity
from fanwise.check.fix import FixSession, Mending
from fanwise.check.report import Report
from fanwise.check.session import CheckSession
from fanwise.numpy.backend import BACKEND
from fanwise.numpy.chain import Chain
from fanwise.numpy.codegen import pasted
from fanwise.numpy.reading import Choices, Reading, read

COMMAND = "fanwise fix"
"""How findings name what mends them."""


@dataclass(frozen=True)
class WeightsSession:
    """What is checked.

    Args:
        weights: arrays, or a function that draws them.
        batch: inputs and targets.
        choices: what they do not tell.
        optimizer: what will train them.
    """

    weights: Any
    batch: tuple[Any, Any]
    choices: Choices
    optimizer: str | None = None

    def report(
        self,
        *,
        seeds: int = 3,
        select: Any = (),
        ignore: Any = (),
        fail_on: Severity = "error",
    ) -> Report:
        """The report of a check."""
        if self.optimizer is not None:
            parse_optimizer(self.optimizer)
        first = self._first()
        session = CheckSession(
            BACKEND,
            first.aim.loss,
            optimizer=self.optimizer,
            seeds=seeds,
            select=select,
            ignore=ignore,
            fail_on=fail_on,
        )
        model = self._drawn if callable(self.weights) else first.chain
        report = session.report(model, (first.x, first.aim.target))
        findings = tuple(map(_with_our_fix, report.findings))
        return replace(report, findings=findings, notes=(*first.chain.notes, *report.notes))

    def mending(self) -> Mending:
        """What mends the findings."""
        first = self._first()
        batch, loss = (first.x, first.aim.target), first.aim.loss
        report = CheckSession(BACKEND, loss, optimizer=self.optimizer, seeds=1).report(first.chain, batch)
        code = partial(pasted, access=first.chain.access)
        return FixSession(BACKEND, batch, loss, code=code).mending(first.chain, report)

    def _first(self) -> Reading:
        if not callable(self.weights):
            return self._read(self.weights)
        with BACKEND.seeded(0) as key:
            return self._read(_called(self.weights, *key))

    def _read(self, weights: Any) -> Reading:
        return read(weights, *self.batch, self.choices)

    def _drawn(self, generator: np.random.Generator) -> Chain:
        """The network of a seed."""
        return self._read(_called(self.weights, generator)).chain


def _called(draw: Callable[..., Any], generator: np.random.Generator) -> Any:
    """The weights that a function draws: it is given a generator where it takes an argument."""
    try:
        takes = bool(inspect.signature(draw).parameters)
    except (TypeError, ValueError):  # built in, without a signature
        takes = False
    return draw(generator) if takes else draw()


def _with_our_fix(finding: Finding) -> Finding:
    """A finding whose fix names what mends weights here, not the command."""
    fix = finding.fix
    named = None if fix is None else replace(fix, text=fix.text.replace(COMMAND, "fanwise.fix_weights"))
    return replace(finding, fix=named, follows=tuple(map(_with_our_fix, finding.follows)))
