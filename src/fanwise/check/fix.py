"""How the findings of a check are mended: which parameters are drawn anew, tried on a copy, and as code."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from glob import escape
from types import MappingProxyType
from typing import Any

import numpy as np

from fanwise.adapters.batches import first_batch, given_batch
from fanwise.adapters.planning import plan_model
from fanwise.adapters.protocol import Backend
from fanwise.check.findings import Finding, Fix, at_least
from fanwise.check.mending import Change, Mending
from fanwise.check.report import Report
from fanwise.check.rules.registry import RULES
from fanwise.check.rules.rule import BY_COMMAND
from fanwise.check.session import CheckSession
from fanwise.graph.op import Parameter
from fanwise.graph.visitor import ModelError
from fanwise.laws.base import Initializer
from fanwise.measure.law_recognition import found_law
from fanwise.measure.losses import LossLike
from fanwise.measure.weight_statistics import values_of
from fanwise.plan.formula import formula
from fanwise.plan.plan import Plan
from fanwise.plan.recipes.recipe import Recipe
from fanwise.plan.row import Row, nearest
from fanwise.stream.formats import Array

__all__ = ["Change", "FixSession", "Mending", "drawn_again"]

WAITS = "only after"
"""Begins what is said of a fix that has to wait for another."""
ROUNDS = 3
"""How often fixes are tried again with those of what they left, or without those that did not cure."""


@dataclass(frozen=True)
class FixSession:
    """How the findings of a report are mended.

    Args:
        backend: the framework.
        batch: of the check.
        loss: of the check; it says whether the batch holds a target.
        recipe: whose laws the parameters get.
        code: the rows that have a law, as code to paste; None: code for the adapter.
    """

    backend: Backend
    batch: Any = None
    loss: LossLike = None
    recipe: str | Recipe = "unit"
    code: Callable[[Plan], str] | None = None

    def mending(self, model: Any, report: Report) -> Mending:
        """What would mend the findings by drawing parameters anew: those that safe fixes name, as far as they cure.

        Where a fix leaves something behind, the safe fixes of what is left join it. What still leaves its own finding,
        or makes another, is left to the user.

        Args:
            model: what was checked, or a model built alike.
            report: on it.

        Raises:
            TypeError: no report, or no model.
            ValueError: a report on another model.
            ModelError: the model could not be run on the batch.
        """
        if not self.backend.is_model(model):
            raise TypeError(f"model = {type(model).__name__}: {self.backend.forms}")
        if not isinstance(report, Report):
            raise TypeError(f"report = {type(report).__name__}: expected what check returns")
        findings = tuple(_found(report.findings))
        offered = tuple(finding for finding in findings if finding.fix is not None and finding.fix.draws)
        if not offered:
            return Mending(Plan(()), unsafe=_to_decide(findings))
        trials = _Trials(self, model, first_batch(self.backend, self.batch), report.findings)
        best = trials.best(offered)
        unsafe = _to_decide(_undone(report.findings, best), best.failures)
        if not best.offered:
            return Mending(Plan(()), unsafe=unsafe)
        read = self.backend.reader(model)
        rows = tuple(_change(row, *_law_found(row, read)) for row in best.plan if row.law is not None)
        return Mending(best.plan, rows, unsafe, self._code(best), best.remains)

    def _code(self, trial: "_Trial") -> str:
        return drawn_again(trial.plan, self.backend.package, trial.laws) if self.code is None else self.code(trial.plan)


@dataclass(frozen=True)
class _Trial:
    """Fixes that were applied to a copy of a model.

    Args:
        offered: the findings whose fixes were.
        plan: what they draw.
        laws: those laws of it that are no recipe's, by path.
        remains: what a check of the copy found; None where it could not be run.
        failures: fixes that were tried before and did not cure: why, by their text.
    """

    offered: tuple[Finding, ...]
    plan: Plan = field(default_factory=lambda: Plan(()))
    laws: Mapping[str, Initializer] = field(default_factory=dict)
    remains: tuple[Finding, ...] | None = None
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def left(self) -> frozenset[str]:
        """Codes of what remains."""
        return _codes(self.remains or ())

    def failed(self, new: Collection[str]) -> dict[str, str]:
        """Why fixes did not cure, by their text: their own finding is left, or findings of these codes are new."""
        own = {_text(finding): f"{finding.code} stays" for finding in self.offered if finding.code in self.left}
        return self._makers(sorted(new)) | own

    def _makers(self, new: Sequence[str]) -> dict[str, str]:
        """Fixes that made findings: those that draw what these name, or all where they name nothing of it."""
        made = [finding for finding in _found(self.remains or ()) if finding.code in new]
        paths = {path for finding in made for path in finding.paths}
        makers = [finding for finding in self.offered if paths & set(_paths(finding))] or self.offered
        return {_text(finding): f"it brings {', '.join(new)}" for finding in makers} if made else {}

    def rest(self) -> tuple[Finding, ...]:
        """Findings that are left and whose own safe fixes draw something that these do not."""
        drawn = {path for finding in self.offered for path in _paths(finding)}
        fixable = (finding for finding in _found(self.remains or ()) if finding.fix is not None and finding.fix.draws)
        return tuple(finding for finding in fixable if not drawn.issuperset(_paths(finding)))


@dataclass(frozen=True)
class _Trials:
    """Fixes on copies of one model.

    Args:
        session: how.
        model: it stays as it is.
        batch: of the check.
        findings: of the report, which may be of chosen rules alone.
    """

    session: FixSession
    model: Any
    batch: Any
    findings: tuple[Finding, ...]

    def best(self, offered: tuple[Finding, ...]) -> _Trial:
        """The trial of all fixes and of those of what they leave, if that cures; else of those that do alone."""
        first = trial = self._tried(offered)
        for _ in range(ROUNDS):
            rest = trial.rest() if self._failed(trial) else ()
            if not rest:
                break
            trial = self._tried((*trial.offered, *rest))
        return self._without_failures(first if self._failed(trial) else trial)

    def _failed(self, trial: _Trial) -> dict[str, str]:
        unreported = self._unreported(trial)
        waiting = self._waiting(trial.left)
        early = {_text(finding): waiting[finding.code] for finding in trial.offered if finding.code in waiting}
        return early | trial.failed(unreported - self._as_found if unreported else unreported)

    def _unreported(self, trial: _Trial) -> frozenset[str]:
        """Codes that are new, of what does not follow from a cause that was there and that no new draw mends."""
        stays = {root.code for root in self.findings if not (root.fix and root.fix.draws)}
        roots = [replace(root, follows=()) if root.code in stays else root for root in trial.remains or ()]
        return _codes(roots) - _codes(self.findings)

    def _waiting(self, left: Collection[str]) -> dict[str, str]:
        """Codes of what follows from a cause that is left and no new draw mends: why its fix has to wait.

        Weights that were sized for inputs that are not normalised, as an instance, are wrong as soon as they are.
        """
        roots = [root for root in self.findings if root.code in left and not (root.fix and root.fix.draws)]
        return {
            finding.code: f"{WAITS} {root.code}, from which {finding.code} follows, is mended"
            for root in roots
            for finding in _found(root.follows)
        }

    @cached_property
    def _as_found(self) -> frozenset[str]:
        """Codes of what is wrong with the model as it is."""
        return _codes(self._checked(self.model) or ())

    def _without_failures(self, trial: _Trial) -> _Trial:
        """The trial without the fixes that did not cure."""
        failures: dict[str, str] = {}
        while failed := self._failed(trial):
            failures |= failed
            good = tuple(finding for finding in trial.offered if _text(finding) not in failures)
            trial = self._tried(good) if good else _Trial(())
        return replace(trial, failures=failures)

    def _tried(self, offered: tuple[Finding, ...]) -> _Trial:
        fixes = [finding.fix for finding in offered if finding.fix is not None]
        given = {path: (law, _shortened(fix.text)) for fix in reversed(fixes) for path, law in fix.laws.items()}
        plan, anew = self._plan({path for fix in fixes for path in fix.paths})
        given = {**anew, **given}
        for path, (law, reason) in given.items():
            plan = plan.edit(escape(path), law, reason=reason)
        laws = {path: law for path, (law, _) in given.items()}
        return _Trial(offered, plan, laws, self._remaining(plan))

    def _plan(self, paths: Collection[str]) -> tuple[Plan, Mapping[str, tuple[Initializer, str]]]:
        """Laws for these parameters, behind and beside all others as they are.

        A plan keeps what it takes for meant, such as zeros at the end of a branch; what is wrong was not meant: the
        second mapping has laws for those, with their reasons.
        """
        backend, model = self.session.backend, self.model
        drawn = _resolved(backend.parameters(model), paths)
        inputs = given_batch(backend, model, self.batch, self.session.loss).inputs
        rest = [escape(parameter.path) for parameter in backend.parameters(model) if parameter.path not in drawn]
        plan = plan_model(backend, model, inputs, self.session.recipe, rest).only(drawn)
        kept = {path for path in drawn if plan[path].meant}
        if not kept:
            return plan, {}
        rows = plan_model(backend, model, inputs, self.session.recipe, rest, anew=kept).rows
        return plan, {row.path: (row.law, row.reason) for row in rows if row.path in kept and row.law is not None}

    def _remaining(self, plan: Plan) -> tuple[Finding, ...] | None:
        """What a check finds on the mended model, which is left as it was."""
        backend = self.session.backend
        with backend.kept(self.model):
            try:
                return self._checked(backend.apply(self.model, plan, 0))
            except (TypeError, ValueError):  # a kind of parameter that cannot be written
                return None

    def _checked(self, model: Any) -> tuple[Finding, ...] | None:
        """What is wrong with a model; None where it could not be run."""
        try:
            report = CheckSession(self.session.backend, self.session.loss, seeds=1).report(model, self.batch)
        except (ModelError, TypeError, ValueError):
            return None
        return tuple(finding for finding in report.findings if at_least(finding.severity, "warning"))


def _law_found(row: Row, read: Callable[[str], Array]) -> tuple[str, float]:
    """The law that a parameter's values look like, in words, and their std; nothing where there are none."""
    try:
        values = read(row.path)
    except (TypeError, ValueError):  # of a kind that cannot be read, or without values
        return "", math.nan
    if not values.size:
        return "", math.nan
    if np.iscomplexobj(values):
        return "", float(np.std(values))
    measured = values_of(values, row.layout)
    return found_law(measured, row.shape, row.layout).text, measured.std


def drawn_again(plan: Plan, package: str, laws: Mapping[str, Initializer] = MappingProxyType({})) -> str:
    """Code that draws the rows of a plan that have a law again, with an adapter: it needs ``model`` and ``batch``.

    Args:
        plan: its laws are those of its recipe.
        package: the adapter, such as "fanwise.jax".
        laws: by path, those that are not.

    Returns:
        Lines of Python; "" without rows.
    """
    paths = [row.path for row in plan if row.law is not None]
    if not paths:
        return ""
    count = f"{len(paths)} parameter" + "s" * (len(paths) > 1)
    edits = "".join(f"\nnew = new.edit({json.dumps(escape(path))}, fanwise.{laws[path]!r})" for path in laws)
    lines = (
        "from glob import escape",
        "",
        *(["import fanwise"] if edits else []),
        f"from {package} import apply, parameters, plan",
        "",
        f"# Draws {count} of `model` again by recipe {plan.recipe!r}; `batch` is what it is called with.",
        "again = [",
        *(f"    {json.dumps(path)}," for path in paths),
        "]",
        "rest = [escape(parameter.path) for parameter in parameters(model) if parameter.path not in again]",
        f"new = plan(model, batch, {json.dumps(plan.recipe)}, keep=rest).only(again){edits}",
        "model = apply(model, new, key=0)",
        "",
    )
    return "\n".join(lines)


def _found(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings and what follows from them, without what is by design."""
    return (nested for finding in findings for nested in finding.walk() if not nested.design)


def _undone(findings: Iterable[Finding], trial: _Trial) -> Iterator[Finding]:
    """The findings and what follows from them, without what followed from a cause that a new draw mends whole."""
    for root in findings:
        mended = trial.remains == () and root in trial.offered
        yield from _found((replace(root, follows=()),) if mended else (root,))


def _codes(findings: Iterable[Finding]) -> frozenset[str]:
    """Codes of what is wrong."""
    return frozenset(finding.code for finding in _found(findings) if at_least(finding.severity, "warning"))


def _paths(finding: Finding) -> tuple[str, ...]:
    return () if finding.fix is None else finding.fix.paths


def _shortened(text: str) -> str:
    return text.replace(BY_COMMAND, "")


def _text(finding: Finding) -> str:
    """A fix by its text and the finding's code."""
    return "" if finding.fix is None else f"{_shortened(finding.fix.text)} ({finding.code})"


def _to_decide(findings: Iterable[Finding], failures: Mapping[str, str] = MappingProxyType({})) -> tuple[str, ...]:
    """Fixes that are not offered, in words, with why where they were tried."""
    texts: dict[str, None] = {}
    for finding in findings:
        if finding.fix is None:
            continue
        if _text(finding) in failures:
            texts[_refused(finding, finding.fix, failures[_text(finding)])] = None
        elif not finding.fix.draws:
            texts[_shortened(finding.fix.text)] = None
    return tuple(texts)


def _refused(finding: Finding, fix: Fix, why: str) -> str:
    """A fix that is not offered, and what to do in its place."""
    if why.startswith(WAITS):
        return f"{_shortened(fix.text)}: {why}"
    remedy = _shortened(RULES[finding.code].page.remedy)
    return f"{_shortened(fix.text)}: tried on a copy, {why}; instead: {remedy}"


def _resolved(parameters: Iterable[Parameter], names: Collection[str]) -> frozenset[str]:
    """Paths of the parameters of these names."""
    paths = {name: parameter.path for parameter in parameters for name in (parameter.path, *parameter.aliases)}
    unknown = next((name for name in sorted(names) if name not in paths), None)
    if unknown is not None:
        raise ValueError(f"the report is on another model: no parameter {unknown!r}{nearest(unknown, paths)}")
    return frozenset(paths[name] for name in names)


def _change(row: Row, law_text: str, before: float) -> Change:
    reason = " ".join(filter(None, (row.reason, f"({row.source})" if row.source else "")))
    after = math.nan if row.std is None else row.std
    return Change(row.path, law_text, formula(row), before, after, reason)
