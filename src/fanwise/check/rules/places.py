"""The rule on places that are alike: rank collapse in attention, oversmoothing in graph networks."""

import math
from collections.abc import Iterator

from fanwise.check.rules.origins import path_of
from fanwise.check.rules.outputs import FEATURES_ALIKE
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom
from fanwise.check.scale_causes import redraw
from fanwise.check.subject import Subject
from fanwise.graph.op import Op

APART = 0.9
"""Mean cosine of the places of an example below which they are told apart."""


@rule(
    "OUT002",
    severity="warning",
    title="places that are all alike",
    page=Page(
        says="The model gives an output for each place, token or node, and they are all the same: what tells places "
        "apart is lost on the way.",
        why="Each layer of attention or of message passing averages over places. With no residual connection the "
        "differences shrink by a factor a layer, doubly exponentially in attention, and no gradient can tell tokens "
        "apart.",
        measured="The mean cosine between the places of an example at what the last maps read: above "
        f"{FEATURES_ALIKE:g}, where it was below {APART:g} earlier on the way. Pictures are left out. Eight such "
        "layers cost SGD a part of what it learns, and Adam no steps (python -m bench proof).",
        example="Eight layers of attention without residual connections; sixteen layers of graph convolutions.",
        remedy="Add residual connections around what averages (x + f(x)), or use fewer layers.",
    ),
    source='Dong et al., "Attention is not all you need: pure attention loses rank doubly exponentially with depth", '
    '2021, theorem 2.2; Li et al., "Deeper insights into graph convolutional networks", 2018, theorem 1',
    explains=("OUT001",),
    shows_before=True,
)
def alike_places(subject: Subject) -> Iterator[Symptom]:
    """Models whose output for each place of an example is the same."""
    ends = [places for layer in subject.last if (places := _read_places(subject, layer.op)) is not None]
    if not ends or min(ends) <= FEATURES_ALIKE:
        return
    ops = [op for op in subject.trace.ops if op.index in subject.lead_to_output and _places(subject, op) is not None]
    apart = [i for i, op in enumerate(ops) if (_places(subject, op) or 0.0) <= FEATURES_ALIKE]
    if not any((_places(subject, op) or 0.0) < APART for op in ops) or apart[-1] + 1 >= len(ops):
        return
    op = ops[apart[-1] + 1]
    source = max((i for i in subject.trace.ancestors(op.index) if i in subject.map_of), default=None)
    yield Symptom(
        f"the outputs for the places of an example are alike: the cosine of what makes them is {min(ends):.6f}",
        path_of(None if source is None else subject.map_of[source], op),
        op.index,
        "what averages over places, with nothing that goes past it, has left one value for all, from here on",
        "alike",
        evidence={"cosine": min(ends)},
        fix=redraw(
            [layer for layer in subject.maps if layer.case.role == "weight"],
            "add residual connections around what averages over places",
        ),
    )


def _places(subject: Subject, op: Op) -> float | None:
    cosine = subject.signals[op.index].places
    return None if math.isnan(cosine) else cosine


def _read_places(subject: Subject, op: Op) -> float | None:
    """How alike the places of what an op reads are, or of the nearest op before it where they were compared."""
    if _places(subject, op) is None:
        return None
    while op.inputs and op.inputs[0] >= 0:
        op = subject.trace.ops[op.inputs[0]]
        if _places(subject, op) is not None:
            return _places(subject, op)
    return None
