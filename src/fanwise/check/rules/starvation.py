"""The rule on gradients that one norm multiplies, so that few parameters hold nearly all of their size."""

import math
from collections.abc import Iterator, Mapping

from fanwise.check.findings import Fix, and_more
from fanwise.check.rules.origins import map_before, name_of
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.subject import Subject
from fanwise.graph.kinds import MOVING
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.measure.observation import Observation

SILENT = 1e-6
"""Second moment after a normalisation below which it reads nothing; of tables of std 1e-4 it makes 3e-4."""
MULTIPLIED = 100.0
"""Factor on the rms of a gradient: 316 at an epsilon of 1e-5, 1000 at 1e-6."""
NEARLY_ALL = 0.9
"""Share of the summed square of all gradients."""


@rule(
    "GRD004",
    severity="warning",
    title="a gradient that few parameters hold",
    page=Page(
        says="A normalisation reads a signal of 0, and the parameters before it hold nearly all of the gradient.",
        why="A normalisation divides by the root of the variance and an epsilon; where the variance is 0 it multiplies "
        "gradients by 300 to 1000. Clipping by the whole norm then divides the steps of all other parameters by as "
        "much.",
        measured=f"Normalisations whose output has a second moment below {SILENT:g} and that multiply the rms of the "
        f"gradient by more than {MULTIPLIED:g}, where parameters before the first of them hold more than "
        f"{100 * NEARLY_ALL:.0f} % of the summed square of all gradients.",
        example="A decoder of learned queries after a normalisation whose stream starts at zeros.",
        remedy="Start the stream at the queries, or leave out the first normalisation.",
    ),
    source='Carion et al., "End-to-end object detection with transformers", 2020, section A.4: gradients are '
    "clipped at 0.1; derived here: d(x / sqrt(x^2 + e)) / dx at x = 0 is 1 / sqrt(e)",
    explains=("UPD001",),
    shows_before=True,
)
def starved(subject: Subject) -> Iterator[Symptom]:
    """The first norm over a zero stream before which nearly all of the gradient lies."""
    seen = subject.first
    if seen.loss is None or not seen.backward:
        return
    energies = _energies(subject)
    total = sum(energies.values())
    for op in (op for op in subject.trace.ops if op.kind == OpKind.NORM and total > 0):
        factor = _multiplies(seen, op)
        if not factor > MULTIPLIED:
            continue
        behind = subject.trace.ancestors(op.index)
        before = {path: energy for path, energy in energies.items() if _is_used_in(subject, path, behind)}
        if sum(before.values()) > NEARLY_ALL * total:
            yield _starving(subject, op, factor, {path: energy / total for path, energy in before.items()})
            return


def _energies(subject: Subject) -> dict[str, float]:
    """Summed square of the gradient of each trained parameter."""
    values = subject.values.items()
    trained = {path: each for path, each in values if path in subject.cases and subject.cases[path].parameter.trained}
    return {path: each.gradient * each.count for path, each in trained.items() if 0 < each.gradient < math.inf}


def _multiplies(seen: Observation, op: Op) -> float:
    """By what a norm that could not restore what it read multiplies the rms of the gradient; 0 elsewhere."""
    source = op.inputs[0] if op.inputs else -1
    after = seen.signals[op.index]
    if source < 0 or not after.second_moment < SILENT or not after.gradient > 0:
        return 0.0
    return math.sqrt(max(seen.signals[source].gradient, 0.0) / after.gradient)


def _is_used_in(subject: Subject, path: str, ops: set[int]) -> bool:
    return any(op.index in ops for op, _ in subject.trace.uses[path])


def _starving(subject: Subject, op: Op, factor: float, shares: Mapping[str, float]) -> Symptom:
    holders = sorted(shares, key=lambda path: -shares[path])
    most = [path for i, path in enumerate(holders) if sum(shares[each] for each in holders[:i]) < NEARLY_ALL]
    source, share = map_before(subject, op), sum(shares[path] for path in most)
    feeds = "" if source is None else f", what {name_of(source, op)} leads to"
    return Symptom(
        f"{_name(subject, op)} reads a stream of 0{feeds}, and multiplies the gradient by {factor:.3g}: {share:.2%} of "
        f"its summed square lies in {most[0]}{and_more(len(most) - 1, 'parameter')}",
        most[0],
        op.index,
        "a normalisation of a variance below its epsilon divides by the root of the epsilon",
        "zero_stream",
        tuple(most),
        {"share": share, "factor": factor, "parameters": len(most)},
        Fix("start the stream at something other than 0, or leave this normalisation out"),
    )


def _name(subject: Subject, op: Op) -> str:
    """The norm by its factor's or shift's path, its module, or its function."""
    scale = subject.trace.after(op, {OpKind.SCALE, OpKind.SHIFT}, MOVING)
    uses = [use for each in (op, scale) if each is not None for use in each.uses]
    paths = [use.path for use in uses if use.role in (UseRole.SCALE, UseRole.SHIFT)]
    return paths[0].rpartition(".")[0] if paths and "." in paths[0] else op.module or op.name
