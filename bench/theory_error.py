"""How near theory comes: predicted against measured second moments at every weight op, forward and backward.

    python -m bench theory_error [--seeds N] [--list]

Each of eight networks is built under several seeds, as torch initialises it and as the plan of the unit recipe does,
and run once, forward and backward, on a batch of noise. Theory is told the mean and std of every parameter, the moments
of the inputs and the gradient at the output; what it says of each weight op is compared with the mean over the seeds of
what was measured.
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Sequence

import torch
from torch import nn

import fanwise.torch as fwt
from fanwise.check.prediction import predicted
from fanwise.graph.kinds import WEIGHTED
from fanwise.theory.propagation import Propagation
from fanwise.torch.measure.observe import observe
from fanwise.torch.trace.inputs import as_inputs
from zoo.model import Model
from zoo.registry import models


def observed(model: Model, start: str, seed: int):
    torch.manual_seed(1000 + seed)  # the batches are drawn under 1 and 2
    module: nn.Module = model.build()
    *inputs, target = model.batch()
    if start == "unit":
        fwt.apply(module, fwt.plan(module, tuple(inputs)), key=seed)
    return observe(module, as_inputs(module, tuple(inputs)), target, model.loss)


def errors(measured: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> list[float]:
    """|predicted / measured - 1|, each a mean over the seeds, where something was measured."""
    pairs = zip(zip(*measured, strict=True), zip(*expected, strict=True), strict=True)
    means = [(statistics.fmean(found), statistics.fmean(said)) for found, said in pairs]
    return [abs(said / found - 1) if found > 0 else float("nan") for found, said in means]


def report(model: Model, start: str, seeds: int, *, full: bool) -> tuple[list[float], list[float]]:
    runs, said, seconds = [], [], []
    for seed in range(seeds):
        runs.append(observed(model, start, seed))
        begin = time.perf_counter()
        said.append(predicted(runs[-1]))
        seconds.append(time.perf_counter() - begin)
    trace = runs[0].trace
    ops = [op for op in trace.ops if op.kind in WEIGHTED]
    forward = errors(
        [[run.signals[op.index].second_moment for op in ops] for run in runs],
        [[one.second_moments[op.index] for op in ops] for one in said],
    )
    backward = errors(
        [[run.signals[op.index].gradient for op in ops] for run in runs],
        [[one.gradients[op.index] for op in ops] for one in said],
    )
    backward = [error for error, op in zip(backward, ops, strict=True) if op.index not in trace.outputs]
    numbers = statistics.median(seconds), noise([[run.signals[op.index].second_moment for op in ops] for run in runs])
    print(_line(model.name, start, (forward, backward), said[0], len(trace.ops), numbers))
    if full:
        for op, *numbers in zip(ops, forward, [*backward, float("nan")], strict=False):
            print(f"      {op.module or op.name:24} {op.kind:16} {numbers[0]:8.3f} {numbers[1]:8.3f}")
    return forward, backward


def noise(measured: Sequence[Sequence[float]]) -> float:
    """Median relative standard error of what was measured, over the ops: below it, no prediction can be judged."""
    found = [statistics.stdev(one) / statistics.fmean(one) for one in zip(*measured, strict=True) if any(one)]
    return statistics.median(found) / len(measured) ** 0.5


def _line(
    name: str,
    start: str,
    errors: tuple[list[float], list[float]],
    said: Propagation,
    ops: int,
    numbers: tuple[float, float],
) -> str:
    known = [
        [error for error in one if not math.isnan(error)] for one in errors
    ]  # NaN where nothing was measured but 0
    cells = [f"{100 * cell:7.1f} %" for one in known for cell in (statistics.median(one), max(one))]
    unruled = f"{len(said.unruled):3}/{ops:<4} {len(said.measured):3}"
    return f"{name:20} {start:8} {'  '.join(cells)}  {100 * numbers[1]:5.1f} %  {unruled}  {numbers[0]:5.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--list", action="store_true", help="every weight op")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    heads = ("forward", "largest", "backward", "largest")
    print(f"{'model':20} {'start':8} {'  '.join(f'{head:>9}' for head in heads)}    noise  no rule  run  time")
    forward, backward = [], []
    for model in models("torch", "theory").values():
        for start in ("torch", "unit") if options.only in model.name else ():
            found = report(model, start, options.seeds, full=options.list)
            forward += [error for error in found[0] if not math.isnan(error)]
            backward += [error for error in found[1] if not math.isnan(error)]
    print(f"all: forward {100 * statistics.median(forward):.1f} %, backward {100 * statistics.median(backward):.1f} %")
