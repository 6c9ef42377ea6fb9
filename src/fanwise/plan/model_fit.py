"""Whether a plan is one for a model, and which of its rows are meant."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from reprlib import repr as short_repr

from fanwise.graph.op import Parameter
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row, nearest


def check_fits(held: Sequence[Parameter], plan: Plan) -> None:
    """Raises where a plan is not one for this model. Dtypes may differ: a plan serves the model in any precision.

    Args:
        held: the model's parameters.
        plan: what should be one for it.

    Raises:
        TypeError: no plan.
        ValueError: parameters that the plan lacks, rows that the model lacks, other shapes, other ties: all of them.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan = {type(plan).__name__}: expected a fanwise Plan, such as plan(model, inputs)")
    owners = {name: parameter for parameter in held for name in (parameter.path, *parameter.aliases)}
    planned = {name for row in plan.rows for name in row.names}
    faults = [fault for row in plan.rows for fault in _faults(row, owners)]
    faults += [
        f"{held_parameter.path}: not in the plan"
        for held_parameter in held
        if planned.isdisjoint((held_parameter.path, *held_parameter.aliases))
    ]
    faults += _shared(plan.rows, owners)
    if faults:
        raise ValueError("\n  ".join([f"the plan is for another model, differences: {len(faults)}", *faults]))


def chosen_rows(plan: Plan, only: str | Collection[str] | None, skip_loaded: Collection[str]) -> tuple[Row, ...]:
    """The rows that draw numbers and are meant.

    Args:
        plan: a law for every parameter.
        only: patterns of paths; None means all.
        skip_loaded: names of tensors to leave out; those that are no parameters, such as buffers, do not matter.

    Raises:
        TypeError: something that is not a name.
        ValueError: a pattern that matches no parameter, or names of which none is one.
    """
    patterns = None if only is None else _checked_names(only, argument="only")
    loaded = frozenset(_checked_names(skip_loaded, argument="skip_loaded"))
    _check_known(plan, patterns or (), loaded)
    return tuple(row for row in plan.rows if row.law is not None and _is_meant(row, patterns, loaded))


def _faults(row: Row, owners: Mapping[str, Parameter]) -> Iterator[str]:
    """What the model says otherwise of one row."""
    absent = [name for name in row.names if name not in owners]
    yield from (f"{name}: not in the model" for name in absent)
    present = [owners[name] for name in row.names if name in owners]
    yield from (
        f"{parameter.path}: shape {parameter.shape} in the model, {row.shape} in the plan"
        for parameter in dict.fromkeys(present)
        if parameter.shape != row.shape
    )
    if len(set(present)) > 1:
        yield f"{', '.join(row.names)}: one parameter in the plan, several in the model"


def _shared(rows: Sequence[Row], owners: Mapping[str, Parameter]) -> Iterator[str]:
    """Rows that stand for one parameter."""
    seen: dict[Parameter, str] = {}
    for row in rows:
        for owner in {owners[name] for name in row.names if name in owners}:
            first = seen.setdefault(owner, row.path)
            if first != row.path:
                yield f"{first}, {row.path}: one parameter in the model, several in the plan"


def _checked_names(names: str | Collection[str], *, argument: str) -> tuple[str, ...]:
    """Names as a tuple; a single text is one name, not its letters."""
    if isinstance(names, str):
        return (names,)
    if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument} = {short_repr(names)}: expected names of parameters, such as ('head.weight',)")
    return tuple(names)


def _check_known(plan: Plan, patterns: Sequence[str], loaded: frozenset[str]) -> None:
    known = {name: row for row in plan.rows for name in row.names}
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in known):
            raise ValueError(f"only = {pattern!r} matches no parameter{nearest(pattern, known)}")
    if loaded and loaded.isdisjoint(known):
        first = min(loaded)
        raise ValueError(f"skip_loaded: none of the {len(loaded)} names, {first!r} for one, is a parameter"
                         f"{nearest(first, known)}")  # fmt: skip


def _is_meant(row: Row, patterns: Sequence[str] | None, loaded: Collection[str]) -> bool:
    if any(name in loaded for name in row.names):
        return False
    return patterns is None or any(_matches(name, pattern) for name in row.names for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)
