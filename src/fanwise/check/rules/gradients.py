"""Rules on the first gradients: cut off, not finite, exactly 0."""

import math
from collections.abc import Iterator, Sequence

from fanwise.check.findings import Fix, and_more
from fanwise.check.rules.origins import map_before, path_of
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw_with_biases, root
from fanwise.check.subject import Map, Subject
from fanwise.graph.frozen import stops_gradient
from fanwise.graph.kinds import STRETCH_MAPS
from fanwise.graph.op import Op, OpKind, UseRole
from fanwise.measure.observation import Observation, RoundTrip

ALIKE = 0.99999
"""Cosine of what an op gives for different examples from which it gives the same."""
BIASES = ("bias", "head_bias", "gate_bias", "state_bias", "norm_shift")
"""Roles that only shift what is there."""


@rule(
    "GRD001",
    severity="error",
    title="a graph that is cut",
    page=Page(
        says="The output depends on a trained weight, yet no gradient comes back to it.",
        why="The weight is never trained, without a word from the framework.",
        measured="After the backward pass: trained maps on which the first output depends and to which no gradient "
        "came. Values that leave the framework as NumPy arrays, lists or numbers, and integers that they are cast to, "
        "are followed: what is made of them depends on what gave them.",
        example="hidden = self.encoder(x).detach(); torch.from_numpy(h.detach().numpy()); scale = gate.item(); a "
        "forward pass under no_grad.",
        remedy="Let the gradient through, or freeze the weights on purpose.",
    ),
    source="PyTorch documentation, torch.autograd: Tensor.detach",
)
def cut_graph(subject: Subject) -> Iterator[Symptom]:
    """Trained maps that no gradient reaches."""
    if not subject.first.backward or subject.first.loss is None:
        return
    behind, by = _depended_on(subject)
    cut = [
        layer
        for layer in subject.maps
        if layer.op.index in behind and layer.case.parameter.trained and not layer.values.reached
    ]
    cut = [layer for layer in cut if not _is_frozen_by_use(layer)]
    elsewhere = [layer for layer in cut if _is_trained_elsewhere(subject, layer)]
    cut = [layer for layer in cut if layer not in elsewhere]
    choosing = [layer for layer in cut if _only_chooses(subject, layer)]
    cut = [layer for layer in cut if layer not in choosing]
    if elsewhere:
        yield _trained_elsewhere(elsewhere)
    if choosing:
        yield _chosen_apart(choosing)
    if cut:
        last, paths = cut[-1], tuple(layer.path for layer in cut)
        why = " or ".join(f"{name}()" for name in by) + ", which leaves the graph" if by else CUTS
        yield _cut(paths, last.op.index, f"the graph is cut after it: {why}")
        return
    paths = tuple(
        dict.fromkeys(path for trip in _round_trips(subject) for path in trip.paths if _is_left(subject, path))
    )
    if paths:
        yield _cut(paths, None, "its values leave the graph, as NumPy arrays, lists or numbers do")


CUTS = "detach(), .data, no_grad(), NumPy or a function without a derivative"
"""What cuts a graph, where nobody saw it."""


def _depended_on(subject: Subject) -> tuple[set[int], tuple[str, ...]]:
    """The ops that the first output depends on, past what leaves the graph and comes back; and what it leaves by."""
    behind, names = set(subject.lead_to_output), list[str]()
    for trip in reversed(_round_trips(subject)):
        if trip.op is not None:
            names += [] if trip.op in behind or not trip.by else [trip.by]
            behind |= subject.trace.ancestors(trip.op)
    return behind, tuple(dict.fromkeys(names))


def _round_trips(subject: Subject) -> list[RoundTrip]:
    """Those whose values come back in what the first output depends on, or in an output that nothing else leads to."""
    trips, trace = subject.first.round_trips or tuple(_implied(subject)), subject.trace
    behind, kept = set(subject.lead_to_output), list[RoundTrip]()
    for trip in sorted(trips, key=lambda trip: len(trace.ops) if trip.reader is None else trip.reader, reverse=True):
        if trip.reader in behind or (trip.reader is None and not trace.outputs):
            kept.append(trip)
            behind |= set() if trip.op is None else trace.ancestors(trip.op)
    return kept[::-1]


def _implied(subject: Subject) -> Iterator[RoundTrip]:
    """Values that went nowhere, while a later map reads as many rows of constants: they left unseen and came back."""
    trace, unreached = subject.trace, {layer.op.index for layer in subject.maps if not layer.values.reached}
    readers = [layer.op for layer in subject.maps if not layer.op.inputs and layer.op.kind in STRETCH_MAPS]
    readers = [op for op in readers if op.index in subject.lead_to_output]
    ends = [op for op in trace.ops if not trace.followers[op.index] and op.index not in trace.outputs]
    for end in ends if readers else ():
        came_back = next((op for op in readers if op.index > end.index and _rows(op) == _rows(end) > 1), None)
        if came_back is not None and not unreached.isdisjoint(trace.ancestors(end.index)):
            yield RoundTrip("", end.index, reader=came_back.index)


def _rows(op: Op) -> int:
    """Examples of a batch, where an op gives one row each."""
    return op.shape[0] if len(op.shape) > 1 else 0


def _is_left(subject: Subject, path: str) -> bool:
    """Whether a parameter is trained and gets no gradient."""
    case, values = subject.cases.get(path), subject.values.get(path)
    return case is not None and values is not None and case.parameter.trained and not values.reached


def _cut(paths: tuple[str, ...], op: int | None, cause: str) -> Symptom:
    return Symptom(
        f"no gradient reaches {paths[-1]}{and_more(len(paths) - 1, 'weight')}, though the output depends on it",
        paths[-1],
        op,
        cause,
        "detached",
        paths,
        {"weights": len(paths)},
        Fix("let the gradient through, or freeze these weights on purpose"),
    )


def _trained_elsewhere(maps: Sequence[Map]) -> Symptom:
    cause = "what the first output takes from it passes detach() or its like; give the loss that trains it"
    return _meant(maps, f"another output alone trains {_last(maps)}", cause)


def _chosen_apart(maps: Sequence[Map]) -> Symptom:
    cause = "they run under no_grad() or its like; give the loss that trains them"
    return _meant(maps, f"{_last(maps)} only choose places, without a gradient", cause)


def _last(maps: Sequence[Map]) -> str:
    return f"{maps[-1].path}{and_more(len(maps) - 1, 'weight')}"


def _meant(maps: Sequence[Map], message: str, cause: str) -> Symptom:
    """Weights without a gradient as their author wants it."""
    paths = tuple(layer.path for layer in maps)
    more = {"weights": len(maps)}
    return Symptom(message, paths[-1], maps[-1].op.index, cause, "detached", paths, more, design=True, severity="info")


def _only_chooses(subject: Subject, layer: Map) -> bool:
    """Whether a map runs under `no_grad` or its like, and only the places of largest values depend on it.

    No gradient could come back from there: its author trains it by a loss of its own, as the indexer of a sparse
    attention.
    """
    uses = [use for use in layer.op.uses if use.path == layer.path]
    if layer.op.index in subject.lead_to_output or not all(stops_gradient(use) for use in uses):
        return False
    others = (trip.op for trip in _round_trips(subject) if trip.choice is None and trip.op is not None)
    return not any(layer.op.index in subject.trace.ancestors(op) for op in others)


def _is_frozen_by_use(layer: Map) -> bool:
    """Whether the model stops the gradient at the weight itself, which freezes it and nothing before it."""
    uses = [use for use in layer.op.uses if use.path == layer.path]
    return all(use.stopped or "stop_gradient" in use.steps[:1] for use in uses)


def _is_trained_elsewhere(subject: Subject, layer: Map) -> bool:
    """Whether another output sends a gradient to it, where the loss was not given but made up for the first one."""
    loss = subject.first.loss
    return loss is not None and (loss.probe or loss.drawn) and layer.values.elsewhere


@rule(
    "GRD002",
    severity="error",
    title="gradients that are not finite",
    page=Page(
        says="The gradient of a parameter is infinite or not a number (NaN).",
        why="The first step of training writes it into the weights and destroys them.",
        measured="After the backward pass: the gradients of all parameters. A single value that is infinite or NaN is "
        "enough.",
        example="The square root at 0, the log of 0, the norm of a zero vector.",
        remedy="Keep the function away from such inputs: add an epsilon inside it.",
    ),
    source="IEEE 754-2019, section 7",
    shows_before=True,
)
def broken_gradients(subject: Subject) -> Iterator[Symptom]:
    """Parameters whose gradient is infinite or not a number."""
    bad = [path for path, values in subject.values.items() if values.reached and not math.isfinite(values.gradient)]
    if bad:
        uses = subject.trace.uses[bad[-1]]
        yield Symptom(
            f"the gradient of {bad[-1]} is infinite or not a number, and of {len(bad) - 1} more",
            bad[-1],
            uses[-1][0].index if uses else None,
            "a function without a finite derivative at its input",
            "overflow",
            tuple(bad),
            {"parameters": len(bad)},
        )


@rule(
    "GRD003",
    severity="error",
    title="gradients that are all 0",
    page=Page(
        says="The gradient of every trained weight is exactly 0, at most biases of the last layer get one.",
        why="A step along a gradient of 0 changes nothing, so the next gradient is 0 too: the model stays as it is for "
        "ever.",
        measured="After the backward pass, seed by seed: the gradients of all trained maps that one came to. A single "
        "value other than 0 in any of them, and the rule asks for maps behind a function such as round alone, whose "
        "output varies and whose slope is 0. The op is named that gets a gradient and passes "
        "none on. It is a warning where a factor or a table that is no map still gets a gradient and may open the way.",
        example="relu or clamp(min=0) as the last op, with a bias of -3 before it; a mask that is 0; round or argmax; "
        "both factors of an adapter at 0; softmax over one class.",
        remedy="Mend the op that is named, or draw the weights before it so that it lets some examples through.",
    ),
    source='Lu et al., "Dying ReLU and initialization", 2020, definition 1 (a network born dead)',
    explains=("OUT001",),
    shows_before=True,
)
def no_gradient(subject: Subject) -> Iterator[Symptom]:
    """Models in which no weight gets a gradient, under some seed."""
    maps = [layer for layer in subject.maps if layer.case.parameter.trained]
    dead = [number for number, seen in enumerate(subject.observations) if _is_stuck(seen, maps)]
    if not dead:
        yield from _steps(subject, maps)
        return
    seen = subject.observations[dead[0]]
    op = _blocking_op(seen)
    source = None if op is None else map_before(subject, op)
    yield Symptom(
        f"the gradient of every weight is exactly 0{_under(dead, len(subject.observations))}: nothing will be trained",
        "" if op is None else _zero_factor(seen, op) or path_of(source, op),
        None if op is None else op.index,
        _why_blocked(seen, op, source),
        "no_gradient",
        () if source is None else (source.path,),
        {"seeds": len(dead), "of": len(subject.observations)},
        _reopened(subject, source),
        severity="warning" if _opens(subject, seen) else None,
    )


def _reopened(subject: Subject, source: Map | None) -> Fix:
    """Draws the weight before the op anew where biases beside it decide what the op reads; else a sentence."""
    text = "let this op pass some examples, or draw the weights and biases before it anew"
    biases = [] if source is None else [use for use in source.op.used(UseRole.BIAS) if use.path in subject.values]
    if source is None or not any(abs(subject.values[use.path].mean) > root(source.predicted) for use in biases):
        return Fix(text)
    return redraw_with_biases(subject, source, f"{text} (fanwise fix)")


def _steps(subject: Subject, maps: Sequence[Map]) -> Iterator[Symptom]:
    """The last function without a derivative behind which trained maps get a gradient of exactly 0."""
    for op in reversed(subject.trace.ops):
        if op.index in subject.lead_to_output and _is_step(subject.first, op):
            behind = subject.trace.ancestors(op.index)
            stuck = [layer for layer in maps if layer.op.index in behind and layer.values.gradient == 0]
            if stuck:
                yield _stepping(stuck, op)
                return


def _is_step(seen: Observation, op: Op) -> bool:
    """Whether a function gets a gradient and passes none on, though what it gives differs between examples."""
    signal = seen.signals[op.index]
    varies = signal.second_moment > 0 and not signal.likeness > ALIKE
    plain = op.kind in (OpKind.ELEMENTWISE, OpKind.ACTIVATION, OpKind.OTHER) and not op.uses
    sources = [index for index in op.inputs if index >= 0]
    none = all(seen.signals[index].gradient == 0 for index in sources)
    return plain and varies and signal.gradient > 0 and bool(sources) and none


def _stepping(maps: Sequence[Map], op: Op) -> Symptom:
    last = maps[-1]
    return Symptom(
        f"the gradient of {last.path} is exactly 0{and_more(len(maps) - 1, 'weight')}: nothing passes {op.name}",
        last.path,
        op.index,
        f"{op.name} has a slope of 0 wherever it was asked",
        "no_gradient",
        tuple(layer.path for layer in maps),
        {"weights": len(maps)},
        Fix(f"let the gradient past {op.name}, as x + ({op.name}(x) - x).detach() does"),
    )


def _is_stuck(seen: Observation, maps: Sequence[Map]) -> bool:
    """Whether gradients came to trained maps, and each is exactly 0, those of what the maps give but for the last too.

    Squares of gradients of weights are 0 where they are too small for float32; those at the ops are not.
    """
    here = [seen.values[layer.path] for layer in maps if layer.path in seen.values]
    reached = [values.gradient for values in here if values.reached]
    inner = [signal.gradient for signal in seen.signals if signal.gradient > 0]
    return (
        bool(reached) and all(gradient == 0 for gradient in reached) and (_blocking_op(seen) is not None or not inner)
    )


def _blocking_op(seen: Observation) -> Op | None:
    """The last op that gets a gradient and passes none on; None where the loss itself passes none."""
    passed = [op for op in seen.trace.ops if seen.signals[op.index].gradient > 0]
    return next((op for op in reversed(passed) if _passes_none(seen, op)), None)


def _passes_none(seen: Observation, op: Op) -> bool:
    """Whether nothing that an op reads gets a gradient."""
    sources = [index for index in op.inputs if index >= 0]
    return bool(sources) and not any(seen.signals[index].gradient > 0 for index in sources)


def _zero_factor(seen: Observation, op: Op) -> str:
    """Path of a factor of an op that is 0; "" where it has none."""
    factors = [use.path for use in op.used(UseRole.SCALE) if use.path in seen.values]
    return next((path for path in factors if seen.values[path].second_moment == 0), "")


def _opens(subject: Subject, seen: Observation) -> bool:
    """Whether a factor or table that is neither map nor bias gets a gradient: it moves, and may let others learn."""
    maps = {layer.path for layer in subject.maps}
    others = [case for path, case in subject.cases.items() if path not in maps and case.parameter.trained]
    movable = [case.parameter.path for case in others if case.role not in BIASES]
    return any(seen.values[path].gradient > 0 for path in movable if path in seen.values)


def _why_blocked(seen: Observation, op: Op | None, source: Map | None) -> str:
    if op is None:
        return "the loss itself has a gradient of 0 at these outputs: it does not depend on them"
    after = f"{op.name} after {source.name}" if source is not None and source.op.index != op.index else op.name
    signal = seen.signals[op.index]
    constant = signal.second_moment == 0 or signal.likeness > ALIKE
    return (
        f"{after} gives the same for every example" if constant else f"{after} passes no gradient on to what it reads"
    )


def _under(dead: Sequence[int], total: int) -> str:
    """The seeds, where there are several."""
    if total == 1:
        return ""
    return f" under {len(dead)} of {total} seeds" if len(dead) < total else f" under all {total} seeds"
