"""The largest error of the integer inverse normal CDF, over all 2**31 tail indices.

    python -m bench normal_error [--every N]

Compares `normal_fixed` with SciPy's ndtri (Cephes, double precision) on every tail index, on all cores;
--every N takes one index in N. Prints the largest error, where it is, and the moments of the law.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from scipy.special import ndtri

from fanwise.stream.normal import FRACTION_BITS, Z_MAX, normal_fixed

CHUNK = 1 << 22


def chunk_error(start, every):
    t = np.arange(start, min(start + CHUNK * every, 1 << 31), every, dtype=np.uint64)
    z = normal_fixed(t.astype(np.uint32)) * 2.0**-FRACTION_BITS
    error = np.abs(z + ndtri((t + 0.5) / 2.0**32))
    worst = int(error.argmax())
    return float(error[worst]), int(t[worst]), float((z**2).sum()), float((z**4).sum()), t.size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    starts = range(0, 1 << 31, CHUNK * every)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(chunk_error, starts, [every] * len(starts)))
    error, where = max(result[:2] for result in results)
    second, fourth, count = (sum(result[i] for result in results) for i in (2, 3, 4))
    print(f"tail indices {count}  largest error {error:.3e} at t = {where}  largest |z| {Z_MAX * 2.0**-28:.4f}")
    print(f"E z^2 - 1 = {second / count - 1:+.2e}   E z^4 - 3 = {fourth / count - 3:+.2e}")
