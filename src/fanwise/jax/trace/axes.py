"""Which axes of a parameter stand on which axes of an array that shows it: reshapes, transposes and slices followed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fanwise.laws.layout import Fused, Layout
from fanwise.stream.box import Shape


@dataclass(frozen=True)
class Axes:
    """The axes of a parameter and those of an array that shows it, both written as products of numbered factors.

    Args:
        storage: factors of each axis of the parameter, outermost first.
        array: factors of each axis of the array; those that no axis of the parameter has repeat its values.
        sizes: extent of each factor, by its number.
    """

    storage: tuple[tuple[int, ...], ...]
    array: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, shape: Shape) -> "Axes":
        """The parameter itself."""
        own = tuple((axis,) for axis in range(len(shape)))
        return cls(own, own, tuple(shape))

    def permuted(self, order: Sequence[int]) -> "Axes":
        """After a transpose."""
        return replace(self, array=tuple(self.array[axis] for axis in order))

    def without(self, dropped: Iterable[int]) -> "Axes":
        """After axes were squeezed out, or one index of them was taken."""
        gone = set(dropped)
        return replace(self, array=tuple(factors for axis, factors in enumerate(self.array) if axis not in gone))

    def broadcast(self, shape: Shape, places: Sequence[int]) -> "Axes":
        """After ``broadcast_in_dim``: axis i goes to `places[i]`, where it may be repeated."""
        axes = self
        array: list[tuple[int, ...]] = [()] * len(shape)
        for axis, target in enumerate(places):
            if axes.extent(axis) == shape[target]:
                array[target] = self.array[axis]
        for axis, size in enumerate(shape):
            if not array[axis] and size != 1:
                axes, array[axis] = axes._new(size)
        return replace(axes, array=tuple(array))

    def reshaped(self, shape: Shape) -> "Axes | None":
        """After a reshape; None where the axes do not split and merge evenly."""
        queue = [factor for factors in self.array for factor in factors if self.sizes[factor] != 1]
        axes, array = self, list[tuple[int, ...]]()
        for size in shape:
            own: list[int] = []
            left = size
            while left > 1:
                if not queue:
                    return None
                first = queue.pop(0)
                extent = axes.sizes[first]
                if left % extent == 0:
                    own.append(first)
                    left //= extent
                elif extent % left == 0:
                    axes, (outer, inner) = axes._split(first, left)
                    own.append(outer)
                    queue.insert(0, inner)
                    left = 1
                else:
                    return None
            array.append(tuple(own))
        return None if queue else replace(axes, array=tuple(array))

    def cut(self, axis: int, count: int) -> "Axes":
        """After a slice that leaves `count` along an axis."""
        if count == self.extent(axis):
            return self
        extended, fresh = self._new(count)
        gone = set(self.array[axis])
        storage = tuple(
            fresh + tuple(f for f in factors if f not in gone) if gone.intersection(factors) else factors
            for factors in extended.storage
        )
        array = tuple(fresh if i == axis else factors for i, factors in enumerate(extended.array))
        return Axes(storage, array, extended.sizes)

    def extent(self, axis: int) -> int:
        """The extent of an axis of the array."""
        return math.prod(self.sizes[factor] for factor in self.array[axis])

    def storage_axis(self, axis: int) -> int | None:
        """The axis of the parameter that an axis of the array is, whole and alone; None where there is none."""
        matches = [i for i, factors in enumerate(self.storage) if factors == self.array[axis]]
        return matches[0] if len(matches) == 1 and self.array[axis] else None

    def position(self, axis: int) -> tuple[int, int] | None:
        """The axis of the parameter on which an axis of the array lies alone, and the step of one index along it.

        Axes before it on the same axis of the parameter count only once they are gone, as the outer of two nested loops
        has gone to one of its rows. None where there is no such axis.
        """
        factors = self.array[axis]
        shown = {factor for other in self.array for factor in other}
        for own, stored in enumerate(self.storage):
            start = next((i for i in range(len(stored)) if factors and stored[i : i + len(factors)] == factors), None)
            if start is not None and shown.isdisjoint(stored[:start]):
                return own, math.prod(self.sizes[factor] for factor in stored[start + len(factors) :])
        return None

    def _new(self, size: int) -> tuple["Axes", tuple[int, ...]]:
        return replace(self, sizes=(*self.sizes, size)), (len(self.sizes),)

    def _split(self, factor: int, outer: int) -> tuple["Axes", tuple[int, int]]:
        numbers = len(self.sizes), len(self.sizes) + 1
        sizes = (*self.sizes, outer, self.sizes[factor] // outer)

        def split(axes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
            return tuple(
                tuple(part for f in factors for part in (numbers if f == factor else (f,))) for factors in axes
            )

        return Axes(split(self.storage), split(self.array), sizes), numbers


def layout_in_storage(layout: Layout, axes: Axes | None, shape: Shape) -> Layout | None:
    """A layout in the axes of an array, told in the axes of the parameter that it shows; None where it cannot be told.

    Args:
        layout: in the axes of the array.
        axes: how they stand on the parameter's.
        shape: of the parameter.
    """
    if axes is None or not shape or len(axes.array) != len(layout.axes):
        return None
    of_factor = {factor: role for factors, role in zip(axes.array, layout.axes, strict=True) for factor in factors}
    roles, fused = list[str](), None
    for axis, factors in enumerate(axes.storage):
        merged = [of_factor.get(factor, "stack") for factor in factors if axes.sizes[factor] != 1]
        role = next((role for role in merged if role != "stack"), "stack")
        if any(other not in (role, "stack") for other in merged):
            return None
        if len(merged) > 1 and merged[0] == "stack" != role and "stack" not in merged[1:] and layout.groups == 1:
            fused = Fused(axis, (), axes.sizes[next(f for f in factors if axes.sizes[f] != 1)])
        roles.append(role if merged else _role_of_one(layout, axes, axis))
    return _checked(layout, tuple(roles), fused, shape)


def stacked_layout(axes: Axes | None, shape: Shape) -> Layout | None:
    """The layout of a vector among several in a parameter, as the biases of layers that a scan goes through."""
    if axes is None or not shape:
        return None
    shown = {factor for factors in axes.array for factor in factors}
    roles = tuple(
        "stack" if size != 1 and shown.isdisjoint(factors) else "out"
        for size, factors in zip(shape, axes.storage, strict=True)
    )
    return Layout(roles) if "stack" in roles and "out" in roles else None


def _role_of_one(layout: Layout, axes: Axes, axis: int) -> str:
    """The role of an axis of one: what it has in the array, where it is still there."""
    shown = [role for factors, role in zip(axes.array, layout.axes, strict=True) if factors == axes.storage[axis]]
    if shown and axes.storage[axis]:
        return shown[0]
    missing = [role for factors, role in zip(axes.array, layout.axes, strict=True) if not factors]
    return missing[0] if missing else "stack"


def _checked(layout: Layout, roles: tuple[str, ...], fused: Fused | None, shape: Shape) -> Layout | None:
    if roles.count("kernel") != layout.axes.count("kernel"):
        return None
    if layout.groups != 1 and (roles.count("in"), roles.count("out")) != (1, 1):
        return None
    try:
        stored = replace(layout, axes=roles, fused=fused)
        stored.checked(shape)
    except ValueError:
        return None
    return stored
