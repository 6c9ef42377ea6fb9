"""Whether the kernel's NEON path has the bits of its definition, on AArch64 or, elsewhere, under an emulator.

    python -m bench neon [--millions 1]      every law and dtype, that many values each, and the frozen digests
    python -m bench neon --exhaustive        all 2**32 words through the normal: ten minutes under the emulator

Needs, on AArch64, a C compiler `cc`. Elsewhere a cross compiler and QEMU's user emulator; on Debian:

    apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user

The kernel's own C test runs first. Then the kernel, compiled with bench/stream/neon.c, fills random boxes, strides and
thread counts, runs where the low counter word wraps, and converts the words where the normal's pieces meet; memory
beside a target must stay as it was. The installed fanwise may do without a kernel: NumPy computes what is expected.
Prints the values compared and those that differ; exits with 1 if any do.
"""

import argparse
import ctypes
import hashlib
import json
import math
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import equality
import numpy as np
from numpy.typing import NDArray

from fanwise import Box, Key
from fanwise.stream import fill, native
from fanwise.stream.box import Shape
from fanwise.stream.formats import FORMATS, Array, numpy_dtype, working_type
from fanwise.stream.key import PhiloxKey
from fanwise.stream.law import Law, normal_law, truncated_law, uniform_between_law, uniform_law
from fanwise.stream.normal import U32
from fanwise.stream.truncation import Truncation

Kernel: TypeAlias = subprocess.Popen[bytes]
Dtype: TypeAlias = np.dtype[Any]
Bytes: TypeAlias = NDArray[np.uint8]

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "src" / "fanwise" / "stream" / "native"
SOURCES = [NATIVE / f"{name}.c" for name in ("kernel", "path_portable", "path_neon")]
OPTIONS = ["-std=c11", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-DFW_HAVE_NEON", f"-I{NATIVE}"]
LIBRARIES = ["-lpthread", "-lm"]
HERE = platform.machine() in ("aarch64", "arm64")
COMPILER = "cc" if HERE else "aarch64-linux-gnu-gcc"
EMULATOR = [] if HERE else ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]

FILLER = 0xA5
"""What every byte of a memory is before it is filled."""
WRAP = 1 << 34
"""The element at which the low counter word wraps."""
ENDS = [
    (0, 1),
    (1, 2),
    (3, 13),
    (61, 1000),
    *((WRAP - back, 1001) for back in (500, 67, 66, 65, 18, 17, 16, 15, 1, -1)),
]
"""First element and length of runs whose ends fall within a batch of the kernel."""
AROUND = 64
"""Words tried on each side of every exceptional one."""
CHUNK = 1 << 22
VECTORS = json.loads((ROOT / "tests" / "vectors" / "stream-v1.json").read_text(encoding="utf-8"))
VECTOR_LAWS = {
    "words": lambda form, a: None,
    "uniform": lambda form, a: uniform_law(form, a["bound"]),
    "uniform_between": lambda form, a: uniform_between_law(form, a["low"], a["high"]),
    "normal": lambda form, a: normal_law(form, a["std"], 0.0),
    "normal_mean": lambda form, a: normal_law(form, a["std"], a["mean"]),
    "truncated_normal": lambda form, a: truncated_law(form, Truncation(a["low"], a["high"]), a["std"], 0.0),
    "truncated_normal_one_sided": lambda form, a: truncated_law(form, Truncation(a["low"], a["high"]), a["std"], 0.0),
}


class Request(ctypes.Structure):
    """Request of neon.c."""

    _fields_ = (
        ("law", equality.Law),
        *((name, ctypes.c_uint64) for name in ("origin", "bytes", "offset", "words")),
        *((name, ctypes.c_int32) for name in ("filler", "threads", "ndim", "unused")),
    )


def compiled(source: Path, folder: Path) -> list[str]:
    """The command that runs a C program with the kernel linked to it."""
    program = folder / source.stem
    command = [COMPILER, *OPTIONS, *map(str, [*SOURCES, source]), "-o", str(program), *LIBRARIES]
    subprocess.run(command, check=True)
    return [*EMULATOR, str(program)]


@contextmanager
def started(folder: Path) -> Iterator[Kernel]:
    """The running kernel."""
    command = compiled(Path(__file__).with_suffix(".c"), folder)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as kernel:
        yield kernel


@dataclass(frozen=True)
class Case:
    """What is drawn: a law, or words where it is None, as a dtype."""

    law: Law | None
    dtype: Dtype
    stream: PhiloxKey = equality.STREAM

    def told(self) -> equality.Law:
        """The law as fw_law of kernel.h."""
        law = native._kernel_law(self.law)
        if law is None:
            raise ValueError(f"{self.law} has no integer map: the kernel does not know it")
        scale = (law.unit, law.mean, law.low, law.high)
        words = (ctypes.c_uint32 * 4)(*self.stream.words)
        return equality.Law(words, law.integers, native.DTYPES[self.dtype.name], *scale, law.first, law.cells)

    def values(self, words: U32) -> Array:
        """The definition's values of given words."""
        if self.law is None:
            return words
        return self.law.values(words, working_type(self.dtype.name)).astype(self.dtype)


def asked(kernel: Kernel, request: Request, more: bytes) -> Bytes:
    """The memory that the kernel filled for a request."""
    assert kernel.stdin is not None
    assert kernel.stdout is not None
    kernel.stdin.write(bytes(request) + more)
    kernel.stdin.flush()
    reply = kernel.stdout.read(request.bytes)
    if len(reply) != request.bytes:
        sys.exit(f"the kernel ended early, with {kernel.wait()}")
    return np.frombuffer(reply, np.uint8)


def axes_of(target: Array, box: Box, shape: Shape) -> tuple[int, bytes]:
    """Index of a box's first element, and its axes as fw_axis of kernel.h."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    rows = np.array([*zip(box.shape, strides, target.strides, strict=True)], np.int64)
    return sum(first * stride for first, stride in zip(box.start, strides, strict=True)), rows.tobytes()


def filled(kernel: Kernel, case: Case, box: Box, shape: Shape, *, memory: Bytes, target: Array, threads: int) -> Bytes:
    """What the kernel makes of a memory of FILLER alone by a box that stands in `target`, a view of the memory."""
    origin, axes = axes_of(target, box, shape)
    offset = target.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    return asked(kernel, Request(case.told(), origin, memory.nbytes, offset, 0, FILLER, threads, len(shape), 0), axes)


def laid_out(shape: Shape, dtype: Dtype, step: int, *, turned: bool) -> tuple[Bytes, Array]:
    """A memory that holds FILLER alone, and a view of it: every step-th item of the last axis, turned as in Fortran."""
    wide = (*shape[:-1], shape[-1] * abs(step))
    memory = np.full(math.prod(wide) * dtype.itemsize, FILLER, np.uint8)
    items = memory.view(dtype)
    return memory, (items.reshape(wide[::-1]).T if turned else items.reshape(wide))[..., ::step]


def differing(found: Bytes, expected: Bytes, dtype: Dtype) -> int:
    """Number of items that differ."""
    items = f"u{dtype.itemsize}"
    return int((found.view(items) != expected.view(items)).sum())


def box_differs(kernel: Kernel, case: Case, shape: Shape, box: Box, *, rng: np.random.Generator) -> int:
    """Differing items of one box in a random layout, those beside the target counted."""
    step, turned, threads = int(rng.choice([1, 1, -1, 2, -3])), bool(rng.integers(2)), int(rng.integers(1, 9))
    memory, target = laid_out(box.shape, case.dtype, step, turned=turned)
    found = filled(kernel, case, box, shape, memory=memory, target=target, threads=threads)
    fill.define(target, case.stream, case.law, box, shape)
    return differing(found, memory, case.dtype)


def boxes_differ(kernel: Kernel, case: Case, values: int, rng: np.random.Generator) -> tuple[int, int]:
    """Values compared and differing, of the runs in ENDS and then of random boxes."""
    ends = [((1 << 62,), Box((first,), (count,))) for first, count in ENDS]
    compared = different = 0
    while ends or compared < values:
        shape, box = ends.pop() if ends else equality.random_box(rng)
        different += box_differs(kernel, case, shape, box, rng=rng)
        compared += box.size
    return compared, different


def near(centres: Array) -> U32:
    """Words up to AROUND from some, modulo 2**32."""
    spread = np.add.outer(centres.astype(np.int64), np.arange(-AROUND, AROUND + 1))
    return np.unique(spread.astype(np.uint32))


def exceptional_words(law: equality.Law) -> U32:
    """Words about each power of two, their complements, 0 and 2**31; and those a truncated law sends to such cells."""
    powers = np.array([0, *(1 << n for n in range(32))], np.int64)
    edges = np.concatenate([powers, ~powers, powers | 1 << 31, ~(powers | 1 << 31)])
    if law.map != native.TRUNCATED:
        return near(edges)
    sent = [(int(cell) - law.first_cell) * (1 << 32) // law.cells for cell in near(edges)]
    return np.union1d(near(edges), near(np.array([word for word in sent if 0 <= word < 1 << 32], np.int64)))


def words_differ(kernel: Kernel, case: Case, words: U32) -> int:
    """Values of given words that differ."""
    expected = case.values(words).view(np.uint8)
    request = Request(case.told(), 0, expected.nbytes, 0, words.size, FILLER, 1, 0, 0)
    return differing(asked(kernel, request, words.tobytes()), expected, case.dtype)


def exhaustive(kernel: Kernel) -> int:
    """Normals of all 2**32 words that differ."""
    case, different = Case(normal_law(FORMATS["float32"], 1.0, 0.0), np.dtype(np.float32)), 0
    for first in range(0, 1 << 32, CHUNK):
        words = np.arange(first, first + CHUNK, dtype=np.uint64).astype(np.uint32)
        different += words_differ(kernel, case, words)
    print(f"normal float32: {1 << 32:,d} words, {different} values differ")
    return different


def every_case(kernel: Kernel, values: int) -> int:
    """Values that differ, over all laws and dtypes."""
    total = 0
    for seed, (name, form) in enumerate(equality.CASES):
        case = Case(equality.LAWS[name](FORMATS.get(form)), numpy_dtype(form))
        words = exceptional_words(case.told())
        compared, different = boxes_differ(kernel, case, values, np.random.default_rng(seed))
        wrong = words_differ(kernel, case, words)
        print(f"{name:20s} {form:9s} {compared:11,d} values in boxes, {different} differ", end="; ")
        print(f"{words.size:6,d} exceptional words, {wrong} differ", flush=True)
        total += different + wrong
    return total


def vector_differs(kernel: Kernel, vector: dict[str, Any]) -> bool:
    """Whether the values of one frozen vector have another digest."""
    arguments = {name: float(value) for name, value in vector["arguments"].items()}
    law = VECTOR_LAWS[vector["law"]](FORMATS.get(vector["dtype"]), arguments)
    case = Case(law, numpy_dtype(vector["dtype"]), Key(**VECTORS["key"]).philox())
    box = Box.whole((VECTORS["count"],))
    memory, target = laid_out(box.shape, case.dtype, 1, turned=False)
    found = filled(kernel, case, box, box.shape, memory=memory, target=target, threads=4)
    return hashlib.sha256(found.tobytes()).hexdigest() != str(vector["sha256"])


def every_vector(kernel: Kernel) -> int:
    """Frozen digests that differ."""
    wrong = [f"{vector['law']} {vector['dtype']}" for vector in VECTORS["vectors"] if vector_differs(kernel, vector)]
    print(f"{len(VECTORS['vectors'])} digests of {VECTORS['count']:,d} values, {len(wrong)} differ: {wrong}")
    return len(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=1.0)
    parser.add_argument("--exhaustive", action="store_true")
    options = parser.parse_args()
    missing = [tool for tool in (COMPILER, *EMULATOR[:1]) if shutil.which(tool) is None]
    if missing:
        sys.exit(f"not found: {', '.join(missing)}; see {parser.prog} --help")
    with tempfile.TemporaryDirectory() as name:
        test = compiled(ROOT / "tests" / "native" / "kernel_test.c", Path(name))
        different = int(subprocess.run(test, check=False).returncode != 0)
        with started(Path(name)) as kernel:
            if options.exhaustive:
                different += exhaustive(kernel)
            else:
                different += every_vector(kernel) + every_case(kernel, int(options.millions * 1e6))
    sys.exit(1 if different else 0)
