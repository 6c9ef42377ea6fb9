"""Any report value as plain JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import TypeAlias

import numpy as np

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def to_jsonable(value: object) -> Json:
    """The value in the types that JSON has.

    Dataclasses become objects with their fields, tuples, sets and arrays become lists (sets sorted), paths
    become texts. JSON has no infinite numbers: they become the texts "inf", "-inf" and "nan", which
    `float()` reads back, so that a diverged run is told from one that was not measured (null).

    Raises:
        TypeError: the value, or one inside it, is of another type.

    Example:
        >>> to_jsonable({"loss": np.array([2.3, np.inf]), "steps": np.int64(3)})
        {'loss': [2.3, 'inf'], 'steps': 3}
    """
    match value:
        case Enum():
            return to_jsonable(value.value)
        case np.generic() | np.ndarray():
            return to_jsonable(value.tolist())
        case PurePath():
            return str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case None | bool() | int() | str():
            return value
    return _to_container(value)


def to_json(value: object) -> str:
    """The value as JSON text, strict and indented; the same value gives the same text."""
    return json.dumps(to_jsonable(value), allow_nan=False, indent=2) + "\n"


def _to_container(value: object) -> Json:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [to_jsonable(item) for item in sorted(value)]
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    raise TypeError(f"{value!r} has type {type(value).__name__}, which has no JSON form: expected plain values")


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(f"key {key!r} of a mapping is not a str: JSON objects have text keys only")
