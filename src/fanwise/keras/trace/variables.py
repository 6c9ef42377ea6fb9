"""The parameters of a Keras model: its variables, under paths that do not depend on what was built before."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from fanwise.adapters.hints import hint_for
from fanwise.graph.op import Parameter

_NUMBERED = re.compile(r"(.*?)(?:_(\d+))?")


def check_model(model: Any) -> None:
    """Refuses what is no Keras model, and one whose variables do not exist yet.

    Raises:
        TypeError: not a Keras model or layer.
        ValueError: a model that was not built.
    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"model = {type(model).__name__}: expected a keras.Model or a layer{hint_for(model)}")
    if not model.built:
        raise ValueError(
            f"the model {model.name!r} is not built and has no weights yet: call it on a batch, or use "
            "model.build(input_shape)"
        )


def layers_of(model: Any) -> tuple[Any, ...]:
    """The model, its layers and theirs, each once."""
    by_identity = {id(layer): layer for layer in model._flatten_layers(include_self=True, recursive=True)}
    return tuple(by_identity.values())


def variables(model: Any) -> dict[str, Any]:
    """The variables that can be trained, by path; those of frozen layers too, but not the statistics of norms.

    A path is Keras' own, with the numbers that Keras gives to unnamed layers counted anew within the model: they go by
    how many such layers the process has made, and a path must mean the same in the next one. Where two variables have
    one path, the later ones get "#2" and so on.

    Raises:
        TypeError: not a Keras model or layer.
        ValueError: a model that was not built.
    """
    check_model(model)
    names = component_names(model)
    trained = {id(variable) for layer in layers_of(model) for variable in layer._trainable_variables}
    by_path: dict[str, Any] = {}
    for variable in model.variables:
        if id(variable) in trained:
            path = "/".join(names.get(part, part) for part in variable.path.split("/"))
            by_path[_unique(path, by_path)] = variable
    return by_path


def parameters(model: Any) -> tuple[Parameter, ...]:
    """Every parameter: its path, shape, dtype, and whether Keras trains it.

    Args:
        model: any built Keras model or layer.

    Raises:
        TypeError: not a Keras model or layer.
        ValueError: a model that was not built.
    """
    held, others = variables(model), aliases(model)
    return tuple(parameter_of(path, variable, others.get(id(variable), {})) for path, variable in held.items())


def parameter_of(path: str, variable: Any, places: Mapping[str, int]) -> Parameter:
    """A variable as a parameter of a trace.

    Args:
        path: its path.
        variable: itself.
        places: of the layers that it is in, as `aliases` gives them.
    """
    shape, trained = tuple(int(n) for n in variable.shape), bool(variable.trainable)
    return Parameter(path, shape, dtype_of(variable), tuple(_again(path, places)), trained)


def aliases(model: Any) -> dict[int, dict[str, int]]:
    """Names and counts of layers that stand in a list several times, by the identity of each of their variables.

    A layer that is called several times is shared by design; ``[Block()] * 6`` in a model of one's own is a slip.
    """
    names, counts = component_names(model), dict[int, dict[str, int]]()
    for owner in layers_of(model):
        for layer, count in _repeated(owner):
            for variable in layer.variables:
                counts.setdefault(id(variable), {})[names.get(layer.name, layer.name)] = count
    return counts


def _repeated(owner: Any) -> Iterator[tuple[Any, int]]:
    """The layers that stand several times in a list among a layer's own attributes."""
    for name, value in vars(owner).items():
        if isinstance(value, (list, tuple)) and not name.startswith("_"):
            members = {id(layer): layer for layer in value if isinstance(layer, keras.layers.Layer)}
            counts = Counter(id(layer) for layer in value)
            yield from ((layer, counts[key]) for key, layer in members.items() if counts[key] > 1)


def _again(path: str, places: Mapping[str, int]) -> Iterator[str]:
    """A path's other names: each later place of its layer in the list, as in ``block[1]/kernel``."""
    for name, count in places.items():
        parts = path.split("/")
        if name in parts:
            where = parts.index(name)
            yield from ("/".join((*parts[:where], f"{name}[{i}]", *parts[where + 1 :])) for i in range(1, count))


def dtype_of(variable: Any) -> str:
    """Name of the dtype in which a variable is stored."""
    name: str = keras.backend.standardize_dtype(variable.value.dtype)
    return name


def component_names(model: Any) -> Mapping[str, str]:
    """Names that Keras numbered, and what they are when counted within this model alone."""
    layers = layers_of(model)
    taken = {layer.name for layer in layers if not _is_numbered(layer.name, _base(layer))}
    groups: dict[str, list[str]] = {}
    for layer in layers:
        if _is_numbered(layer.name, _base(layer)):
            groups.setdefault(_base(layer), []).append(layer.name)
    variable_names = {variable.name for variable in model.variables if _is_numbered(variable.name, "variable")}
    groups.setdefault("variable", []).extend(variable_names)
    names: dict[str, str] = {}
    for base, members in groups.items():
        names |= dict(zip(sorted(set(members), key=_number), _numbers(base, taken), strict=False))
    return names


def _base(layer: Any) -> str:
    """The name that Keras derives from a layer's class."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", type(layer).__name__))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _is_numbered(name: str, base: str) -> bool:
    match = _NUMBERED.fullmatch(name)
    return name == base or (match is not None and match[1] == base and match[2] is not None)


def _number(name: str) -> int:
    match = _NUMBERED.fullmatch(name)
    return int(match[2]) if match is not None and match[2] is not None else 0


def _numbers(base: str, taken: set[str]) -> Iterator[str]:
    number = 0
    while True:
        name = base if number == 0 else f"{base}_{number}"
        if name not in taken:
            yield name
        number += 1


def _unique(path: str, taken: Mapping[str, Any]) -> str:
    if path not in taken:
        return path
    number = 2
    while f"{path}#{number}" in taken:
        number += 1
    return f"{path}#{number}"


def own_variables(layer: Any) -> dict[str, Any]:
    """The trainable variables of a layer itself, by name."""
    return {variable.name: variable for variable in layer._trainable_variables}


def as_array(value: Any) -> Any:
    """A tensor or variable as a NumPy array."""
    return keras.ops.convert_to_numpy(value)


def tensors_in(values: Any) -> Iterator[Any]:
    """The tensors of nested tuples, lists and mappings."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)
    elif is_tensor(values):
        yield values


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of the backend, no variable."""
    return bool(keras.ops.is_tensor(value)) and not isinstance(value, keras.Variable)


def is_float(tensor: Any) -> bool:
    """Whether a tensor holds floating-point numbers."""
    return bool(keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)))


def shape_of(tensor: Any) -> tuple[int, ...]:
    """The shape of a tensor, as integers."""
    return tuple(int(size) for size in tensor.shape)
