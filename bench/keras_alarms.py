"""How often `fanwise.keras.check` speaks on healthy models, and whether it names the break that was planted in others.

Judged as false_alarms.py does for PyTorch, by the same table of what names a break. Keras has one backend a process.

    KERAS_BACKEND=tensorflow python bench/keras_alarms.py      # three seeds, about fifteen minutes on one core
    python bench/keras_alarms.py --seeds 1 --only mlp
"""

import argparse
import time
import warnings
from typing import Any

import keras
from false_alarms import SEEN_AS, Judged, by_rule, share, show_one
from keras_breaks import BROKEN
from keras_models import HEALTHY

from fanwise.check.findings import Finding
from fanwise.keras import check


def judged(subject: Any, seeds: int) -> Judged:
    """Checks one model of the collection."""
    start, broken = time.perf_counter(), subject.name in BROKEN
    try:
        found = check(subject.build, subject.batch(), subject.loss, seeds=seeds).findings
    except Exception as error:  # counted as an alarm on a healthy model, and as a miss on a broken one
        found = (Finding("FAILED", "info" if broken else "error", f"{type(error).__name__}: {error}"),)
    planted, place = (subject.planted, subject.place) if broken else ("", None)
    keras.utils.clear_session()
    return Judged(subject.name, "", found, planted, place, time.perf_counter() - start)


def show(results: list[Judged]) -> None:
    """The counts, and every model that was judged wrong."""
    healthy, broken = ([one for one in results if bool(one.planted) == which] for which in (False, True))
    flagged, missed = [one for one in healthy if one.alarms], [one for one in broken if not one.alarms]
    named = [one for one in broken if one.named]
    kinds = {one.planted for one in broken}
    print(f"\n{len(healthy)} healthy, {len(broken)} broken in {len(kinds)} of {len(SEEN_AS)} kinds")
    print(f"  healthy flagged        {len(flagged):4d}  {share(flagged, healthy)}")
    print(f"  broken missed          {len(missed):4d}  {share(missed, broken)}")
    print(f"  planted cause first    {len(named):4d}  {share(named, broken)}")
    for one in (*flagged, *missed, *(one for one in broken if one.alarms and not one.named)):
        show_one(one)
    by_rule(results)


def main() -> None:
    """Checks the whole collection."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="models whose names contain this")
    parser.add_argument("--part", choices=("healthy", "broken"), help="one part alone")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    parts = {"healthy": HEALTHY, "broken": BROKEN}
    chosen = [one for part, found in parts.items() if asked.part in (None, part) for one in found.values()]
    results = [judged(one, asked.seeds) for one in chosen if asked.only in one.name]
    show(results)
    seconds = sum(one.seconds for one in results)
    print(f"\n{len(results)} models, {asked.seeds} seeds each, on {keras.config.backend()}: {seconds:.0f} s")


if __name__ == "__main__":
    main()
