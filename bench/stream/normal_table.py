"""Fits the table of the integer inverse normal CDF and prints it, with the fit's largest error.

    python -m bench normal_table

The tail index u = 2 t + 1 (odd, below 2**32) stands for the tail probability u / 2**33. An octave of u is one row:
u = 2**k (3/2 + y), y in [-1/2, 1/2). Each row is the minimax polynomial of degree 7 for
z(y) = -Phi^-1(u / 2**33), found as a linear programme over Chebyshev nodes and rounded to 28 fraction bits.
Rows come in the order in which the generator looks them up: by the leading zeros of u as a 32-bit word.
"""

import numpy as np
from numpy.polynomial import chebyshev
from scipy.optimize import linprog
from scipy.special import ndtri

DEGREE, FRACTION_BITS, NODES = 7, 28, 1001


def minimax_row(octave):
    nodes = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    tail = 2.0 ** (octave - 33) * (1.5 + nodes / 2)
    target = -ndtri(np.minimum(tail, 0.5))
    basis = chebyshev.chebvander(nodes, DEGREE)
    start = np.linalg.lstsq(basis, target, rcond=None)[0]
    rest = target - basis @ start
    size = np.abs(rest).max()
    ones = np.ones((NODES, 1))
    constraints = np.block([[basis, -ones], [-basis, -ones]])
    cost = np.r_[np.zeros(DEGREE + 1), 1]
    free = [(None, None)] * (DEGREE + 2)
    solved = linprog(cost, constraints, np.r_[rest, -rest] / size, bounds=free, method="highs")
    powers = chebyshev.cheb2poly(start + size * solved.x[:-1])
    return powers * 2.0 ** np.arange(DEGREE + 1), size * solved.x[-1]  # in y = nodes / 2


def main():
    worst, rows = 0.0, []
    for leading_zeros in range(32):
        row, error = minimax_row(31 - leading_zeros)
        worst = max(worst, error)
        fixed = row * 2.0**FRACTION_BITS
        fixed[0] += 0.5  # every floor in Horner's scheme loses half a unit on average; the last one counts
        rows.append(np.round(fixed).astype(int).tolist())
    for row in rows:
        print(f"    ({', '.join(map(str, row))}),")
    print(f"# largest error of the fit: {worst:.2e}")
