"""What it costs to start: `import fanwise` and `fanwise --help`, in whole processes, beside what they import first.

python -m bench start_time
"""

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


def seconds(arguments):
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    times = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    base = statistics.median(times["import numpy"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:16s} median {median:.3f} s   {median / base:.2f} x import numpy")
