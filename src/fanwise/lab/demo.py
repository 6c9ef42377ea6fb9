"""The demo: every start trained, a sweep over scales, and what both say."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fanwise._version import __version__
from fanwise.check.findings import Finding
from fanwise.lab.checking import check
from fanwise.lab.data import load, load_digits
from fanwise.lab.experiment import Nonlinearity, Outcome, Setup, run, sweep_factors
from fanwise.lab.network import Architecture, initialize
from fanwise.lab.pages import (
    NORMS,
    TITLE,
    Results,
    accuracy_chart,
    after_title,
    step_zero_table,
    subtitle,
    sweep_table,
    training_table,
)
from fanwise.lab.starts import Start, starts
from fanwise.lab.story import tell
from fanwise.lab.training import Recipe
from fanwise.laws.initializers import to_config
from fanwise.report.document import Document, Section
from fanwise.stream.arguments import checked_choice, checked_count
from fanwise.stream.native import default_threads

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Set to 1 for the workers: BLAS threads that wait for each other over matrices this small cost up to 100 times."""


DEEP = 10
"""From so many layers on a network is trained longer and with clipped gradients, as in the depth studies."""

SWEPT_DEPTH = 8
"""Deeper networks are swept only where a scale was asked for: 117 more trainings would take minutes."""

DEFAULT_SCALE = "0.01:100"
SWEEP_POINTS = 13
SWEPT_START = "he"

CHECKED = 2048
"""About so many training images are checked, spread evenly over all: more would tell the same more slowly."""


@dataclass(frozen=True)
class Network:
    """The network that every start gets."""

    depth: int
    width: int
    nonlinearity: Nonlinearity


@dataclass(frozen=True)
class Job:
    """One start at one factor, all seeds; those of a sweep are not checked."""

    start: Start
    factor: float = 1.0
    checked: bool = True


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Args:
        outcome: of the trainings.
        findings: of the check before them; () where it found nothing, or was not asked.
    """

    outcome: Outcome
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Order:
    """All that a demo has to run: first the starts, then the sweep with every norm."""

    setup: Setup
    starts: tuple[Start, ...]
    sweep: tuple[Job, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job, in the order in which they are counted."""
        return (*map(Job, self.starts), *self.sweep)

    def run(self, *, processes: int, on_job: Callable[[], None]) -> Results:
        """Runs every job, side by side in several processes.

        Args:
            processes: how many at once; 1 runs them in this one. The results are the same.
            on_job: called after each.
        """
        done = _run_jobs(self.setup, self.jobs, processes, on_job)
        first, rest = done[: len(self.starts)], [each.outcome for each in done[len(self.starts) :]]
        sweep = {norm: tuple(group) for norm, group in groupby(rest, key=lambda outcome: outcome.start.norm)}
        outcomes, checks = tuple(each.outcome for each in first), tuple(each.findings for each in first)
        return Results(self.setup, outcomes, sweep, checks)


def recipe_for(depth: int, *, epochs: int | None, learning_rate: float, clip: float | None) -> Recipe:
    """The demo's way of training; None takes what suits the depth."""
    deep = depth >= DEEP
    chosen = (20 if deep else 10) if epochs is None else epochs
    return Recipe(chosen, learning_rate=learning_rate, clip=1.0 if deep and clip is None else clip)


def order_of(
    network: Network, recipe: Recipe, *, data: Path | None, seeds: int, names: Sequence[str], scale: str | None
) -> Order:
    """What to run for the demo's options.

    Args:
        network: the network.
        recipe: how it is trained.
        data: images instead of the digits.
        seeds: trainings of each start.
        names: starts to run, all where empty; with a scale, the one start to sweep.
        scale: "LOW:HIGH", to sweep alone.

    Raises:
        DataError: unusable data.
        ValueError: an unknown start, several starts to sweep, a scale that is no range, numbers out of range.
    """
    known = starts(network.nonlinearity)
    chosen = [known[checked_choice(name, tuple(known), name="--start")] for name in names]
    factors = _factors(scale or DEFAULT_SCALE)
    setup = Setup(
        load(data) if data else load_digits(), network.depth, network.width, network.nonlinearity, recipe, seeds
    )
    if scale is None:
        swept = known[SWEPT_START] if not names and network.depth <= SWEPT_DEPTH else None
        return Order(setup, tuple(chosen or known.values()), _sweep(swept, factors))
    if len(chosen) > 1:
        raise ValueError(f"--scale sweeps one start, got {len(chosen)}: {', '.join(names)}")
    return Order(setup, (), _sweep(chosen[0] if chosen else known[SWEPT_START], factors))


def checked_processes(processes: int | None) -> int:
    """How many trainings to run at once; None takes the processors that this process may use."""
    if processes is None:
        return default_threads()
    return checked_count(processes, name="--processes")


def summary(results: Results) -> Document:
    """What the terminal shows: the tables of starts, or the sweep where only that was asked for."""
    setup = results.setup
    if not results.outcomes:
        swept = Section("The range of scales that train", (sweep_table(results), accuracy_chart(results)))
        return Document(TITLE, subtitle(setup), (swept,))
    before = Section("At step zero", (step_zero_table(results),))
    return Document(TITLE, subtitle(setup), (before, Section(after_title(setup), (training_table(results),))))


def _sweep(start: Start | None, factors: Sequence[float]) -> tuple[Job, ...]:
    if start is None:
        return ()
    return tuple(Job(replace(start, norm=norm), factor, checked=False) for norm in NORMS for factor in factors)


def _factors(scale: str) -> tuple[float, ...]:
    """The factors of a "LOW:HIGH" option."""
    try:
        low, high = map(float, scale.split(":"))
    except ValueError:
        raise ValueError(f"--scale {scale!r}: expected LOW:HIGH, such as {DEFAULT_SCALE}") from None
    if not 0 < low < high < math.inf:
        raise ValueError(f"--scale {scale!r}: expected 0 < LOW < HIGH")
    return sweep_factors(low, high, SWEEP_POINTS)


def _run_jobs(setup: Setup, jobs: Sequence[Job], processes: int, on_job: Callable[[], None]) -> list[Done]:
    if processes == 1:
        return _counted((_run(setup, job) for job in jobs), on_job)
    for name in BLAS_THREADS:
        os.environ.setdefault(name, "1")
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return _counted(pool.map(partial(_run, setup), jobs), on_job)


def jsonable(results: Results) -> dict[str, Any]:
    """Everything measured, for ``--json``: setup, every trial of every start, the sweep."""
    setup = results.setup
    return {
        "fanwise": __version__,
        "setup": {
            "data": setup.data.name,
            "train": len(setup.data.train_y),
            "test": len(setup.data.test_y),
            "widths": setup.widths,
            "nonlinearity": setup.nonlinearity,
            "seeds": setup.seeds,
            "recipe": setup.recipe,
            "chance_loss": setup.chance,
        },
        "starts": [_outcome(outcome, setup, findings) | {"check": findings} for outcome, findings in results.judged],
        "sweep": {norm: [_outcome(outcome, setup) for outcome in row] for norm, row in results.sweep.items()},
    }


def _outcome(outcome: Outcome, setup: Setup, findings: Sequence[Finding] | None = None) -> dict[str, Any]:
    return {
        "start": outcome.start.name,
        "label": outcome.start.label,
        "law": to_config(outcome.start.law),
        "norm": outcome.start.norm,
        "factor": outcome.factor,
        "story": tell(outcome, setup, findings),
        "loss_at_zero": outcome.start_loss,
        "final_loss": outcome.final_loss,
        "train_accuracy": outcome.train_accuracy,
        "test_accuracy": outcome.test_accuracy,
        "second_moment_factor_per_layer": outcome.growth(),
        "trials": outcome.trials,
    }


def _counted(jobs: Iterable[Done], on_job: Callable[[], None]) -> list[Done]:
    results = []
    for done in jobs:
        results.append(done)
        on_job()
    return results


def _run(setup: Setup, job: Job) -> Done:
    findings = checked(setup, job.start) if job.checked else ()
    return Done(run(setup, job.start, factor=job.factor), findings)


def checked(setup: Setup, start: Start) -> tuple[Finding, ...]:
    """What the check finds before the trainings of a start, over all its seeds; it can be sent between processes."""
    architecture = Architecture(setup.widths, setup.nonlinearity, start.norm)
    parameters = [initialize(architecture, start.law, seed) for seed in range(setup.seeds)]
    every = -(-len(setup.data.train_y) // CHECKED)
    report = check(architecture, parameters, setup.data.train_x[::every], setup.data.train_y[::every])
    return tuple(map(_plain, report.findings))


def _plain(finding: Finding) -> Finding:
    """Results without read-only views, which cannot be pickled."""
    return replace(finding, evidence=dict(finding.evidence), follows=tuple(map(_plain, finding.follows)))
