"""How near theory comes: predicted against measured second moments at every weight op, forward and backward.

    python bench/theory.py [--seeds N] [--list]

Each of eight networks is built under several seeds, as torch initialises it and as the plan of the unit recipe does,
and run once, forward and backward, on a batch of noise. Theory is told the mean and std of every parameter, the moments
of the inputs and the gradient at the output; what it says of each weight op is compared with the mean over the seeds of
what was measured.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Sequence

import torch
from theory_models import MODELS, Model
from torch import nn

import fanwise.torch as fwt
from fanwise.check.predicting import predicted
from fanwise.theory.propagation import Propagation
from fanwise.torch.inputs import as_inputs
from fanwise.torch.observing import observe
from fanwise.trace import WEIGHT_KINDS


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
    ops = [op for op in trace.ops if op.kind in WEIGHT_KINDS]
    forward = errors(
        [[run.signals[op.index].second_moment for op in ops] for run in runs],
        [[one.second_moments[op.index] for op in ops] for one in said],
    )
    backward = errors(
        [[run.signals[op.index].gradient for op in ops] for run in runs],
        [[one.gradients[op.index] for op in ops] for one in said],
    )
    backward = [error for error, op in zip(backward, ops, strict=True) if op.index not in trace.outputs]
    print(_line(model.name, start, forward, backward, said[0], len(trace.ops), statistics.median(seconds)))
    if full:
        for op, *numbers in zip(ops, forward, [*backward, float("nan")], strict=False):
            print(f"      {op.module or op.name:24} {op.kind:16} {numbers[0]:8.3f} {numbers[1]:8.3f}")
    return forward, backward


def _line(
    name: str, start: str, forward: list[float], backward: list[float], said: Propagation, ops: int, seconds: float
) -> str:
    cells = [statistics.median(forward), max(forward), statistics.median(backward), max(backward)]
    numbers = "  ".join(f"{100 * cell:7.1f} %" for cell in cells)
    return f"{name:20} {start:8} {numbers}  {len(said.unruled):3}/{ops:<4} {len(said.measured):3}  {seconds:6.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--list", action="store_true", help="every weight op")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(f"{'model':20} {'start':8} {'forward: median, largest':>22}  {'backward: median, largest':>22}  no rule  run")
    forward, backward = [], []
    for model in MODELS:
        for start in ("torch", "unit") if options.only in model.name else ():
            found = report(model, start, options.seeds, full=options.list)
            forward += found[0]
            backward += found[1]
    print(f"all: forward {100 * statistics.median(forward):.1f} %, backward {100 * statistics.median(backward):.1f} %")


if __name__ == "__main__":
    main()
