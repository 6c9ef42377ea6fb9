"""How often `check` speaks on healthy models, whether it names planted breaks, and whether its fix cures them.

Thresholds were chosen on the split "tuned" of the zoo. The split "held_out" holds other architectures and other breaks,
chosen without a look at the rules, and judged once the rules stood; "reports" holds trainings that people reported to
fail, and the same models mended; "unseen" are healthy models that were written from papers, and committed, before the
rules were looked at again: docs/check.md has the figure of their first look. A healthy model counts as flagged where
any finding is a warning or graver. A broken one counts as cured where a check of a copy, after the safe fixes of its
report, finds nothing at warning or above; a report whose fixes draw nothing, as where the data, the loss or the wiring
is wrong, is counted apart.

    python -m bench false_alarms                  # PyTorch: three seeds, all splits, about 20 minutes on two cores
    python -m bench false_alarms --seeds 1 --split tuned --only mlp
    python -m bench false_alarms --write          # and the counts for `fanwise explain`
    python -m bench false_alarms --framework jax  # another framework; Keras computes with KERAS_BACKEND
"""

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from bench.observing import backend_of, built
from fanwise.check.findings import Finding, Severity, at_least
from fanwise.check.report import Report
from fanwise.check.rules.registry import RULES
from zoo.model import Framework, Model, Split
from zoo.registry import models

RATES = Path(__file__).parent.parent / "src/fanwise/check/false_alarms.json"

SEEN_AS: Mapping[str, tuple[str, ...]] = {
    "zeros": ("zeros",),
    "constant": ("constant",),
    "tiny": ("tiny", "wrong_gain"),
    "huge": ("huge", "wrong_gain"),
    "wrong_gain": ("wrong_gain",),
    "slip": ("slip",),
    "default": ("default",),
    "swapped": ("swapped",),
    "one_layer_up": ("one_layer_up",),
    "one_layer_down": ("one_layer_down",),
    "equal_units": ("equal_units",),
    "copies": ("copies",),
    "bias": ("bias",),
    "saturated": ("saturated", "huge", "wrong_gain"),
    "no_residual_scale": ("no_residual_scale",),
    "head": ("head",),
    "skipped_init": ("skipped_init",),
    "nan": ("nan",),
    "frozen": ("frozen",),
    "detached": ("detached",),
    "tied": ("tied",),
    "input": ("input",),
    "sigmoid_stack": ("alike",),
    "local_shard": ("local_shard",),
    "mean": ("mean",),
    "norm_factor": ("norm_factor",),
    "factor": ("factor",),
    "drowned": ("drowned",),
    "equal_rows": ("equal_rows",),
    "shut_gate": ("shut_gate",),
    "adapter": ("adapter",),
    "wrong_fan": ("wrong_fan", "huge", "wrong_gain"),
    "seed": ("seed",),
    "zero_stream": ("zero_stream",),
    "broadcast": ("broadcast",),
    "zero_norm": ("overflow", "zeros"),
    "generated": ("huge", "wrong_gain", "wrong_fan"),
    "no_gradient": ("no_gradient", "dead", "bias"),
    "silent_spikes": ("no_gradient", "dead", "default", "tiny", "wrong_gain", "alike"),
    "first_map": ("still", "tiny", "wrong_gain", "one_layer_down"),
    "dead": ("dead",),
    "prior": ("prior",),
    "repeated": ("huge", "wrong_gain", "no_residual_scale", "recurrence"),
}
"""The kinds of cause that name a planted break. A size far off may be called a wrong gain; saturation is a symptom:
any cause of it that is a size will do."""


@dataclass(frozen=True)
class Judged:
    """One model and what the check said of it.

    Args:
        model: of the zoo.
        findings: what the check said.
        seconds: what it took.
        cured: of a broken model, whether the fix leaves nothing; None where it draws nothing.
        remains: what a check of the model after the fix finds.
    """

    model: Model
    findings: tuple[Finding, ...]
    seconds: float
    cured: bool | None = None
    remains: tuple[Finding, ...] = ()

    @property
    def alarms(self) -> list[str]:
        """Codes of what is a warning or graver."""
        return [finding.code for finding in self.findings if at_least(finding.severity, "warning")]

    @property
    def named(self) -> bool:
        """Whether the first cause is the planted one, at its place where it has one."""
        if not self.alarms:
            return False
        first, place = self.findings[0], self.model.place
        there = place is None or any(path.startswith(place) for path in (first.place, *first.paths))
        return first.kind in SEEN_AS[self.model.planted] and there


def checker(framework: Framework) -> Callable[..., Any]:
    """The check of a framework; Keras forgets each model after it."""
    check = import_module(f"fanwise.{framework}").check
    if framework != "keras":
        return check
    clear = import_module("keras").utils.clear_session

    def forgetting(*args: Any, **options: Any) -> Any:
        try:
            return check(*args, **options)
        finally:
            clear()

    return forgetting


def judged(model: Model, check: Callable[..., Any], seeds: int) -> Judged:
    """Checks one model, and a copy of it after the fix where it is broken."""
    start = time.perf_counter()
    try:
        report = check(model.build, model.batch(), model.loss, seeds=seeds)
    except Exception as error:  # counted as an alarm on a healthy model, and as a miss on a broken one
        severity: Severity = "info" if model.planted else "error"
        findings = (Finding("FAILED", severity, f"{type(error).__name__}: {error}"),)
        return Judged(model, findings, time.perf_counter() - start)
    cured, remains = mended(model, report) if model.planted else (None, ())
    return Judged(model, report.findings, time.perf_counter() - start, cured, remains)


def mended(model: Model, report: Report) -> tuple[bool | None, tuple[Finding, ...]]:
    """Whether the fix of a report leaves nothing, None where it draws nothing; and what it leaves."""
    fix = import_module(f"fanwise.{model.framework}").fix
    try:
        mending = fix(built(backend_of(model.framework), model, 0), report, model.batch(), loss=model.loss)
    except Exception as error:  # counted as no cure
        return False, (Finding("FAILED", "error", f"{type(error).__name__}: {error}"),)
    return (mending.cures, mending.remains or ()) if mending else (None, ())


def show(results: Sequence[Judged]) -> None:
    """The counts, by split and by rule, and every model that was judged wrong."""
    for split in [split for split in get_args(Split) if any(one.model.split == split for one in results)]:
        healthy = [one for one in results if one.model.split == split and not one.model.planted]
        broken = [one for one in results if one.model.split == split and one.model.planted]
        flagged, missed = [one for one in healthy if one.alarms], [one for one in broken if not one.alarms]
        named = [one for one in broken if one.named]
        print(f"\n{split}: {len(healthy)} healthy, {len(broken)} broken")
        print(f"  healthy flagged        {len(flagged):4d}  {share(flagged, healthy)}")
        print(f"  broken missed          {len(missed):4d}  {share(missed, broken)}")
        print(f"  planted cause first    {len(named):4d}  {share(named, broken)}")
        drawn = [one for one in broken if one.cured is not None]
        cured = [one for one in drawn if one.cured]
        print(f"  cured by the fix       {len(cured):4d}  {share(cured, drawn)} of {len(drawn)} whose fix draws anew")
        for one in (*flagged, *missed, *(one for one in broken if one.alarms and not one.named)):
            show_one(one)
        for one in drawn:
            if not one.cured:
                print(f"    {one.model.name}: not cured")
                show_findings(one.remains)
    by_rule(results)


def show_one(one: Judged) -> None:
    """A model that was judged wrong, and why."""
    model = one.model
    word = f"{model.planted} in {model.place or 'the whole model'}" if model.planted else "healthy"
    print(f"    {model.name}: {word}")
    show_findings(one.findings)


def show_findings(findings: Iterable[Finding]) -> None:
    """The first two of those at warning or above."""
    for finding in [finding for finding in findings if at_least(finding.severity, "warning")][:2]:
        print(f"        {finding.code} {finding.kind}: {finding.message} [{finding.cause}] at {finding.place}")


def by_rule(results: Sequence[Judged]) -> None:
    """How often each rule spoke as the first cause or beside it, on healthy and on broken models."""
    healthy, broken = (
        Counter(codes(one for one in results if bool(one.model.planted) == which)) for which in (False, True)
    )
    print("\nrule      healthy  broken   (warning or graver; folded findings counted too)")
    for code in RULES:
        if healthy[code] or broken[code]:
            print(f"{code}  {healthy[code]:7d} {broken[code]:7d}")


def codes(results: Iterable[Judged]) -> Iterable[str]:
    """The codes that spoke on each model, once a model."""
    for one in results:
        inner = (finding for root in one.findings for finding in root.walk())
        yield from {finding.code for finding in inner if at_least(finding.severity, "warning")}


def share(part: Sequence[Judged], whole: Sequence[Judged]) -> str:
    """A share in percent."""
    return f"{100 * len(part) / max(len(whole), 1):5.1f} %"


def write(results: Sequence[Judged]) -> None:
    """The counts that `fanwise explain` shows."""
    healthy = [one for one in results if not one.model.planted]
    counts = Counter(codes(healthy))
    text = json.dumps({"healthy": len(healthy), "alarms": {code: counts[code] for code in RULES if counts[code]}})
    RATES.write_text(text + "\n", encoding="utf-8")


def chosen(framework: Framework, split: Split | None, name: str) -> list[Model]:
    """The models of a framework, of one split where it is given, whose names contain a text."""
    return [one for one in models(framework).values() if split in (None, one.split) and name in one.name]


def main() -> None:
    """Checks the models of one framework."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--framework", choices=get_args(Framework), default="torch")
    parser.add_argument("--split", choices=get_args(Split))
    parser.add_argument("--only", default="", help="models whose names contain this")
    parser.add_argument("--write", action="store_true", help="write the counts for fanwise explain")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    check = checker(asked.framework)
    results = [judged(model, check, asked.seeds) for model in chosen(asked.framework, asked.split, asked.only)]
    show(results)
    print(f"\n{len(results)} models, {asked.seeds} seeds each: {sum(one.seconds for one in results):.0f} s")
    if asked.write:
        write(results)
