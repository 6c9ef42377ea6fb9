"""Origin of an op's signal: the map before it, its name and its path."""

from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import TO_SIGNAL
from fanwise.graph.op import Op, OpKind


def map_before(subject: Subject, op: Op) -> Map | None:
    """The map that makes what an op gives: the op's own, or the nearest before it."""
    if op.index in subject.map_of:
        return subject.map_of[op.index]
    source = subject.trace.before(op, {layer.op.kind for layer in subject.maps}, TO_SIGNAL)
    return None if source is None else subject.map_of.get(source.index)


def loudest_before(subject: Subject, op: Op) -> Map | None:
    """The loudest of the maps whose sum, moved and scaled, an op reads; the map that it is, or None."""
    if op.index in subject.map_of:
        return subject.map_of[op.index]
    queue, seen, maps = list(subject.trace.feeds(op)), {op.index}, list[Map]()
    while queue:
        here = queue.pop()
        if here.index in subject.map_of:
            maps.append(subject.map_of[here.index])
        elif here.index not in seen and here.kind in TO_SIGNAL | {OpKind.ELEMENTWISE}:
            queue.extend(subject.trace.feeds(here))
        seen.add(here.index)
    return max(maps, key=lambda layer: layer.signal.second_moment, default=None)


def name_of(source: Map | None, op: Op) -> str:
    """What to call it: the map where it is known, else the op's module, else the op."""
    return (op.module or op.name) if source is None else source.name


def path_of(source: Map | None, op: Op) -> str:
    """Path at which a finding starts: the map's weight where it is known, else the op's module."""
    return op.module if source is None else source.path
