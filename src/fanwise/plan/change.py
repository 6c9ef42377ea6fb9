"""One parameter of a plan before and after a change."""

from dataclasses import dataclass, fields
from functools import cached_property

from fanwise.plan.row import Row


@dataclass(frozen=True)
class Change:
    """One parameter before and after; `before` is None where it was added, `after` where it was removed.

    Raises:
        ValueError: both are None, or their paths differ.
    """

    before: Row | None
    after: Row | None

    def __post_init__(self) -> None:
        if len({row.path for row in (self.before, self.after) if row is not None}) != 1:
            raise ValueError(f"before = {self.before!r}, after = {self.after!r}: expected rows of one parameter")

    @property
    def path(self) -> str:
        """The parameter's path."""
        return next(row.path for row in (self.before, self.after) if row is not None)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that differ; empty where the parameter was added or removed."""
        if self.before is None or self.after is None:
            return ()
        return tuple(name for name in _FIELDS if vars(self.before)[name] != vars(self.after)[name])

    @property
    def std_ratio(self) -> float | None:
        """Std after over std before; None where one is not known or the one before is 0."""
        stds = [None if row is None else row.std for row in (self.before, self.after)]
        return None if stds[1] is None or not stds[0] else stds[1] / stds[0]

    @property
    def kind(self) -> str:
        """`added`, `removed`, or the fields that differ."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else ", ".join(self.fields)


_FIELDS = tuple(field.name for field in fields(Row))
