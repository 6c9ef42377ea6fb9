"""One row of a plan: what one parameter is, and the law of its values."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import UnionType
from typing import TypeVar

from fanwise.laws.base import Initializer, Moments
from fanwise.laws.composite import ICNR, Blocks
from fanwise.laws.elementwise import VarianceScaling
from fanwise.laws.layout import Fans, Layout
from fanwise.laws.structured import DeltaOrthogonal, LooksLinear, MatrixLaw, Orthogonal
from fanwise.stream.arguments import checked_choice, checked_number, near_names
from fanwise.stream.box import Shape, checked_shape

ORDERS = ("storage", "canonical")
KEPT = "kept: meant"
"""How the reason of a row begins whose parameter keeps what its author gave it."""
UNUSED = "unused"
"""The role of a parameter that no op of the model reads."""

_RANK = {"stack": 0, "kernel": 1, "in": 2, "lookup": 2, "out": 3}

_T = TypeVar("_T")


@dataclass(frozen=True)
class Row:
    """What one parameter is, the law of its values, and why this law.

    Args:
        path: dotted name of the parameter.
        shape: its global shape, as it is stored.
        dtype: the framework's name of its dtype, without prefix: "float32", "bfloat16", "float8_e4m3fn".
        law: the law of its values; None leaves it as it is.
        layout: roles of its axes; None where it has no fans, and then no law that needs fans fits.
        role: what it is in the model: "weight", "branch_end", "head", "embedding", "norm_scale", "bias", "unused".
        op: kind of the op that uses it: "linear", "conv", "embedding", "norm"; "" where none does.
        reason: why this law, in one sentence.
        source: author, title, year, equation.
        stream: path of the stream that it draws from, where that is not its own path.
        order: the axis order in which its elements are counted: "storage" or "canonical" (see `canonical_axes`).
        aliases: other names of the same storage.
        fed: second moment of what feeds the op, measured or derived; None where nobody knows.
        gives: second moment that the op should give, by the rule or by theory; None where nobody knows.
        guess: the law stands on an assumption, neither measured nor derived.
        factor: what the values drawn are multiplied by: a calibration's result.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: one out of range, or a law that does not fit the shape and layout.

    Example:
        >>> from fanwise import Layout, he_normal
        >>> row = Row("0.weight", (100, 784), "float32", he_normal, Layout.dense("out in"), "weight", "linear", "He.")
        >>> row.fans, round(row.std, 4), round(row.gain, 4)
        ((Fans(fan_in=784, fan_out=100),), 0.0505, 1.4142)
    """

    path: str
    shape: Shape
    dtype: str
    law: Initializer | None
    layout: Layout | None
    role: str
    op: str
    reason: str
    source: str = ""
    stream: str = ""
    order: str = "storage"
    aliases: tuple[str, ...] = ()
    fed: float | None = None
    gives: float | None = None
    guess: bool = False
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not checked_text(self.path, name="path"):
            raise ValueError("path = '': expected the dotted name of a parameter, such as 'encoder.0.weight'")
        _within(self.path, lambda: _check_words(self))
        _within(self.path, lambda: _check_numbers(self))
        _within(self.path, lambda: _check_law(self))

    @property
    def names(self) -> tuple[str, ...]:
        """The path and every alias."""
        return (self.path, *self.aliases)

    @property
    def meant(self) -> bool:
        """Whether it keeps a start that its author, or the caller of `plan`, meant."""
        return self.reason.startswith(KEPT)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @cached_property
    def fans(self) -> tuple[Fans, ...]:
        """Fans of every fused map, in storage order; empty without a layout."""
        return () if self.layout is None else self.layout.block_fans(self.shape)

    @property
    def fan_in(self) -> float | None:
        """The fan_in that all its maps share; None where they share none or there is no layout."""
        distinct = {fans.fan_in for fans in self.fans}
        return distinct.pop() if len(distinct) == 1 else None

    @cached_property
    def std(self) -> float | None:
        """Standard deviation of the values that it gets; None where it is left as it is."""
        return None if self.law is None else self._moments(self.law).std * self.factor

    @property
    def gain(self) -> float | None:
        """Std times sqrt(fan_in); None where it is left as it is or has not one fan_in."""
        return None if self.std is None or self.fan_in is None else self.std * math.sqrt(self.fan_in)

    @property
    def canonical_axes(self) -> tuple[int, ...]:
        """The permutation of the storage axes to (stack, *kernel, in, out); axes of one role keep their order.

        With ``order="canonical"`` element i is counted in C order over the array transposed by it, so that ports of
        one model whose storage differs draw the same numbers. Without a layout it is the storage order.

        Example:
            >>> from fanwise import Layout, Normal
            >>> layout = Layout.conv("out in kernel kernel")
            >>> Row("w", (64, 3, 7, 7), "float32", Normal(0.1), layout, "", "", "").canonical_axes
            (2, 3, 1, 0)
        """
        if self.layout is None:
            return tuple(range(len(self.shape)))
        roles = self.layout.axes
        return tuple(sorted(range(len(roles)), key=lambda axis: _RANK[roles[axis]]))

    @property
    def counted(self) -> "Row":
        """The row with its axes in the order in which elements are counted: call its law with its shape and layout.

        The array that comes, transposed by the inverse of `canonical_axes`, is the parameter as it is stored.
        """
        if self.order == "storage":
            return self
        axes = self.canonical_axes
        shape = tuple(self.shape[axis] for axis in axes)
        law = None if self.law is None else _law_along(self.law, axes)
        return replace(self, shape=shape, layout=_layout_along(self.layout, axes), law=law, order="storage")

    @property
    def exact(self) -> bool:
        """Whether plan and seed fix its bits on every machine; orthogonal matrices agree to a tolerance only."""
        return self.law is not None and not holds(self.law, Orthogonal | DeltaOrthogonal | LooksLinear)

    def edited(self, law: Initializer | None, reason: str) -> "Row":
        """Row of the same parameter under another law: what was said of the old law is dropped, its calibration too."""
        return replace(self, law=law, reason=reason, source="", gives=None, guess=False, factor=1.0)

    def _moments(self, law: Initializer) -> Moments:
        return law.moments(self.shape, layout=self.layout)


def holds(law: Initializer, kinds: type | UnionType) -> bool:
    """Whether a law, or one inside it, is of these kinds (a class or a union of them)."""
    inner = law.laws if isinstance(law, Blocks) else (law.base,) if isinstance(law, ICNR) else ()
    return isinstance(law, kinds) or any(holds(part, kinds) for part in inner)


def checked_text(value: object, *, name: str) -> str:
    """A str that UTF-8 can hold.

    Raises:
        TypeError: not a str.
        ValueError: lone surrogates, which neither a file nor a stream's name can carry.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} = {value!r}: expected a str")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{name} = {value!r}: expected text that UTF-8 can hold, this has lone surrogates")
    return value


def placed(error: Exception, where: str) -> TypeError | ValueError:
    """Error with the place where it arose, as one of the two kinds that callers expect."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"{where}: {error}")


def nearest(name: str, names: Mapping[str, object]) -> str:
    """The tail of a message that says which names come closest, or that there are none."""
    if not names:
        return ": the plan is empty"
    close = near_names(str(name), names, cutoff=0.5) or list(names)[:3]
    return f": the nearest are {', '.join(map(repr, close))}"


def _layout_along(layout: Layout | None, axes: tuple[int, ...]) -> Layout | None:
    """The layout of an array transposed by `axes`, which keep the kernel axes in order."""
    if layout is None:
        return None
    fused = None if layout.fused is None else replace(layout.fused, axis=axes.index(layout.fused.axis))
    return replace(layout, axes=tuple(layout.axes[axis] for axis in axes), fused=fused)


def _law_along(law: Initializer, axes: tuple[int, ...]) -> Initializer:
    """The law whose array, transposed by `axes`, `law` would fill."""
    if isinstance(law, Blocks):
        return replace(law, laws=tuple(_law_along(part, axes) for part in law.laws), axis=axes.index(law.axis))
    return replace(law, base=_law_along(law.base, axes)) if isinstance(law, ICNR) else law


def _within(path: str, check: Callable[[], _T]) -> _T:
    """What the check returns; what it raises names the parameter."""
    try:
        return check()
    except (TypeError, ValueError, ArithmeticError) as error:
        raise placed(error, f"parameter {path!r}") from error


def _check_words(row: Row) -> None:
    for name in ("dtype", "role", "op", "reason", "source", "stream"):
        checked_text(getattr(row, name), name=name)
    if not row.dtype.isidentifier():
        raise ValueError(f"dtype = {row.dtype!r}: expected a name without prefix, such as 'float32' or 'bfloat16'")
    checked_choice(row.order, ORDERS, name="order")
    aliases: object = row.aliases
    if not isinstance(aliases, tuple | list):
        raise TypeError(f"aliases = {aliases!r}: expected a tuple of names, such as ('lm_head.weight',)")
    object.__setattr__(row, "aliases", tuple(aliases))
    if len({checked_text(name, name="aliases") for name in row.names}) < len(row.names):
        raise ValueError(f"aliases = {row.aliases!r}: expected other names than the path, each once")


def _check_numbers(row: Row) -> None:
    object.__setattr__(row, "shape", checked_shape(row.shape))
    for name in ("fed", "gives"):
        if getattr(row, name) is not None:
            object.__setattr__(row, name, checked_number(getattr(row, name), name=name, low=0.0))
    object.__setattr__(row, "factor", checked_number(row.factor, name="factor"))
    if row.factor <= 0:
        raise ValueError(f"factor = {row.factor}: expected a number > 0")
    if not isinstance(row.guess, bool):
        raise TypeError(f"guess = {row.guess!r}: expected True or False")


def _check_law(row: Row) -> None:
    if not isinstance(row.layout, Layout | None):
        raise TypeError(f"layout = {row.layout!r}: expected a fanwise.Layout, or None where there are no fans")
    if not isinstance(row.law, Initializer | None):
        raise TypeError(f"law = {row.law!r}: expected an initializer, such as fanwise.he_normal, or None to keep it")
    if row.law is not None and row.layout is None and holds(row.law, VarianceScaling | MatrixLaw | ICNR):
        raise ValueError(f"law = {row.law!r} needs fans: give a layout, such as Layout.dense('out in')")
    _check_hashable(row)
    _ = row.fans, row.std  # raises where layout, law and shape do not fit


def _check_hashable(row: Row) -> None:
    try:
        hash((row.layout, row.law))
    except TypeError:
        raise TypeError(f"layout = {row.layout!r}, law = {row.law!r}: expected tuples in them, no lists") from None
