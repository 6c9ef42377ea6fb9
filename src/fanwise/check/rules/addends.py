"""Rules on what is added and joined: positions that drown tokens, loud learned tokens, adapters that speak at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fanwise.check.findings import Fix, and_more
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import root
from fanwise.check.subject import Subject
from fanwise.graph.frozen import FrozenMaps
from fanwise.graph.kinds import AFFINE, STRETCH_MAPS
from fanwise.graph.op import INPUT, Op, OpKind, UseRole
from fanwise.graph.side_paths import SidePath, SidePaths
from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Normal

DROWNS = 8.0
"""Times the rms of what it joins from which a table or token leaves less than 2 % of the second moment to that."""
FIXED_DROWNED = 8.0
"""The same where what is drowned are positions that are worked out, which cannot grow ..."""
LEARNED_DROWNED = 300.0
"""... and where they are learned: vision models begin at 50 (patches of rms 1, positions of std 0.02), and learn."""
SPEAKS = 0.1
"""Rms of what a side path adds over that of what frozen weights give: 1 % of the second moment."""
TABLES = (OpKind.EMBEDDING, OpKind.PARAMETER)
"""Ops that give what a parameter holds."""


@rule(
    "ADD001",
    severity="warning",
    title="one summand drowns another",
    page=Page(
        says="Positions are far louder than the tokens that they are added to, or far quieter; or a learned token is "
        "far louder than what it stands beside.",
        why="After the normalisation that follows, what is quieter by a factor r has 1 / (1 + r^2) of the variance: "
        "the model sees positions and no tokens, or tokens and no positions.",
        measured=f"The rms of the parts of sums in which a table of positions or of tokens takes part: the table's is "
        f"above {DROWNS:g} times that of the others; or positions that are worked out are as much quieter, or as much "
        f"louder than a table of tokens that was drawn, or learned ones {LEARNED_DROWNED:g} times quieter. And of "
        "learned tokens, over what they are joined with.",
        example="Both tables by Glorot's law, whose std follows from the number of rows; tokens of std 1 times sqrt(d) "
        "beside sines of positions; tokens of std 0.02 beside sines, without the sqrt(d).",
        remedy="Draw both at one size (fanwise fix).",
    ),
    source='Vaswani et al., "Attention is all you need", 2017, section 3.5; derived here: shares of a sum',
    explains=("WGT001",),
    shows_before=True,
)
def drowning_summands(subject: Subject) -> Iterator[Symptom]:
    """Tables and tokens far louder than what they join, and positions that are drowned."""
    pairs = [pair for op in subject.trace.ops for pair in _loud_parts(subject, op)]
    if pairs:
        first, paths = pairs[0], tuple(dict.fromkeys(path for pair in pairs for path in pair.paths))
        joins = "joined with" if first.op.kind == OpKind.CONCAT else "added to"
        yield Symptom(
            f"{first.loud} is {first.ratio:.3g} times as loud as {first.quiet}, which it is {joins}"
            f"{and_more(len(pairs) - 1, 'sum')}",
            paths[0],
            first.op.index,
            f"what is quieter keeps {1 / (1 + first.ratio**2):.2g} of the variance of what they make",
            "drowned",
            paths,
            {"ratio": first.ratio, "sums": len(pairs)},
            _at_one_size(subject, pairs, paths),
        )


@rule(
    "ADP001",
    severity="warning",
    title="adapters that change their base at once",
    page=Page(
        says="What is trained beside frozen weights adds to what they give before the first step.",
        why="The model does not start as its base, whose abilities are lost in part: they have to be learned again, "
        "from the few examples of a new task.",
        measured="The rms of what each side path adds to what frozen weights give, over the rms of that: above "
        f"{SPEAKS:g}. Of low-rank updates that are added to a weight, the std of the product over that of the weight.",
        example="LoRA with both factors drawn; an adapter whose last map has Kaiming's law.",
        remedy="Start the last map of each side path at 0, and no other (fanwise fix).",
    ),
    source='Hu et al., "LoRA", 2021, section 4.1 (B = 0); Houlsby et al., "Parameter-efficient transfer learning for '
    'NLP", 2019, section 2.1',
    explains=("RES001",),
    shows_before=True,
)
def speaking_adapters(subject: Subject) -> Iterator[Symptom]:
    """Side paths beside frozen weights that add something at step zero."""
    sides = SidePaths(subject.trace, FrozenMaps(subject.trace)).paths
    shares = {(side.end, side.side): (side, _added(subject, side)) for side in sides}
    loud = [(side, share) for side, share in shares.values() if share > SPEAKS and _ends(side)]
    if loud:
        ends = tuple(dict.fromkeys(_ends(side)[0] for side, _ in loud))
        worst = max(share for _, share in loud)
        first, share = loud[0]
        yield Symptom(
            f"what {ends[0]} ends adds {share:.0%} of the rms of what frozen weights give there, before any step"
            f"{and_more(len(ends) - 1, 'side path')}",
            ends[0],
            first.end,
            "no factor of the side path is 0: the model does not start as its base",
            "adapter",
            ends,
            {"share": share, "largest": worst, "side_paths": len(ends)},
            Fix("start the last map of each side path at 0 (fanwise fix)", _are_fresh(subject, ends), ends),
        )


@dataclass(frozen=True)
class _Pair:
    """Two parts of a sum, or of what is joined.

    Args:
        op: that makes one of them.
        loud: name of the louder.
        quiet: name of the other.
        ratio: of their rms.
        paths: parameters that make them, the louder first.
        is_loud: whether the first of these makes the louder part.
    """

    op: Op
    loud: str
    quiet: str
    ratio: float
    paths: tuple[str, ...]
    is_loud: bool


def _at_one_size(subject: Subject, pairs: Sequence[_Pair], paths: tuple[str, ...]) -> Fix:
    """Draws tables, the louder of each pair, so that both parts have one rms: what lies between is linear."""
    laws: dict[str, Initializer] = {}
    for pair in pairs:
        path = pair.paths[0]
        factor = 1 / pair.ratio if pair.is_loud else pair.ratio
        laws.setdefault(path, Normal(float(f"{factor * math.sqrt(subject.values[path].second_moment):.3g}")))
    safe = all(subject.laws[path].fresh for path in laws)
    return Fix("draw both at one size (fanwise fix)", safe, tuple(path for path in paths if path in laws), laws)


@dataclass(frozen=True)
class _Part:
    """One part.

    Args:
        name: of what makes it.
        size: second moment.
        path: of the table or token that it is; "" elsewhere.
        role: of that parameter; "fixed" where it is worked out of constants.
        drawn: whether it is trained and its numbers are those of a generator, and no sines.
    """

    name: str
    size: float
    path: str = ""
    role: str = ""
    drawn: bool = False


def _loud_parts(subject: Subject, op: Op) -> Iterator[_Pair]:
    parts = _parts(subject, op)
    tables = [part for part in parts if part.path and part.role != "data"]
    for loud in parts:
        for quiet in parts:
            ratio = root(loud.size / quiet.size) if quiet.size > 0 and loud is not quiet else 0.0
            if math.isfinite(ratio) and tables and ratio > _line(op, loud, quiet):
                yield _Pair(
                    op, loud.name, quiet.name, ratio, tuple(filter(None, (loud.path, quiet.path))), bool(loud.path)
                )


def _line(op: Op, loud: _Part, quiet: _Part) -> float:
    """From which factor on the one drowns the other."""
    if op.kind == OpKind.CONCAT:
        return DROWNS if loud.role == "token" and loud.drawn else math.inf
    if loud.role in ("position", "embedding", "tied_embedding") and quiet.role == "fixed":
        return FIXED_DROWNED
    if loud.role == "fixed" and quiet.role == "embedding" and quiet.drawn:  # one that is the head too has to be quiet
        return DROWNS
    if quiet.role == "position" and loud.role != "position":
        return LEARNED_DROWNED
    tokens = quiet.role in ("embedding", "tied_embedding", "data", "position")
    return DROWNS if loud.drawn and loud.role in ("position", "token", "embedding") and tokens else math.inf


def _parts(subject: Subject, op: Op) -> list[_Part]:
    """The parts of a sum in which a table takes part, or of what a learned token is joined with."""
    if op.kind == OpKind.SHIFT and len(op.inputs) == 1:
        added = [use.path for use in op.used(UseRole.SHIFT) if subject.cases[use.path].role == "position"]
        sizes = [subject.values[path].second_moment for path in added if path in subject.values]
        rows = zip(added, sizes, strict=False)
        tables = [_Part(path, size, path, "position", _is_drawn(subject, path)) for path, size in rows]
        return [*tables, _part(subject, op, 0)] if tables else []
    if op.kind == OpKind.ADD and len(op.inputs) == 1 and op.constant is None:
        table = _part(subject, op, 0)
        constant = subject.signals[op.index].second_moment - table.size  # what is drawn around 0 has no part of it
        return [table, _Part("a constant that the model adds", constant, role="fixed")] if table.path else []
    if op.kind in (OpKind.ADD, OpKind.CONCAT) and len(op.inputs) > 1:
        return [_part(subject, op, number) for number in range(len(op.inputs))]
    return []


def _part(subject: Subject, op: Op, number: int) -> _Part:
    size, index = subject.fed(op, number).second_moment, op.inputs[number]
    if index == INPUT:
        return _Part("an input", size, role="input")
    source = subject.trace.ops[index]
    name = source.module or source.name
    if source.kind not in TABLES:
        table = subject.trace.before(source, {*TABLES, *STRETCH_MAPS}, AFFINE | {OpKind.ELEMENTWISE})
        source = source if table is None or source.index in subject.map_of else table
    paths = [use.path for use in source.uses if use.role in (UseRole.TABLE, UseRole.OPERAND)]
    if source.kind in TABLES and paths and paths[0] in subject.cases:
        case = subject.cases[paths[0]]
        path = paths[0] if case.parameter.trained else ""
        return _Part(paths[0], size, path, case.role, _is_drawn(subject, paths[0]))
    if source.index in subject.map_of:
        return _Part(subject.map_of[source.index].name, size, role="data" if op.kind != OpKind.ADD else "map")
    fixed = index not in subject.trace.of_data
    return _Part(name, size, role="fixed" if fixed and not source.uses else "")


def _is_drawn(subject: Subject, path: str) -> bool:
    law = subject.laws.get(path)
    return law is not None and law.fresh and subject.cases[path].parameter.trained


def _added(subject: Subject, side: SidePath) -> float:
    """Rms of what a side path adds over that of what it joins; NaN where that is not known."""
    op = subject.trace.ops[side.end]
    if side.merged:
        return _merged(subject, side)
    if side.side is None:
        return math.nan
    added = subject.fed(op, side.side).second_moment
    if len(op.inputs) == 1:
        return root(added)  # a factor of 1 + side
    others = [subject.fed(op, number).second_moment for number in range(len(op.inputs)) if number != side.side]
    base = sum(size for size in others if size > 0)
    return root(added / base) if base > 0 else math.nan


def _merged(subject: Subject, side: SidePath) -> float:
    """Std of a product of two factors over that of the frozen weight that it is added to."""
    op, paths = subject.trace.ops[side.end], [candidate.path for candidate in side.candidates]
    frozen = [use.path for use in op.uses if use.path not in paths and use.path in subject.values]
    frozen = [path for path in frozen if len(subject.cases[path].parameter.shape) > 1]
    if len(paths) != 2 or not frozen or any(path not in subject.values for path in paths):
        return math.nan
    shapes = [subject.cases[path].parameter.shape for path in paths]
    ratio = max(use.ratio for use in op.uses if use.path in paths)
    rank = min(min(shape) for shape in shapes)
    product = math.sqrt(rank) * ratio * math.prod(math.sqrt(subject.values[path].second_moment) for path in paths)
    base = math.sqrt(subject.values[frozen[0]].second_moment)
    return product / base if base > 0 else math.nan


def _ends(side: SidePath) -> list[str]:
    """The parameters of which one should be 0, the end first."""
    return [each.path for each in side.candidates if each.kind in ("map", "gate", "norm")]


def _are_fresh(subject: Subject, paths: tuple[str, ...]) -> bool:
    return all(subject.laws[path].fresh for path in paths if path in subject.laws)
