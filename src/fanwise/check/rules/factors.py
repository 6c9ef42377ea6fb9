"""Rules on factors: scalars that were never written, factors of norms around 0, gates that are shut."""

import math
from collections.abc import Iterator, Sequence

from fanwise.check.findings import Fix, and_more
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.rules.weights import WRITTEN
from fanwise.check.scale_causes import factor_laws, zero_biases
from fanwise.check.subject import Subject
from fanwise.graph.kinds import AT_ONCE, GATE_STEPS, MOVING
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.plan.roles import Case

LOUD = 100.0
"""A factor that no author means: temperatures end at 100 (Radford et al., "CLIP", 2021, section 2.5)."""
AROUND_ZERO = 0.5
"""Mean, in units of the std, below which a norm's factors lie around 0: a third of them or more are negative."""
SHUT = 1e-3
"""Rms of a gate's values below which nothing passes it, and as little gradient comes to what shuts it."""
MOST = 0.5
"""Share of the factors of norms that are 0 from which the signal is gone."""
FACTORS = ("gate", "branch_gate", "norm_scale", "branch_norm")
"""Roles of parameters that multiply a signal."""
BOUNDED_BELOW = ("sigmoid", "hardsigmoid", "hard_sigmoid")
"""Nonlinearities of gates that end at 0."""


@rule(
    "FAC001",
    severity="warning",
    title="a factor far too large",
    page=Page(
        says="A learned factor on a signal, or the factor of a normalisation, is so large that it drowns all else.",
        why="What it multiplies is then all that the sum it joins holds, and its steps are nothing beside its size. No "
        "author writes such a value: mostly it is what the memory held before.",
        measured=f"The rms of each trained factor as the model uses it: above {LOUD:g}, or below {WRITTEN[0]:g} and "
        f"not 0. Beyond {WRITTEN[1]:g}, and so near 0, it is taken for memory that was never initialised.",
        example="A model that is built on the meta device and moved with to_empty(), whose init forgets a scalar.",
        remedy="Write the value that was meant: 1, or 0 for a gate that starts shut.",
    ),
    source='Radford et al., "Learning transferable visual models from natural language supervision", 2021, section '
    "2.5: a temperature is clipped at 100",
    explains=("RES001",),
    shows_before=True,
)
def loud_factors(subject: Subject) -> Iterator[Symptom]:
    """Factors that no author writes."""
    sizes = {path: _size(subject, case) for path, case in subject.cases.items() if _is_factor(case)}
    wrong = {path: size for path, size in sizes.items() if size > LOUD or 0 < size < WRITTEN[0]}
    if wrong:
        path, size = next(iter(wrong.items()))
        written = WRITTEN[0] < size < WRITTEN[1]
        op = subject.cases[path].op
        yield Symptom(
            f"the factor {path} is {size:.3g}{and_more(len(wrong) - 1, 'factor')}: what it multiplies "
            f"{'drowns what it joins' if size > 1 else 'is lost'}",
            path,
            None if op is None else op.index,
            "" if written else "no author writes such a value: this memory was never initialised",
            "factor" if written else "skipped_init",
            tuple(wrong),
            {"size": size, "factors": len(wrong)},
            _written_anew(subject, tuple(wrong)),
        )


@rule(
    "FAC002",
    severity="warning",
    title="factors of normalisations around 0",
    page=Page(
        says="The factors of a normalisation are drawn around 0, or most normalisations have a factor of 0.",
        why="A normalisation brings every feature to size 1; factors of 0.02 take that away again, with random signs, "
        "and the gradients of all that comes before are multiplied by them. Where all are 0 nothing passes.",
        measured=f"Trained factors of normalisations that differ, whose mean is below {AROUND_ZERO:g} times their std. "
        f"Or more than {100 * MOST:.0f} % of those that end no residual branch are 0, and not all of "
        "those get a gradient that opens them. Factors that are used as 1 + w "
        "are left out.",
        example="nn.init.normal_(norm.weight, 0.0, 0.02), which was meant to be N(1, 0.02).",
        remedy="Start the factors of normalisations at 1 (fanwise fix).",
    ),
    source='Ioffe and Szegedy, "Batch normalization", 2015, section 3 (the identity is gamma = 1); Radford et al., '
    '"Unsupervised representation learning with DCGAN", 2016, whose code draws N(1, 0.02)',
    explains=("WGT001", "GRD004"),
    shows_before=True,
)
def factors_around_zero(subject: Subject) -> Iterator[Symptom]:
    """Factors of norms with random signs, or that are mostly 0."""
    norms = {path: case for path, case in subject.cases.items() if case.role in ("norm_scale", "branch_norm")}
    norms = {path: case for path, case in norms.items() if case.parameter.trained and not case.offset}
    norms = {path: case for path, case in norms.items() if path in subject.values and _is_of_norm(subject, case)}
    around = [path for path in norms if _is_around_zero(subject, path)]
    open_ends = [path for path, case in norms.items() if case.role == "norm_scale"]
    zero = [path for path in open_ends if subject.values[path].constant and subject.values[path].mean == 0]
    if around and subject.fresh:
        std = subject.values[around[0]].std
        words = f"the factors {around[0]} lie around 0, with std {std:.3g}"
        yield _norms(subject, around, words, "N(0, s) where N(1, s) or 1 was meant: signs and sizes are random")
    elif len(zero) > MOST * len(open_ends) and not all(subject.values[path].gradient > 0 for path in zero):
        words = f"the factors {zero[0]} are 0"
        yield _norms(subject, zero, words, "a normalisation whose factor is 0 passes nothing, and no gradient back")


@rule(
    "GAT001",
    severity="warning",
    title="gates that are shut",
    page=Page(
        says="A sigmoid that multiplies a signal gives nearly 0 for every example: nothing passes.",
        why="The signal behind the gate is gone, and the gradient of what shuts it is as small as the gate's value.",
        measured=f"The rms of the values of sigmoids that only multiply another signal: below {SHUT:g}. Of a gated "
        "linear unit in one function, its rms over that of what it reads.",
        example="nn.init.constant_(gate.bias, -20.0) in squeeze-and-excite.",
        remedy="Start the bias of a gate at 0, or at 2 where it should be open (fanwise fix).",
    ),
    source='Srivastava et al., "Highway networks", 2015, section 2.1: biases of -1 to -3 shut gates far enough',
    explains=("WGT001",),
    shows_before=True,
)
def shut_gates(subject: Subject) -> Iterator[Symptom]:
    """Gates that let nothing pass."""
    ops = [op for op in subject.trace.ops if op.kind == OpKind.ACTIVATION]
    shut = [op for op in ops if _is_shut(subject, op)]
    if shut:
        biases = tuple(dict.fromkeys(path for op in shut for path in _biases(subject, op)))
        first, size = shut[0], math.sqrt(subject.signals[shut[0].index].second_moment)
        yield Symptom(
            f"the gate {first.nonlinearity} after {biases[0] if biases else first.module or first.name} is shut: its "
            f"values are {size:.2g}{and_more(len(shut) - 1, 'gate')}",
            biases[0] if biases else first.module,
            first.index,
            "what enters it lies far below 0 for every example",
            "shut_gate",
            biases,
            {"size": size, "gates": len(shut)},
            zero_biases(subject, biases, "start the biases of the gates at 0") if biases else None,
        )


def _written_anew(subject: Subject, paths: tuple[str, ...]) -> Fix:
    """Factors of 1, but those of 0 that weigh what is added to another signal: branches start silent."""
    if not subject.fresh:
        return Fix(f"write the factor that was meant into {paths[0]}{and_more(len(paths) - 1, 'factor')}")
    text = "start the factors at 1, those that end branches at 0 (fanwise fix)"
    return Fix(text, True, paths, factor_laws(subject, paths))


def _is_factor(case: Case) -> bool:
    return case.role in FACTORS and case.parameter.trained and case.op is not None


def _size(subject: Subject, case: Case) -> float:
    """Rms of a factor as the model uses it; NaN where that was not measured."""
    values, use = subject.values.get(case.parameter.path), case.use
    if values is None or values.infinite or use is None:
        return math.nan
    if use.seen is not None and use.steps:
        size = math.hypot(*use.seen)
        return size if math.isfinite(size) else math.nan  # what is made of finite numbers is no forgotten memory
    return math.nan if use.steps else math.sqrt(values.second_moment) * use.ratio


def _is_of_norm(subject: Subject, case: Case) -> bool:
    """Whether all that a normalisation gives goes through the factor: beside a way past it, it weighs a shortcut."""
    if case.op is None or case.op.kind == OpKind.NORM:
        return case.op is not None
    norm = subject.trace.before(case.op, {OpKind.NORM}, MOVING)
    return norm is not None and len(subject.trace.followers[norm.index]) == 1


def _is_around_zero(subject: Subject, path: str) -> bool:
    values = subject.values[path]
    return values.count > 1 and values.std > 0 and abs(values.mean) < AROUND_ZERO * values.std


def _norms(subject: Subject, paths: Sequence[str], words: str, cause: str) -> Symptom:
    op = subject.cases[paths[0]].op
    return Symptom(
        f"{words}{and_more(len(paths) - 1, 'normalisation')}",
        paths[0],
        None if op is None else op.index,
        cause,
        "norm_factor",
        tuple(paths),
        {"normalisations": len(paths)},
        Fix("start the factors of normalisations at 1 (fanwise fix)", True, tuple(paths)),
    )


def _is_shut(subject: Subject, op: Op) -> bool:
    """Whether it multiplies another signal and is nearly 0; what was not computed from data may be meant."""
    if op.nonlinearity == "glu":  # gate and product in one function
        return subject.signals[op.index].second_moment < SHUT**2 * subject.fed(op).second_moment
    if op.nonlinearity not in BOUNDED_BELOW:
        return False
    gates = subject.trace.after(op, {OpKind.MUL}, GATE_STEPS) is not None
    return gates and bool(op.inputs) and subject.signals[op.index].second_moment < SHUT**2


def _biases(subject: Subject, op: Op) -> Iterator[str]:
    """The biases that shut a gate: of the map before it, or added on the way."""
    here: Op | None = op
    while here is not None and here.inputs and here.inputs[0] >= 0:
        here = subject.trace.ops[here.inputs[0]]
        uses = [*here.used(UseRole.BIAS), *here.used(UseRole.SHIFT)]
        yield from (use.path for use in uses if use.path in subject.values and subject.values[use.path].mean < 0)
        if here.index in subject.map_of or here.kind not in AT_ONCE | {OpKind.ELEMENTWISE}:
            return
