"""Time and memory of a planned start: fanwise beside the model's own init, for GPT-2 small, a 1 B and a 70 B Llama.

    python -m bench apply_time                       # 1 core, then all; a few minutes, 6 GiB of free memory
    python -m bench apply_time --cores 1             # on one core alone
    python -m bench apply_time --only gpt2,70b       # these models alone
    python -m bench apply_time --profile 70b         # where the time of a plan goes

Every figure is that of a process of its own, held to so many cores. The model is built on the meta device, which is
not timed. Timed are:

- own: `to_empty` and transformers' `init_weights`, the way to a model of random weights from the meta device;
- materialize: `fanwise.torch.materialize` of a plan;
- apply: `fanwise.torch.apply` of a plan to a model whose memory is there and was written before;
- own, again: `init_weights` on such a model, to which `apply` is compared;
- plan: `fanwise.torch.plan` of the model on the meta device.

Memory is the resident set: by how much the process's peak exceeds what it held before the timed call, and the peak
itself. Times are medians over rounds in which the cases take turns; a ratio is the median of the ratios of equal
rounds. A model that needs more memory than is free is named and left out. No figure here is a test.
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GIB, MIB = 1 << 30, 1 << 20
PLAN_SECONDS, PLAN_GIB = 60, 2
"""What is asked for of the plan of a 70 B model."""


@dataclass(frozen=True)
class Size:
    """A model: its title, how it is built, its dtype, and the GiB that its cases need."""

    title: str
    build: Callable
    dtype: str
    gib: float
    cases: tuple[str, ...]


def gpt2(tf):
    return tf.GPT2LMHeadModel(tf.GPT2Config())


def llama(tf, layers, width, inner, heads, tied):
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": inner}
    attention = {"num_attention_heads": heads, "num_key_value_heads": 8, "head_dim": width // heads}
    config = tf.LlamaConfig(**sizes, **attention, vocab_size=128256, tie_word_embeddings=tied)
    return tf.LlamaForCausalLM(config)


FILLS = ("own", "materialize", "own, again", "apply")
SIZES = {
    "gpt2": Size("GPT-2 small, float32", gpt2, "float32", 2, (*FILLS, "plan")),
    "1b": Size("Llama, 1 B, bfloat16", lambda tf: llama(tf, 16, 2048, 8192, 32, True), "bfloat16", 6, (*FILLS, "plan")),
    "70b": Size("Llama, 70 B", lambda tf: llama(tf, 80, 8192, 28672, 64, False), "bfloat16", 2, ("plan",)),
}
PAIRS = (("own", "materialize"), ("own, again", "apply"))


# In the process of one case


def on_meta(size):
    import torch  # noqa: PLC0415  (the parent measures others and stays small)
    import transformers as tf  # noqa: PLC0415

    torch.set_default_dtype(getattr(torch, size.dtype))
    with torch.device("meta"):
        return size.build(tf)


def own(model):
    model.to_empty(device="cpu")
    model.init_weights()


def with_memory(model):
    """The model with every page of its memory written."""
    import torch  # noqa: PLC0415

    model.to_empty(device="cpu")
    model.tie_weights()  # to_empty gives tied parameters memory of their own
    for tensor in model.parameters():
        tensor.detach().view(torch.uint8).fill_(1)
    return model


def prepared(name, model):
    """The call of a case, its memory and its plan made."""
    import fanwise.torch as fwt  # noqa: PLC0415

    if name == "plan":
        return lambda: fwt.plan(model)
    if name == "own":
        return lambda: own(model)
    if name == "own, again":
        return with_memory(model).init_weights
    plan = fwt.plan(model)
    if name == "materialize":
        return lambda: fwt.materialize(model, plan, 0)
    with_memory(model)
    return lambda: fwt.apply(model, plan, 0)


def resident():
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak():
    """Most bytes of this process in memory so far; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_here(size, name, cores):
    """Runs a case in this process; a dict for JSON."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    model = on_meta(size)
    count = sum(tensor.numel() for tensor in model.parameters())
    nbytes = sum(tensor.nbytes for tensor in model.parameters())
    call, before, start = prepared(name, model), resident(), time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "grown": peak() - before, "peak": peak(), "count": count, "nbytes": nbytes}


def profile_here(size, lines=25):
    call, profiler = prepared("plan", on_meta(size)), cProfile.Profile()
    profiler.runcall(call)
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(lines).sort_stats("tottime").print_stats(lines)


# The processes


def measure(key, name, cores):
    """What a process of its own found; None where it failed, which is said."""
    print(f"{key}: {name}, {cores} cores", file=sys.stderr)
    command = [sys.executable, __file__, "--case", key, name, str(cores)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | threads(cores))
    if done.returncode:
        print(f"{key}, {name}: failed, {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def threads(cores):
    return {"OMP_NUM_THREADS": str(cores), "MKL_NUM_THREADS": str(cores)}


def rounds(key, cores, count):
    """The lines of every case that did not fail, the cases taking turns."""
    turns = [{name: measure(key, name, cores) for name in SIZES[key].cases} for _ in range(count)]
    found = {name: [turn[name] for turn in turns] for name in SIZES[key].cases}
    return {name: lines for name, lines in found.items() if None not in lines}


def free_gib():
    """GiB that a new process may use, as Linux estimates it; None elsewhere."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    kib = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    return kib[0] * 1024 / GIB if kib else None


def enough_memory(key):
    free = free_gib()
    if free is None or free >= SIZES[key].gib:
        return True
    print(f"{SIZES[key].title}: left out, {free:.1f} GiB are free and it needs {SIZES[key].gib:g}")
    return False


# The table


def median(lines, what):
    return statistics.median(line[what] for line in lines)


def ratio(found, slow, fast):
    return statistics.median(a["seconds"] / b["seconds"] for a, b in zip(found[slow], found[fast], strict=True))


def rows(key, cores, found):
    return [row(key, cores, name, found) for name in found]


def row(key, cores, name, found):
    lines = found[name]
    seconds, first = median(lines, "seconds"), lines[0]
    slow = {fast: slow for slow, fast in PAIRS}.get(name)
    pace = "-" if name == "plan" else f"{seconds / first['count'] * 1e9:.2f}"
    beside = f"{ratio(found, slow, name):.2f}" if slow in found else "-"
    grown = f"{median(lines, 'grown') / MIB:.0f}"
    share = "-" if name == "plan" else f"{median(lines, 'grown') / first['nbytes']:.2f}"
    title = f"{SIZES[key].title} ({first['count'] / 1e6:.0f} M)"
    return [title, str(cores), name, f"{seconds:.2f}", pace, beside, grown, share, f"{median(lines, 'peak') / MIB:.0f}"]


HEAD = ["model", "cores", "case", "seconds", "ns a value", "own / it", "MiB grown", "of the weights", "peak MiB"]


def table(found):
    return "\n".join(f"| {' | '.join(row)} |" for row in [HEAD, ["---"] * len(HEAD), *found])


def verdict(lines):
    """What is asked for of the plan of the largest model."""
    seconds, gib = median(lines, "seconds"), median(lines, "peak") / GIB
    met = "reached" if seconds < PLAN_SECONDS and gib < PLAN_GIB else "not reached"
    return f"plan of 70 B: {seconds:.1f} s, {gib:.2f} GiB; asked {PLAN_SECONDS} s, {PLAN_GIB} GiB: {met}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SIZES), help="models, joined by commas")
    parser.add_argument("--cores", default=f"1,{len(os.sched_getaffinity(0))}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", choices=SIZES, help="profile the plan of this model instead")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def report(options):
    cores = list(dict.fromkeys(int(count) for count in options.cores.split(",")))
    keys = [key for key in options.only.split(",") if enough_memory(key)]
    found = {(key, count): rounds(key, count, options.rounds) for count in cores for key in keys}
    print(table([row for (key, count), lines in found.items() for row in rows(key, count, lines)]))
    for (key, _), lines in found.items():
        if key == "70b" and lines:
            print(verdict(lines["plan"]))


def main():
    options = arguments()
    if options.case:
        key, name, cores = options.case
        print(json.dumps(measure_here(SIZES[key], name, int(cores))))
    elif options.profile:
        profile_here(SIZES[options.profile])
    else:
        report(options)


if __name__ == "__main__":
    main()
