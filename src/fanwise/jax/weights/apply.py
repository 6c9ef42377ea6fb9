"""`apply` and `materialize`: the numbers of a plan as a new model."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from fanwise.jax.stream.draw import box_of
from fanwise.jax.stream.dtypes import COMPLEX, Kind, as_kind, complex_name, is_complex
from fanwise.jax.stream.keys import JaxKey, fanwise_key
from fanwise.jax.trace.models import as_model, parameters
from fanwise.laws.complex_parts import complex_parts
from fanwise.laws.structured import MatrixLaw
from fanwise.plan.model_fit import check_fits, chosen_rows
from fanwise.plan.plan import Plan
from fanwise.plan.row import Row, holds, placed
from fanwise.stream.box import Box, check_memory
from fanwise.stream.key import Key, as_key

Shardings: TypeAlias = Mapping[str, jax.sharding.Sharding] | Callable[[str, tuple[int, ...]], Any]
"""Shardings of parameters: by path, or a function of path and shape that may return None."""


def apply(
    model: Any,
    plan: Plan,
    key: JaxKey | int,
    *,
    only: str | Collection[str] | None = None,
    skip_loaded: Collection[str] = (),
) -> Any:
    """The model with parameters drawn by the laws of a plan; the one that is given stays as it is.

    Element i of a parameter is a function of the seed, the parameter's path and i alone: not of devices, shards or of
    what else the model holds; its dtype only rounds it. A tied parameter is drawn once. Parameters without a law stay
    as they are. Arrays keep their shardings; where there are shapes alone, those that they name.

    Args:
        model: as for `fanwise.jax.plan`; its arrays may be shapes, as `jax.eval_shape` gives them.
        plan: for this model: the same paths, shapes and ties; dtypes may differ.
        key: the stream of the whole model: a `fanwise.Key`, a seed, or a JAX key; each parameter has the child named by
            its path.
        only: a pattern of paths as in a shell, such as ``"head.*"``, or several: the others are left alone.
        skip_loaded: names of parameters that came from a checkpoint and are left alone.

    Returns:
        A model of the same form: a pytree, a linen module and its variables, or a module.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a plan for another model, all that differs in one message; or numbers that a dtype cannot hold.

    Example:
        >>> from fanwise.jax import plan
        >>> model = (lambda p, x: x @ p["w"], {"w": jnp.zeros((784, 10))})
        >>> function, params = apply(model, plan(model, "64,784"), key=0)
        >>> params["w"].shape, bool(params["w"].any())
        ((784, 10), True)
    """
    read, stream = as_model(model), as_stream(key)
    check_fits(parameters(read), plan)
    rows = chosen_rows(plan, only, skip_loaded)
    for row in rows:
        _check_numbers(read.leaves[row.path], row)
    drawn = {row.path: _draw(read.leaves[row.path], row, stream, None) for row in rows}
    return in_form_of(model, read.rebuild({**read.leaves, **drawn}))


def materialize(model: Any, plan: Plan, key: JaxKey | int, shardings: Shardings | None = None) -> Any:
    """A model of shapes alone with the parameters that `apply` would give it, each made where it belongs.

    No device holds more than its shards, and no process draws more than the shards of its own devices.

    Args:
        model: with shapes, as `jax.eval_shape` and `nnx.eval_shape` give them; arrays are left alone.
        plan: for this model.
        key: as for `apply`.
        shardings: by path, or a function of path and shape; by default the shardings that the shapes name.

    Returns:
        A model of the same form. Parameters that the plan leaves as they are stay shapes.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a plan for another model, a path in `shardings` that it lacks, or numbers that a dtype cannot hold.

    Example:
        >>> from fanwise.jax import plan
        >>> shapes = {"w": jax.ShapeDtypeStruct((784, 10), jnp.float32)}
        >>> model = (lambda p, x: x @ p["w"], shapes)
        >>> _, params = materialize(model, plan(model, "64,784"), key=0)
        >>> params["w"].shape
        (784, 10)
    """
    read, stream = as_model(model), as_stream(key)
    check_fits(parameters(read), plan)
    sharding_of = _sharding_of(shardings, read.leaves)
    rows = [row for row in plan.rows if row.law is not None and _is_shape(read.leaves[row.path])]
    for row in rows:
        _check_numbers(read.leaves[row.path], row)
    drawn = {row.path: _draw(read.leaves[row.path], row, stream, sharding_of(row.path, row.shape)) for row in rows}
    return in_form_of(model, read.rebuild({**read.leaves, **drawn}))


def read(model: Any, path: str) -> NDArray[Any]:
    """A copy of a parameter's values.

    Args:
        model: as for `fanwise.jax.plan`.
        path: the parameter's dotted name.

    Raises:
        KeyError: no such parameter.
        ValueError: it has a shape alone.
    """
    return reader(model)(path)


def reader(model: Any) -> Callable[[str], NDArray[Any]]:
    """A function that reads a parameter's values by its path; see `read`."""
    leaves, aliases = as_model(model).leaves, as_model(model).aliases
    owners = {name: owner for owner, names in aliases.items() for name in names}

    def values(path: str) -> NDArray[Any]:
        leaf = leaves.get(owners.get(path, path))
        if leaf is None:
            raise KeyError(f"no parameter {path!r}: there are {', '.join(list(leaves)[:12]) or 'none'}")
        return values_of(leaf, path)

    return values


def values_of(leaf: Any, path: str) -> NDArray[Any]:
    """A copy of an array's values.

    Raises:
        ValueError: there is a shape alone.
    """
    if _is_shape(leaf):
        raise ValueError(f"parameter {path!r} is a shape alone: it has no values, materialize the model first")
    return np.array(leaf)


def in_form_of(model: Any, tree: Any) -> Any:
    """The result in the form in which the model came: a function and its parameters, or what holds both."""
    is_pair = isinstance(model, tuple) and not (isinstance(tree, tuple) and len(tree) == 2 and tree[0] is model[0])
    return (model[0], tree) if is_pair else tree


def as_stream(key: JaxKey | int) -> Key:
    """The stream of a whole model."""
    return as_key(key) if isinstance(key, Key | int | np.integer) else fanwise_key(key)


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _sharding_of(shardings: Shardings | None, leaves: Mapping[str, Any]) -> Callable[[str, tuple[int, ...]], Any]:
    if shardings is None:
        return lambda path, shape: None
    if not isinstance(shardings, Mapping):
        if not callable(shardings):
            raise TypeError(f"shardings = {shardings!r}: expected a mapping by path, or a function of path and shape")
        return shardings
    unknown = [path for path in shardings if path not in leaves]
    if unknown:
        raise ValueError(f"shardings names {unknown[0]!r}, which is no parameter of the model")
    known = shardings
    return lambda path, shape: known.get(path)


def _check_numbers(leaf: Any, row: Row) -> None:
    """Raises what drawing would, and draws one element at most."""
    try:
        for part, _, kind in _parts(row, leaf.dtype):
            counted = part.counted
            if part.law is None or counted.law is None:
                return
            kind.check_reach(part.law.moments(row.shape, layout=row.layout))
            if not holds(part.law, MatrixLaw):
                box = Box((0,) * len(counted.shape), tuple(min(size, 1) for size in counted.shape))
                counted.law(counted.shape, key=0, layout=counted.layout, dtype=kind.form.name, box=box)
    except (TypeError, ValueError) as error:
        raise placed(error, f"parameter {row.path!r}") from error


def _parts(row: Row, dtype: Any) -> list[tuple[Row, str, Kind]]:
    """What is drawn, with the domain of its stream: a row, or the real and the imaginary parts of one."""
    if not is_complex(dtype) or row.law is None:
        return [(row, "", as_kind(dtype))]
    kind = as_kind(COMPLEX[complex_name(dtype)])
    return [(replace(row, law=law), domain, kind) for law, domain in complex_parts(row.law)]


def _draw(leaf: Any, row: Row, stream: Key, sharding: jax.sharding.Sharding | None) -> Array:
    dtype, key = jnp.dtype(leaf.dtype), stream.child(row.stream or row.path)
    where = leaf.sharding if sharding is None and isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) else sharding
    if where is None:
        check_memory(row.shape, dtype.itemsize)
        return jnp.asarray(_piece(row, key, dtype, Box.whole(row.shape)))
    array: Array = jax.make_array_from_callback(
        row.shape, where, lambda index: _piece(row, key, dtype, box_of(index or (), row.shape)), dtype=dtype
    )
    return array


def _piece(row: Row, key: Key, dtype: Any, box: Box) -> NDArray[Any]:
    """A box of a parameter."""
    parts = [
        _real_piece(part, key.derive(domain) if domain else key, kind, box) for part, domain, kind in _parts(row, dtype)
    ]
    return parts[0] if len(parts) == 1 else (parts[0] + 1j * parts[1]).astype(dtype, copy=False)


def _real_piece(row: Row, key: Key, kind: Kind, box: Box) -> NDArray[Any]:
    """A box of real numbers, drawn in the order in which its elements are counted."""
    counted, order = row.counted, row.canonical_axes if row.order == "canonical" else tuple(range(len(row.shape)))
    own = Box(tuple(box.start[axis] for axis in order), tuple(box.shape[axis] for axis in order))
    if counted.law is None:
        raise ValueError(f"parameter {row.path!r} has no law")
    form = kind.form.name if row.factor == 1 else "float64" if kind.form.name == "float64" else "float32"
    values = counted.law(counted.shape, key=key, layout=counted.layout, dtype=form, box=own)
    scaled = values if row.factor == 1 else values * values.dtype.type(row.factor)
    return scaled.transpose(np.argsort(order)).astype(kind.dtype, copy=False)
