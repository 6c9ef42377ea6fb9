"""A plan: a law for every parameter of a model, as a value that is printed, edited, compared and saved."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from fanwise.laws.base import Initializer
from fanwise.laws.initializers import from_config
from fanwise.plan.diff import Diff, difference
from fanwise.plan.headings import HEADINGS
from fanwise.plan.render.table import plan_document, rich_lines, terminal_width, text_of
from fanwise.plan.render.toml import plan_toml, read_plan
from fanwise.plan.row import UNUSED, Row, checked_text, nearest, placed
from fanwise.report.document import Document

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

LawLike: TypeAlias = Initializer | str | Mapping[str, Any] | None
"""What `edit` takes: an initializer, its name or its configuration (`from_config`), or None to leave a parameter."""


@dataclass(frozen=True, repr=False)
class Plan:
    """A law for every parameter of a model.

    Args:
        rows: one a parameter, in the model's order.
        recipe: the recipe that made it.
        framework: framework and version of the model.
        inputs: the inputs on which the model was run, in words.

    Raises:
        TypeError: something that is not a Row.
        ValueError: a name that two rows claim, as path or as alias.

    Example:
        >>> from fanwise import Layout, Normal, zeros
        >>> dense = Layout.dense("out in")
        >>> plan = Plan((
        ...     Row("0.weight", (100, 784), "float32", Normal(0.05), dense, "weight", "linear", "He."),
        ...     Row("0.bias", (100,), "float32", zeros, None, "bias", "linear", "Biases start at 0."),
        ... ))
        >>> plan["0.weight"].law, plan.edit("*.weight", "he_normal")["0.weight"].law
        (Normal(std=0.05), VarianceScaling(scale=2.0, mode='fan_in', distribution='normal'))
    """

    rows: Sequence[Row]
    recipe: str = ""
    framework: str = ""
    inputs: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        strangers = [row for row in self.rows if not isinstance(row, Row)]
        if strangers:
            raise TypeError(f"rows holds {strangers[0]!r}: expected fanwise.plan.row.Row")
        for name in HEADINGS:
            checked_text(vars(self)[name], name=name)
        _check_distinct(self.rows)

    def __repr__(self) -> str:
        headings = "".join(f", {name}={text!r}" for name, text in self.headings.items() if text)
        return f"<Plan of {len(self)} parameters{headings}>"

    def __str__(self) -> str:
        width = terminal_width()
        return text_of(self.table(width=width), width)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator["Text"]:
        return rich_lines(self.table(width=options.max_width), options)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Row:
        """The row of a parameter, by its path or by another name of the same storage.

        Raises:
            KeyError: there is none; the message lists the nearest names.
        """
        if name not in self._by_name:
            raise KeyError(f"no parameter {name!r}{nearest(name, self._by_name)}")
        return self._by_name[name]

    @property
    def headings(self) -> Mapping[str, str]:
        """What the plan says of itself besides its rows, by name."""
        return {name: vars(self)[name] for name in HEADINGS}

    @property
    def unused(self) -> tuple[Row, ...]:
        """Rows of parameters that no op of the model reads."""
        return tuple(row for row in self.rows if row.role == UNUSED)

    @property
    def kept(self) -> tuple[Row, ...]:
        """Rows without a law: parameters left as they are."""
        return tuple(row for row in self.rows if row.law is None)

    @property
    def meant(self) -> tuple[Row, ...]:
        """Rows that keep what the model's author, or the caller of `plan`, meant: their law gives the values found."""
        return tuple(row for row in self.rows if row.meant)

    def edit(self, pattern: str, law: LawLike, *, reason: str = "edited") -> "Plan":
        """The plan with another law for some parameters.

        Args:
            pattern: a name, or a pattern as in a shell ("h.*.attn.*"), of paths or aliases.
            law: an initializer, the name or configuration of one, or None to leave the parameters as they are.
            reason: the reason that the rows give from now on.

        Raises:
            TypeError: not a law, or not a pattern.
            ValueError: no parameter has such a name, or the law does not fit one that has.
        """
        return self.override({pattern: law}, reason=reason)

    def override(self, laws: Mapping[str, LawLike], *, reason: str = "edited") -> "Plan":
        """The plan with other laws, by pattern.

        Args:
            laws: as `edit` takes them, by pattern.
            reason: the reason that the rows give from now on.

        Raises:
            TypeError: something that is not a law or a pattern.
            ValueError: patterns that match no parameter, parameters that two patterns give different laws (all in
                one message), or a law that does not fit a parameter.
        """
        asked = {checked_text(pattern, name="pattern"): _as_law(law, pattern) for pattern, law in laws.items()}
        matches = {pattern: self._matching(pattern) for pattern in asked}
        troubles = [*self._unmatched(matches), *_fights(matches, asked)]
        if troubles:
            raise ValueError("; ".join(troubles))
        chosen = {row.path: asked[pattern] for pattern, rows in matches.items() for row in rows}
        rows = (row.edited(chosen[row.path], reason) if row.path in chosen else row for row in self.rows)
        return replace(self, rows=tuple(rows))

    def only(self, names: Iterable[str]) -> "Plan":
        """The plan with laws for these parameters alone; it leaves the others as they are found.

        Args:
            names: paths or aliases.

        Raises:
            KeyError: a name that is none of a parameter.
        """
        meant = {self[name].path for name in names}
        left = "as it was found"
        return replace(
            self, rows=[row if row.path in meant or row.law is None else row.edited(None, left) for row in self.rows]
        )

    def diff(self, other: "Plan") -> Diff:
        """What changes from this plan to another one.

        Example:
            >>> from fanwise import Normal
            >>> plan = Plan((Row("w", (3,), "float32", Normal(0.1), None, "weight", "", ""),))
            >>> change = plan.diff(plan.edit("w", Normal(0.2))).changed[0]
            >>> change.path, change.fields, change.std_ratio
            ('w', ('law', 'reason'), 2.0)
        """
        headings = {name: (text, other.headings[name]) for name, text in self.headings.items()}
        return difference(self.rows, other.rows, headings)

    def table(self, *, full: bool = False, width: int | None = None) -> Document:
        """The plan as a report, for any renderer.

        Args:
            full: show every row, instead of one for each repeated structure.
            width: letters in a line; columns for which there is no room are left out. None shows all.
        """
        title = f"Plan {self.recipe!r}" if self.recipe else "Plan"
        about = ", ".join(filter(None, (self.framework, self.inputs)))
        return plan_document(self.rows, title=title, subtitle=about, full=full, width=width)

    def to_toml(self) -> str:
        """The plan as a TOML file, one line a parameter; `from_toml` gives it back exactly.

        Raises:
            TypeError: a law that is not one of fanwise's, which no file can name.
        """
        return plan_toml(self.headings, self.rows)

    @staticmethod
    def from_toml(text: str) -> "Plan":
        r"""The plan that a file describes.

        Raises:
            TypeError: a value of the wrong kind; the message names the parameter and the key.
            ValueError: not TOML, a file of a later fanwise, unknown keys or names, or values out of range.

        Example:
            >>> text = 'format = 1\nparameter = [{ path = "b", law = "zeros", shape = [3], dtype = "float32" }]'
            >>> Plan.from_toml(text)["b"].law
            Zeros()
        """
        rows, headings = read_plan(text)
        return Plan(rows, **headings)

    @cached_property
    def _by_name(self) -> dict[str, Row]:
        return {name: row for row in self.rows for name in row.names}

    def _matching(self, pattern: str) -> tuple[Row, ...]:
        """Rows with a name that is the pattern or matches it."""
        return tuple(
            row for row in self.rows if any(name == pattern or fnmatchcase(name, pattern) for name in row.names)
        )

    def _unmatched(self, matches: Mapping[str, Sequence[Row]]) -> Iterator[str]:
        for pattern, rows in matches.items():
            if not rows:
                yield f"pattern {pattern!r} matches no parameter{nearest(pattern, self._by_name)}"


def _as_law(law: LawLike, pattern: str) -> Initializer | None:
    """The initializer that is meant, None for none."""
    if law is None or isinstance(law, Initializer):
        return law
    if not isinstance(law, str | Mapping):
        raise TypeError(f"law = {law!r} for {pattern!r}: expected an initializer, its name or configuration, or None")
    try:
        return from_config({"name": law} if isinstance(law, str) else law)
    except (TypeError, ValueError) as error:
        raise placed(error, f"law = {law!r} for {pattern!r}") from error


def _fights(matches: Mapping[str, Sequence[Row]], laws: Mapping[str, Initializer | None]) -> Iterator[str]:
    """Parameters that two patterns give different laws."""
    first: dict[str, str] = {}
    for pattern, rows in matches.items():
        for row in rows:
            other = first.setdefault(row.path, pattern)
            if laws[other] != laws[pattern]:
                yield f"patterns {other!r} and {pattern!r} give {row.path!r} different laws"


def _check_distinct(rows: Sequence[Row]) -> None:
    owners: dict[str, str] = {}
    for row in rows:
        for name in row.names:
            if name in owners:
                raise ValueError(f"name {name!r} stands in two rows, {owners[name]!r} and {row.path!r}: expected one")
            owners[name] = row.path
