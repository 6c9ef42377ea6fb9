"""Short trainings: the loss of every step from a start, at the best of some rates, under several seeds."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.proving.twins import Loss, Twins

OPTIMIZERS: dict[str, tuple[float, ...]] = {"adam": (1e-3, 5e-3), "sgd": (0.003, 0.01, 0.05)}
"""Names and the rates of which each start gets its best; SGD has a momentum of 0.9."""
SMOOTH = 10
"""Steps over which losses are averaged."""
BIG = 1e6
"""A loss beyond which a training counts as diverged."""
Start = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Runs:
    """The trainings of one start with one optimizer.

    Args:
        rate: the best of those tried.
        losses: smoothed, of every step, one row a seed; infinite where it diverged.
        finals: of each seed, the loss after the last step on examples that were not trained on; on the batch itself
            where all of them are.
    """

    rate: float
    losses: tuple[tuple[float, ...], ...]
    finals: tuple[float, ...]

    @property
    def final(self) -> float:
        """Mean of the last losses."""
        return statistics.mean(self.finals)

    def steps_to(self, goal: float) -> float:
        """Mean over the seeds of the steps to a loss; infinite where one never gets there."""
        return statistics.mean(
            next((i + 1.0 for i, loss in enumerate(row) if loss <= goal), math.inf) for row in self.losses
        )


@dataclass(frozen=True)
class Task:
    """What is trained on.

    Args:
        batch: inputs and targets.
        loss: that is trained.
        judge: that is recorded.
        steps: how many.
        rows: of a batch.
    """

    batch: tuple[Tensor, ...]
    loss: Loss
    judge: Loss
    steps: int
    rows: int

    @property
    def count(self) -> int:
        """How many examples there are."""
        return len(self.batch[-1])

    @property
    def seen(self) -> int:
        """How many of them are trained on: all where they are one batch, otherwise four of five."""
        return self.count if self.rows >= self.count else 4 * self.count // 5


def task_of(twins: Twins, *, mended: bool) -> Task:
    """What one of two twins is trained on."""
    objective = twins.objective()
    return Task(twins.batch(mended=mended), objective, twins.judge or objective, twins.steps, twins.rows)


def trained(start: Start, task: Task, optimizer: str, rates: Sequence[float], seeds: int) -> Runs:
    """Every seed at the rate that is best for the first."""
    first = {rate: run(start(0), task, optimizer_of(optimizer, rate), 0) for rate in rates}
    rate = min(first, key=lambda rate: (first[rate][0][-1], sum(first[rate][0])))
    others = [run(start(seed), task, optimizer_of(optimizer, rate), seed) for seed in range(1, seeds)]
    rows, finals = zip(first[rate], *others, strict=True)
    return Runs(rate, rows, finals)


def optimizer_of(name: str, rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    def make(model: nn.Module) -> torch.optim.Optimizer:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if name == "adam":
            return torch.optim.Adam(parameters, rate)
        return torch.optim.SGD(parameters, rate, momentum=0.0 if name == "plain sgd" else 0.9)

    return make


def run(
    model: nn.Module, task: Task, optimizer: Callable[[nn.Module], torch.optim.Optimizer], seed: int
) -> tuple[tuple[float, ...], float]:
    """The smoothed loss of every step, infinite from where it is none; and the loss at the end."""
    raw = list(_steps(model, task, optimizer(model), seed))
    final = _final(model, task) if len(raw) == task.steps else math.inf
    raw += [math.inf] * (task.steps - len(raw))
    return tuple(statistics.fmean(raw[max(i - SMOOTH + 1, 0) : i + 1]) for i in range(len(raw))), final


@torch.no_grad()
def _final(model: nn.Module, task: Task) -> float:
    *inputs, target = (part[task.seen :] for part in task.batch) if task.seen < task.count else task.batch
    value = task.judge(model(*inputs), target).item()
    return value if math.isfinite(value) and value < BIG else math.inf


def _steps(model: nn.Module, task: Task, optimizer: torch.optim.Optimizer, seed: int) -> Iterator[float]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(task.steps):
        inputs, target = _rows(task, generator)
        output = model(*inputs)
        loss = task.loss(output, target)
        judged = task.judge(output, target).item()
        if not math.isfinite(judged) or judged > BIG:
            return
        yield judged
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()


def _rows(task: Task, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
    if task.seen == task.count:
        return task.batch[:-1], task.batch[-1]
    chosen = torch.randint(task.seen, (task.rows,), generator=generator)
    return tuple(part[chosen] for part in task.batch[:-1]), task.batch[-1][chosen]
