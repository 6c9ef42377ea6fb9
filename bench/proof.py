"""Does what the check calls an error cost a training? Broken models and their mended twins, trained side by side.

    python -m bench proof                  # every rule of the check, under 10 minutes on one core
    python -m bench proof --rule FWD001    # one rule, or the rules whose codes begin so
    python -m bench proof --json proof.json

Each case is a model on which one rule speaks, and the same model mended, where it is silent; and where the report's fix
draws anything, the broken model after it. All are trained with Adam (at 1e-3 and 5e-3) and with SGD of momentum 0.9 (at
0.003, 0.01 and 0.05), each start at the rate that is best for it, under three seeds. The goal is the loss that the
mended twin has after a third of the steps. *Slower* is a factor of 2 or more in the steps to it; *worse* a final loss,
on digits that were not trained on, above the twin's by more than two standard errors of the difference and by a
fiftieth of the first loss. A case is proved where it costs so with both optimizers, or where with one it never gets to
the goal, at none of the rates. An error that is not proved is no error.
"""

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.proving import kinds, losses, signals, weights
from bench.proving.training import OPTIMIZERS, Runs, Start, task_of, trained
from bench.proving.twins import Twins
from fanwise.check.findings import Finding
from fanwise.check.report import Report
from fanwise.check.rules.registry import RULES
from fanwise.torch import apply, check, fix

CASES: tuple[Twins, ...] = (*weights.CASES, *signals.CASES, *losses.CASES, *kinds.CASES)
FACTOR = 2.0
"""Times the steps from which a start is slower."""
ERRORS = 2.0
"""Standard errors of a difference of final losses beyond which it is no noise ..."""
SHARE = 0.02
"""... and what it is at least, as a share of the twin's first loss."""
LOOK = 128
"""Examples that the check sees."""


@dataclass(frozen=True)
class Line:
    """What one case shows with one optimizer.

    Args:
        rule: its code.
        severity: of the finding; "" where the rule is silent on the broken model.
        case: its name.
        optimizer: its name.
        steps: to the goal, of the broken model, the twin, and the model after the fix; NaN where there is no fix.
        finals: the last losses of the same three.
        verdict: what the break costs.
        twin: the severity at which the rule speaks on the twin, "" where it is silent.
    """

    rule: str
    severity: str
    case: str
    optimizer: str
    steps: tuple[float, float, float]
    finals: tuple[float, float, float]
    verdict: str
    twin: str = ""

    @property
    def costs(self) -> bool:
        """Whether the broken model is slower or ends worse."""
        return self.verdict != "same"

    @property
    def fails(self) -> bool:
        """Whether it never gets to the goal, or diverges."""
        return math.isinf(self.steps[0])


def seen(twins: Twins, *, mended: bool) -> tuple[nn.Module, Report, tuple[Any, ...]]:
    """The model, what the check says of it, and the batch it was shown."""
    torch.manual_seed(0)
    model = twins.mended() if mended else twins.broken()
    shown = model if twins.checked is None else twins.checked[mended]
    options = (twins.mended_options if mended and twins.mended_options else twins.options)()
    batch = twins.batch(mended=mended)
    batch = batch if twins.rows >= len(batch[-1]) else tuple(part[:LOOK] for part in batch)
    loss = twins.loss if twins.checked is None else "cross_entropy"
    return model, check(shown, batch, loss, **({"seeds": 1} | options)), batch


def walked(report: Report) -> Iterable[Finding]:
    """Every finding, folded ones too."""
    return (finding for root in report.findings for finding in root.walk())


def severity_of(report: Report, code: str) -> str:
    """The severity at which a rule speaks, also that of the cause that it is; "" where it does not."""
    return next((finding.severity for finding in walked(report) if finding.code == code), "")


def starts(twins: Twins) -> tuple[dict[str, Start | None], str, str]:
    """How each start is built from a seed; and the severities on the broken model and on its twin."""
    model, report, batch = seen(twins, mended=False)
    _, other, _ = seen(twins, mended=True)
    mending = None if twins.checked else fix(model, report, batch, loss=twins.loss)

    def broken(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return twins.broken()

    def mended(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return twins.mended()

    def fixed(seed: int) -> nn.Module:
        return apply(broken(seed), mending.plan, key=seed)

    built = {"broken": broken, "mended": mended, "fixed": fixed if mending else None}
    return built, severity_of(report, twins.rule), severity_of(other, twins.rule)


def lines_of(twins: Twins, seeds: int) -> list[Line]:
    """A case with each optimizer."""
    built, severity, twin = starts(twins)
    usual = tuple(OPTIMIZERS.items())
    own = tuple((name, (rate,)) for name, rate in twins.optimizers)
    others = tuple((name, (rate,)) for name, rate in twins.mended_optimizers)
    lines = []
    for ours, theirs in zip(own or usual, others or usual, strict=True):
        runs = {}
        for name, start in built.items():
            optimizer, rates = theirs if name == "mended" else ours
            task = task_of(twins, mended=name == "mended")
            runs[name] = None if start is None else trained(start, task, optimizer, rates, seeds)
        lines.append(_line(twins, severity, twin, ours[0], runs))
    return lines


def _line(twins: Twins, severity: str, twin: str, optimizer: str, runs: dict[str, Runs | None]) -> Line:
    broken, mended, fixed = runs["broken"], runs["mended"], runs["fixed"]
    goal = statistics.mean(row[twins.steps // 3] for row in mended.losses)
    steps = tuple(math.nan if each is None else each.steps_to(goal) for each in (broken, mended, fixed))
    finals = tuple(math.nan if each is None else each.final for each in (broken, mended, fixed))
    return Line(twins.rule, severity, twins.name, optimizer, steps, finals, verdict(broken, mended, steps), twin)


def verdict(broken: Runs, mended: Runs, steps: Sequence[float]) -> str:
    """What the break costs: nothing, time, or the end."""
    if not math.isfinite(broken.final):
        return "diverges"
    slower = steps[0] >= FACTOR * steps[1]
    difference = broken.final - mended.final
    spread = statistics.variance(broken.finals) + statistics.variance(mended.finals)
    first = statistics.mean(row[0] for row in mended.losses)
    worse = difference > max(ERRORS * math.sqrt(spread / len(broken.finals)), SHARE * first)
    return " and ".join(word for word, holds in (("slower", slower), ("worse", worse)) if holds) or "same"


def summary(lines: Sequence[Line]) -> list[str]:
    """Each rule and severity: how many of its cases are proved, cost with one optimizer, and with none."""
    rows = ["| rule | severity | cases | proved | cost with one | with none |", "| --- " * 6 + "|"]
    keys = dict.fromkeys((line.rule, line.severity) for line in lines)
    order = list(RULES)
    for rule, severity in sorted(keys, key=lambda key: order.index(key[0])):
        mine = [line for line in lines if (line.rule, line.severity) == (rule, severity)]
        cases = [[line for line in mine if line.case == case] for case in dict.fromkeys(line.case for line in mine)]
        proofs, none = sum(map(proved, cases)), sum(not any(line.costs for line in each) for each in cases)
        counts = (len(cases), proofs, len(cases) - proofs - none, none)
        rows.append(f"| {rule} | {severity or 'silent'} | {' | '.join(map(str, counts))} |")
    return rows


def proved(lines: Sequence[Line]) -> bool:
    """Whether a case costs with every optimizer, or fails with one."""
    return all(line.costs for line in lines) or any(line.fails for line in lines)


def row(line: Line) -> str:
    """A line of the table."""
    steps, finals = ("/".join(number(each) for each in three) for three in (line.steps, line.finals))
    twin = f" (twin: {line.twin})" if line.twin else ""
    cells = (line.rule, line.severity or "silent", line.case + twin, line.optimizer, steps, finals, line.verdict)
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "never" if math.isinf(value) else f"{value:.3g}"


HEAD = (
    "| rule | severity | case | optimizer | steps broken/mended/fixed | final loss broken/mended/fixed | verdict |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def main() -> None:
    """Trains the twins of the rules that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", default="", help="beginning of a code")
    parser.add_argument("--seeds", type=int, choices=range(2, 10), default=3)
    parser.add_argument("--json", type=Path, help="a file for the lines")
    asked, start = parser.parse_args(), time.process_time()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("\n".join(HEAD))
    lines = []
    for twins in CASES:
        if twins.rule.startswith(asked.rule):
            lines += (made := lines_of(twins, asked.seeds))
            print("\n".join(map(row, made)), flush=True)
    print("\n" + "\n".join(summary(lines)))
    print(f"\n{len(lines)} trainings of twins: {time.process_time() - start:.0f} s of one core")
    if asked.json is not None:
        asked.json.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n", encoding="utf-8")
