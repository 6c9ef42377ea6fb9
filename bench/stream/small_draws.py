"""What a small draw costs: 16 He weights from fanwise beside NumPy and torch, in one run.

python -m bench small_draws

All calls take turns, and a time is the least mean of a turn of 200 calls: what the call costs where nothing else runs.
torch is left out where it is absent. No figure here is a test: "not reached" changes no exit code.
"""

import importlib.util
import time

import numpy as np

import fanwise as fw
from fanwise.stream import fill, native
from fanwise.stream.formats import as_format
from fanwise.stream.law import normal_law

SHAPE, STD = (4, 4), 0.5**0.5
KEY, LAYOUT, OUT = fw.Key(0).child("layer.weight"), fw.Layout.dense("out in"), np.empty(SHAPE, np.float32)
TRUNCATED = fw.VarianceScaling(2.0, "fan_in", "truncated_normal")
CALLS, TURNS = 200, 150
AIMS = {"he_normal, a key": 25.0, "16 values by the kernel": 2.0}
"""Microseconds to reach."""


def ours():
    """The calls a user makes, and the two steps inside that cannot be left out."""
    law, stream, box = normal_law(as_format("float32"), STD, 0.0), KEY.philox(), fw.Box.whole(SHAPE)
    return {
        "he_normal, a key": lambda: fw.he_normal(SHAPE, key=KEY),
        "he_normal, a seed": lambda: fw.he_normal(SHAPE, key=0),
        "he_normal, a key made anew": lambda: fw.he_normal(SHAPE, key=fw.Key(0).child("layer.weight")),
        "he_normal, with a layout": lambda: fw.he_normal(SHAPE, key=KEY, layout=LAYOUT),
        "he_normal, into an array": lambda: fw.he_normal(SHAPE, key=KEY, out=OUT),
        "truncated normal of a fan": lambda: TRUNCATED(SHAPE, key=KEY),
        "zeros": lambda: fw.zeros(SHAPE),
        "normal, no initializer": lambda: fill.normal(KEY, SHAPE, std=STD),
        "16 values by the kernel": lambda: native.fill(OUT, stream, law, box, shape=SHAPE, threads=None),
        "hash of a key": KEY.philox,
    }


def numpys():
    generator = np.random.default_rng(0)
    return {
        "NumPy, a generator": lambda: generator.normal(0, STD, SHAPE).astype(np.float32),
        "NumPy, a generator made anew": lambda: np.random.default_rng(0).normal(0, STD, SHAPE).astype(np.float32),
    }


def torchs():
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    return {
        "torch.nn.init.kaiming_normal_": lambda: torch.nn.init.kaiming_normal_(torch.empty(SHAPE), nonlinearity="relu"),
        "torch, a generator made anew": lambda: torch.empty(SHAPE).normal_(
            0, STD, generator=torch.Generator().manual_seed(0)
        ),
    }


def microseconds(call):
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


def verdict(name, least):
    if name not in AIMS:
        return ""
    return f"   aim {AIMS[name]:.0f} us: {'reached' if least <= AIMS[name] else 'not reached'}"


def main():
    calls = ours() | numpys() | torchs()
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(TURNS):
        for name, call in calls.items():
            least[name] = min(least[name], microseconds(call))
    base = least["NumPy, a generator"]
    print(f"16 float32 values, {native.ISA}: least of {TURNS} turns of {CALLS} calls")
    for name, time_ in least.items():
        print(f"{name:30s} {time_:7.2f} us {time_ / base:6.1f} x NumPy{verdict(name, time_)}")
