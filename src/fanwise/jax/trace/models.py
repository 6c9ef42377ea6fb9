"""Models of JAX as functions of their parameters: plain functions, Flax linen and nnx, Equinox."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import (
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    SequenceKey,
    tree_flatten_with_path,
    tree_unflatten,
)

from fanwise.graph.op import Parameter

FORMS = (
    "expected (function, params) with function(params, *inputs), (linen module, variables), an nnx module or an "
    "Equinox module"
)


@dataclass(frozen=True)
class Model:
    """A model as a function of its parameters.

    Args:
        name: what it is called.
        call: from values of the parameters by path, positional and named inputs to what the model returns.
        leaves: the parameters by path, in the model's order; tied ones once. Arrays, or shapes alone.
        aliases: other paths of each parameter.
        rebuild: the same model with other parameters.
        signature: of its call, parameters aside; None where it has none.
    """

    name: str
    call: Callable[[Mapping[str, Any], Sequence[Any], Mapping[str, Any]], Any]
    leaves: Mapping[str, Any]
    aliases: Mapping[str, tuple[str, ...]]
    rebuild: Callable[[Mapping[str, Any]], Any]
    signature: inspect.Signature | None = None

    @property
    def is_abstract(self) -> bool:
        """Whether some parameter has a shape alone."""
        return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in self.leaves.values())


def parameters(model: Any) -> tuple[Parameter, ...]:
    """Every parameter of a model, tied ones once.

    Args:
        model: ``(function, params)``, ``(linen module, variables)``, an nnx module or an Equinox module; arrays may be
            shapes, as `jax.eval_shape` gives them.

    Returns:
        In the order of the model's leaves.

    Raises:
        TypeError: not a model.
        ValueError: two parameters of one path, or arrays that were donated or deleted.

    Example:
        >>> [parameter.path for parameter in parameters((lambda p, x: x @ p["w"], {"w": jnp.ones((3, 4))}))]
        ['w']
    """
    read = as_model(model)
    return tuple(
        Parameter(path, tuple(leaf.shape), jnp.dtype(leaf.dtype).name, read.aliases.get(path, ()))
        for path, leaf in read.leaves.items()
    )


def as_model(model: Any) -> Model:
    """The model that a model argument means; see `parameters`.

    Raises:
        TypeError: not a model.
        ValueError: two parameters of one path, or arrays that were donated or deleted.
    """
    if isinstance(model, Model):
        return model
    linen, nnx, equinox = (_loaded(name) for name in ("flax.linen", "flax.nnx", "equinox"))
    if nnx is not None and isinstance(model, nnx.Module):
        return replace(_of_nnx(nnx, model), signature=_signature(model))
    if isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        is_function = linen is None or not isinstance(model[0], linen.Module)
        return replace(_of_pair(linen, *model), signature=_signature(model[0], besides=int(is_function)))
    if linen is not None and isinstance(model, linen.Module):
        raise TypeError(f"model = {type(model).__name__}, without its variables: expected (module, module.init(...))")
    if equinox is not None and isinstance(model, equinox.Module) and callable(model):
        read = _of_tree(type(model).__name__, model, lambda tree, args, named: tree(*args, **named))
        return replace(read, signature=_signature(model))
    raise TypeError(f"model = {type(model).__name__}: {FORMS}")


def _signature(call: Any, besides: int = 0) -> inspect.Signature | None:
    """Signature of a call, but for its first arguments; None where it has none that can be read."""
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return None
    return signature.replace(parameters=list(signature.parameters.values())[besides:])


def is_model(model: Any) -> bool:
    """Whether `as_model` takes it."""
    try:
        as_model(model)
    except TypeError:
        return False
    return True


def _loaded(name: str) -> ModuleType | None:
    """A library that the user has imported: without it no model is one of its own."""
    return sys.modules.get(name)


def _of_pair(linen: ModuleType | None, function: Any, params: Any) -> Model:
    if linen is not None and isinstance(function, linen.Module):
        return _of_linen(function, params)
    name = function.__name__ if inspect.isfunction(function) else type(function).__name__
    return _of_tree(name, params, lambda tree, args, named: function(tree, *args, **named))


def _of_linen(module: Any, variables: Any) -> Model:
    if not isinstance(variables, Mapping):
        raise TypeError(f"variables = {type(variables).__name__}: expected what module.init returns")
    alone = "params" not in variables
    held = {"params": variables} if alone else dict(variables)
    state = _with_values({name: values for name, values in held.items() if name != "params"})

    def call(tree: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        rngs = {name: jax.random.key(0) for name in ("dropout", "params")}
        given = {"params": tree, **state}
        if not state:
            return module.apply(given, *args, rngs=rngs, **named)
        return module.apply(given, *args, rngs=rngs, mutable=list(state), **named)[0]

    def rebuild(tree: Any) -> Any:
        return module, tree if alone else {**variables, "params": tree}

    return _of_tree(type(module).__name__, held["params"], call, rebuild)


def _of_tree(
    name: str, tree: Any, call: Callable[..., Any], rebuild: Callable[[Any], Any] = lambda tree: tree
) -> Model:
    """A model whose parameters are the floating-point arrays of a pytree."""
    pairs, structure = tree_flatten_with_path(tree)
    leaves = [leaf for _, leaf in pairs]
    named = [(_dotted(path), index) for index, (path, leaf) in enumerate(pairs) if _is_parameter(leaf)]
    owners = _owners([(path, leaves[index]) for path, index in named])
    path_of = {index: owners[path] for path, index in named}

    def whole(values: Mapping[str, Any]) -> Any:
        filled = [values[path_of[index]] if index in path_of else leaf for index, leaf in enumerate(leaves)]
        return tree_unflatten(structure, filled)

    return Model(
        name,
        lambda values, args, kwargs: call(_with_values(whole(values)), args, kwargs),
        MappingProxyType({path: leaves[index] for path, index in named if owners[path] == path}),
        _aliases(owners),
        lambda values: rebuild(whole(values)),
    )


def _of_nnx(nnx: ModuleType, module: Any) -> Model:
    graph, state, rest = nnx.split(module, nnx.Param, ...)
    flat = [(path, variable) for path, variable in nnx.to_flat_state(state)]
    arrays = {".".join(map(str, path)): variable.get_value() for path, variable in flat}
    _check_live(arrays)

    def whole(values: Mapping[str, Any]) -> Any:
        pairs = [(path, variable.replace(values[".".join(map(str, path))])) for path, variable in flat]
        return nnx.merge(graph, nnx.from_flat_state(pairs), rest, copy=True)

    def call(values: Mapping[str, Any], args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        pairs = [(path, variable.replace(values[".".join(map(str, path))])) for path, variable in flat]
        return nnx.merge(graph, nnx.from_flat_state(pairs), _with_values(rest), copy=True)(*args, **named)

    return Model(
        type(module).__name__,
        call,
        MappingProxyType(arrays),
        MappingProxyType({}),
        whole,
    )


def _with_values(tree: Any) -> Any:
    """A state of shapes alone (running averages, counters, keys) with the values that it usually starts with."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _value_of(leaf, _dotted(path)), tree)


def _value_of(leaf: Any, name: str) -> Any:
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return (jnp.ones if "var" in name.split(".") else jnp.zeros)(leaf.shape, leaf.dtype)


def _is_parameter(leaf: Any) -> bool:
    arrays = isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)
    return arrays and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _owners(named: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """The first path of the array that each path names."""
    paths = [path for path, _ in named]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise ValueError(f"two parameters have the path {twice[0]!r}: give the keys of the pytree other names")
    _check_live(dict(named))
    first: dict[int, str] = {}
    return {
        path: path if isinstance(leaf, jax.ShapeDtypeStruct) else first.setdefault(id(leaf), path)
        for path, leaf in named
    }


def _aliases(owners: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    aliases: dict[str, tuple[str, ...]] = {}
    for path, owner in owners.items():
        if path != owner:
            aliases[owner] = (*aliases.get(owner, ()), path)
    return MappingProxyType(aliases)


def _check_live(arrays: Mapping[str, Any]) -> None:
    for path, leaf in arrays.items():
        if isinstance(leaf, jax.core.Tracer):
            raise TypeError(
                f"parameter {path!r} is being traced: expected arrays with values, call this outside of jit"
            )
        if isinstance(leaf, jax.Array) and leaf.is_deleted():
            raise ValueError(f"parameter {path!r} was deleted or donated: its values are gone")


def _dotted(path: Sequence[Any]) -> str:
    return ".".join(str(_key(entry)) for entry in path)


def _key(entry: Any) -> Any:
    match entry:
        case DictKey(key=key) | FlattenedIndexKey(key=key):
            return key
        case SequenceKey(idx=index):
            return index
        case GetAttrKey(name=name):
            return name
    return str(entry).strip(".[]'\"")
