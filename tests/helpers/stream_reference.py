"""Stream v1 again, in plain Python and from docs/stream-v1.md alone: slow, and no line shared with fanwise."""

import hashlib
import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "stream-v1.md"
MASK = 0xFFFFFFFF


def page_table():
    rows = re.findall(r"^\| (\d+) \| (-?\d+(?: \| -?\d+){7}) \|$", PAGE.read_text(), re.MULTILINE)
    return {int(row): [int(c) for c in cells.split(" | ")] for row, cells in rows}


TABLE = page_table()


def key_words(seed, path="", domain=""):
    message = b"fanwise stream v1" + len(domain.encode()).to_bytes(4, "little") + domain.encode()
    message += seed.to_bytes(16, "little") + path.encode()
    digest = hashlib.blake2b(message, digest_size=16).digest()
    return [int.from_bytes(digest[4 * j : 4 * j + 4], "little") for j in range(4)]


def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        hi0, lo0 = divmod(0xD2511F53 * c0, 1 << 32)
        hi1, lo1 = divmod(0xCD9E8D57 * c2, 1 << 32)
        c0, c1, c2, c3 = hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def word(words, i):
    k0, k1, s0, s1 = words
    block = i // 4
    return philox((block & MASK, block >> 32, s0, s1), (k0, k1))[i % 4]


def uniform_integer(w):
    s = w ^ 0x80000000
    return (s - (1 << 32) if s >> 31 else s) | 1


def normal_integer(w):
    u = (w << 1 & MASK) | 1
    r = 32 - u.bit_length()
    y = (u << (r + 1) & MASK) - (1 << 31)
    row = TABLE[r]
    a = row[7]
    for c in row[6::-1]:
        a = ((a * y) >> 32) + c
        assert -(1 << 31) <= a < 1 << 31
    return -a if w >> 31 else a


def cell_integer(v):
    return normal_integer(v ^ 0x80000000 if v < 1 << 31 else v ^ MASK)


def bisect(x):
    a, e = 0, 1 << 32
    while a < e:
        m = (a + e) // 2
        if cell_integer(m) >= x:
            e = m
        else:
            a = m + 1
    return a


def truncated_integer(w, low_fixed, stop_fixed):
    first, stop = bisect(low_fixed), bisect(stop_fixed)
    return cell_integer(first + (w * (stop - first) >> 32))


def value32(n, unit, mean=0.0):
    v = np.float32(n) * np.float32(unit)
    return v + np.float32(mean) if mean else v
