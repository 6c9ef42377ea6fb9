"""Rules on the values of the weights as they were found."""

import math
import re
from collections.abc import Iterator, Sequence

from fanwise.check.findings import Finding, Fix, Severity, and_more, counted
from fanwise.check.scales import reads_relu, redraw
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import INVARIANT, LINEAR_HEAD, MAPS_AND_PRODUCTS, UP_TO_A_SUM
from fanwise.graph.op import INPUT, Op, OpKind
from fanwise.graph.trace import Trace
from fanwise.plan.roles import ADDED_TABLES

HALF = 0.5
"""Share of repeated units from which a weight is useless as it is."""
SOME = 0.02
"""Share of repeated units that is worth a warning."""
WRITTEN = (1e-12, 1e6)
"""Sizes of constants that people write."""
OUTLIER = 8.0
"""Factor by which one weight differs from its peers however their std is counted."""
PEERS = 4
"""Fewest weights that an outlier is compared with."""
FLAT_AT_ZERO = ("relu", "relu6", "threshold")
"""Nonlinearities whose slope at 0 counts as 0: a zero map before them never gets a gradient."""
INNER = ("weight", "branch_end", "recurrent")


def _non_finite(subject: Subject) -> Iterator[Finding]:
    bad = [path for path, values in subject.values.items() if values.infinite > 0]
    if bad:
        values = subject.values[bad[0]]
        number = round(values.infinite * values.count)
        more = and_more(len(bad) - 1, "parameter")
        message = f"{number} of {values.count} values of {bad[0]} are infinite or not a number{more}"
        yield Finding(
            "NAN001",
            "error",
            message,
            bad[0],
            _first_op(subject, bad[0]),
            kind="nan",
            paths=tuple(bad),
            evidence={"share": values.infinite, "parameters": len(bad)},
            fix=Fix("draw the parameter anew (fanwise fix)", safe=False, paths=tuple(bad)),
        )


def _zero_maps(subject: Subject) -> Iterator[Finding]:
    zero = [one for one in subject.maps if one.law.kind == "zeros" and one.case.parameter.trained]
    wrong = [one for one in zero if not _zero_by_design(subject, one)]
    if wrong:
        first = wrong[0]
        others = and_more(len(wrong) - 1, "weight")
        kind, cause = _zero_cause(subject, wrong)
        yield Finding(
            "ZER001",
            "error",
            f"{first.path} is all zeros{others}",
            first.path,
            first.op.index,
            cause,
            kind,
            tuple(one.path for one in wrong),
            {"weights": len(wrong)},
            redraw(wrong),
        )
    right = [one for one in zero if one not in wrong]
    if right and not wrong:
        yield Finding(
            "ZER001",
            "info",
            f"{right[0].path} starts at zero, where a sum or the output lets the signal pass"
            f"{and_more(len(right) - 1, 'weight')}",
            right[0].path,
            right[0].op.index,
            paths=tuple(one.path for one in right),
            design=True,
        )


def _zero_by_design(subject: Subject, one: Map) -> bool:
    """A head, a table of biases, or the end of a branch whose sum carries another signal."""
    if one.op.kind == OpKind.EMBEDDING:
        added = one.case.role in ADDED_TABLES or one.case.parameter.shape[-1] == 1
        return added or _meets_another(subject, one)
    if one.case.part in ("query", "key"):
        return not _all_zero(subject, "key" if one.case.part == "query" else "query")
    if _never_learns(subject, one):
        return False
    known = one.case.role in ("head", "branch_end", "relative", "token", "gate", "branch_gate")
    linear = subject.trace.after(one.op, {OpKind.ACTIVATION, OpKind.NORM, OpKind.SOFTMAX}, LINEAR_HEAD) is None
    return known or linear or _meets_another(subject, one)


def _never_learns(subject: Subject, one: Map) -> bool:
    """Whether a nonlinearity follows whose slope at 0 counts as 0."""
    after = subject.trace.after(one.op, {OpKind.ACTIVATION, OpKind.ADD, OpKind.MUL}, UP_TO_A_SUM)
    return (
        after is not None and after.kind == OpKind.ACTIVATION and str(after.detail.get("nonlinearity")) in FLAT_AT_ZERO
    )


def _meets_another(subject: Subject, one: Map) -> bool:
    """Whether what it gives is used, before the next map, beside something of the inputs that goes another way."""
    seen, queue = {one.op.index}, list(subject.trace.follows(one.op))
    while queue:
        op = queue.pop()
        if op.index in seen or op.kind in MAPS_AND_PRODUCTS:
            continue
        if len(set(op.inputs)) > 1 and any(_passes_by(subject.trace, source, one.op) for source in op.inputs):
            return True
        seen.add(op.index)
        queue.extend(subject.trace.follows(op))
    return False


def _all_zero(subject: Subject, part: str) -> bool:
    """Whether every map that makes this part of an attention is zero too."""
    others = [one for one in subject.maps if one.case.part == part]
    return bool(others) and all(one.law.kind == "zeros" for one in others)


def _passes_by(trace: Trace, source: int, avoided: Op) -> bool:
    """Whether something of the model's inputs reaches an op without going through another.

    Beside a table other tables do not count: positions alone do not make up for tokens.
    """
    seen, queue = {avoided.index}, [source]
    while queue:
        here = queue.pop()
        if here == INPUT:
            return True
        op = trace.ops[here]
        if here in seen or (op.kind == OpKind.EMBEDDING and avoided.kind == OpKind.EMBEDDING):
            continue
        if op.kind == OpKind.EMBEDDING:
            return True
        seen.add(here)
        queue.extend(op.inputs)
    return False


def _zero_cause(subject: Subject, wrong: Sequence[Map]) -> tuple[str, str]:
    """Memory that was never written holds zeros in places that no author sets to zero."""
    scales = [path for path, case in subject.cases.items() if case.role == "norm_scale" and path in subject.values]
    if scales and all(subject.values[path].constant and subject.values[path].mean == 0 for path in scales):
        return "skipped_init", "every normalisation's factor is zero too: this memory was never initialised"
    return "zeros", "zero weights give zero signal, and pass no gradient to what feeds them"


def _constant_maps(subject: Subject) -> Iterator[Finding]:
    wrong = [one for one in subject.maps if one.law.kind == "constant" and _mixes(one) and one.case.parameter.trained]
    if wrong:
        first = wrong[0]
        others = and_more(len(wrong) - 1, "weight")
        written = WRITTEN[0] < abs(first.values.mean) < WRITTEN[1]
        kind = "constant" if written else "skipped_init"
        cause = "equal weights make equal units, and equal gradients keep them equal"
        yield Finding(
            "CON001",
            "error",
            f"every value of {first.path} is {first.values.mean:.4g}{others}",
            first.path,
            first.op.index,
            cause if written else "no author writes such a value: this memory was never initialised",
            kind,
            tuple(one.path for one in wrong),
            {"value": first.values.mean, "weights": len(wrong)},
            redraw(wrong),
        )


def _mixes(one: Map) -> bool:
    """Whether several channels meet in each of its units; a depthwise kernel may be a plain average."""
    layout, shape = one.case.layout, one.case.parameter.shape
    if layout is None:
        return len(shape) > 1 and min(shape) > 1
    if "lookup" in layout.axes:
        return True
    groups = max(layout.group_count(shape), 1)
    counts = {role: layout.extent(shape, role) for role in ("in", "out")}
    inputs = counts["in"] // groups if layout.grouped == "in" else counts["in"]
    return inputs > 1 and counts["out"] > 1


def _equal_units(subject: Subject) -> Iterator[Finding]:
    found = [one for one in subject.maps if one.values.repeated >= SOME and _random_map(one) and _mixes(one)]
    if found:
        worst = max(found, key=lambda one: one.values.repeated)
        first = found[0]
        severity: Severity = "error" if worst.values.repeated >= HALF - 0.01 else "warning"
        share = first.values.repeated
        others = and_more(len(found) - 1, "weight", link="and in")
        yield Finding(
            "EQU001",
            severity,
            f"{share:.0%} of the units of {first.name} repeat another unit's weights{others}",
            first.path,
            first.op.index,
            "equal units get equal gradients and stay equal",
            "equal_units",
            tuple(one.path for one in found),
            {"share": share, "weights": len(found)},
            redraw(found),
        )


def _random_map(one: Map) -> bool:
    return not one.values.constant and one.op.kind != OpKind.EMBEDDING and one.values.zeros < HALF


def _copies(subject: Subject) -> Iterator[Finding]:
    trained = {path for path, case in subject.cases.items() if case.parameter.trained}
    twins = [
        one
        for one in _distinct(subject.maps)
        if one.values.twin and one.path in trained and one.values.twin in trained and _alike(subject, one)
    ]
    if twins:
        first = twins[0]
        others = and_more(len(twins) - 1, "weight")
        yield Finding(
            "COP001",
            "warning",
            f"{first.path} holds the same numbers as {first.values.twin}{others}",
            first.path,
            first.op.index,
            "layers made by deepcopy, or drawn from one seed each, begin as one layer repeated",
            "copies",
            tuple(one.path for one in twins),
            {"weights": len(twins)},
            redraw(twins),
        )


def _alike(subject: Subject, one: Map) -> bool:
    """Whether it has the shape of its twin: a decoder may begin as its encoder turned over."""
    shape = one.case.parameter.shape
    return len(shape) > 1 and shape == subject.cases[one.values.twin].parameter.shape


def _distinct(maps: Sequence[Map]) -> list[Map]:
    return list({one.path: one for one in reversed(maps)}.values())[::-1]


def _tied(subject: Subject) -> Iterator[Finding]:
    tied = [one for one in _distinct(subject.maps) if _siblings(one.path, one.case.parameter.aliases)]
    if tied:
        first = tied[0]
        alias = _siblings(first.path, first.case.parameter.aliases)[0]
        yield Finding(
            "TIE001",
            "warning",
            f"{first.path} and {alias} are one and the same parameter",
            first.path,
            first.op.index,
            "one module stands in a list several times, as in [layer] * n: the model has fewer parameters than layers",
            "tied",
            tuple(one.path for one in tied),
            {"weights": len(tied)},
            Fix("make a new module for each place of the list"),
        )


def _siblings(path: str, aliases: Sequence[str]) -> list[str]:
    """Other names that differ in an index alone, or by a place in a list, as in ``block[1]/kernel``."""
    shape = re.sub(r"\d+", "#", path)
    return [alias for alias in aliases if re.sub(r"\d+", "#", re.sub(r"\[\d+\]", "", alias)) == shape]


def _outliers(subject: Subject) -> Iterator[Finding]:
    return (finding for finding in _departures(subject) if finding.code == "LAY001")


def _outliers_hidden(subject: Subject) -> Iterator[Finding]:
    return (finding for finding in _departures(subject) if finding.code == "NRM001")


def _departures(subject: Subject) -> Iterator[Finding]:
    sized = [one for one in _distinct(subject.maps) if one.law.gain > 0]
    inner = [one for one in sized if one.case.role in INNER and min(one.case.parameter.shape) > 1]
    heads = [one for one in sized if one.case.role == "head"]
    for one in inner:
        factor = _departure(one, [other for other in inner if other is not one], heads)
        if factor is None or (factor < 1 and one.op.index not in subject.followed):
            continue
        normed = _hidden(subject, one)
        word = f"{factor:.3g} times" if factor > 1 else f"1/{1 / factor:.3g} of"
        hides = ", which the normalisation after it hides" if normed else ""
        yield Finding(
            "NRM001" if normed else "LAY001",
            "info" if normed else "warning",
            f"the weights of {one.name} are {word} what those of its peers are{hides}",
            one.path,
            one.op.index,
            f"std {one.values.std:.3g} at fan_in {_fan_in(one):.0f}: {one.law.text}",
            "one_layer_up" if factor > 1 else "one_layer_down",
            (one.path,),
            {"factor": factor},
            redraw([one]),
        )


def _fan_in(one: Map) -> float:
    return (one.law.gain / one.values.std) ** 2 if one.values.std else math.nan


def _hidden(subject: Subject, one: Map) -> bool:
    return one.case.normalized or subject.trace.after(one.op, {OpKind.NORM}, INVARIANT) is not None


def _departure(one: Map, others: Sequence[Map], heads: Sequence[Map]) -> float | None:
    """The factor by which its std differs from that of nearly all its peers, however fans enter; None for none."""
    peers = [other for other in others if (other.case.role, other.op.kind) == (one.case.role, one.op.kind)]
    if len(peers) < PEERS - 1:
        peers = [other for other in others if other.case.role == one.case.role]
    if len(peers) < PEERS - 2:
        peers = [*others, *heads]
    if len(peers) < PEERS - 2:
        return None
    spared = max(len(peers) // 10, 1 if len(peers) > PEERS else 0)
    factors = [sorted(_size(one, power) / _size(other, power) for other in peers) for power in (0.0, 0.5, 1.0)]
    low, high = (min(each[spared] for each in factors), max(each[-1 - spared] for each in factors))
    if low > OUTLIER:
        return min(each[len(each) // 2] for each in factors)
    return max(each[len(each) // 2] for each in factors) if high < 1 / OUTLIER else None


def _size(one: Map, power: float) -> float:
    return float(one.values.std * _fan_in(one) ** power)


def _against_plan(subject: Subject) -> Iterator[Finding]:
    if subject.plan is None:
        return
    rows = [row for row in subject.plan.rows if row.law is not None and row.path in subject.values]
    off = [(row, subject.values[row.path]) for row in rows if row.std is not None]
    off = [(row, values) for row, values in off if _is_off(row.std or 0.0, values.std, values.count, values.kurtosis)]
    if off:
        row, values = off[0]
        wanted = row.std or 0.0
        others = and_more(len(off) - 1, "parameter")
        times = f" ({values.std / wanted:.3g} times)" if wanted else ""
        yield Finding(
            "PLN001",
            "warning",
            f"{row.path} has std {values.std:.4g} where the plan says {wanted:.4g}{times}{others}",
            row.path,
            _first_op(subject, row.path),
            "the values are not those of the plan: overwritten, skipped or loaded",
            "plan",
            tuple(row.path for row, _ in off),
            {"std": values.std, "planned": wanted, "parameters": len(off)},
            Fix("apply the plan (fanwise.torch.apply)", True, tuple(row.path for row, _ in off)),
        )


def _is_off(planned: float, std: float, count: int, kurtosis: float) -> bool:
    """Beyond 5 standard errors of a std of so many values, and 2 % for what dtypes round."""
    if planned == 0 or std == 0:
        return (planned == 0) != (std == 0) and count > 1
    spread = max(kurtosis - 1, 0.5) if math.isfinite(kurtosis) else 2.0
    return count > 1 and abs(std / planned - 1) > 5 * math.sqrt(spread / (4 * count)) + 0.02


def _slips(subject: Subject) -> Iterator[Finding]:
    inner = [one for one in _distinct(subject.maps) if one.case.role in INNER]
    slips = [one for one in inner if one.law.kind == "slip"]
    if len(slips) > 1 and len(slips) >= HALF * len(inner) and any(reads_relu(one) for one in slips):
        yield Finding(
            "LAW001",
            "warning",
            f"{counted(len(slips), 'weight')} have std 2/sqrt(fan_in), beginning with {slips[0].path}",
            slips[0].path,
            slips[0].op.index,
            "a slip for sqrt(2/fan_in): each layer doubles the variance",
            "slip",
            tuple(one.path for one in slips),
            {"weights": len(slips)},
            redraw(slips),
        )


def _fused(subject: Subject) -> Iterator[Finding]:
    fused = [one for one in _distinct(subject.maps) if one.law.kind == "fused"]
    if fused:
        yield Finding(
            "LAW002",
            "info",
            f"{fused[0].path} holds several maps and was drawn as one{and_more(len(fused) - 1, 'weight')}",
            fused[0].path,
            fused[0].op.index,
            f"{fused[0].law.text}",
            "fused",
            tuple(one.path for one in fused),
            {"weights": len(fused)},
            redraw(fused),
        )


def _first_op(subject: Subject, path: str) -> int | None:
    uses = subject.trace.uses.get(path, ())
    return uses[0][0].index if uses else None
