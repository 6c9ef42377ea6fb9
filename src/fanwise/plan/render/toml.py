"""A plan as a TOML file that a human reads and edits: a heading, then one line a parameter.

    format = 1
    fanwise = "0.1.0"
    stream = 1
    recipe = "depth"

    parameter = [
      { path = "0.weight", law = "he_normal", shape = [100, 784], dtype = "float32", layout = "out in" },
      { path = "0.bias", law = "zeros", shape = [100], dtype = "float32" },
    ]

`law` is an initializer's name, a table of its name and parameters, or "keep". `layout` is the roles of the axes, or a
table of them and what else the layout has. What stands at its default is left out. A file comes from anywhere, so
nothing in it is trusted: what is wrong is named by parameter and key.
"""

import re
import reprlib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from fanwise._version import __version__
from fanwise.laws.base import Initializer
from fanwise.laws.initializers import INITIALIZERS, from_config, to_config
from fanwise.laws.layout import Layout
from fanwise.plan.headings import HEADINGS
from fanwise.plan.row import Row, nearest, placed
from fanwise.stream.arguments import checked_count

_T = TypeVar("_T")

FORMAT = 1
STREAM = 1
"""Version of the stream that the numbers come from: that of `fanwise.stream.key.SPEC`."""

KEEP = "keep"
"""The law of a parameter that is left as it is."""

MOST_LETTERS = 64 << 20
MOST_AXES = 64
"""What NumPy allows."""
MOST_PARTS = 4096
"""Maps fused in one parameter, and values in one list of a law."""
MOST_NESTED = 8
"""Laws inside laws, and components of a dotted key."""

_COMMENT = "# fanwise plan: one line a parameter; edit a law and load it again.\n"
_ORDER = ("path", "law", "shape", "dtype", "layout", "role", "op", "reason")
_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"layout": None, "role": "", "op": "", "reason": ""}
    | {field.name: field.default for field in fields(Row) if field.default is not MISSING}
)
_NEEDED = ("path", "law", "shape", "dtype")
KEYS = (*_ORDER, *(field.name for field in fields(Row) if field.name not in _ORDER))
"""Keys of a parameter, in the order in which they are written."""


def plan_toml(headings: Mapping[str, str], rows: Sequence[Row]) -> str:
    """A plan as the text of a file; `read_plan` gives its parts back exactly.

    Args:
        headings: what the plan says of itself, by name.
        rows: one a parameter.

    Raises:
        TypeError: a law that is not one of fanwise's, which no file can name.
    """
    heading = {"format": FORMAT, "fanwise": __version__, "stream": STREAM, **filled(headings)}
    return _COMMENT + written(heading, [row_config(row) for row in rows])


def read_plan(text: str) -> tuple[tuple[Row, ...], dict[str, str]]:
    """The rows and the headings of the plan that a file describes.

    Raises:
        TypeError: a value of the wrong kind; the message names the parameter and the key.
        ValueError: not TOML, a file of a later fanwise, unknown keys or names, or values out of range.
    """
    return guarded(text, _parts)


def guarded(text: str, read: Callable[[dict[str, Any]], _T]) -> _T:
    """What `read` makes of the tables of a file, whose format is one that this version knows."""
    try:
        config = tables(text)
        checked_format(config)
        return read(config)
    except RecursionError:
        raise ValueError("the file nests tables or lists too deep: expected those that to_toml writes") from None


def tables(text: str) -> dict[str, Any]:
    """The tables of a TOML text that is neither huge nor made to be slow.

    Raises:
        TypeError: not a str.
        ValueError: too long, keys of too many components, or not TOML.
    """
    if not isinstance(text, str):
        raise TypeError(f"text = {reprlib.repr(text)}: expected the text of a TOML file, read as UTF-8")
    if len(text) > MOST_LETTERS:
        raise ValueError(f"the file has {len(text)} letters: expected at most {MOST_LETTERS}")
    if _LONG_KEY.search(_QUOTED.sub('""', text)):
        raise ValueError(f"the file has a key of more than {MOST_NESTED} components: expected simple keys")
    try:
        return tomllib.loads(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a TOML file: {_cut(error)}") from error


def checked_format(config: Mapping[str, Any]) -> None:
    """Refuses files that are not plans, or that a later version wrote."""
    if "format" not in config:
        raise ValueError("format is missing: expected a fanwise plan, which opens with format = 1")
    for name, known in (("format", FORMAT), ("stream", STREAM)):
        value = checked_count(config.get(name, known), name=name)
        if value > known:
            raise ValueError(f"{name} = {_cut(value)}: this fanwise ({__version__}) knows {known}, update it")


def checked_keys(config: Mapping[str, Any], known: Sequence[str], *, where: str) -> None:
    """Refuses keys that do not exist."""
    for key in config:
        if key not in known:
            raise ValueError(f"{where}: unknown key {_cut(repr(key))}{nearest(key[:100], dict.fromkeys(known))}")


def filled(headings: Mapping[str, str]) -> dict[str, str]:
    """What a plan says of itself, less what is empty."""
    return {name: text for name, text in headings.items() if text}


def parameters(config: Mapping[str, Any]) -> list[Any]:
    """The list of parameters of a file."""
    tables_found = config.get("parameter", [])
    if not isinstance(tables_found, list):
        raise TypeError(f"parameter = {reprlib.repr(tables_found)}: expected a list of tables, one a parameter")
    return tables_found


def row_config(row: Row) -> dict[str, Any]:
    """The row as plain values for TOML or JSON, what stands at its default left out."""
    values = vars(row) | {"law": law_config(row.law), "layout": layout_config(row.layout)}
    return {key: plain(values[key]) for key in KEYS if key in _NEEDED or values[key] != _DEFAULTS[key]}


def row_of(config: Any, heading: str) -> Row:
    """The row that `row_config` described.

    Args:
        config: what stands in the file.
        heading: what an error calls it.
    """
    if not isinstance(config, dict):
        raise TypeError(f"{heading}: {reprlib.repr(config)}, expected a table such as {{ path = ..., law = ... }}")
    where = f"{heading} ({_cut(repr(config.get('path', '')))})"
    checked_keys(config, KEYS, where=where)
    missing = [key for key in _NEEDED if key not in config]
    if missing:
        raise ValueError(f"{where}: key {missing[0]!r} is missing")
    return _row({key: _read(key, value, where) for key, value in config.items()}, heading)


def law_config(law: Initializer | None) -> str | dict[str, Any]:
    """A preset's name, "keep" for None, else name and parameters."""
    if law is None:
        return KEEP
    named = (entry.name for entry in INITIALIZERS.values() if isinstance(entry.make, Initializer) and entry.make == law)
    return next(named, None) or to_config(law)


def layout_config(layout: Layout | None) -> str | dict[str, Any] | None:
    """The roles alone where that is all there is."""
    if layout is None:
        return None
    bare, roles = Layout(layout.axes), " ".join(layout.axes)
    if layout == bare:
        return roles
    differing = {key: value for key, value in vars(layout).items() if value != vars(bare)[key]}
    if layout.fused is not None:
        cut = {"sizes": layout.fused.sizes} if layout.fused.sizes else {"count": layout.fused.count}
        differing["fused"] = {"axis": layout.fused.axis, **cut}
    return {"axes": roles, **differing}


def plain(value: Any) -> Any:
    """The value in the types that TOML has; NumPy's numbers become Python's."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def written(heading: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
    """A heading, then the parameters, each on its line."""
    import tomli_w  # noqa: PLC0415  (only where a file is written)

    body = "".join(f"  {_one_line(tomli_w.dumps({'v': [[line]]}))},\n" for line in lines)
    return f"{tomli_w.dumps(heading)}\nparameter = [\n{body}]\n"


def _one_line(toml: str) -> str:
    """The table inside ``v = [[table]]`` on one line. Strings are escaped: every line break is the writer's layout."""
    text = re.sub(r",?\n\s*\]", "]", re.sub(r"\[\n\s*", "[", toml.rstrip("\n")))
    return re.sub(r"\n\s*", " ", text).removeprefix("v = [[").removesuffix("]]")


def _parts(config: dict[str, Any]) -> tuple[tuple[Row, ...], dict[str, str]]:
    checked_keys(config, ("format", "fanwise", "stream", *HEADINGS, "parameter"), where="heading")
    rows = (row_of(item, f"parameter {i}") for i, item in enumerate(parameters(config), 1))
    return tuple(rows), {name: config[name] for name in HEADINGS if name in config}


def _row(values: dict[str, Any], where: str) -> Row:
    try:
        return Row(**{"layout": None, "role": "", "op": "", "reason": "", **values})
    except (TypeError, ValueError) as error:
        raise placed(_cut_error(error), where) from error


def _read(key: str, value: Any, where: str) -> Any:
    """The value of a key as `Row` takes it."""
    try:
        return _READERS[key](value) if key in _READERS else value
    except (TypeError, ValueError, ArithmeticError) as error:
        raise placed(_cut_error(error), f"{where}, key {key!r}") from error


def _law(value: Any) -> Initializer | None:
    if value == KEEP:
        return None
    if not isinstance(value, str | dict):
        raise TypeError(f"{reprlib.repr(value)}: expected a name, a table with 'name', or 'keep'")
    _check_small(value, 2 * MOST_NESTED)
    return from_config({"name": value} if isinstance(value, str) else value)


def layout_of(value: Any) -> Layout:
    """The layout that `layout_config` described.

    Raises:
        TypeError: a value of the wrong kind.
        ValueError: an unknown key or role, or a number out of range.
    """
    if isinstance(value, str):
        value = {"axes": value}
    if not isinstance(value, dict) or not isinstance(value.get("axes"), str):
        raise TypeError(f"{reprlib.repr(value)}: expected roles such as 'out in', or a table with 'axes'")
    checked_keys(value, _LAYOUT_KEYS, where="layout")
    _check_small(value, 3)
    axes = tuple(_sized(value["axes"].split(), MOST_AXES))
    stride = tuple(checked_count(step, name="stride") for step in _listed(value.get("stride", []), MOST_AXES))
    flags = {key: value[key] for key in ("groups", "grouped", "transposed") if key in value}
    if not isinstance(flags.get("transposed", False), bool):
        raise TypeError(f"transposed = {flags['transposed']!r}: expected true or false")
    layout = Layout(axes, stride=stride, **flags)
    return _fused(layout, value["fused"]) if "fused" in value else layout


def _fused(layout: Layout, value: Any) -> Layout:
    if not isinstance(value, dict) or set(value) not in ({"axis", "sizes"}, {"axis", "count"}):
        raise TypeError(f"fused = {reprlib.repr(value)}: expected {{ axis, count }} or {{ axis, sizes }}")
    axis = checked_count(value["axis"], name="fused axis", low=0)
    if "sizes" in value:
        return layout.fuse(axis, _sized(_listed(value["sizes"], MOST_PARTS), MOST_PARTS))
    count = checked_count(value["count"], name="fused count")
    if count > MOST_PARTS:
        raise ValueError(f"fused count = {count}: expected at most {MOST_PARTS}")
    return layout.fuse(axis, count)


def _listed(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{reprlib.repr(value)}: expected a list")
    if len(value) > most:
        raise ValueError(f"a list of {len(value)}: expected at most {most}")
    return value


def _sized(value: list[Any], most: int) -> list[Any]:
    """A list that is not empty."""
    if not _listed(value, most):
        raise ValueError("an empty list: expected at least one entry")
    return value


def _names(value: Any) -> tuple[Any, ...]:
    return tuple(_listed(value, MOST_PARTS))


def _check_small(value: Any, depth: int) -> None:
    """Refuses long lists and tables nested deeper than `depth`."""
    if isinstance(value, dict | list) and depth == 0:
        raise ValueError(f"nested too deep: expected at most {MOST_NESTED} laws inside laws")
    for item in _items(value):
        _check_small(item, depth - 1)


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    if isinstance(value, list):
        yield from _listed(value, MOST_PARTS)


def _cut(value: object) -> str:
    """The words of an error, or a value of the file, at a length that can be read."""
    try:
        text = str(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 400 else f"{text[:300]} … {text[-60:]}"


def _cut_error(error: Exception) -> Exception:
    """An error of the same kind whose words have a length that can be read."""
    return TypeError(_cut(error)) if isinstance(error, TypeError) else ValueError(_cut(error))


_READERS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"law": _law, "layout": layout_of, "shape": lambda value: tuple(_listed(value, MOST_AXES)), "aliases": _names}
)
_LAYOUT_KEYS = ("axes", "groups", "grouped", "stride", "transposed", "fused")

_QUOTED = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:"{3,5}|\Z)'
    r"|'''(?:[^']++|'(?!''))*+(?:'{3,5}|\Z)"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+",
    re.DOTALL,
)
"""Strings and comments, ended or not: in what is left, words with dots between them are keys or numbers."""

_LONG_KEY = re.compile(rf'(?<![\w"-])(?:[\w"-]++[ \t]*+\.[ \t]*+){{{MOST_NESTED}}}')
"""A key that the reader would take quadratic time for, were it long enough."""
