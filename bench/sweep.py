"""Every architecture of the installed transformers, made small: is it planned, printed, read back, applied and healthy?

Each runs in a process of its own under a time limit, so that a crash or a hang ends one architecture alone. Inputs are
what `hf:` reads from the configuration.

    python -m bench sweep                                  # all of them: about an hour and a half on one core
    python -m bench sweep --only 'qwen*' --only gpt2
    python -m bench sweep --json sweep.json --resume       # goes on, and runs again what was not done
"""

import argparse
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.architectures.judged import judge
from bench.architectures.record import Judged
from bench.architectures.table import show

LIMIT = 90.0
"""Seconds for one architecture."""


def architectures() -> dict[str, type[Any]]:
    """Every configuration of the installed transformers, by model type."""
    return dict(transformers.CONFIG_MAPPING.items())


def swept(chosen: Mapping[str, type[Any]], jobs: int, limit: float) -> Iterator[Judged]:
    """The records of architectures, as they come.

    Args:
        chosen: configurations, by model type.
        jobs: how many run at a time.
        limit: seconds for each.
    """
    waiting, running = list(chosen.items()), list[_Child]()
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(_Child(*waiting.pop(0), limit))
        multiprocessing.connection.wait([child.end for child in running], timeout=1.0)
        for child in [child for child in running if child.over]:
            running.remove(child)
            yield child.record()


class _Child:
    """A process that judges one architecture."""

    def __init__(self, name: str, config_class: type[Any], limit: float) -> None:
        context = multiprocessing.get_context("fork")  # the libraries are imported once
        self._name, self._limit, self._start = name, limit, time.monotonic()
        self.end, other = context.Pipe(duplex=False)
        self._process = context.Process(target=_judged, args=(name, config_class, other))
        self._process.start()
        other.close()

    @property
    def over(self) -> bool:
        """Whether it has ended, or has to."""
        return self.end.poll() or not self._process.is_alive() or time.monotonic() - self._start > self._limit

    def record(self) -> Judged:
        """What it says; why it does not where it is silent."""
        silent = not self.end.poll()
        late = silent and self._process.is_alive()
        try:
            record = Judged(**self.end.recv()) if not silent else None
        except EOFError:
            record = None
        if record is None:
            self._process.kill()
        self._process.join()
        self.end.close()
        seconds = round(time.monotonic() - self._start, 2)
        reason = f"over {self._limit:.0f} s" if late else f"the process ended with {self._process.exitcode}"
        return record or Judged(self._name, stage="crash", reason=reason, seconds=seconds)


def _judged(name: str, config_class: type[Any], end: Connection) -> None:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        end.send(asdict(judge(name, config_class)))
        end.close()


def read(file: Path | None) -> list[Judged]:
    """The records of an earlier sweep; none where there is no file."""
    if file is None or not file.exists():
        return []
    return [Judged(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that one of the patterns matches; all where there is none."""
    return [name for name in names if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def main() -> None:
    """Judges the architectures that are asked for, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", default=[], help="a pattern of model types, several times")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for each")
    parser.add_argument("--json", type=Path, help="a file that gets a line for each architecture")
    parser.add_argument("--resume", action="store_true", help="keep what the file has of those that were done")
    parser.add_argument("--show", action="store_true", help="print the table of the file alone")
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    earlier = {one.name: one for one in read(asked.json)} if asked.resume or asked.show else {}
    known = architectures()
    if not asked.show:
        _quiet()
        left = [name for name in matching(known, asked.only) if name not in earlier or earlier[name].stage != "done"]
        for one in swept({name: known[name] for name in left}, asked.jobs, asked.limit):
            earlier[one.name] = one
            print(f"{one.name:34} {one.stage:7} {one.seconds:6.1f} s  {one.reason[:120]}", flush=True)
            _save(asked.json, earlier)
    show([earlier[name] for name in known if name in earlier and (asked.show or name in matching(known, asked.only))])


def _quiet() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()


def _save(file: Path | None, records: Mapping[str, Judged]) -> None:
    if file is not None:
        text = "".join(json.dumps(asdict(one)) + "\n" for one in records.values())
        file.write_text(text, encoding="utf-8")
