"""How often a measured second moment lies in the band that theory prints: 19 of 20 is the promise.

    python -m bench theory_bands [--framework torch|jax|keras] [--only NAME] [--seeds N] [--list]

Every healthy model of the zoo is run with its own initial weights and with those of its plan. Counted is, for each
weight op, whether the rms that was measured lies in the band that the check prints beside it; apart for predictions
that stand on rules alone and for those that an assumption precedes. The models with most outside are named.
"""

import argparse
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import get_args

from bench.observing import backend_of, healthy, observed
from fanwise.check.layers import band_of
from fanwise.check.prediction import predicted
from fanwise.graph.kinds import WEIGHTED
from fanwise.measure.observation import Observation
from zoo.model import Framework, Model


@dataclass(frozen=True)
class Compared:
    """One weight op of one run.

    Args:
        model: name of the model, and how its weights were drawn.
        op: its module and function.
        kind: of the op.
        grounds: what the prediction stands on.
        log: logarithm of the measured over the predicted rms, in half widths of the band: outside beyond 1.
        ratio: measured over predicted rms.
    """

    model: str
    op: str
    kind: str
    grounds: str
    log: float
    ratio: float


def compared(name: str, run: Observation) -> list[Compared]:
    """Every weight op of a run of which theory says something."""
    said, found = predicted(run), []
    for op in run.trace.ops:
        rms, (low, high) = band_of(said, op.index, 1)
        measured = run.signals[op.index].rms
        if op.kind in WEIGHTED and rms > 0 and measured > 0 and math.isfinite(rms + measured):
            width = math.log(high / low) / 2
            log = math.log(measured / rms)
            scaled = abs(log) / width if width > 0 else (0.0 if abs(log) < 1e-6 else math.inf)
            place = f"{op.module or '.'} {op.name}"
            found.append(Compared(name, place, str(op.kind), str(said.grounds[op.index]), scaled, math.exp(log)))
    return found


def runs(model: Model, seeds: int) -> list[Compared]:
    """Both starts of a model; one that cannot be run says so."""
    rows: list[Compared] = []
    for start in ("built", "planned"):
        for seed in range(seeds):
            try:
                run, _ = observed(backend_of(model.framework), model, start, seed)
                rows += compared(f"{model.framework} {model.name} {start}", run)
            except Exception as error:
                print(f"{model.framework} {model.name} {start}: {type(error).__name__}: {str(error)[:90]}", flush=True)
    return rows


def share(rows: list[Compared]) -> str:
    """How many lie inside."""
    inside = sum(row.log <= 1 for row in rows)
    return f"{inside:5d} of {len(rows):5d}  {100 * inside / max(len(rows), 1):5.1f} %"


def show(rows: list[Compared], *, full: bool) -> None:
    """The shares, by what they stand on and by kind of op; the models with most outside."""
    for grounds in sorted({row.grounds for row in rows}):
        print(f"{grounds:12} {share([row for row in rows if row.grounds == grounds])}")
    for kind in sorted({row.kind for row in rows}):
        print(f"  {kind:16} {share([row for row in rows if row.kind == kind])}")
    outside = Counter(row.model for row in rows if row.log > 1)
    by_model = defaultdict(list)
    for row in rows:
        by_model[row.model].append(row)
    print("\nmost outside:")
    for name, count in outside.most_common(20):
        worst = max(by_model[name], key=lambda row: row.log)
        print(f"  {name:46} {count:3d} of {len(by_model[name]):3d}  {worst.op} {worst.kind} x {worst.ratio:.3g}")
    for row in sorted(rows, key=lambda row: -row.log) if full else ():
        print(f"{row.log:8.2f} x {row.ratio:7.3f} {row.grounds:10} {row.kind:10} {row.model} {row.op}")


def main() -> None:
    """Compares over the zoo."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=get_args(Framework))
    parser.add_argument("--only", default="", help="models whose names contain this")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="one model in so many")
    parser.add_argument("--list", action="store_true", help="every op, the worst first")
    asked = parser.parse_args()
    chosen = list(healthy(asked.framework, asked.only))[:: asked.every]
    rows = [row for model in chosen for row in runs(model, asked.seeds)]
    show(rows, full=asked.list)
