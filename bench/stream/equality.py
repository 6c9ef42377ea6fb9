"""Whether the kernel has the bits of its definition: random boxes, strides, threads; and every word there is.

    python -m bench equality [--millions 100]      every law and dtype on every path, that many values each
    python -m bench equality --exhaustive          all 2**32 words through the normal of every path

Prints the number of values compared and of bytes that differ; exits with 1 if any do.
"""

import argparse
import ctypes
import hashlib
import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from fanwise import Box, Key
from fanwise.stream import fill, native
from fanwise.stream.formats import FORMATS
from fanwise.stream.law import normal_law, truncated_law, uniform_between_law, uniform_law
from fanwise.stream.normal import normal_fixed
from fanwise.stream.truncation import Truncation

STREAM = Key(2026, "equality").philox()
LAWS = {
    "words": lambda form: None,
    "uniform": lambda form: uniform_law(form, 0.05),
    "uniform between": lambda form: uniform_between_law(form, -1.0, 3.0),
    "normal": lambda form: normal_law(form, 0.02, 0.0),
    "normal with a mean": lambda form: normal_law(form, math.pi / 100, 1.5),  # no fraction: a fused sum would show
    "truncated": lambda form: truncated_law(form, Truncation(-2.0, 2.0), 0.02, 0.0),
    "truncated, one side": lambda form: truncated_law(form, Truncation(-0.5, math.inf), 1.0, 0.0),
    "truncated nowhere": lambda form: truncated_law(form, Truncation(-math.inf, math.inf), 1.0, 0.0),
}
CASES = [("words", "uint32"), *((name, form) for name in LAWS if name != "words" for form in FORMATS)]
CHUNK = 1 << 24


class Law(ctypes.Structure):
    """fw_law of kernel.h."""

    _fields_ = (
        ("key", ctypes.c_uint32 * 4),
        ("map", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        *((name, ctypes.c_double) for name in ("unit", "mean", "low", "high")),
        ("first_cell", ctypes.c_uint64),
        ("cells", ctypes.c_uint64),
    )


class Path(ctypes.Structure):
    """fw_path of kernel.h."""

    _fields_ = (("run", ctypes.c_void_p), ("convert", ctypes.c_void_p))


def random_box(rng):
    """A box of about a million elements somewhere in a shape of up to 2**62."""
    extent = tuple(int(n) for n in rng.permutation([int(rng.integers(1, 9)), int(rng.integers(200, 2000)), 300]))
    shape = tuple(n + int(2.0 ** rng.uniform(0, 18)) for n in extent)
    start = tuple(int(rng.integers(0, n - m + 1)) for n, m in zip(shape, extent, strict=True))
    return shape, Box(start, extent)


def target_of(shape, dtype, rng):
    """An empty array of a shape, contiguous or not."""
    kind = rng.integers(0, 3)
    if kind == 0:
        return np.empty(shape, dtype)
    return np.empty(shape[::-1], dtype).T if kind == 1 else np.empty((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]


def compare(case, values, seed):
    """Values compared and differing bytes of one law and dtype, over all paths."""
    name, form = case
    law = LAWS[name](FORMATS.get(form))
    dtype = np.dtype(np.uint32) if law is None else FORMATS[form].dtype()
    rng, compared, different = np.random.default_rng(seed), 0, 0
    while compared < values:
        shape, box = random_box(rng)
        defined = np.empty(box.shape, dtype)
        fill.define(defined, STREAM, law, box, shape)
        for isa in native.ISAS:
            drawn, threads = target_of(box.shape, dtype, rng), int(rng.integers(1, 65))
            native.fill(drawn, STREAM, law, box, shape=shape, threads=threads, isa=isa)
            raw = np.ascontiguousarray(drawn).view(np.uint8), defined.view(np.uint8)
            different += int((raw[0] != raw[1]).sum())
        compared += box.size
    return name, form, compared, different


def forked_bytes_differ():
    """Bytes in which a forked child's draw differs from the parent's."""
    read, write = os.pipe()
    mine = hashlib.sha256(fill.normal(Key(0, "fork"), (1 << 20,), threads=4).tobytes()).digest()
    if os.fork() == 0:
        os.write(write, hashlib.sha256(fill.normal(Key(0, "fork"), (1 << 20,), threads=4).tobytes()).digest())
        os._exit(0)
    os.wait()
    return int(os.read(read, 32) != mine)


def exhaustive_chunk(first):
    """Digests of the normals of CHUNK consecutive words: of the definition, and of every path."""
    words = np.arange(first, first + CHUNK, dtype=np.uint64).astype(np.uint32)
    defined = normal_fixed(words).astype(np.float32) * np.float32(2.0**-28)
    library = ctypes.CDLL(str(native.library_path()))
    library.fanwise_path.restype = ctypes.POINTER(Path)
    law = Law((ctypes.c_uint32 * 4)(), 2, 2, 2.0**-28, 0.0, -math.inf, math.inf, 0, 1)
    found, out = [], np.empty(CHUNK, np.float32)
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p)
    for isa in native.ISAS.values():
        convert = signature(library.fanwise_path(isa).contents.convert)
        convert(ctypes.addressof(law), words.ctypes.data, CHUNK, out.ctypes.data)
        found.append(int((out.view(np.uint32) != defined.view(np.uint32)).sum()))
    return hashlib.sha256(defined.tobytes()).digest(), found


def exhaustive(pool):
    """All 2**32 words through the normal; True if all agree."""
    digest, total = hashlib.sha256(), np.zeros(len(native.ISAS), np.int64)
    for part, found in pool.map(exhaustive_chunk, range(0, 1 << 32, CHUNK)):
        digest.update(part)
        total += found
    for name, count in zip(native.ISAS, total, strict=True):
        print(f"{name:9s} {1 << 32} words, {count} values differ")
    print(f"SHA-256 of the chunks' SHA-256: {digest.hexdigest()}")
    return not total.any()


def random_boxes(pool, values):
    """Random boxes of every law and dtype; True if all agree."""
    found = list(pool.map(compare, CASES, [values] * len(CASES), range(len(CASES))))
    for name, form, compared, different in found:
        print(f"{name:20s} {form:9s} {compared:12,d} values x {len(native.ISAS)} paths, {different} bytes differ")
    forked = forked_bytes_differ()
    print(f"after fork: {'different' if forked else 'the same'}")
    return not forked and not any(different for *_, different in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=100.0)
    parser.add_argument("--exhaustive", action="store_true")
    options = parser.parse_args()
    if native.ISA == "numpy":
        sys.exit("the kernel was not built: there is nothing to compare")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        same = exhaustive(pool) if options.exhaustive else random_boxes(pool, int(options.millions * 1e6))
    sys.exit(0 if same else 1)
