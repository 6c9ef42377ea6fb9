"""Does a model train better from the `unit` plan than from its own initial weights? Short trainings, in pairs.

    python -m bench short_trainings --results runs.jsonl      # 17 models, about 15 minutes on one core
    python -m bench short_trainings --quick                   # 2 minutes: 1 seed, 2 learning rates, fewer steps
    python -m bench short_trainings --only GPT-2,Llama        # these models alone
    python -m bench short_trainings --inits own,unit,gpt2     # other recipes beside them

The models and their data are those of `models("torch", "training")` of the zoo. A pair is the same model built under
the same seed, trained on the same batches in the same order: once as its authors initialise it, once after
`fanwise.torch.apply` of its plan. AdamW without weight decay, the gradient's norm clipped at 1, a constant learning
rate after a linear warm-up.

A run's figure is the mean loss of its last 20 steps; the held-out loss is that of one batch that no run trains on. The
first seed is run at four learning rates, the others at the best of them, for each init its own; a * marks one at the
end of those tried. Noise is the larger of two standard errors of the difference: that of the paired differences over
the seeds, and, as a floor, that of two unpaired means. A difference above twice that is called better or worse.

With --results every run is a line of JSON, written when it ends; runs that stand there already are not made again.
"""

import argparse
import json
import math
import statistics
import sys
import time
from functools import lru_cache
from pathlib import Path

import torch
from torch.nn import functional

import fanwise.torch as fwt
from zoo.registry import models

RATES = {"text": (1e-3, 2e-3, 4e-3, 8e-3), "image": (5e-4, 1.5e-3, 5e-3, 1.5e-2)}
QUICK_RATES = {"text": (2e-3, 4e-3), "image": (1.5e-3, 5e-3)}
SEEDS = 3
STEPS, QUICK_STEPS = {"text": 150, "image": 100}, {"text": 60, "image": 60}
WARMUP, LAST, CLIP = 10, 20, 1.0
COUNT = {"text": 8, "image": 16}
"""Examples of a batch."""
HELD_OUT = {"text": 64, "image": 256}
HELD_OUT_SEED = 1_000_003


# One run


@lru_cache
def plan_of(task, recipe):
    """One plan a model, from a training batch: it does not depend on the seed."""
    torch.manual_seed(0)
    batch = task.batch("train", COUNT[task.traits.data], torch.Generator().manual_seed(0))
    return fwt.plan(task.build(), fwt.Inputs(batch.args, batch.kwargs), recipe)


def started(task, init, seed):
    """The model before its first step; `init` is "own" or a recipe."""
    plan = None if init == "own" else plan_of(task, init)
    torch.manual_seed(seed)
    model = task.build()
    return model if plan is None else fwt.apply(model, plan, seed)


def loss_of(task, model, batch):
    logits = task.traits.logits(model(*batch.args, **batch.kwargs))
    return functional.cross_entropy(logits.flatten(0, -2), batch.targets.flatten())


def step(task, model, optimizer, batch):
    loss = loss_of(task, model, batch)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    return loss.item()


def train(task, model, rate, seed, steps):
    """The loss of every step, until one is not finite."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.0)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: min(1.0, (done + 1) / WARMUP))
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        losses.append(step(task, model, optimizer, task.batch("train", COUNT[task.traits.data], generator)))
        warm.step()
        if not math.isfinite(losses[-1]):
            break
    return losses


@torch.no_grad()
def held_out(task, model):
    batch = task.batch("test", HELD_OUT[task.traits.data], torch.Generator().manual_seed(HELD_OUT_SEED))
    return loss_of(task, model.eval(), batch).item()


def measure(task, init, rate, seed, steps):
    """One run, as a line of the results; a run that diverged has no loss."""
    start = time.perf_counter()
    model = started(task, init, seed)
    losses = train(task, model, rate, seed, steps)
    final, unseen = statistics.mean(losses[-LAST:]), held_out(task, model)
    return {
        **identity(task, init, rate, seed, steps),
        "first": finite(losses[0]),
        "loss": finite(final) if len(losses) == steps else None,
        "held_out": finite(unseen),
        "seconds": round(time.perf_counter() - start, 2),
    }


def finite(value):
    return value if math.isfinite(value) else None


# All of them


def identity(task, init, rate, seed, steps):
    return {"model": task.name, "init": init, "rate": rate, "seed": seed, "steps": steps}


def key_of(line):
    return tuple(line[name] for name in ("model", "init", "rate", "seed", "steps"))


def stored(path):
    if path is None or not path.exists():
        return {}
    return {key_of(line): line for line in map(json.loads, path.read_text().splitlines())}


def keep(line, path):
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def line_of(run, found, path):
    """The line of a run: read where it stands, otherwise made."""
    key = key_of(identity(*run))
    if key not in found:
        found[key] = measure(*run)
        keep(found[key], path)
        print(f"{key}: {found[key]['loss']}", file=sys.stderr)
    return found[key]


def lines_of(task, init, found, options):
    """The first seed at every rate, the other seeds at the best of them."""
    rates, steps, seeds = (QUICK_RATES, QUICK_STEPS, 1) if options.quick else (RATES, STEPS, options.seeds)
    count = options.steps or steps[task.traits.data]
    first = [line_of((task, init, rate, 0, count), found, options.results) for rate in rates[task.traits.data]]
    best = best_rate(first)
    return first + [line_of((task, init, best, seed, count), found, options.results) for seed in range(1, seeds)]


def best_rate(lines):
    """That of the first seed's lowest loss."""
    first = [line for line in lines if line["seed"] == 0]
    return min(first, key=lambda line: values([line])[0])["rate"]


# The table


def best_runs(lines, name, init):
    """The runs of an init at its best rate, by seed, and whether that rate is at the end of those tried."""
    mine = [line for line in lines if (line["model"], line["init"]) == (name, init)]
    best, rates = best_rate(mine), [line["rate"] for line in mine]
    chosen = sorted((line for line in mine if line["rate"] == best), key=lambda line: line["seed"])
    return chosen, best in (min(rates), max(rates))


def values(lines, what="loss"):
    """Infinite where a run diverged."""
    return [math.inf if line[what] is None else line[what] for line in lines]


def mean_loss(lines, what="loss"):
    return statistics.mean(values(lines, what))


def noise(ours, theirs):
    """Standard error of the mean difference: of the pairs, at least that of unpaired means; None for one seed."""
    if len(ours) < 2 or not all(map(math.isfinite, [*ours, *theirs])):
        return None
    paired = statistics.variance([a - b for a, b in zip(ours, theirs, strict=True)])
    unpaired = statistics.variance(ours) + statistics.variance(theirs)
    return math.sqrt(max(paired, unpaired) / len(ours))


def verdict(difference, error):
    if math.isnan(difference) or (error is None and math.isfinite(difference)):
        return "-"
    if abs(difference) <= 2 * (error or 0.0):
        return "same"
    return "better" if difference < 0 else "worse"


def cell(lines, at_end):
    return f"{mean_loss(lines):.3f} ({lines[0]['rate']:g}{'*' * at_end})"


def compared(lines, name, init):
    """Cells of an init beside the model's own: loss, difference, its standard error, held-out difference, verdict."""
    (own, own_end), (ours, end) = best_runs(lines, name, "own"), best_runs(lines, name, init)
    difference, error = mean_loss(ours) - mean_loss(own), noise(values(ours), values(own))
    unseen = mean_loss(ours, "held_out") - mean_loss(own, "held_out")
    shown = "-" if error is None else f"{error:.3f}"
    called = verdict(difference, error)
    return [cell(own, own_end), init, cell(ours, end), f"{difference:+.3f}", shown, f"{unseen:+.3f}", called]


def table(lines):
    names = list(dict.fromkeys(line["model"] for line in lines))
    inits = [init for init in dict.fromkeys(line["init"] for line in lines) if init != "own"]
    head = ["model", "own init, loss (rate)", "init", "loss (rate)", "difference", "s.e.", "held-out diff.", "verdict"]
    rows = [[name, *compared(lines, name, init)] for name in names for init in inits]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def starts(lines):
    """First loss of each init, beside its best: said below the table."""
    found = {(line["model"], line["init"]): line["first"] for line in reversed(lines)}
    return "; ".join(f"{name} {init} {value:.2f}" for (name, init), value in sorted(found.items()))


def summary(lines, inits):
    rows = [compared(lines, name, init) for name in dict.fromkeys(line["model"] for line in lines) for init in inits]
    counts = {word: sum(row[-1] == word for row in rows) for word in ("better", "same", "worse")}
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="names of models, joined by commas")
    parser.add_argument("--inits", default="own,unit", help="own, and names of recipes")
    parser.add_argument("--results", type=Path, help="JSON lines, continued where they stand")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, help="of every run; otherwise as the kind of the model says")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def chosen_tasks(only):
    tasks = models("torch", "training").values()
    names = {task.name.lower(): task for task in tasks}
    asked = [name.strip().lower() for name in only.split(",") if name.strip()]
    unknown = sorted(set(asked) - set(names))
    if unknown:
        sys.exit(f"--only: no model {', '.join(unknown)}; there are {', '.join(task.name for task in tasks)}")
    return [names[name] for name in asked] if asked else list(tasks)


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    inits = list(dict.fromkeys(["own", *options.inits.split(",")]))
    tasks, found = chosen_tasks(options.only), stored(options.results)
    lines = [line for task in tasks for init in inits for line in lines_of(task, init, found, options)]
    print(table(lines))
    spent = sum(line["seconds"] for line in lines)
    print(f"\n{summary(lines, inits[1:])}; {len(lines)} runs, {spent / 60:.1f} minutes")
    print(f"loss before the first step: {starts(lines)}")
