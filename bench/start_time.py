"""What it costs to start: `import fanwise` and `fanwise --help`, in whole processes, beside what they import first.

python -m bench start_time

Wall time is the median; processor time, the least of all runs, hardly depends on what else the machine does.
"""

import resource
import statistics
import subprocess
import sys
import time

RUNS = 15
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "import numpy": ["-c", "import numpy"],
    "import fanwise": ["-c", "import fanwise"],
    "fanwise --help": ["-m", "fanwise.cli", "--help"],
}


def processor_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(arguments):
    """Wall time and processor time of a process."""
    start, before = time.perf_counter(), processor_time()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, processor_time() - before


def main():
    times = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    base = min(processor for _, processor in times["import numpy"])
    for name, found in times.items():
        wall, least = statistics.median(each for each, _ in found), min(processor for _, processor in found)
        print(f"{name:16s} median {wall:.3f} s   processor {least:.3f} s, {least / base:.2f} x import numpy")
