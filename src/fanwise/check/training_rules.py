"""Rules on what will be trained: gradients, frozen and unused parameters, the first update."""

import math
from collections.abc import Iterator

from fanwise.check.findings import Finding, Fix, and_more, counted
from fanwise.check.subject import Map, Optimizer, Subject
from fanwise.graph.kinds import ADAPTER_STEPS, AFFINE, RANDOM_FEATURES, STRETCH_MAPS
from fanwise.graph.op import Op, OpKind, Use

MINORITY = 0.5
"""Share of frozen maps below which freezing looks like an accident: a frozen trunk is most of its model."""
LARGE_STEP = 1.0
"""Size of the first update of a weight over that of the weight itself from which it forgets its start."""
LOST_STEP = 6e-8
"""The same below which float32 rounds the update away (half a unit in the last place)."""
DTYPE_STEPS = {"bfloat16": 2.0**-9, "float16": 2.0**-12}
"""Half a unit in the last place of other dtypes."""


def _frozen(subject: Subject) -> Iterator[Finding]:
    maps = [one for one in subject.maps if one.op.index in subject.lead_to_output and len(one.case.parameter.shape) > 1]
    frozen = [one for one in maps if not one.case.parameter.trained]
    twins = {values.twin for values in subject.values.values()}
    random = [one for one in frozen if _random(one) and not one.values.twin and one.path not in twins]
    random = [one for one in random if not _is_projection(subject, one) and _after_trained(subject, one)]
    random = [one for one in random if not _is_adapted(subject, one)]
    if random and len(frozen) < MINORITY * len(maps):
        first = random[0]
        more = and_more(len(random) - 1, "weight")
        yield Finding(
            "FRZ001",
            "warning",
            f"{first.path} is frozen at random values{more}, between layers that are trained",
            first.path,
            first.op.index,
            f"requires_grad is False, and its values are fresh from a generator: {first.law.text}",
            "frozen",
            tuple(one.path for one in random),
            {"weights": len(random)},
            Fix("set requires_grad = True, or load what it was trained to"),
        )
    elif frozen:
        yield Finding(
            "FRZ001",
            "info",
            f"{len(frozen)} of {len(maps)} weights are frozen",
            frozen[0].path,
            frozen[0].op.index,
            paths=tuple(one.path for one in frozen),
            evidence={"weights": len(frozen)},
            design=True,
        )


def _after_trained(subject: Subject, one: Map) -> bool:
    """Whether something trained feeds it: the first layers of a model may be a frozen trunk."""
    past = subject.trace.ancestors(one.op.index) - {one.op.index}
    return any(subject.map_of[i].case.parameter.trained for i in past if i in subject.map_of)


def _is_adapted(subject: Subject, one: Map) -> bool:
    """Whether a trained map of the same input is added to what it gives, as an adapter is."""
    add = subject.trace.after(one.op, {OpKind.ADD}, AFFINE)
    sides = [] if add is None else [subject.trace.ops[i] for i in add.inputs if i >= 0]
    return any(_starts_with(subject, side, one.op.inputs[:1]) for side in sides)


def _starts_with(subject: Subject, op: Op, inputs: tuple[int, ...]) -> bool:
    """Whether one or two trained maps lead from these inputs to an op."""
    for _ in range(2):
        found = op if op.index in subject.map_of else subject.trace.before(op, STRETCH_MAPS, ADAPTER_STEPS)
        here = None if found is None else subject.map_of.get(found.index)
        if here is None or not here.case.parameter.trained:
            return False
        if here.op.inputs[:1] == inputs:
            return True
        if not here.op.inputs or here.op.inputs[0] < 0:
            return False
        op = subject.trace.ops[here.op.inputs[0]]
    return False


def _random(one: Map) -> bool:
    return one.law.fresh and one.law.kind not in ("zeros", "constant", "few") and one.case.role in _TRAINED_ROLES


_TRAINED_ROLES = ("weight", "branch_end", "recurrent", "embedding", "tied_embedding")


def _is_projection(subject: Subject, one: Map) -> bool:
    """Random features, whose sines and cosines are taken, stay as they are drawn."""
    found = subject.trace.after(one.op, {OpKind.ACTIVATION}, RANDOM_FEATURES)
    return found is not None and str(found.detail.get("nonlinearity")) in ("sin", "cos")


def _unreached(subject: Subject) -> Iterator[Finding]:
    if not subject.first.backward or subject.first.loss is None:
        return
    cut = [
        one
        for one in subject.maps
        if one.op.index in subject.lead_to_output and one.case.parameter.trained and not one.values.reached
    ]
    if cut:
        last = cut[-1]
        more = and_more(len(cut) - 1, "weight")
        yield Finding(
            "GRD001",
            "error",
            f"no gradient reaches {last.path}{more}, though the output depends on it",
            last.path,
            last.op.index,
            "the graph is cut after it: detach(), .data, no_grad() or a function without a derivative",
            "detached",
            tuple(one.path for one in cut),
            {"weights": len(cut)},
            Fix("let the gradient through, or freeze these weights on purpose"),
        )


def _broken_gradient(subject: Subject) -> Iterator[Finding]:
    bad = [path for path, values in subject.values.items() if values.reached and not math.isfinite(values.gradient)]
    if bad:
        uses = subject.trace.uses[bad[-1]]
        yield Finding(
            "GRD002",
            "error",
            f"the gradient of {bad[-1]} is infinite or not a number, and of {len(bad) - 1} more",
            bad[-1],
            uses[-1][0].index if uses else None,
            "a function without a finite derivative at its input",
            "overflow",
            tuple(bad),
            {"parameters": len(bad)},
        )


def _unused(subject: Subject) -> Iterator[Finding]:
    unused = [path for path in subject.trace.unused if subject.trace.by_path[path].trained]
    if unused:
        names = ", ".join(unused[:3]) + (" ..." if len(unused) > 3 else "")
        yield Finding(
            "UNU001",
            "info",
            f"{counted(len(unused), 'parameter')} not used on this batch: {names}",
            unused[0],
            paths=tuple(unused),
            evidence={"parameters": len(unused)},
        )


def _shared(subject: Subject) -> Iterator[Finding]:
    calls = {
        path: len({op.index for op, use in uses if not _is_of_stack(use)}) for path, uses in subject.trace.uses.items()
    }
    shared = [one for one in subject.maps if calls.get(one.path, 0) > 1]
    shared = list({one.path: one for one in shared}.values())
    if shared:
        yield Finding(
            "TWI001",
            "info",
            f"{counted(len(shared), 'weight')} used more than once, as {shared[0].path} "
            f"({calls[shared[0].path]} times): their gradients add up",
            shared[0].path,
            shared[0].op.index,
            paths=tuple(one.path for one in shared),
            evidence={"weights": len(shared)},
            design=True,
        )


def _is_of_stack(use: Use) -> bool:
    """Whether an op may use one matrix of a stack, and another op the next, as where layers are scanned."""
    return use.layout is not None and "stack" in use.layout.axes


def _large_update(subject: Subject) -> Iterator[Finding]:
    optimizer, steps = subject.optimizer, _steps(subject)
    large = [path for path, step in steps.items() if step > LARGE_STEP]
    if large and optimizer is not None:
        worst = max(large, key=lambda path: steps[path])
        yield Finding(
            "UPD001",
            "warning",
            f"the first step of {optimizer.name} at learning rate {optimizer.learning_rate:g} moves "
            f"{worst} by {steps[worst]:.3g} times its own size",
            worst,
            None,
            "the learning rate is too large for weights and gradients of this size",
            "learning_rate",
            tuple(large),
            {"ratio": steps[worst], "weights": len(large)},
            Fix("take a smaller learning rate, or warm it up"),
        )


def _small_update(subject: Subject) -> Iterator[Finding]:
    optimizer, steps = subject.optimizer, _steps(subject)
    lost = [path for path, step in steps.items() if step < _rounding(subject, path)]
    if optimizer is not None and len(lost) > MINORITY * len(steps):
        yield Finding(
            "UPD002",
            "warning",
            f"the first step of {optimizer.name} at learning rate {optimizer.learning_rate:g} is lost "
            f"in rounding in {len(lost)} of {len(steps)} weights",
            lost[0],
            None,
            "the update is smaller than half a unit in the last place of the weights",
            "learning_rate",
            tuple(lost),
            {"weights": len(lost)},
            Fix("take a larger learning rate, or keep the weights in float32"),
        )


def _steps(subject: Subject) -> dict[str, float]:
    """Size of the first update of each trained map over that of the map, where it is known."""
    loss = subject.first.loss
    if subject.optimizer is None or loss is None or loss.probe:
        return {}
    maps = [one for one in subject.maps if one.case.parameter.trained and one.op.kind != OpKind.EMBEDDING]
    found = {one.path: first_step(one, subject.optimizer) for one in maps}
    return {path: step for path, step in found.items() if step > 0 and math.isfinite(step)}


def first_step(one: Map, optimizer: Optimizer) -> float:
    """Rms of the first update of a weight over the rms of the weight; NaN where either is not known.

    SGD moves by the learning rate times the gradient, with momentum too in the first step; Adam by the learning rate
    in every coordinate whose gradient is not 0.

    References:
        Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1: at t = 1 the update is
        learning_rate g / (|g| + epsilon).
    """
    size = math.sqrt(one.values.second_moment) if one.values.second_moment > 0 else math.nan
    gradient = one.values.gradient
    if not gradient > 0:
        return math.nan
    if optimizer.name in ("adam", "adamw"):
        return optimizer.learning_rate * math.sqrt(gradient) / (math.sqrt(gradient) + EPSILON) / size
    return optimizer.learning_rate * math.sqrt(gradient) / size


EPSILON = 1e-8
"""Adam's; a gradient far below it makes no step."""


def _rounding(subject: Subject, path: str) -> float:
    return DTYPE_STEPS.get(subject.trace.by_path[path].dtype, LOST_STEP)
