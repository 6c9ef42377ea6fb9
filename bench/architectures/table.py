"""The table of a sweep, and what it comes to."""

from collections import Counter
from collections.abc import Sequence

from bench.architectures.record import Judged


def show(records: Sequence[Judged]) -> None:
    """One line for each architecture, then the counts."""
    print(f"\n{'architecture':34} {'model':40} {'parameters':>10} {'arrays':>6} {'lawless':>7} {'plan':>12} {'s':>6}")
    for one in records:
        print(line(one))
    counts(records)


def line(one: Judged) -> str:
    """What came of one architecture."""
    if one.stage in ("build", "inputs"):
        return f"{one.name:34} not run ({one.stage}): {one.reason.splitlines()[0][:150] if one.reason else ''}"
    steps = "printed " * one.printed + "applied" * one.applied
    words = f"{one.name:34} {one.model:40} {one.parameters:10d} {one.tensors:6d} {len(one.lawless):7d} {steps:>15}"
    tail = f" {one.stage}: {one.reason[:150]}" if one.reason else ""
    return "\n    ".join([f"{words} {one.seconds:6.1f}{tail}", *(text[:160] for text in one.findings)])


def counts(records: Sequence[Judged]) -> None:
    """How many of each."""
    run = [one for one in records if one.stage not in ("build", "inputs", "crash")]
    done = [one for one in run if one.stage == "done"]
    arrays, lawless = sum(one.tensors for one in run), sum(len(one.lawless) for one in run)
    print(f"\n{len(records)} architectures, {len(run)} run")
    print(f"  not built              {sum(one.stage == 'build' for one in records):4d}")
    print(f"  inputs not known       {sum(one.stage == 'inputs' for one in records):4d}")
    print(f"  process ended or late  {sum(one.stage == 'crash' for one in records):4d}")
    for stage, number in Counter(one.stage for one in run if one.stage != "done").items():
        print(f"  stopped at {stage:12}{number:4d}")
    print(f"  printed and read back  {sum(one.printed for one in run):4d}")
    print(f"  applied                {sum(one.applied for one in run):4d}")
    print(f"  checked                {len(done):4d}")
    print(f"  arrays                 {arrays:4d}")
    print(f"  random, without a law  {lawless:4d}  {100 * (1 - lawless / max(arrays, 1)):.2f} % explained")
    print(f"  flagged after apply    {sum(bool(one.findings) for one in done):4d}")
    for code, number in Counter(text[:6] for one in done for text in one.findings).most_common():
        print(f"      {code}  {number:4d}")
