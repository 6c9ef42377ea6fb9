"""`fanwise.torch.calibrate` beside the package lsuv (Mishkin and Matas, "All you need is a good init", 2015).

    python -m bench calibrators             # forwards, time, errors; the hard cases; about 3 minutes
    python -m bench calibrators --train     # and training on digits at 30 layers

Both get the same weights, and the same target: std 1 at every op, the head and branch ends too. What they reached is
measured in a run of its own by a watcher of torch's functions that knows neither. Times are medians of `--rounds`.
lsuv draws orthogonal matrices first; its time without them is shown beside.
"""

import argparse
import copy
import math
import statistics
import time
import warnings

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fanwise.torch import calibrate
from zoo.registry import models

try:
    import lsuv
except ImportError as error:
    raise SystemExit("the benchmark calibrators compares with lsuv 0.3.0: python -m pip install lsuv") from error

MAPS = {"linear", "conv2d", "conv_transpose2d", "matmul", "embedding", "bilinear", "multi_head_attention_forward"}


class Watch(TorchFunctionMode):
    """The std of what each map gives."""

    def __init__(self):
        super().__init__()
        self.stds = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in MAPS:
            first = output[0] if isinstance(output, tuple) else output
            self.stds.append(float(first.detach().double().std(correction=0)))
        return output


def reached(model, inputs):
    """The std of each map's output in a run, in evaluation mode, but with the batch's statistics in batch norms."""
    twin = copy.deepcopy(model).eval()
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.train()
    with torch.no_grad(), Watch() as watch:
        twin(*inputs)
    return watch.stds


def off(stds):
    """The largest |std - 1|."""
    return math.nan if any(math.isnan(one) for one in stds) else max(abs(one - 1) for one in stds)


def ours(model, inputs):
    return calibrate(model, inputs, head="target", branches="target")


def theirs(model, inputs, *, orthonormal=True):
    if len(inputs) > 1:
        return lsuv.lsuv_with_singlebatch(model, list(inputs), do_orthonorm=orthonormal, verbose=False)
    return lsuv.lsuv_with_singlebatch(model, inputs[0], do_orthonorm=orthonormal, verbose=False)


def run(call, model, inputs):
    """Seconds, forwards and what was reached."""
    forwards = []
    handle = model.register_forward_hook(lambda *_: forwards.append(1))
    start = time.perf_counter()
    call(model, inputs)
    seconds = time.perf_counter() - start
    handle.remove()
    return seconds, len(forwards), off(reached(model, inputs))


def compare(case, rounds):
    """One line of the table."""
    torch.manual_seed(0)
    model, inputs = case.build(), case.batch().args
    calls = (ours, theirs, lambda model, inputs: theirs(model, inputs, orthonormal=False))
    run(ours, copy.deepcopy(model), inputs)
    found = [[run(call, copy.deepcopy(model), inputs) for call in calls] for _ in range(rounds)]
    times = [statistics.median(one[i][0] for one in found) for i in range(3)]
    (_, mine, error), (_, other, their_error), _ = found[0]
    print(
        f"| {case.name} | {mine} | {other} | {error:.1e} | {their_error:.1e} | {times[0]:.2f} s | {times[1]:.2f} s | "
        f"{times[2]:.2f} s | {times[1] / times[0]:.1f}x | {times[2] / times[0]:.1f}x |",
        flush=True,
    )


def outcome(call, case):
    """What a calibrator does with a hard case, in words."""
    torch.manual_seed(0)
    model, inputs = case.build(), case.batch().args
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call(model, inputs)
            stds = reached(model, inputs)
        except Exception as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    told = [f"std {', '.join(f'{one:.3g}' for one in stds)}"]
    told += [f"warns: {len(caught)}"] if caught else []
    if any(not torch.equal(dict(model.named_parameters())[name], before) for name, before in frozen.items()):
        told.append("changed a frozen weight")
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        told.append("weights not finite")
    left = [
        f"{line.paths[0]}: {line.left or line.note}" for line in getattr(result, "lines", ()) if line.left or line.note
    ]
    return "; ".join([*told, *left])


def training(seeds):
    """Accuracy on digits at 30 layers from several starts."""
    from bench.calibrated_training import LOOK, accuracy, digits, figure, network, orthogonal  # noqa: PLC0415

    data = digits()
    starts = {
        "torch's default": lambda model, x: model,
        "lsuv (orthonormal)": lambda model, x: theirs(model, (x,)),
        "lsuv (as found)": lambda model, x: theirs(model, (x,), orthonormal=False),
        "calibrate (as found)": calibrate,
        "calibrate (orthogonal)": lambda model, x: calibrate(orthogonal(model), x),
        "calibrate (orthogonal), head 1": lambda model, x: calibrate(orthogonal(model), x, head="target"),
    }
    print("\n| start, 30 layers of 128, ReLU | accuracy |\n| --- | --- |")
    for name, start in starts.items():
        found = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            model = network(30, "ReLU")
            start(model, data[0][:LOOK])
            found.append(accuracy(model, data, seed))
        print(f"| {name} | {figure(found)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)
    heads = ("model", "forwards", "lsuv", "largest abs(std - 1)", "lsuv", "time", "lsuv", "lsuv, no drawing", "", "")
    print(f"| {' | '.join(heads)} |")
    print("| --- " * 10 + "|")
    for case in models("torch", "calibrate").values():
        compare(case, asked.rounds)
    print("\n| case | lsuv | fanwise |\n| --- | --- | --- |")
    for case in models("torch", "pitfall").values():
        print(f"| {case.name} | {outcome(theirs, case)} | {outcome(ours, case)} |", flush=True)
    if asked.train:
        training(asked.seeds)
