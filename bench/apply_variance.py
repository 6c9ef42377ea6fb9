"""Whether `apply` gives what the plan's rows say: second moments of every planned map, measured through the model.

    python -m bench apply_variance [--framework torch|jax|keras] [--only NAME] [--seeds N]

Every healthy model of the zoo is planned and applied, and run on its own batch. For each row of the plan that says what
its op gives, the second moment of what the op gave is held against it; and that of the scores of every attention
against 1. Windows of a convolution that reach over the border read zeros, which a row does not count: what it says is
taken times the share of taps that fall on values. Gates of cells and maps inside a block of attention cannot be seen.
Printed is the share within 5 %, and within 5 % and what a map's own draw allows: a second moment is a mean over as
many independent units as a map has outputs, so it scatters by sqrt(2 / outputs). The worst ten are named.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from bench.observing import backend_of, healthy, observed
from fanwise.graph.kinds import BEFORE_SOFTMAX, CONVOLUTIONS, WEIGHTED
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.graph.trace import Trace
from fanwise.measure.observation import Observation
from fanwise.plan.plan import Plan
from fanwise.theory import padding
from zoo.model import Framework, Model

NEAR = 0.05
"""Share by which what is given may differ."""
SEEN = WEIGHTED - {OpKind.RECURRENT, OpKind.ATTENTION_BLOCK}
"""Ops that give what their map gives."""
SIGMAS = 2.0
"""Standard deviations of a map's own draw that are allowed."""


@dataclass(frozen=True)
class Given:
    """One map or score.

    Args:
        model: framework and name.
        path: of the weight, or of the op that makes scores.
        role: of the row, "score" for scores.
        ratio: measured second moment over what the row says.
        allowed: logarithm by which the draw alone moves it, in 19 of 20 draws.
    """

    model: str
    path: str
    role: str
    ratio: float
    allowed: float

    @property
    def off(self) -> float:
        """Size of the logarithm of the ratio."""
        return abs(math.log(self.ratio)) if self.ratio > 0 else math.inf


def given(name: str, run: Observation, plan: Plan) -> Iterator[Given]:
    """Every planned map whose row says what it gives, at its first use; and every score."""
    rows = {row.path: row for row in plan.rows}
    seen: set[str] = set()
    for op in run.trace.ops:
        for use in op.uses[:1] if op.kind in SEEN else ():
            row = rows.get(use.path)
            if row is not None and row.gives and use.path not in seen:
                seen.add(use.path)
                wanted = row.gives * border(run.trace, op)
                yield Given(name, use.path, row.role, of_the_map(run, op) / wanted, _allowed(run, op))
        if op.kind == OpKind.SOFTMAX:
            yield from _scores(name, run, op)


def of_the_map(run: Observation, op: Op) -> float:
    """Second moment of what a map gave, less that of its bias, which the row of the map does not count."""
    offsets = [run.values[use.path] for use in op.used(UseRole.BIAS) if use.path in run.values]
    return run.signals[op.index].second_moment - sum(values.second_moment for values in offsets)


def border(trace: Trace, op: Op) -> float:
    """Share of a convolution's taps that fall on values, 1 for other maps."""
    use = op.uses[0]
    shape, layout = trace.by_path[use.path].shape, use.layout
    if op.kind not in CONVOLUTIONS or layout is None or len(layout.axes) != len(shape) or not op.reads:
        return 1.0
    kernel = tuple(size for size, role in zip(shape, layout.axes, strict=True) if role == "kernel")
    return padding.forward(op, op.reads[0], kernel).share or 1.0


def _scores(name: str, run: Observation, softmax: Op) -> Iterator[Given]:
    product = run.trace.before(softmax, {OpKind.MATMUL}, BEFORE_SOFTMAX)
    if product is None or not softmax.inputs or softmax.inputs[0] < 0:
        return
    scores = run.signals[softmax.inputs[0]]
    size = scores.second_moment
    if math.isfinite(size):
        allowed = SIGMAS * math.sqrt(4 / max(product.width or 1, 1))
        yield Given(name, product.module or product.name, "score", size, allowed)


def _allowed(run: Observation, op: Op) -> float:
    """Twice the standard deviation of a mean of squares over the units of a map."""
    units = op.shape[run.trace.axes[op.index]] if op.shape else 1
    return SIGMAS * math.sqrt(2 / max(units, 1))


def rows_of(model: Model, seeds: int) -> list[Given]:
    """What every seed of a model gave; one that cannot be run says so."""
    found: list[Given] = []
    for seed in range(seeds):
        try:
            run, plan = observed(backend_of(model.framework), model, "planned", seed)
        except Exception as error:
            print(f"{model.framework} {model.name}: {type(error).__name__}: {str(error)[:90]}", flush=True)
            continue
        found += [] if plan is None else list(given(f"{model.framework} {model.name}", run, plan))
    return found


def show(rows: list[Given]) -> None:
    """Shares by role, and the worst ten."""
    print(f"{'role':20} {'maps':>6} {'within 5 %':>11} {'and the draw':>13}")
    for role in [*sorted({row.role for row in rows}), ""]:
        chosen = [row for row in rows if role in ("", row.role)]
        near = sum(row.off <= math.log1p(NEAR) for row in chosen)
        drawn = sum(row.off <= math.log1p(NEAR) + row.allowed for row in chosen)
        count = max(len(chosen), 1)
        print(f"{role or 'all':20} {len(chosen):6d} {100 * near / count:9.1f} % {100 * drawn / count:11.1f} %")
    print("\nworst:")
    for row in sorted(rows, key=lambda row: row.allowed - row.off)[:10]:
        print(f"  {row.model:40} {row.path:40} {row.role:12} x {row.ratio:.3g}")


def main() -> None:
    """Measures over the zoo."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=get_args(Framework))
    parser.add_argument("--only", "--model", default="", help="models whose names contain this")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="one model in so many")
    asked = parser.parse_args()
    chosen = list(healthy(asked.framework, asked.only))[:: asked.every]
    show([row for model in chosen for row in rows_of(model, asked.seeds)])
