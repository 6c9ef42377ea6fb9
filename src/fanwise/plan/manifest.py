"""A manifest: a plan and a seed, which fix every bit of a model, and digests to prove it."""

import hashlib
import math
import re
import reprlib
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from fanwise._version import __version__
from fanwise.graph.op import Parameter
from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Constant, Normal, VarianceScaling
from fanwise.plan.folding import Axis, Fold, fold, lattice, spelled
from fanwise.plan.headings import HEADINGS
from fanwise.plan.model_fit import check_fits
from fanwise.plan.plan import Plan
from fanwise.plan.render.toml import (
    FORMAT,
    STREAM,
    checked_keys,
    filled,
    guarded,
    parameters,
    row_config,
    row_of,
    written,
)
from fanwise.plan.row import Row, checked_text, nearest, placed
from fanwise.stream.formats import Array
from fanwise.stream.key import Key

DIGEST_BYTES = 16
MOST_ROWS = 1 << 18
"""Parameters of one manifest, whose folded lines could otherwise ask for any number."""

_NUMBERS: Mapping[type, str] = {Constant: "value", Normal: "std", VarianceScaling: "scale"}
"""The number of a law that may differ along a line of the file, as with the depth of a layer."""

VARYING = ("fed", "gives", "factor")
"""Numbers of a row that may differ between rows folded in one line: a list then, in the order of the rows."""

TOML_INTEGERS = 1 << 63

_COMMENT = "# fanwise manifest: this plan and this seed fix every bit of the model.\n"
_HEX = re.compile(r"[0-9a-f]{32}")
_NUMBER = r"(0|[1-9][0-9]{0,17})"
_RANGE = re.compile(rf"\{{{_NUMBER}\.\.{_NUMBER}(?:\.\.([1-9][0-9]{{0,17}}))?\}}")
_DOT = re.compile(r"(?<!\.)\.(?!\.)")
"""Between two components of a path; not those of a range."""

_PAIR = re.compile(rf"\{{{_NUMBER},{_NUMBER}\}}")


@dataclass(frozen=True, repr=False)
class Manifest:
    """A plan, a seed, and digests of the numbers that they give.

    Plan and seed are enough to make the model; a digest of all its parameters is enough to see that one was made
    right, and takes 32 letters. Digests of each say which parameter is wrong and take some 40 bytes a parameter.

    Args:
        plan: a law for every parameter.
        seed: of every stream.
        digests: `digest_of` each parameter, by path: none, or all that the plan draws; those kept may stand there too.
        digest: of all that are fixed to the bit (`Row.exact`), as `digest_of_all`; worked out where digests are there.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a seed out of range, or digests that are none, of no parameter, too few, or that contradict.
    """

    plan: Plan
    seed: int
    digests: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.plan, Plan):
            raise TypeError(f"plan = {self.plan!r}: expected a Plan")
        object.__setattr__(self, "seed", Key(self.seed).seed)
        if not isinstance(self.digests, Mapping):
            raise TypeError(f"digests = {self.digests!r}: expected a mapping from paths to digests")
        object.__setattr__(self, "digests", dict(self.digests))
        _check_digests(self)
        if self.digests:
            object.__setattr__(self, "digest", _agreed(self.digest, _digest_of_exact(self.plan, self.digests)))

    def __repr__(self) -> str:
        return f"<Manifest of {len(self.plan)} parameters, seed={self.seed}, digest={self.digest!r}>"

    @property
    def stream(self) -> int:
        """Version of the stream that the numbers come from."""
        return STREAM

    def brief(self) -> "Manifest":
        """What fixes the bits, and the one digest: without second moments and digests of each parameter."""
        rows = tuple(replace(row, fed=None, gives=None) for row in self.plan)
        return Manifest(replace(self.plan, rows=rows), self.seed, {}, self.digest)

    def to_toml(self, *, full: bool = False) -> str:
        """The manifest as a file; see `to_toml`."""
        return to_toml(self, full=full)

    @staticmethod
    def from_toml(text: str) -> "Manifest":
        """The manifest that `to_toml` wrote; see `from_toml`."""
        return from_toml(text)


def digest_of(array: Array) -> str:
    """BLAKE2b-128 of an array: of its dtype, its shape, and its elements little-endian in C order.

    Memory order and byte order do not matter. For a row counted in canonical order, transpose the parameter first:
    ports that store it differently then have one digest.

    Args:
        array: of numbers.

    Returns:
        32 hexadecimal digits.

    Raises:
        TypeError: not an array of numbers.

    Example:
        >>> digest_of(np.zeros((2, 3), np.float32)) == digest_of(np.zeros((3, 2), ">f4").T)
        True

    References:
        Saarinen and Aumasson, "The BLAKE2 Cryptographic Hash and Message Authentication Code", RFC 7693, 2015.
    """
    if not isinstance(array, np.ndarray) or array.dtype.hasobject or array.dtype.names or array.dtype.kind in "MmSU":
        raise TypeError(f"array = {reprlib.repr(array)}: expected a NumPy array of numbers")
    heading = f"{array.dtype.name} {','.join(map(str, array.shape))}\n"
    hasher = hashlib.blake2b(heading.encode(), digest_size=DIGEST_BYTES)
    hasher.update(_little_endian(array).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def digest_of_all(digests: Mapping[str, str]) -> str:
    """BLAKE2b-128 of digests by path: of every path's length and letters and its digest, sorted by path."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path, digest in sorted(digests.items()):
        name = path.encode()
        hasher.update(len(name).to_bytes(4, "little") + name + bytes.fromhex(digest))
    return hasher.hexdigest()


def differences(manifest: Manifest, digests: Mapping[str, str]) -> tuple[str, ...]:
    """Faults of a model, by the digests of its parameters.

    Args:
        manifest: what should be.
        digests: `digest_of` every parameter of the model, by path.

    Returns:
        One sentence for each parameter that is wrong, missing or unknown, which opens with its path, in the plan's
        order; one for all where the manifest has only the digest of all; none where all is right.

    Raises:
        ValueError: the manifest has no digest to compare with.
    """
    if not manifest.digest and not manifest.digests:
        raise ValueError("the manifest has no digests: expected some to compare with, make it with Manifest(digests=)")
    expected = manifest.digests or {row.path: "" for row in manifest.plan if row.exact}
    wrong = [*_wrong(manifest, expected, digests), *_unknown(manifest.plan, digests)]
    if wrong or manifest.digests or _digest_of_exact(manifest.plan, digests) == manifest.digest:
        return tuple(wrong)
    return (f"some of {len(expected)} parameters differ: digests of each would tell which (to_toml(full=True))",)


def manifest_of(held: Sequence[Parameter], read: Callable[[str], Array], plan: Plan, seed: int) -> Manifest:
    """The manifest of a model to which a plan was applied: the plan with the model's dtypes, and its digests.

    Args:
        held: the model's parameters.
        read: gives a parameter's values by its path.
        plan: what was applied.
        seed: under which it was.

    Raises:
        TypeError, ValueError: a plan for another model, a seed out of range, or parameters without values.
    """
    check_fits(held, plan)
    dtypes = {name: parameter.dtype for parameter in held for name in (parameter.path, *parameter.aliases)}
    rows = tuple(replace(row, dtype=dtypes[row.path]) for row in plan.rows)
    return Manifest(replace(plan, rows=rows), seed, _digests(read, plan))


def seed_of(key: int | None, seed: int | None) -> int:
    """The seed that a manifest names: `key`, as `apply` calls it; `seed` is its old name.

    Raises:
        TypeError: neither, or both.
    """
    if (key is None) == (seed is None):
        raise TypeError(f"key = {key!r}, seed = {seed!r}: expected key, the seed that `apply` was given")
    if seed is not None:
        warnings.warn("manifest(seed=...): write key=, as apply does", DeprecationWarning, stacklevel=3)
        return seed
    return cast("int", key)


def verified(held: Sequence[Parameter], read: Callable[[str], Array], expected: Manifest) -> tuple[str, ...]:
    """What in a model is not as a manifest says; see `differences`.

    Args:
        held: the model's parameters.
        read: gives a parameter's values by its path.
        expected: what should be.

    Raises:
        TypeError: no manifest.
        ValueError: a manifest for another model, or without digests; parameters without values.
    """
    if not isinstance(expected, Manifest):
        raise TypeError(
            f"expected = {type(expected).__name__}: expected a fanwise Manifest, such as Manifest.from_toml"
        )
    check_fits(held, expected.plan)
    return differences(expected, _digests(read, expected.plan))


def _digests(read: Callable[[str], Array], plan: Plan) -> dict[str, str]:
    """Of the values in the order in which they are counted: ports that store them otherwise have the same."""
    values = ((row, read(row.path)) for row in plan.rows)
    return {
        row.path: digest_of(array.transpose(row.canonical_axes) if row.order == "canonical" else array)
        for row, array in values
    }


def to_toml(manifest: Manifest, *, full: bool = False) -> str:
    """The manifest as a file, in which rows that differ in integers of their paths alone share a line.

    Args:
        manifest: plan, seed, digests.
        full: write all there is, which `from_toml` gives back exactly. By default what `Manifest.brief` keeps.
    """
    whole = manifest if full else manifest.brief()
    seed = whole.seed if whole.seed < TOML_INTEGERS else str(whole.seed)
    digest = {"digest": whole.digest} if whole.digest else {}
    heading = {"format": FORMAT, "fanwise": __version__, "stream": STREAM, "seed": seed, **digest}
    folds = fold([row.path for row in whole.plan], [_kind(row) for row in whole.plan], regular=True)
    return _COMMENT + written(heading | filled(whole.plan.headings), [_folded_config(whole, item) for item in folds])


def from_toml(text: str) -> Manifest:
    """The manifest that a file describes.

    Raises:
        TypeError: a value of the wrong kind; the message names the parameter and the key.
        ValueError: not TOML, a file of a later fanwise, unknown keys or names, or values out of range.
    """
    return guarded(text, _manifest)


@dataclass(frozen=True)
class _Lines:
    """The rows of one line of a file.

    Args:
        config: the line as it came, its place taken out.
        parts: components of the path of its first row.
        axes: what varies; empty for a single row.
        place: position of the first row in the plan and the steps along the axes; empty for a single row.
    """

    config: Any
    parts: tuple[str, ...]
    axes: tuple[Axis, ...] = ()
    place: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def count(self) -> int:
        return math.prod(self.sizes)


def _kind(row: Row) -> Hashable:
    """What rows on one line share. -0.0 is another number than 0.0 here, so laws go by their words."""
    known = tuple(vars(row)[name] is None for name in VARYING)
    alone = row.path if row.aliases or row.stream or "{" in row.path or ".." in row.path else ""
    words = (row.dtype, row.role, row.op, row.reason, row.source, row.order)
    return alone, known, row.shape, repr(_with_number(row.law, 1.0)), row.layout, words, row.guess


def _number_of(law: Initializer | None) -> float | None:
    """The one number of a law that has one: it may differ along a line."""
    name = _NUMBERS.get(type(law))
    return None if name is None else float(vars(law)[name])


def _with_number(law: Initializer | None, number: float) -> Initializer | None:
    name = _NUMBERS.get(type(law))
    if law is None or name is None:
        return law
    changed: Initializer = replace(law, **{name: number})  # type: ignore[type-var]
    return changed


def _folded_config(manifest: Manifest, item: Fold) -> dict[str, Any]:
    rows = [manifest.plan.rows[i] for i in item.members]
    config = row_config(rows[0])
    if item.axes:
        config |= {"path": item.pattern, "place": [item.members[0], *(item.steps or ())]}
    for name in VARYING:
        values = [vars(row)[name] for row in rows]
        if len(set(map(repr, values))) > 1:
            config[name] = values
    numbers = [_number_of(row.law) for row in rows]
    if len(set(map(repr, numbers))) > 1:
        config["numbers"] = numbers
    digests = [manifest.digests.get(row.path, "") for row in rows]
    return config | ({"digests": digests} if any(digests) else {})


def _manifest(config: dict[str, Any]) -> Manifest:
    known = ("format", "fanwise", "stream", "seed", "digest", *HEADINGS, "parameter")
    checked_keys(config, known, where="heading")
    if "seed" not in config:
        raise ValueError("seed is missing: expected a manifest, this may be a plan (Plan.from_toml)")
    lines = [_lines(item, f"parameter {i}") for i, item in enumerate(parameters(config), 1)]
    rows, digests = _placed_rows(lines)
    plan = Plan(rows, **{name: config[name] for name in HEADINGS if name in config})
    return Manifest(plan, _seed(config["seed"]), digests, config.get("digest", ""))


def _seed(value: Any) -> int:
    """The seed; those that TOML's integers cannot hold stand there as text."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,39}", value):
            raise ValueError(f"seed = {reprlib.repr(value)}: expected an integer in [0, 2**128)")
        return int(value)
    return Key(value).seed


def _lines(config: Any, where: str) -> _Lines:
    """One line of the file, taken apart and not yet expanded."""
    path = config.get("path") if isinstance(config, dict) else None
    if not isinstance(path, str) or "place" not in config:
        return _Lines(config, (path,) if isinstance(path, str) else ())
    words = _DOT.split(path)
    axes = tuple(_axes(words))
    steps = config["place"]
    if not isinstance(steps, list) or any(type(step) is not int for step in steps) or len(steps) != len(axes) + 1:
        raise ValueError(
            f"{where} ({reprlib.repr(path)}), key 'place': {reprlib.repr(steps)}, expected the first "
            f"position and a step for each of the {len(axes)} ranges of the path"
        )
    first = {axis.at: str(axis.values[0]) for axis in axes}
    parts = tuple(first.get(i, part) for i, part in enumerate(words))
    return _Lines({key: value for key, value in config.items() if key != "place"}, parts, axes, tuple(steps))


def _axes(parts: Sequence[str]) -> Iterator[Axis]:
    for at, part in enumerate(parts):
        pair, range_ = _PAIR.fullmatch(part), _RANGE.fullmatch(part)
        if range_:
            first, last, step = (int(number or 1) for number in range_.groups())
            values = range(first, last + 1, step)
            if not 2 <= len(values) <= MOST_ROWS:
                raise ValueError(f"path component {part!r}: expected a range of 2 to {MOST_ROWS} numbers")
            yield Axis(at, tuple(values))
        elif pair:
            yield Axis(at, tuple(map(int, pair.groups())))


def _placed_rows(lines: Sequence[_Lines]) -> tuple[tuple[Row, ...], dict[str, str]]:
    """All rows in the plan's order, and their digests: folded rows say where they stand, others fill what is left."""
    total = sum(line.count for line in lines)
    if total > MOST_ROWS:
        raise ValueError(f"the file describes {total} parameters: expected at most {MOST_ROWS}")
    slots: list[Row | None] = [None] * total
    digests: dict[str, str] = {}
    alone = []
    for i, line in enumerate(lines, 1):
        rows, own = _expanded(line, f"parameter {i}")
        digests |= own
        if line.axes:
            _put(slots, line, rows, f"parameter {i}")
        else:
            alone += rows
    rest = iter(alone)
    return tuple(next(rest) if row is None else row for row in slots), digests


def _put(slots: list[Row | None], line: _Lines, rows: Sequence[Row], where: str) -> None:
    """Puts the rows of a folded line where they belong."""
    for at, row in zip(lattice(line.place[0], line.place[1:], line.sizes), rows, strict=True):
        if not 0 <= at < len(slots) or slots[at] is not None:
            raise ValueError(f"{where}, key 'place': position {at} of {row.path!r} is taken or past the {len(slots)}")
        slots[at] = row


def _expanded(line: _Lines, where: str) -> tuple[list[Row], dict[str, str]]:
    """The rows of a line and their digests."""
    if not isinstance(line.config, dict):
        return [row_of(line.config, where)], {}
    config = {key: value for key, value in line.config.items() if key != "digests"}
    names = spelled(line.parts, line.axes)
    digests = _each(line.config.get("digests", [""] * len(names)), len(names), f"{where}, key 'digests'")
    numbers = config.pop("numbers", None)
    lists = {key: config.pop(key) for key in VARYING if isinstance(config.get(key), list)}
    columns = {key: _each(value, len(names), f"{where}, key {key!r}") for key, value in lists.items()}
    first = row_of(config | ({"path": names[0]} if names[0] else {}) | {key: c[0] for key, c in columns.items()}, where)
    rows = [first]
    for i, name in enumerate(names[1:], 1):
        rows.append(_another(first, {"path": name} | {key: column[i] for key, column in columns.items()}, where))
    if numbers is not None:
        rows = _numbered(rows, _each(numbers, len(names), f"{where}, key 'numbers'"), where)
    return rows, {row.path: digest for row, digest in zip(rows, digests, strict=True) if digest != ""}


def _numbered(rows: Sequence[Row], numbers: Sequence[Any], where: str) -> list[Row]:
    """The rows, each with its own number in its law."""
    if type(rows[0].law) not in _NUMBERS or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise ValueError(f"{where}, key 'numbers': expected numbers, for a law that has one")
    try:
        return [replace(row, law=_with_number(row.law, number)) for row, number in zip(rows, numbers, strict=True)]
    except (TypeError, ValueError) as error:
        raise placed(error, where) from error


def _another(first: Row, values: Mapping[str, Any], where: str) -> Row:
    try:
        return replace(first, **values)
    except (TypeError, ValueError) as error:
        raise placed(error, where) from error


def _each(values: Any, count: int, what: str) -> list[Any]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{what}: {reprlib.repr(values)}, expected a list of {count}, one for each parameter")
    return values


def _check_digests(manifest: Manifest) -> None:
    checked_text(manifest.digest, name="digest")
    for name, digest in [*manifest.digests.items(), ("digest", manifest.digest or "0" * 32)]:
        if not isinstance(digest, str) or not _HEX.fullmatch(digest):
            raise ValueError(f"{name}: digest {reprlib.repr(digest)}, expected 32 hexadecimal digits, of digest_of")
    paths = {row.path: row for row in manifest.plan}
    for name in manifest.digests:
        if checked_text(name, name="path") not in paths:
            raise ValueError(f"digests names {name!r}, no path of the plan{nearest(name, paths)}")
    missing = [row.path for row in manifest.plan if row.law is not None and row.path not in manifest.digests]
    if manifest.digests and missing:
        raise ValueError(f"digests has {len(manifest.digests)} and misses {missing[0]!r}: expected all drawn, or none")


def _agreed(given: str, computed: str) -> str:
    if given and given != computed:
        raise ValueError(f"digest = {given!r}: the digests of the parameters give {computed!r}")
    return computed


def _digest_of_exact(plan: Plan, digests: Mapping[str, str]) -> str:
    """Digest of all rows that are fixed to the bit; "" where there are none."""
    exact = {row.path: digests[row.path] for row in plan if row.exact}
    return digest_of_all(exact) if exact else ""


def _wrong(manifest: Manifest, expected: Mapping[str, str], digests: Mapping[str, str]) -> Iterator[str]:
    for row in manifest.plan:
        wanted, got = expected.get(row.path), digests.get(row.path)
        hint = "" if row.exact else " (orthogonal matrices agree to a tolerance, not to the bit)" if row.law else ""
        if wanted is not None and got is None:
            yield f"{row.path}: expected a digest, none came"
        elif wanted and wanted != got:
            yield f"{row.path}: expected {wanted}, got {got}{hint}"


def _unknown(plan: Plan, digests: Mapping[str, str]) -> Iterator[str]:
    paths = {row.path for row in plan}
    return (f"{path}: the plan has no such parameter" for path in digests if path not in paths)


def _little_endian(array: Array) -> Array:
    order = sys.byteorder if array.dtype.byteorder == "=" else {">": "big"}.get(array.dtype.byteorder, "little")
    swapped = array.byteswap() if order == "big" else array
    return np.ascontiguousarray(swapped)
