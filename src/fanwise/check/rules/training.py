"""Rules on what will be trained: frozen and unused parameters, the first update."""

import math
from collections.abc import Iterator

from fanwise.check.findings import Fix, and_more, counted
from fanwise.check.rules.rule import MEASURED, Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import ADAPTER_STEPS, AFFINE, RANDOM_FEATURES, STRETCH_MAPS
from fanwise.graph.op import Op, OpKind, Use
from fanwise.measure.optimizers import Optimizer

MINORITY = 0.5
"""Share of frozen maps below which freezing looks like an accident: a frozen trunk is most of its model."""
LARGE_STEP = 1.0
"""Size of the first update of a weight over that of the weight itself from which it forgets its start."""
LOST_STEP = 6e-8
"""Ratio below which float32 rounds the update away (half a unit in the last place)."""
DTYPE_STEPS = {"bfloat16": 2.0**-9, "float16": 2.0**-12}
"""Half a unit in the last place of other dtypes."""
TRAINED_ROLES = ("weight", "branch_end", "recurrent", "embedding", "tied_embedding")
"""Roles of maps that are meant to learn."""


@rule(
    "FRZ001",
    severity="warning",
    title="random weights that are frozen",
    page=Page(
        says="A layer between trained layers holds fresh random numbers and will not be trained.",
        why="A random layer that never learns stands in the way of the layers that do.",
        measured="Maps that are not trained, hold values fresh from a generator, and are fed by trained ones, where "
        f"fewer than {100 * MINORITY:.0f} % of the maps are frozen. Frozen trunks, copies of trained layers, layers "
        "with an adapter beside them, and random Fourier features are left out; a frozen trunk is told as information.",
        example="requires_grad_(False) on the wrong module.",
        remedy="Set requires_grad, or load the weights that were meant.",
    ),
    source=MEASURED,
)
def frozen(subject: Subject) -> Iterator[Symptom]:
    """Frozen maps of random values, or else what is frozen by design."""
    maps = [
        layer
        for layer in subject.maps
        if layer.op.index in subject.lead_to_output and len(layer.case.parameter.shape) > 1
    ]
    still = [layer for layer in maps if not layer.case.parameter.trained]
    copied = _copied(subject)
    accidents = [layer for layer in still if layer.path not in copied and _is_accident(subject, layer)]
    if accidents and len(still) < MINORITY * len(maps):
        first, more = accidents[0], and_more(len(accidents) - 1, "weight")
        yield of_maps(
            accidents,
            f"{first.path} is frozen at random values{more}, between layers that are trained",
            cause=f"requires_grad is False, and its values are fresh from a generator: {first.law.text}",
            kind="frozen",
            fix=Fix("set requires_grad = True, or load what it was trained to"),
        )
    elif still:
        yield Symptom(
            f"{len(still)} of {len(maps)} weights are frozen",
            still[0].path,
            still[0].op.index,
            paths=tuple(layer.path for layer in still),
            evidence={"weights": len(still)},
            design=True,
            severity="info",
        )


@rule(
    "UPD001",
    severity="warning",
    title="a first update as large as the weight",
    page=Page(
        says="The optimizer's first step would move a weight by more than the weight's own size.",
        why="Such a step forgets the initialisation.",
        measured="Only where an optimizer is given: the rms of the first update of each trained map over the rms of "
        f"the map, above {LARGE_STEP:g}. SGD moves by the learning rate times the gradient, Adam by the learning rate "
        "in each coordinate. Maps that no other follows are left out: heads often start near 0, and a step beyond "
        "their size costs nothing (python -m bench proof).",
        example="Adam at learning rate 1 on weights of std 0.02.",
        remedy="Take a smaller learning rate, or warm it up.",
    ),
    source='Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1',
    shows_before=True,
)
def large_update(subject: Subject) -> Iterator[Symptom]:
    """Maps whose first update is larger than they are."""
    optimizer, steps = subject.optimizer, _steps(subject)
    heads = {layer.path for layer in subject.maps if layer.op.index not in subject.followed}
    large = [path for path, step in steps.items() if step > LARGE_STEP and path not in heads]
    if large and optimizer is not None:
        worst = max(large, key=lambda path: steps[path])
        yield Symptom(
            f"the first step of {optimizer.text} moves {worst} by {steps[worst]:.3g} times its own size",
            worst,
            None,
            "the learning rate is too large for weights and gradients of this size",
            "learning_rate",
            tuple(large),
            {"ratio": steps[worst], "weights": len(large)},
            Fix("take a smaller learning rate, or warm it up"),
        )


@rule(
    "UPD002",
    severity="warning",
    title="updates lost in rounding",
    page=Page(
        says="The optimizer's first step is so small that most weights would not change at all.",
        why="A number that is added to a much larger one is rounded away: the weights stay as they are.",
        measured="Only where an optimizer is given: the rms of the first update of each trained map over the rms of "
        f"the map. In more than {100 * MINORITY:.0f} % of the maps it is below half a unit in the last place of the "
        f"dtype: {LOST_STEP:g} in float32, {DTYPE_STEPS['float16']:.2g} in float16, {DTYPE_STEPS['bfloat16']:.2g} in "
        "bfloat16.",
        example="SGD at learning rate 1e-6 on bfloat16 weights.",
        remedy="Take a larger learning rate, or keep a float32 copy of the weights.",
    ),
    source="IEEE 754-2019, section 4.3",
    shows_before=True,
)
def lost_update(subject: Subject) -> Iterator[Symptom]:
    """Maps whose first update is rounded away, where they are most."""
    optimizer, steps = subject.optimizer, _steps(subject)
    lost = [path for path, step in steps.items() if step < _rounding(subject, path)]
    if optimizer is not None and len(lost) > MINORITY * len(steps):
        yield Symptom(
            f"the first step of {optimizer.text} is lost in rounding in {len(lost)} of {len(steps)} weights",
            lost[0],
            None,
            "the update is smaller than half a unit in the last place of the weights",
            "learning_rate",
            tuple(lost),
            {"weights": len(lost)},
            Fix("take a larger learning rate, or keep the weights in float32"),
        )


@rule(
    "UNU001",
    severity="info",
    title="parameters that this batch does not use",
    page=Page(
        says="Some trained parameters take no part in the run on this batch.",
        why="They may be meant for another input, or their layer may have been forgotten in the forward pass.",
        measured="Trained parameters that no op of the run reads. What a model does in threads that its forward starts "
        "is not seen; the finding names a module that ran in one.",
        example="A layer that is constructed and never called; a mask token.",
        remedy="Nothing, where it is meant. A distributed run needs to know of it (find_unused_parameters).",
    ),
    source="PyTorch documentation, DistributedDataParallel",
)
def unused(subject: Subject) -> Iterator[Symptom]:
    """Trained parameters that no op reads."""
    paths = [path for path in subject.trace.unused if subject.trace.by_path[path].trained]
    if paths:
        names = ", ".join(paths[:3]) + (" ..." if len(paths) > 3 else "")
        hidden = f"; not looked into: {subject.trace.unseen[0]}" if subject.trace.unseen else ""
        yield Symptom(
            f"{counted(len(paths), 'parameter')} not used on this batch: {names}{hidden}",
            paths[0],
            paths=tuple(paths),
            evidence={"parameters": len(paths)},
        )


@rule(
    "TWI001",
    severity="info",
    title="weights that are used more than once",
    page=Page(
        says="Several ops of the model read one and the same weight.",
        why="The gradients of all its uses add up, and one std has to suit all of them.",
        measured="Maps whose weight two or more ops read. Stacks of layers, of which each op reads another part, do "
        "not count.",
        example="ALBERT's layers; a head tied to the embedding.",
        remedy="Nothing, where it is meant.",
    ),
    source='Lan et al., "ALBERT", 2020, section 3.1',
)
def shared(subject: Subject) -> Iterator[Symptom]:
    """Weights that several ops read."""
    calls = {
        path: len({op.index for op, use in uses if not _is_of_stack(use)}) for path, uses in subject.trace.uses.items()
    }
    several = list({layer.path: layer for layer in subject.maps if calls.get(layer.path, 0) > 1}.values())
    if several:
        first = several[0]
        yield Symptom(
            f"{counted(len(several), 'weight')} used more than once, as {first.path} "
            f"({calls[first.path]} times): their gradients add up",
            first.path,
            first.op.index,
            paths=tuple(layer.path for layer in several),
            evidence={"weights": len(several)},
            design=True,
        )


def first_step(layer: Map, optimizer: Optimizer) -> float:
    """Rms of the first update of a weight over the rms of the weight; NaN where either is not known."""
    size, gradient = (math.sqrt(max(number, 0.0)) for number in (layer.values.second_moment, layer.values.gradient))
    return optimizer.ratio(layer.case.parameter.shape, size, gradient, layer.fan_in)


def _steps(subject: Subject) -> dict[str, float]:
    """Size of the first update of each trained map over that of the map, where it is known."""
    loss = subject.first.loss
    if subject.optimizer is None or loss is None or loss.probe:
        return {}
    maps = [layer for layer in subject.maps if layer.case.parameter.trained and layer.op.kind != OpKind.EMBEDDING]
    steps = {layer.path: first_step(layer, subject.optimizer) for layer in maps}
    return {path: step for path, step in steps.items() if step > 0 and math.isfinite(step)}


def _rounding(subject: Subject, path: str) -> float:
    return DTYPE_STEPS.get(subject.trace.by_path[path].dtype, LOST_STEP)


def _is_of_stack(use: Use) -> bool:
    """Whether an op may use one matrix of a stack, and another op the next, as where layers are scanned."""
    return use.layout is not None and "stack" in use.layout.axes


def _copied(subject: Subject) -> set[str]:
    """Paths of parameters that are copies of others, and of those others."""
    twins = {path: values.twin for path, values in subject.values.items() if values.twin}
    return {*twins, *twins.values()}


def _is_accident(subject: Subject, layer: Map) -> bool:
    """Whether a frozen map looks as if it should learn: random, no projection, fed by what learns."""
    meant = _is_projection(subject, layer) or _is_adapted(subject, layer)
    return _is_random(layer) and not meant and _after_trained(subject, layer)


def _is_random(layer: Map) -> bool:
    return layer.law.drawn and layer.case.role in TRAINED_ROLES


def _is_projection(subject: Subject, layer: Map) -> bool:
    """Random features, whose sines and cosines are taken, stay as they are drawn."""
    after = subject.trace.after(layer.op, {OpKind.ACTIVATION}, RANDOM_FEATURES)
    return after is not None and after.nonlinearity in ("sin", "cos")


def _after_trained(subject: Subject, layer: Map) -> bool:
    """Whether something trained feeds it: the first layers of a model may be a frozen trunk."""
    past = subject.trace.ancestors(layer.op.index) - {layer.op.index}
    return any(subject.map_of[i].case.parameter.trained for i in past if i in subject.map_of)


def _is_adapted(subject: Subject, layer: Map) -> bool:
    """Whether a trained map of the same input is added to what it gives, as an adapter is."""
    add = subject.trace.after(layer.op, {OpKind.ADD}, AFFINE)
    sides = [] if add is None else [subject.trace.ops[i] for i in add.inputs if i >= 0]
    return any(_starts_with(subject, side, layer.op.inputs[:1]) for side in sides)


def _starts_with(subject: Subject, op: Op, inputs: tuple[int, ...]) -> bool:
    """Whether one or two trained maps lead from these inputs to an op."""
    for _ in range(2):
        maker = op if op.index in subject.map_of else subject.trace.before(op, STRETCH_MAPS, ADAPTER_STEPS)
        here = None if maker is None else subject.map_of.get(maker.index)
        if here is None or not here.case.parameter.trained:
            return False
        if here.op.inputs[:1] == inputs:
            return True
        if not here.op.inputs or here.op.inputs[0] < 0:
            return False
        op = subject.trace.ops[here.op.inputs[0]]
    return False
