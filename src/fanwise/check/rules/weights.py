"""Rules on the values of single weights: not finite, equal, copied, tied, drawn by the wrong formula."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, takewhile

from fanwise.check.findings import Fix, and_more, counted
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.scale_causes import factor_laws, reads_relu, redraw
from fanwise.check.subject import Map, Subject
from fanwise.graph.op import INPUT, OpKind
from fanwise.graph.repetition import ChainKind

HALF = 0.5
"""Share of a weight's values, of a table's rows or of all weights from which it counts."""
NEARLY_ALL = 0.9
"""Share of repeated units from which a layer tells next to nothing apart."""
SOME = 0.02
"""Share of repeated units that is worth a warning."""
ROUNDED_SHARE = 0.01
"""By what share of its units an odd number of them may fall short of a half."""
WRITTEN = (1e-12, 1e6)
"""Sizes of constants that people write."""
INNER = ("weight", "branch_end", "recurrent")
"""Roles of maps inside a model."""
GATES = ("gate", "branch_gate")
"""Roles of factors whose law no recipe knows without the values that they held."""
STANDARD_ERRORS = 5.0
"""By how many standard errors a std may differ from the planned one."""
ROUNDING = 0.02
"""By what share it may differ besides, since dtypes round."""


@rule(
    "NAN001",
    severity="error",
    title="weights that are not finite",
    page=Page(
        says="Some parameter, or state such as a running variance, holds values that are infinite or not a number "
        "(NaN).",
        why="One such value reaches every output within a few layers, and every gradient after it: no step of "
        "training can repair it.",
        measured="All values of all parameters are looked at, and of state that is saved with them. A single value "
        "that is infinite or NaN is enough.",
        example="torch.empty without an init after it; a division by a fan of 0; a checkpoint of a run that diverged.",
        remedy="Draw the parameter anew (fanwise fix), and find the code that wrote the value.",
    ),
    source="IEEE 754-2019, section 6",
    explains=("ZER001", "WGT001", "WGT002"),
    weights_alone=True,
)
def not_finite(subject: Subject) -> Iterator[Symptom]:
    """Parameters with values that are infinite or not a number."""
    bad = [path for path, values in subject.values.items() if values.infinite > 0]
    if not bad and subject.first.broken:
        yield _broken_state(subject.first.broken)
    if bad:
        values = subject.values[bad[0]]
        number = round(values.infinite * values.count)
        more = and_more(len(bad) - 1, "parameter")
        factors = [path for path in bad if subject.cases[path].role in GATES]
        yield Symptom(
            f"{number} of {values.count} values of {bad[0]} are infinite or not a number{more}",
            bad[0],
            _first_op(subject, bad[0]),
            kind="nan",
            paths=tuple(bad),
            evidence={"share": values.infinite, "parameters": len(bad)},
            fix=Fix("draw the parameter anew (fanwise fix)", subject.fresh, tuple(bad), factor_laws(subject, factors)),
        )


@rule(
    "CON001",
    severity="error",
    title="weights that are all equal",
    page=Page(
        says="Every value of a weight is one and the same number, other than 0.",
        why="Units with equal weights give equal outputs: however wide the layer is, it computes one unit. Where the "
        "weights that read them are equal too, they get equal gradients and stay equal.",
        measured="The values of each trained weight in which several channels meet. An error where one such map "
        "follows another; a single one learns as soon as random weights read it (python -m bench proof). Depthwise "
        "kernels may be averages and are left out, and so are last maps that average, as each of their outputs has a "
        f"target of its own. A constant smaller than {WRITTEN[0]:g} or larger than {WRITTEN[1]:g} is taken for memory "
        "that was never initialised.",
        example="nn.init.constant_(layer.weight, 0.01).",
        remedy="Draw the weights from a random law (fanwise fix).",
    ),
    source='Goodfellow et al., "Deep learning", 2016, section 8.4 (breaking symmetry)',
    explains=("FWD001", "FWD002"),
    weights_alone=True,
)
def constant_maps(subject: Subject) -> Iterator[Symptom]:
    """Maps of several channels whose values are all one number."""
    wrong = [
        layer
        for layer in subject.maps
        if layer.law.kind == "constant"
        and mixes(layer)
        and layer.case.parameter.trained
        and _feeds_units(subject, layer)
    ]
    if wrong:
        value = wrong[0].values.mean
        written = WRITTEN[0] < abs(value) < WRITTEN[1]
        lasting = neighbours(subject, wrong)
        never = () if written else _never_written(subject)
        cause = "equal weights make equal units" + (", and equal gradients keep them equal" if lasting else "")
        yield of_maps(
            wrong,
            f"every value of {wrong[0].path} is {value:.4g}{and_more(len(wrong) - 1, 'weight')}",
            cause=cause if written else "no author writes such a value: this memory was never initialised",
            kind="constant" if written else "skipped_init",
            evidence={"value": value},
            fix=_with_paths(redraw(wrong), never),
            severity=None if lasting or not written else "warning",
        )


def _never_written(subject: Subject) -> tuple[str, ...]:
    """Parameters of one value that no author writes."""
    sizes = ((path, abs(values.mean)) for path, values in subject.values.items() if values.constant)
    return tuple(path for path, size in sizes if size and not WRITTEN[0] < size < WRITTEN[1])


def _with_paths(fix: Fix, more: Sequence[str]) -> Fix:
    return replace(fix, paths=tuple(dict.fromkeys((*fix.paths, *more))))


@rule(
    "EQU001",
    severity="error",
    title="units that repeat others",
    page=Page(
        says="Several units of one layer start with exactly the same incoming weights.",
        why="Equal units give equal outputs: the layer is narrower than it looks until the weights that read them have "
        "told them apart, and for ever where those are equal too.",
        measured="The share of a weight's units whose incoming weights equal those of another unit bit for bit. From "
        f"{100 * SOME:.0f} % it is a warning, from {100 * NEARLY_ALL:.0f} % an error: where half of the units repeat "
        "the others a training takes no longer (python -m bench proof). Random rows are never equal by chance. "
        f"Of a table, the share of its rows, from {100 * HALF:.0f} %.",
        example="weight[n:] = weight[:n]; a generator that is seeded anew for each half of a matrix.",
        remedy="Draw the whole weight from one stream of random numbers (fanwise fix).",
    ),
    source='Goodfellow et al., "Deep learning", 2016, section 8.4 (breaking symmetry)',
    explains=("OUT001", "LOS001"),
    weights_alone=True,
)
def equal_units(subject: Subject) -> Iterator[Symptom]:
    """Maps in which units repeat others bit for bit."""
    wrong = [layer for layer in subject.maps if layer.values.repeated >= SOME and _is_random(layer) and mixes(layer)]
    tables = [layer for layer in subject.distinct_maps if _has_equal_rows(layer)]
    if tables:
        yield of_maps(
            tables,
            f"{tables[0].values.repeated:.0%} of the rows of {tables[0].path} repeat another row"
            f"{and_more(len(tables) - 1, 'table')}",
            cause="equal rows tell nothing apart, and only those that a batch asks for ever differ",
            kind="equal_rows",
            evidence={"share": tables[0].values.repeated},
            severity="warning",
        )
    if wrong:
        worst = max(layer.values.repeated for layer in wrong)
        share = wrong[0].values.repeated
        others = and_more(len(wrong) - 1, "weight", link="and in")
        yield of_maps(
            wrong,
            f"{share:.0%} of the units of {wrong[0].name} repeat another unit's weights{others}",
            cause="equal units give one and the same output",
            kind="equal_units",
            evidence={"share": share},
            severity="error" if worst >= NEARLY_ALL else "warning",
        )


@rule(
    "TIE001",
    severity="warning",
    title="one module under several indices",
    page=Page(
        says="One and the same parameter stands at several indices of a list of layers.",
        why="The model has the parameters of one layer where its author wrote many.",
        measured="Each parameter with two names that differ in an index alone, such as layers.0.weight and "
        "layers.1.weight, that is applied to what it led to itself, or several times to the same. Tied embeddings, "
        "whose names differ otherwise, modules that are called several times, towers and heads of several inputs that "
        "share one module, and cells that read something new each time are left out.",
        example="nn.ModuleList([Block()] * 12).",
        remedy="Make a new module for each index: nn.ModuleList(Block() for _ in range(12)).",
    ),
    source='The Python Standard Library, "Sequence types": the items of [item] * n are references to one object',
    explains=("WGT001", "WGT002"),
)
def tied(subject: Subject) -> Iterator[Symptom]:
    """Parameters with several names that differ in an index alone."""
    wrong = [layer for layer in subject.distinct_maps if _siblings(layer.path, layer.case.parameter.aliases)]
    wrong = [layer for layer in wrong if _stands_for_several(subject, layer)]
    if wrong:
        alias = _siblings(wrong[0].path, wrong[0].case.parameter.aliases)[0]
        yield of_maps(
            wrong,
            f"{wrong[0].path} and {alias} are one and the same parameter",
            cause="one module stands in a list several times, as in [layer] * n: the model has fewer parameters than "
            "layers",
            kind="tied",
            fix=Fix(_parted(wrong[0])),
        )


def _stands_for_several(subject: Subject, layer: Map) -> bool:
    """Whether a weight is where a chain of layers would have several, or members that read the same."""
    chain, uses = layer.case.chain, subject.trace.uses[layer.path]
    read = [op.inputs for op, _ in uses if INPUT not in op.inputs]  # a model may have several inputs
    return len(set(read)) < len(read) or (chain is not None and chain.kind in (ChainKind.LOOP, ChainKind.BRANCH))


def _parted(layer: Map) -> str:
    """Code that makes a module for each place of a list."""
    same = _siblings(layer.path, layer.case.parameter.aliases)
    pairs = zip(layer.path.split("."), same[0].split("."), strict=True)
    before = [part for part, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    count = len(same) + 1
    named = f"{'.'.join(before)} = " if before else ""
    return (
        f"make a new module for each of {count} places: {named}[make() for _ in range({count})], not [make()] * {count}"
    )


@rule(
    "PLN001",
    severity="warning",
    title="weights that are not those of the plan",
    page=Page(
        says="A parameter does not have the size that the plan gives it.",
        why="What was planned is not what will be trained.",
        measured="Only where a plan is given: the std of each parameter that the plan draws, against its law's. The "
        f"line is {STANDARD_ERRORS:g} standard errors of the std of so many values, sqrt((kurtosis - 1) / (4 n)) each, "
        f"and {100 * ROUNDING:.0f} % for what dtypes round.",
        example="An init that runs after the plan was applied; an init that writes to a weight which a "
        "parametrization recomputes; a checkpoint that was loaded.",
        remedy="Apply the plan last (fanwise.torch.apply).",
    ),
    source="derived here: the variance of n values has the relative variance (kurtosis - 1) / n, their std 1/4 of it",
)
def off_plan(subject: Subject) -> Iterator[Symptom]:
    """Parameters whose std is not the planned one."""
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
        yield Symptom(
            f"{row.path} has std {values.std:.4g} where the plan says {wanted:.4g}{times}{others}",
            row.path,
            _first_op(subject, row.path),
            "the values are not those of the plan: overwritten, skipped or loaded",
            "plan",
            tuple(row.path for row, _ in off),
            {"std": values.std, "planned": wanted, "parameters": len(off)},
            Fix("apply the plan (fanwise.torch.apply)", True, tuple(row.path for row, _ in off)),
        )


@rule(
    "LAW001",
    severity="warning",
    title="std 2/sqrt(fan_in)",
    page=Page(
        says="Weights were drawn at std 2/sqrt(fan_in) where He's formula is sqrt(2/fan_in).",
        why="The square root was drawn over the wrong part of the formula: the variance is twice what a ReLU needs, so "
        "every layer doubles the second moment of the signal.",
        measured=f"Two or more inner weights, and {100 * HALF:.0f} % of all, whose std is 2/sqrt(fan_in) within 5 "
        "standard errors, at least one of them behind a nonlinearity of ReLU's kind.",
        example="np.random.randn(n, m) * 2 / np.sqrt(n).",
        remedy="np.random.randn(n, m) * np.sqrt(2 / n) (fanwise fix).",
    ),
    source='He et al., "Delving deep into rectifiers", 2015, eq. 10',
    explains=("NAN002", "OUT001"),
    shows_before=True,
)
def slip(subject: Subject) -> Iterator[Symptom]:
    """Inner maps of std 2/sqrt(fan_in) around ReLU."""
    inner = [layer for layer in subject.distinct_maps if layer.case.role in INNER]
    slips = [layer for layer in inner if layer.law.kind == "slip"]
    if len(slips) > 1 and len(slips) >= HALF * len(inner) and any(reads_relu(layer) for layer in slips):
        yield of_maps(
            slips,
            f"{counted(len(slips), 'weight')} have std 2/sqrt(fan_in), beginning with {slips[0].path}",
            cause="a slip for sqrt(2/fan_in): each layer doubles the variance",
            kind="slip",
        )


@rule(
    "LAW002",
    severity="info",
    title="several maps drawn as one",
    page=Page(
        says="A weight that holds several maps, such as Q, K and V in one matrix, was drawn as if it were one map.",
        why="Its fans are counted on the whole matrix, so each map gets less variance than it would get alone: half, "
        "where three square ones are stacked.",
        measured="Weights known to hold several maps whose std is Glorot's for the whole matrix, within 5 standard "
        "errors.",
        example="nn.init.xavier_uniform_(attention.in_proj_weight), which torch.nn.MultiheadAttention does.",
        remedy="Draw each map by its own fans (fanwise fix).",
    ),
    source='Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010, '
    "eq. 12",
)
def fused(subject: Subject) -> Iterator[Symptom]:
    """Weights of several maps that were drawn as one."""
    wrong = [layer for layer in subject.distinct_maps if layer.law.kind == "fused"]
    if wrong:
        others = and_more(len(wrong) - 1, "weight")
        message = f"{wrong[0].path} holds several maps and was drawn as one{others}"
        yield of_maps(wrong, message, cause=wrong[0].law.text, kind="fused")


def neighbours(subject: Subject, maps: Sequence[Map]) -> bool:
    """Whether two of these maps are run one after the other: what one of them lost, the other does not bring back."""
    paths = {layer.path for layer in maps}
    return any(one.path in paths and other.path in paths for one, other in pairwise(subject.distinct_maps))


def _feeds_units(subject: Subject, layer: Map) -> bool:
    """Whether a map's outputs are hidden units, which equal weights make one; last maps may start as averages."""
    layout, shape = layer.case.layout, layer.case.parameter.shape
    averages = layout is not None and abs(layer.values.mean) * layout.fans(shape).fan_in < 1.01
    return not (averages and any(layer is last for last in subject.last))


def mixes(layer: Map) -> bool:
    """Whether several channels meet in each of its units; a depthwise kernel may be a plain average."""
    layout, shape = layer.case.layout, layer.case.parameter.shape
    if layout is None:
        return len(shape) > 1 and min(shape) > 1
    if "lookup" in layout.axes:
        return True
    groups = max(layout.group_count(shape), 1)
    counts = {role: layout.extent(shape, role) for role in ("in", "out")}
    inputs = counts["in"] // groups if layout.grouped == "in" else counts["in"]
    return inputs > 1 and counts["out"] > 1


def _is_random(layer: Map) -> bool:
    return not layer.values.constant and layer.op.kind != OpKind.EMBEDDING and layer.values.zeros < HALF


def _broken_state(paths: Sequence[str]) -> Symptom:
    return Symptom(
        f"{paths[0]} holds values that are infinite or not a number{and_more(len(paths) - 1, 'buffer')}",
        paths[0],
        cause="the model keeps it beside its parameters, and reads it in evaluation",
        kind="nan",
        paths=tuple(paths),
        evidence={"buffers": len(paths)},
        fix=Fix("start this state anew, as a running variance at 1"),
    )


def _has_equal_rows(layer: Map) -> bool:
    """Whether most rows of a trained table are equal; those of a table of zeros are so by design."""
    table = layer.op.kind == OpKind.EMBEDDING and layer.case.parameter.trained
    return table and layer.values.repeated >= HALF - ROUNDED_SHARE and not layer.values.constant


def _siblings(path: str, aliases: Sequence[str]) -> list[str]:
    """Other names that differ in an index alone, or by an index of a list, as in ``block[1]/kernel``."""
    shape = re.sub(r"\d+", "#", path)
    return [alias for alias in aliases if re.sub(r"\d+", "#", re.sub(r"\[\d+\]", "", alias)) == shape]


def _is_off(planned: float, std: float, count: int, kurtosis: float) -> bool:
    """Beyond the standard errors of a std of so many values, and what dtypes round."""
    if planned == 0 or std == 0:
        return (planned == 0) != (std == 0) and count > 1
    spread = max(kurtosis - 1, 0.5) if math.isfinite(kurtosis) else 2.0
    return count > 1 and abs(std / planned - 1) > STANDARD_ERRORS * math.sqrt(spread / (4 * count)) + ROUNDING


def _first_op(subject: Subject, path: str) -> int | None:
    uses = subject.trace.uses.get(path, ())
    return uses[0][0].index if uses else None
