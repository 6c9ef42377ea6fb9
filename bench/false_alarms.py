"""How often `check` speaks on healthy models, and whether it names the break that was planted in broken ones.

Thresholds were chosen on the part "tuned" (check_*.py, fresh_*.py). The part "held out" (last_*.py) holds other
architectures and other breaks, chosen without a look at the rules, and judged once the rules stood. A healthy model
counts as flagged where any finding is a warning or graver.

    python bench/false_alarms.py                  # three seeds, both halves, about ten minutes on two cores
    python bench/false_alarms.py --seeds 1 --half tuned --only mlp
    python bench/false_alarms.py --write          # and the counts for `fanwise explain`
    python bench/false_alarms.py --framework jax  # the collection of another framework; Keras computes with
                                                  # KERAS_BACKEND
"""

import argparse
import importlib
import json
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanwise.check.findings import Finding, at_least
from fanwise.check.rules.registry import RULES

RATES = Path(__file__).parent.parent / "src/fanwise/check/false_alarms.json"
HALVES = ("tuned", "held out")
COLLECTIONS: Mapping[str, str] = {
    "torch": "torch_collection",
    "jax": "jax_breaks",
    "keras": "keras_breaks",
}
"""The module of each framework's collection: HEALTHY, BROKEN, the names HELD_OUT, and the framework's `check`."""

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
}
"""The kinds of cause that name a planted break. A size far off may be called a wrong gain; saturation is a symptom:
any cause of it that is a size will do."""


@dataclass(frozen=True)
class Judged:
    """One model and what was found.

    Args:
        name: of the model.
        half: of the collection.
        findings: what the check said.
        planted: the break, "" for a healthy model.
        place: where it was planted, None for the whole model.
        seconds: what it took.
    """

    name: str
    half: str
    findings: tuple[Finding, ...]
    planted: str
    place: str | None
    seconds: float

    @property
    def alarms(self) -> list[str]:
        """Codes of what is a warning or graver."""
        return [finding.code for finding in self.findings if at_least(finding.severity, "warning")]

    @property
    def named(self) -> bool:
        """Whether the first cause is the planted one, at its place where it has one."""
        if not self.alarms:
            return False
        first = self.findings[0]
        there = self.place is None or any(path.startswith(self.place) for path in (first.place, *first.paths))
        return first.kind in SEEN_AS[self.planted] and there


def judged(subject: Any, collection: Any, seeds: int) -> Judged:
    """Checks one model of a collection."""
    start, is_broken = time.perf_counter(), subject.name in collection.BROKEN
    try:
        found = collection.check(subject.build, subject.batch(), subject.loss, seeds=seeds).findings
    except Exception as error:  # counted as an alarm on a healthy model, and as a miss on a broken one
        found = (Finding("FAILED", "info" if is_broken else "error", f"{type(error).__name__}: {error}"),)
    planted, place = (subject.planted, subject.place) if is_broken else ("", None)
    half = HALVES[subject.name in collection.HELD_OUT]
    return Judged(subject.name, half, found, planted, place, time.perf_counter() - start)


def show(results: Sequence[Judged]) -> None:
    """The counts, by half and by rule, and every model that was judged wrong."""
    for half in [half for half in HALVES if any(one.half == half for one in results)]:
        healthy = [one for one in results if one.half == half and not one.planted]
        broken = [one for one in results if one.half == half and one.planted]
        flagged, missed = [one for one in healthy if one.alarms], [one for one in broken if not one.alarms]
        named = [one for one in broken if one.named]
        print(f"\n{half}: {len(healthy)} healthy, {len(broken)} broken")
        print(f"  healthy flagged        {len(flagged):4d}  {share(flagged, healthy)}")
        print(f"  broken missed          {len(missed):4d}  {share(missed, broken)}")
        print(f"  planted cause first    {len(named):4d}  {share(named, broken)}")
        for one in (*flagged, *missed, *(one for one in broken if one.alarms and not one.named)):
            show_one(one)
    by_rule(results)


def show_one(one: Judged) -> None:
    """A model that was judged wrong, and why."""
    word = f"{one.planted} in {one.place or 'the whole model'}" if one.planted else "healthy"
    print(f"    {one.name}: {word}")
    for finding in [finding for finding in one.findings if at_least(finding.severity, "warning")][:2]:
        print(f"        {finding.code} {finding.kind}: {finding.message} [{finding.cause}] at {finding.place}")


def by_rule(results: Sequence[Judged]) -> None:
    """How often each rule spoke as the first cause or beside it, on healthy and on broken models."""
    healthy, broken = (Counter(codes(one for one in results if bool(one.planted) == which)) for which in (False, True))
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
    healthy = [one for one in results if not one.planted]
    counts = Counter(codes(healthy))
    text = json.dumps({"healthy": len(healthy), "alarms": {code: counts[code] for code in RULES if counts[code]}})
    RATES.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Checks the whole collection."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--framework", choices=COLLECTIONS, default="torch")
    parser.add_argument("--half", choices=HALVES)
    parser.add_argument("--only", default="", help="models whose names contain this")
    parser.add_argument("--write", action="store_true", help="write the counts for fanwise explain")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    collection = importlib.import_module(COLLECTIONS[asked.framework])
    subjects = [one for one in (*collection.HEALTHY.values(), *collection.BROKEN.values()) if asked.only in one.name]
    subjects = [one for one in subjects if asked.half in (None, HALVES[one.name in collection.HELD_OUT])]
    results = [judged(one, collection, asked.seeds) for one in subjects]
    show(results)
    print(f"\n{len(results)} models, {asked.seeds} seeds each: {sum(one.seconds for one in results):.0f} s")
    if asked.write:
        write(results)


if __name__ == "__main__":
    main()
