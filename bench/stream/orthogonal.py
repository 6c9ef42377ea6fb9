"""Orthogonal matrices: fanwise beside torch.nn.init.orthogonal_ and numpy.linalg.qr, all with their own threads.

python -m bench orthogonal [ROUNDS]

Every round times all contestants once, in turn; the table shows the median over rounds of other / fanwise: above 1
fanwise is the faster. "haar" is the orthogonalisation alone, of Gaussian values drawn before; "whole" is
Orthogonal()(shape, key=0), float32, what a user sees; torch's time always holds its draw. numpy.linalg.qr, with the
sign fix that makes it Haar, computes in float64 for float32 too and is timed without a draw. Without torch its columns
are left out.
"""

import statistics
import sys
import time

import numpy as np

import fanwise as fw
from fanwise.laws.matrices import haar

try:
    import torch
except ImportError:
    torch = None

SHAPES = [(512, 512), (1024, 1024), (2048, 2048), (4096, 4096), (4096, 1024)]
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3


def signed_qr(gaussian):
    q, r = np.linalg.qr(gaussian)
    return q * np.where(np.diagonal(r) < 0, -1.0, 1.0)


def contestants(shape):
    doubles = np.random.default_rng(0).standard_normal(shape)
    singles = doubles.astype(np.float32)
    found = {
        "haar 32": lambda: haar(singles),
        "haar 64": lambda: haar(doubles),
        "whole": lambda: fw.Orthogonal()(shape, key=0),
        "qr": lambda: signed_qr(doubles),
    }
    if torch is not None:
        found["torch"] = lambda: torch.nn.init.orthogonal_(torch.empty(shape))
    return found


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rounds(shape):
    found = contestants(shape)
    for function in found.values():
        function()
    return [{name: seconds(function) for name, function in found.items()} for _ in range(ROUNDS)]


def main():
    if torch is None:
        print("torch is not installed: its columns are left out")
    pairs = [(other, ours) for other in ("torch", "qr")[torch is None :] for ours in ("haar 32", "haar 64", "whole")]
    print(f"{'shape':>12s} " + " ".join(f"{other + ' / ' + ours:>16s}" for other, ours in pairs) + "   whole, s")
    for shape in SHAPES:
        times = rounds(shape)
        ratios = [statistics.median(one[other] / one[ours] for one in times) for other, ours in pairs]
        whole = statistics.median(one["whole"] for one in times)
        print(f"{'x'.join(map(str, shape)):>12s} " + " ".join(f"{ratio:16.2f}" for ratio in ratios) + f"   {whole:.3f}")
