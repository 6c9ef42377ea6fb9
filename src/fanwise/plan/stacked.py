"""One row for a stack of layers that was decided layer by layer: one law, or a law for each run of layers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.plan.recipes.recipe import Choice
from fanwise.plan.roles import Case
from fanwise.stream.box import Shape

ALIKE = 0.05
"""Share by which the std of a layer may differ from another's under one law: a batch tells no more."""


def stacked_choice(case: Case, layers: Mapping[int, Choice]) -> Choice:
    """The choice for a whole stack.

    Args:
        case: of the stack.
        layers: what was chosen for each layer that the model read, by its index.
    """
    first = layers[min(layers)]
    common = next((choice for index, choice in layers.items() if case.layers[index].role == case.role), first)
    if any(choice.law is None for choice in layers.values()) or case.use is None or case.use.layer is None:
        return common
    axis = case.use.layer[0]
    size = case.parameter.shape[axis]
    each = [layers[max((i for i in layers if i <= index), default=min(layers))] for index in range(size)]
    edges = _edges(case, axis, [choice.law for choice in each if choice.law is not None])
    if len(edges) == 2:
        return replace(common, law=first.law, guess=any(choice.guess for choice in layers.values()))
    laws = [law for edge in edges[:-1] if (law := each[edge].law) is not None]
    sizes = tuple(after - before for before, after in pairwise(edges))
    gives = [choice.gives for choice in each if choice.gives is not None]
    return replace(
        common,
        law=Blocks(laws, axis, sizes),
        reason=_reason([each[edge] for edge in edges[:-1]], edges),
        gives=float(f"{sum(gives) / len(gives):.3g}") if gives else None,
        guess=any(choice.guess for choice in layers.values()),
    )


def _edges(case: Case, axis: int, laws: Sequence[Initializer]) -> list[int]:
    """Where runs of layers with nearly equal laws begin, and where the last ends."""
    shape = tuple(1 if i == axis else size for i, size in enumerate(case.parameter.shape))
    edges = [0]
    for index, law in enumerate(laws):
        if not _are_alike(case, shape, (laws[edges[-1]], law)):
            edges.append(index)
    return [*edges, len(laws)]


def _are_alike(case: Case, shape: Shape, laws: tuple[Initializer, Initializer]) -> bool:
    """Whether one law may stand for both."""
    if laws[0] == laws[1]:
        return True
    first, second = (law.moments(shape, layout=case.layout) for law in laws)
    close = abs(first.std - second.std) <= ALIKE * max(first.std, second.std)
    return type(laws[0]) is type(laws[1]) and close and first.mean == second.mean


def _reason(runs: Sequence[Choice], edges: Sequence[int]) -> str:
    """One reason where the runs share it; else each with its layers."""
    reasons = list(dict.fromkeys(choice.reason for choice in runs))
    if len(reasons) == 1:
        return f"{reasons[0]}; the layers of the stack are fed differently and have laws of their own"
    spans = [f"{a}" if b == a + 1 else f"{a} to {b - 1}" for a, b in pairwise(edges)]
    told: dict[str, list[str]] = {}
    for span, choice in zip(spans, runs, strict=True):
        told.setdefault(choice.reason, []).append(span)
    return "; ".join(f"layer {', '.join(layers)}: {reason}" for reason, layers in told.items())
