"""TestU01 on the stream's words, in several orders, and on its normals: SmallCrush and Crush, resumable.

    python -m bench quality --battery small
    python -m bench quality --battery crush --minutes 60 --results crush.jsonl    # again until it says: complete
    python -m bench quality --battery crush --results crush.jsonl --report        # the table of what is there

Needs a C compiler, the native kernel (or `--library`) and TestU01: `apt-get install libtestu01-0-dev` (Debian's
non-free), or its sources built anywhere; `--prefix` names where it stands when not under /usr.

Orders tested (`--list` prints them): the words of one stream in our own order; 64 streams one word in turn, named
by layer or by consecutive seeds, or one block in turn; each also with its bits reversed, because TestU01 looks at
the top bits mainly; the normals, mapped back through the normal CDF, 16 bits of each, two in a word; mutants that
must fail. `normals-32` takes 32 bits of each normal: more than float32 holds, so its grid may show there. Every
test draws from its own window of 2**34 words, so a battery can stop and go on anywhere.

A p-value outside [0.001, 0.999] is suspect, and that test is run again on two fresh windows. A stream fails when one
p-value is nearer to 0 or 1 than 1e-10, or a statistic is suspect in two windows of the same test. Exit code 1: a stream
failed, or a mutant did not.

References:
    L'Ecuyer and Simard, "TestU01: A C library for empirical testing of random number generators", 2007.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from fanwise import Key, __version__
from fanwise.stream.native import library_path

TESTS = {"small": 10, "crush": 96}
WINDOW = 1 << 34
ATTEMPTS = 3
SUSPECT, FAILED = 1e-3, 1e-10
ROOT = Key(2026)
LAYERS = tuple(ROOT.child(f"layer.{i}") for i in range(64))
SEEDS = tuple(Key(seed) for seed in range(64))
VERDICTS = {
    "pass": ("passes", "FAILS"),
    "fail": ("NOT CAUGHT", "fails, as it must"),
    "either": ("passes", "fails: the grid of float32"),
}
CALL = """
import ctypes, sys
words = [word.encode() for word in sys.argv[1:]]
sys.exit(ctypes.CDLL(sys.argv[1]).quality(len(words), (ctypes.c_char_p * len(words))(*words)))
"""
"""Runs one test: quality.c in a process of its own, with the program's path as argument 0."""
LINKS = (("-ltestu01", "-ltestu01probdist", "-ltestu01mylib"), ("-ltestu01", "-lprobdist", "-lmylib"))


@dataclass(frozen=True)
class Stream:
    """What is tested: an order of quality.c, the keys it draws from, and what it must do: pass, fail or either."""

    order: str
    keys: tuple[Key, ...]
    text: str
    reversed: bool = False
    must: str = "pass"


def _streams():
    single = (ROOT.child("encoder.0.weight"),)
    plain = {
        "own": Stream("own", single, "one stream, element order"),
        "names": Stream("by-word", LAYERS, "64 layers of one seed, one word of each in turn"),
        "blocks": Stream("by-block", LAYERS, "64 layers of one seed, one block (4 words) of each in turn"),
        "seeds": Stream("by-word", SEEDS, "seeds 0 to 63, one word of each in turn"),
    }
    turned = {
        f"{name}-reversed": Stream(item.order, item.keys, f"{item.text}; bits reversed", reversed=True)
        for name, item in plain.items()
    }
    normals = {
        "normals": Stream("normal-halves", single, "normals through the CDF, 16 bits of each, two in a word"),
        "normals-32": Stream("normal-words", single, "normals through the CDF, all 32 bits of each", must="either"),
    }
    mutants = {
        "lcg32": Stream("lcg32", single, "mutant: a 32-bit congruential generator", must="fail"),
        "philox2": Stream("philox2", single, "mutant: Philox with 2 rounds for 10", must="fail"),
        "shared-key": Stream("by-word", LAYERS[:1] * 64, "mutant: 64 layers that share one key", must="fail"),
        "twelve-sum": Stream("twelve-sum", single, "mutant: normals as twelve uniforms less six", must="fail"),
    }
    return plain | turned | normals | mutants


STREAMS = _streams()


def build(folder, prefix):
    """Compiles quality.c into `folder`; the path of the shared object."""
    program = Path(folder) / "quality.so"
    source = Path(__file__).with_suffix(".c")
    libraries = sorted({str(path.parent) for path in Path(prefix, "lib").rglob("libtestu01.so")})
    includes = [str(Path(prefix, "include")), *map(str, Path(prefix, "include").glob("*-linux-*"))]
    paths = [f"-I{path}" for path in includes] + [f"-L{path}" for path in libraries]
    paths += [f"-Wl,--disable-new-dtags,-rpath,{path}" for path in libraries]
    for link in LINKS:
        command = [
            "cc",
            "-std=gnu11",
            "-O2",
            "-shared",
            "-fPIC",
            "-o",
            str(program),
            str(source),
            *paths,
            *link,
            "-ldl",
            "-lm",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return program
    sys.exit(f"quality.c does not compile (is TestU01 under {prefix}? see --prefix):\n{done.stderr[-2000:]}")


def native_library():
    """The kernel's shared object in the installed package."""
    path = library_path()
    if path is None:
        sys.exit("fanwise runs without its native kernel here: install it with a compiler, or give --library PATH")
    return str(path)


def key_lines(keys):
    philox = (key.philox() for key in keys)
    return "".join(" ".join(f"{word:08x}" for word in (*item.key, *item.stream)) + "\n" for item in philox)


def run_test(program, library, unit):
    """One test on one stream: the record that goes into the results file."""
    battery, name, test, attempt = unit
    stream = STREAMS[name]
    first = (attempt * 128 + test) * WINDOW
    command = [sys.executable, "-c", CALL, program, library, battery, test, first, stream.order, int(stream.reversed)]
    start = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command], input=key_lines(stream.keys), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{unit}: exit code {done.returncode}\n{done.stderr}{done.stdout[-500:]}")
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.startswith(("p-value\t", "words\t"))]
    p_values = [(fields[2], float(fields[1])) for fields in lines if fields[0] == "p-value"]
    drawn = next(int(fields[1]) for fields in lines if fields[0] == "words")
    if not p_values or not 0 < drawn <= WINDOW:
        sys.exit(f"{unit}: {len(p_values)} p-values from {drawn} words\n{done.stdout[-1000:]}")
    seconds = round(time.perf_counter() - start, 2)
    place = {"battery": battery, "stream": name, "test": test, "attempt": attempt}
    return place | {"p": p_values, "words": drawn, "seconds": seconds, "version": __version__}


def read_results(path):
    """Records by (battery, stream, test, attempt); a half-written last line is left out."""
    records = {}
    if path and path.exists():
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            records[tuple(record[field] for field in ("battery", "stream", "test", "attempt"))] = record
    return records


def append(path, record):
    if path:
        text = path.read_text() if path.exists() else ""
        separator = "\n" if text and not text.endswith("\n") else ""  # after a line cut short by an interruption
        with path.open("a") as file:
            file.write(separator + json.dumps(record) + "\n")


def distance(p):
    return min(p, 1.0 - p)


def suspects(record):
    return [(number, name, p) for number, (name, p) in enumerate(record["p"]) if distance(p) < SUSPECT]


def wanted(battery, names, tests, records):
    """The next unit to run, or None: all streams advance together, repeats of suspect tests first."""
    for test in tests:
        for name in names:
            first = records.get((battery, name, test, 0))
            repeats = ATTEMPTS if first and suspects(first) and STREAMS[name].must == "pass" else 1
            for attempt in range(repeats):
                if (battery, name, test, attempt) not in records:
                    return battery, name, test, attempt
    return None


def run_all(options, names, records):
    """Runs what is missing until it is done or the time is over."""
    with tempfile.TemporaryDirectory() as folder:
        program = build(folder, options.prefix)
        library = options.library or native_library()
        end = time.monotonic() + 60 * options.minutes
        while (unit := wanted(options.battery, names, options.tests, records)) and time.monotonic() < end:
            record = run_test(program, library, unit)
            append(options.results, record)
            records[unit] = record
            found = "".join(f"   {name} p = {p:.3g}" for _, name, p in suspects(record))
            print(f"{unit[0]} {unit[2]:3d}.{unit[3]} {unit[1]:16s} {record['seconds']:7.1f} s{found}", file=sys.stderr)


@dataclass(frozen=True)
class Summary:
    """What is known of one stream: tests done, statistics, first-time suspects as text, and whether it failed."""

    tests: int
    statistics: int
    suspects: tuple[str, ...]
    failed: bool
    seconds: float


def summary(battery, name, records):
    mine = [record for place, record in sorted(records.items()) if place[:2] == (battery, name)]
    first = [record for record in mine if record["attempt"] == 0]
    seen = defaultdict(list)
    for record in mine:
        for number, test, p in suspects(record):
            seen[record["test"], number, test].append(p)
    worst = min((distance(p) for found in seen.values() for p in found), default=1.0)
    again = defaultdict(int)
    for record in mine:
        again[record["test"]] += record["attempt"] > 0
    return Summary(
        tests=len(first),
        statistics=sum(len(record["p"]) for record in first),
        suspects=tuple(suspect_text(place[2], found, again[place[0]]) for place, found in seen.items()),
        failed=worst < FAILED or any(len(found) > 1 for found in seen.values()),
        seconds=sum(record["seconds"] for record in mine),
    )


def suspect_text(test, found, again):
    """The statistic, its suspect p-values, and how many of the repeats were clean."""
    numbers = ", ".join(f"1 - {1 - p:.1g}" if p > 0.5 else f"{p:.2g}" for p in found)
    clean = again + 1 - len(found)
    return f"{test} {numbers}" + (f" (then {clean} of {again} repeats clean)" if again else "")


def verdict(stream, found):
    if not found.tests:
        return "not run"
    return VERDICTS[stream.must][found.failed]


def report(options, names, records):
    """Prints the table; the exit code."""
    found = {name: summary(options.battery, name, records) for name in names}
    print(f"TestU01 {options.battery}, fanwise {__version__}: p-values outside [{SUSPECT}, {1 - SUSPECT}]\n")
    print("| stream | what | tests | p-values | suspect | verdict |\n|---|---|---|---|---|---|")
    for name, item in found.items():
        listed = "; ".join(item.suspects[:4]) + (f"; {len(item.suspects) - 4} more" if len(item.suspects) > 4 else "")
        tests = f"{item.tests} of {TESTS[options.battery]}"
        cells = (name, STREAMS[name].text, tests, item.statistics, listed or "none", verdict(STREAMS[name], item))
        print("| " + " | ".join(map(str, cells)) + " |")
    statistics = sum(item.statistics for name, item in found.items() if STREAMS[name].must == "pass")
    print(f"\n{statistics} p-values of good streams: {2 * SUSPECT * statistics:.1f} suspects are expected by chance.")
    complete = wanted(options.battery, names, options.tests, records) is None
    print("complete" if complete else "not complete: run again with the same --results to go on")
    bad = {"FAILS", "NOT CAUGHT"} if complete else {"FAILS"}
    return int(any(verdict(STREAMS[name], item) in bad for name, item in found.items()))


def numbers(text):
    """`1,4,10-12` as a list."""
    ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [number for end in ends for number in range(end[0], end[-1] + 1)]


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--battery", choices=TESTS, default="small")
    parser.add_argument("--streams", help="names from --list, comma-separated; all by default")
    parser.add_argument("--tests", type=numbers, help="test numbers such as 1,4,10-12; all by default")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no test after this time")
    parser.add_argument("--results", type=Path, help="JSON-lines file to append to; what it holds is not run again")
    parser.add_argument("--library", help="the kernel's shared object; the installed one by default")
    parser.add_argument("--prefix", default="/usr", help="where TestU01's include/ and lib/ stand")
    parser.add_argument("--report", action="store_true", help="print the table of --results, run nothing")
    parser.add_argument("--list", action="store_true", help="print the streams")
    options = parser.parse_args()
    options.tests = options.tests or numbers(f"1-{TESTS[options.battery]}")
    if not set(options.tests) <= set(range(1, TESTS[options.battery] + 1)):
        parser.error(f"--tests: {options.battery} has tests 1 to {TESTS[options.battery]}")
    options.streams = options.streams.split(",") if options.streams else list(STREAMS)
    if unknown := [name for name in options.streams if name not in STREAMS]:
        parser.error(f"no stream {', '.join(unknown)}: choose from {', '.join(STREAMS)}")
    return options


def main():
    options = parsed()
    if options.list:
        print("\n".join(f"{name:16s} {stream.text}" for name, stream in STREAMS.items()))
        return 0
    records = read_results(options.results)
    if not options.report:
        run_all(options, options.streams, records)
    return report(options, options.streams, records)


if __name__ == "__main__":
    sys.exit(main())
