"""How fast a tensor is filled: fanwise beside torch, NumPy, JAX and the memory itself, in one run.

    python -m bench fill                        # 1 K to 16 M values, a few minutes
    python -m bench fill --full                 # 1 K to 256 M values
    python -m bench fill --markdown fill.md     # the tables as Markdown too
    python -m bench fill --only normal,bfloat16 --sizes 64K,16M

Every competitor writes into the same memory, touched before, so no page fault is measured; those that can only return
a new array are marked "allocates". Competitors take turns (A B C A B C ...), each for at least 20 ms a turn; a time is
the median of its turns, a ratio the median of the ratios of equal turns. A library that is absent is named and left
out. No figure here is a test: "not reached" changes no exit code.
"""

import argparse
import ctypes
import importlib
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

import fanwise as fw
from fanwise.stream import fill

KEY = fw.Key(0).child("weight")
STD, BOUND = 0.02, 0.05
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
TURN = 0.02
"""Seconds that a competitor is measured for, at least, each turn."""
TURNS = 7
PATIENCE = 4.0
"""Seconds after which a slow competitor gets no further turn at a size."""
LARGE = 1 << 24
"""The size of the figures: 16 M values, 64 MiB of float32."""
SIZES = {"short": (1 << 10, 1 << 16, 1 << 20, LARGE), "full": tuple(1 << power for power in range(10, 29, 2))}
SIDES = (2048, 4096)
SMALL = 16
PATH_LAWS = ("normal", "uniform", "truncated", "bfloat16")
PATHS = ("avx512", "avx2", "neon", "portable", "numpy")


def optional(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


torch, jax, ml_dtypes = optional("torch"), optional("jax"), optional("ml_dtypes")


@dataclass(frozen=True)
class Runner:
    """A competitor: `prepare(size)` makes the call that is timed; threads is "1" or "all"."""

    name: str
    threads: str
    prepare: Callable[[int], Callable[[], object]]
    needs: object = True
    note: str = ""

    @property
    def label(self):
        """Name and threads: unique within a group."""
        return f"{self.name}, {threads_text(self.threads)}"


def threads_text(threads):
    return f"{CORES} threads" if threads == "all" else "1 thread"


# The competitors


@lru_cache(maxsize=2)
def memory_of(nbytes):
    """The memory that everyone writes to, its pages touched."""
    return np.full(nbytes, 1, np.uint8)


def buffer_of(size, dtype=np.float32):
    return memory_of(size * np.dtype(dtype).itemsize).view(dtype)


def tensor_of(size, dtype):
    whole = buffer_of(size, np.int16 if dtype == "bfloat16" else dtype)
    return torch.from_numpy(whole).view(getattr(torch, dtype))


def ours(law, threads, dtype="float32", **numbers):
    def prepare(size):
        function, count = getattr(fill, law), 1 if threads == "1" else None
        buffer = buffer_of(size, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        return lambda: function(KEY, size, dtype=dtype, out=buffer, threads=count, **numbers)

    return Runner("fanwise", threads, prepare, needs=ml_dtypes if dtype == "bfloat16" else True)


def ours_pair(law, dtype="float32", **numbers):
    return [ours(law, threads, dtype, **numbers) for threads in ("1", "all")]


def torch_pair(name, call, dtype="float32"):
    def prepare(size):
        tensor = tensor_of(size, dtype)
        return lambda: call(tensor)

    return [Runner(name, threads, prepare, needs=torch) for threads in ("1", "all")]


def memory_pair(itemsize):
    """The C function memset on the same bytes, each thread its part."""

    def alone(size):
        buffer = memory_of(size * itemsize)
        return lambda: ctypes.memset(buffer.ctypes.data, 0, buffer.nbytes)

    def together(size):
        buffer, pool = memory_of(size * itemsize), ThreadPoolExecutor(CORES)
        part, address = -(-buffer.nbytes // CORES), buffer.ctypes.data
        pieces = [(address + at, 0, min(part, buffer.nbytes - at)) for at in range(0, buffer.nbytes, part)]
        return lambda: list(pool.map(lambda piece: ctypes.memset(*piece), pieces))

    return [Runner("memory fill", "1", alone), Runner("memory fill", "all", together)]


def numpy_normal(size):
    generator, buffer = np.random.default_rng(0), buffer_of(size)
    return lambda: generator.standard_normal(out=buffer, dtype=np.float32)


def numpy_uniform(size):
    generator, buffer = np.random.default_rng(0), buffer_of(size)

    def call():
        generator.random(out=buffer, dtype=np.float32)
        np.multiply(buffer, np.float32(2 * BOUND), out=buffer)
        np.subtract(buffer, np.float32(BOUND), out=buffer)

    return call


def idiom(size):
    return lambda: np.random.randn(size).astype(np.float32) * np.float32(STD)  # noqa: NPY002  (the idiom itself)


def jax_runner(law, dtype="float32"):
    def prepare(size):
        draw = jax.jit(lambda key: getattr(jax.random, law)(key, (size,), getattr(jax.numpy, dtype)))
        key = jax.random.key(0)
        return lambda: draw(key).block_until_ready()

    return Runner(f"jax.random.{law}", "all", prepare, needs=jax, note="allocates")


def our_orthogonal(size):
    side = math.isqrt(size)
    return lambda: fw.orthogonal((side, side), key=KEY)


def torch_orthogonal(size):
    tensor = torch.empty(math.isqrt(size), math.isqrt(size))
    return lambda: torch.nn.init.orthogonal_(tensor)


@dataclass(frozen=True)
class Group:
    """A law in a dtype, and who can draw it. Ours come first."""

    title: str
    runners: list[Runner]
    itemsize: int = 4
    sizes: tuple[int, ...] = ()


def common():
    """The runners of several groups."""
    return {
        "normal": ours_pair("normal", std=STD),
        "torch": torch_pair("torch `normal_`", lambda tensor: tensor.normal_(0, STD)),
        "numpy": [
            Runner("NumPy `standard_normal`", "1", numpy_normal),
            Runner("`np.random.randn(n).astype(np.float32) * s`", "1", idiom, note="allocates"),
        ],
    }


def renamed(name, runners):
    return [Runner(name, item.threads, item.prepare) for item in runners]


def truncate(tensor):
    torch.nn.init.trunc_normal_(tensor, std=STD, a=-2 * STD, b=2 * STD)


def groups():
    shared = common()
    normal = [*shared["normal"], *shared["torch"], *shared["numpy"], jax_runner("normal"), *memory_pair(4)]
    uniform = [*ours_pair("uniform", bound=BOUND)]
    uniform += torch_pair("torch `uniform_`", lambda tensor: tensor.uniform_(-BOUND, BOUND))
    uniform += [Runner("NumPy `random`, scaled in place", "1", numpy_uniform), jax_runner("uniform"), *memory_pair(4)]
    truncated = [*ours_pair("truncated_normal", std=STD), *torch_pair("torch `trunc_normal_`", truncate)]
    truncated += [*renamed("fanwise plain normal", shared["normal"]), *memory_pair(4)]
    bfloat16 = [*ours_pair("normal", "bfloat16", std=STD)]
    bfloat16 += torch_pair("torch `normal_`", lambda tensor: tensor.normal_(0, STD), "bfloat16")
    bfloat16 += [jax_runner("normal", "bfloat16"), *renamed("fanwise float32", shared["normal"]), *memory_pair(2)]
    orthogonal = [Runner("fanwise", "all", our_orthogonal, note="allocates")]
    orthogonal += [Runner("torch `orthogonal_`", "all", torch_orthogonal, needs=torch)]
    return {
        "normal": Group("normal, float32", normal),
        "uniform": Group("uniform, float32", uniform),
        "truncated": Group("truncated normal to two sigmas, float32", truncated),
        "bfloat16": Group("normal, bfloat16", bfloat16, itemsize=2),
        "orthogonal": Group("orthogonal square, float32", orthogonal, sizes=tuple(side * side for side in SIDES)),
    }


# Measuring


def set_threads(threads):
    if torch:
        torch.set_num_threads(1 if threads == "1" else CORES)


def turn(call, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def calibrated(call):
    """Seconds of one call, and how many calls make a turn."""
    once = turn(call, 1)
    if once < PATIENCE / 8:
        once = min(turn(call, 1) for _ in range(2))
    return once, max(1, math.ceil(TURN / max(once, 1e-7)))


def measure(runners, size):
    """Seconds a call, a list of turns for every runner, the runners taking turns."""
    calls, repeats, spent = {}, {}, {}
    for runner in runners:
        set_threads(runner.threads)
        calls[runner.label] = runner.prepare(size)
        spent[runner.label], repeats[runner.label] = calibrated(calls[runner.label])
    times = {runner.label: [] for runner in runners}
    for _ in range(TURNS):
        for runner in runners:
            if times[runner.label] and spent[runner.label] > PATIENCE:
                continue
            set_threads(runner.threads)
            if spent[runner.label] < PATIENCE / 4:
                calls[runner.label]()  # its threads awake, its code in the cache
            seconds = turn(calls[runner.label], repeats[runner.label])
            times[runner.label].append(seconds)
            spent[runner.label] += seconds * repeats[runner.label]
    return times


def ratio(times, slow, fast):
    """How many times `fast` is faster than `slow`; None where one was not measured."""
    if not times.get(slow) or not times.get(fast):
        return None
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=False))


def measure_group(group, sizes):
    present = [runner for runner in group.runners if runner.needs]
    results = {}
    for size in group.sizes or sizes:
        print(f"{group.title}: {size_text(size)}", file=sys.stderr)
        results[size] = measure(present, size)
    return results


def small_fills():
    """Microseconds a call for 16 values: the overhead."""
    shared = common()
    runners = [*shared["normal"], *shared["torch"][:1], *shared["numpy"]]
    times = measure([runner for runner in runners if runner.needs], SMALL)
    return {label: 1e6 * statistics.median(found) for label, found in times.items()}


# The paths of the kernel, one process each


def measure_path():
    """In a process with one path: ns a value of each law on one thread, beside torch; a dict for JSON."""
    named = [runner for name in PATH_LAWS for runner in renamed(name, groups()[name].runners[:1])]
    if torch:
        named += renamed("torch", common()["torch"][:1])
    version = version_line()
    size = LARGE >> 4 if "numpy" in version else LARGE
    times = measure(named, size)
    found = {runner.name: 1e9 / size * statistics.median(times[runner.label]) for runner in named}
    return found | {"ratio": ratio(times, "torch, 1 thread", "normal, 1 thread"), "version": version}


def path_environment(path):
    chosen = {"FANWISE_NATIVE": "0"} if path == "numpy" else {"FANWISE_ISA": path}
    return {name: value for name, value in os.environ.items() if not name.startswith("FANWISE_")} | chosen


def paths():
    """What `measure_path` found on each path that this machine has; the reason, as text, for the others."""
    found = {}
    for path in PATHS:
        print(f"path {path}", file=sys.stderr)
        command = [sys.executable, __file__, "--one-path"]
        done = subprocess.run(command, env=path_environment(path), capture_output=True, text=True, check=False)
        if done.returncode:
            found[path] = (done.stderr.strip().splitlines() or ["no message"])[-1]
            continue
        result = json.loads(done.stdout.splitlines()[-1])
        asked = path in result["version"]
        found[path] = result if asked else f"not in use when asked for: {result['version']}"
    return found


# What the issue asks for


def figure(text, found, limit, above):
    """A row of the table: what was found (None: not measured), and whether it is above or below the limit asked for."""
    asked = f"{'>=' if above else '<='} {limit:g}"
    if found is None:
        return [text, asked, "-", "not measured"]
    met = found >= limit if above else found <= limit
    return [text, asked, f"{found:.3g}", "reached" if met else "not reached"]


def at_least(text, limit, found):
    return figure(text, found, limit, above=True)


def at_most(text, limit, found):
    return figure(text, found, limit, above=False)


def figures(results, small, by_path):
    cores, plain, truncating = threads_text("all"), "torch `normal_`", "torch `trunc_normal_`"
    one, every = "fanwise, 1 thread", f"fanwise, {cores}"
    normal, truncated, bfloat16 = (results.get(name, {}).get(LARGE, {}) for name in ("normal", "truncated", "bfloat16"))
    alone = median(normal, one) / LARGE * 1e9 if one in normal else None
    return [
        at_most("normal, ns a value, 1 thread", 1.3, alone),
        at_least("normal, torch / fanwise, 1 thread", 2.5, ratio(normal, f"{plain}, 1 thread", one)),
        at_least(f"normal, torch / fanwise, {cores}", 5, ratio(normal, f"{plain}, {cores}", every)),
        at_least(f"normal, NumPy / fanwise on {cores}", 12, ratio(normal, "NumPy `standard_normal`, 1 thread", every)),
        at_least(f"truncated, torch / fanwise, {cores}", 70, ratio(truncated, f"{truncating}, {cores}", every)),
        at_most("truncated / plain normal, 1 thread", 1.3, ratio(truncated, one, "fanwise plain normal, 1 thread")),
        at_most("bfloat16 / float32 normal, 1 thread", 1, ratio(bfloat16, one, "fanwise float32, 1 thread")),
        at_least("AVX2 path, torch / fanwise, 1 thread", 1.5, path_number(by_path, "avx2", "ratio")),
        at_most("portable path, ns a value, 1 thread", 8, path_number(by_path, "portable", "normal")),
        *(orthogonal_figure(results, side, cores) for side in SIDES),
        at_most(f"a fill of {SMALL} values, microseconds", 5, small.get(every)),
    ]


def orthogonal_figure(results, side, cores):
    times = results.get("orthogonal", {}).get(side * side, {})
    found = ratio(times, f"torch `orthogonal_`, {cores}", f"fanwise, {cores}")
    return at_least(f"orthogonal {side} square, torch / fanwise", 1.5, found)


def path_number(by_path, path, name):
    found = by_path.get(path)
    return found.get(name) if isinstance(found, dict) else None


# The tables


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, ["-" * width for width in widths], *rows]:
        lines.append(" | ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))
    return "\n".join(f"| {line} |" for line in lines)


def size_text(size):
    for unit, letter in ((1 << 20, "M"), (1 << 10, "K")):
        if size >= unit:
            return f"{size / unit:g} {letter}"
    return str(size)


def nanoseconds(times, label, size):
    return f"{median(times, label) / size * 1e9:.3g}"


def fastest_memory(times):
    """The label of the faster memory fill: many threads do not pay for small sizes."""
    return min((label for label in times if label.startswith("memory fill")), key=lambda label: median(times, label))


def median(times, label):
    return statistics.median(times[label])


def group_table(group, results):
    """One row a runner: ns a value at each size; at the largest also GB/s, its share of the memory fill, and ours."""
    sizes = list(results)
    largest, last = sizes[-1], results[sizes[-1]]
    limit = fastest_memory(last)
    mine = group.runners[1].label if group.runners[1].label in last else limit  # bfloat16 needs ml_dtypes
    rows = []
    for label in last:
        speed = largest * group.itemsize / median(last, label) / 1e9
        cells = [nanoseconds(results[size], label, size) for size in sizes]
        shares = [f"{ratio(last, limit, label):.0%}", f"{ratio(last, label, mine):.3g}"]
        rows.append([label + note(group, label), *cells, f"{speed:.2f}", *shares])
    head = [f"{group.title}: ns a value", *map(size_text, sizes), "GB/s", "of memory fill", f"time / {mine}"]
    return table(head, rows)


def headline(laws, results):
    """The table for a README: one row a law, at the size of the figures where it was measured."""
    found = {name: times for name, times in results.items() if name != "orthogonal"}
    sizes = next(iter(found.values()))
    size = LARGE if LARGE in sizes else max(sizes)
    rows = [headline_row(laws[name], times[size], size) for name, times in found.items()]
    sides = [f"{library}, {threads_text(threads)}" for library in ("fanwise", "torch") for threads in ("1", "all")]
    return table([f"ns a value, {size_text(size)} values", *sides, "NumPy", "JAX", "memory fill"], rows)


def headline_row(group, times, size):
    """The first runner of each kind, in the order of the headline's columns."""
    kinds = [("fanwise, ", "1"), ("fanwise, ", "all"), ("torch", "1"), ("torch", "all"), ("NumPy", "1"), ("jax", "all")]
    cells = []
    for kind, threads in kinds:
        labels = [item.label for item in group.runners if item.label.startswith(kind) and item.threads == threads]
        cells.append(nanoseconds(times, labels[0], size) if labels and labels[0] in times else "-")
    return [group.title, *cells, nanoseconds(times, fastest_memory(times), size)]


def note(group, label):
    found = next((runner.note for runner in group.runners if runner.label == label), "")
    return f" ({found})" if found else ""


def orthogonal_table(group, results):
    labels = next(iter(results.values()))
    rows = [
        [label + note(group, label), *(f"{median(results[size], label):.3g}" for size in results)] for label in labels
    ]
    return table([f"{group.title}: seconds", *(f"{math.isqrt(size)} square" for size in results)], rows)


def paths_table(by_path):
    rows = []
    for path, found in by_path.items():
        if isinstance(found, dict):
            times = [f"{found[name]:.3g}" if name in found else "-" for name in PATH_LAWS]
            rows.append([path, *times, f"{found['ratio']:.3g}" if found["ratio"] else "-"])
    left_out = [f"{path} left out: {found}" for path, found in by_path.items() if isinstance(found, str)]
    head = ["path: ns a value, 1 thread", *PATH_LAWS, "torch `normal_` / normal"]
    return "\n".join([table(head, rows), *([""] if left_out else []), *left_out])


def version_line():
    command = [sys.executable, "-m", "fanwise.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or f"fanwise {fw.__version__}"


def processor():
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = [name for name in ("avx2", "avx512f") if f" {name} " in f"{text} "]
    return f"{named[0] if named else platform.machine()} ({', '.join(flags) or 'no AVX2'})"


def machine():
    versions = []
    for name in ("numpy", "torch", "jax", "ml_dtypes"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} absent (left out)")
    python = f"Python {platform.python_version()}"
    return ", ".join([processor(), f"{CORES} cores", platform.system(), version_line(), python, *versions])


def processor_seconds():
    """Processor time used so far by the whole machine, and by this process and its children; (0, 0) off Linux."""
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    except OSError:
        return 0.0, 0.0
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def others(start, end, elapsed):
    """How many processors other processes kept busy: figures on all threads count only where this is near 0."""
    busy = max(0.0, (end[0] - start[0]) - (end[1] - start[1])) / elapsed
    return f"Other processes kept {busy:.2f} of {CORES} processors busy during the run."


def sizes_of(text):
    units = {"K": 1 << 10, "M": 1 << 20}
    return tuple(int(part.rstrip("KM")) * units.get(part[-1], 1) for part in text.upper().split(","))


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all sizes, 1 K to 256 M values")
    parser.add_argument("--sizes", type=sizes_of, help="such as 1K,16M instead")
    parser.add_argument("--only", help=f"some of {', '.join(groups())}, paths, small; comma-separated")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    parser.add_argument("--one-path", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    every = [*groups(), "small", "paths"]
    options.only = options.only.split(",") if options.only else every
    if unknown := set(options.only) - set(every):
        parser.error(f"--only {', '.join(unknown)}: choose from {', '.join(every)}")
    options.sizes = options.sizes or SIZES["full" if options.full else "short"]
    return options


def report(options):
    """Measures what was asked for; the sections of the report, as Markdown."""
    start, clock = processor_seconds(), time.monotonic()
    laws = {name: group for name, group in groups().items() if name in options.only}
    results = {name: measure_group(group, options.sizes) for name, group in laws.items()}
    small = small_fills() if "small" in options.only else {}
    by_path = paths() if "paths" in options.only else {}
    asked = figures(results, small, by_path)
    yield f"{machine()}\n\n{others(start, processor_seconds(), time.monotonic() - clock)}"
    if set(laws) - {"orthogonal"}:
        yield headline(laws, results)
    yield table(["figure", "asked", "found", ""], asked)
    for name, found in results.items():
        yield orthogonal_table(laws[name], found) if name == "orthogonal" else group_table(laws[name], found)
    if small:
        rows = [[label, f"{found:.2f}"] for label, found in small.items()]
        yield table([f"a fill of {SMALL} values", "microseconds a call"], rows)
    if by_path:
        yield paths_table(by_path)


def main():
    options = parsed()
    if options.one_path:
        print(json.dumps(measure_path()))
        return
    text = "\n\n".join(report(options)) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
