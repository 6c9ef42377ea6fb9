"""The laws of a plan as PyTorch code that needs torch alone: for those who mend a model by hand."""

import json
import math
import textwrap
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from fanwise._version import __version__
from fanwise.laws.base import Initializer, known_layout
from fanwise.laws.elementwise import Constant, Normal, Ones, TruncatedNormal, Uniform, Zeros
from fanwise.laws.layout import Layout
from fanwise.laws.resolve import Part, named_parts, resolve
from fanwise.laws.structured import Identity, LooksLinear, Orthogonal
from fanwise.plan.folding import Axis, fold
from fanwise.plan.formula import formula, short
from fanwise.plan.row import Row
from fanwise.stream.box import Box, Shape
from fanwise.stream.truncation import Truncation

INDENT = "    "
WIDTH = 100
"""Letters in a line of comment."""
LOOP = 3
"""From so many parameters on, a loop over a table of names and numbers is shorter than a line each."""
LETTERS = "ijklmn"
ORTHOGONAL = "init.orthogonal_(@, gain=$0)"
PART = ORTHOGONAL.replace("@", "part")


@dataclass(frozen=True)
class _Call:
    """How one map of a parameter is filled.

    Args:
        code: the call, with "@" for the tensor and "$0", "$1" ... for the numbers.
        part: which part of the parameter, as an index such as "[0:512]"; "" for all of it.
        names: what the numbers are, for a loop over them.
        numbers: they.
        note: where they come from.
    """

    code: str
    part: str = ""
    names: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    note: str = ""

    def on(self, name: str, numbers: Sequence[str]) -> str:
        """The call with a tensor and numbers put in."""
        code = self.code.replace("@", f"weights[{name}]{self.part}")
        for argument, number in enumerate(numbers):
            code = code.replace(f"${argument}", number)
        return code


@dataclass(frozen=True)
class _Filling:
    """The calls that fill one parameter, and why."""

    path: str
    calls: tuple[_Call, ...]
    reason: str

    @property
    def kind(self) -> Hashable:
        """What parameters share whose calls differ in their numbers alone."""
        return self.reason, tuple((call.code, call.part) for call in self.calls)

    @property
    def numbers(self) -> Hashable:
        """The numbers of all calls."""
        return tuple(call.numbers for call in self.calls)


def pasted(rows: Sequence[Row], *, recipe: str = "") -> str:
    """Code that draws the parameters of these rows anew, in place, in a module called `model`.

    Args:
        rows: of a plan; those without a law are left out.
        recipe: that the plan follows, for the first line.

    Returns:
        Lines that begin with ``import torch`` and use torch alone; "" without rows. The numbers are drawn from
        torch's own generator: the laws are those of the plan, the bits are not.

    Example:
        >>> from fanwise import Layout, he_normal
        >>> row = Row("0.weight", (100, 784), "float32", he_normal, Layout.dense("out in"), "weight", "linear", "He.")
        >>> print(pasted([row]))
        import torch
        from torch.nn import init
        <BLANKLINE>
        # The laws of a plan by fanwise 0.1.0 for 1 parameter of `model`.
        with torch.no_grad():
            weights = dict(model.named_parameters())
            # He.
            init.normal_(weights["0.weight"], std=0.0505076)  # 1.41421 / sqrt(fan_in 784)
        <BLANKLINE>
    """
    drawn = [row for row in rows if row.law is not None]
    if not drawn:
        return ""
    lines = [line for several in _grouped([_filling(row) for row in drawn]) for line in _block(several)]
    by = f", recipe {recipe!r}," if recipe else ""
    count = f"{len(drawn)} parameter" + "s" * (len(drawn) > 1)
    head = [f"# The laws of a plan by fanwise {__version__}{by} for {count} of `model`.", "with torch.no_grad():"]
    body = textwrap.indent("\n".join(["weights = dict(model.named_parameters())", *lines]), INDENT)
    return "\n".join(["import torch", "from torch.nn import init", "", *head, body, ""])


def _grouped(fillings: Sequence[_Filling]) -> list[list[_Filling]]:
    """Those that differ in their paths and numbers alone together, in the order of the first of each."""
    groups: dict[Hashable, list[_Filling]] = {}
    for filling in fillings:
        groups.setdefault(filling.kind, []).append(filling)
    return list(groups.values())


def _block(fillings: Sequence[_Filling]) -> Iterator[str]:
    """The lines of fillings that differ in their paths and numbers alone, under their reason."""
    if fillings[0].reason:
        yield from textwrap.wrap(fillings[0].reason, WIDTH, initial_indent="# ", subsequent_indent="# ")
    same: dict[Hashable, list[_Filling]] = {}
    for filling in fillings:
        same.setdefault(filling.numbers, []).append(filling)
    for several in same.values():
        yield from _loop(several) if len(several) >= LOOP else ()
    apart = [filling for several in same.values() if len(several) < LOOP for filling in several]
    if len(apart) >= LOOP and len(apart[0].calls) == 1:
        yield from _table(apart)
    else:
        yield from (line for filling in apart for line in _lines(filling, json.dumps(filling.path)))


def _lines(filling: _Filling, name: str, *, noted: bool = True) -> Iterator[str]:
    for call in filling.calls:
        yield call.on(name, call.numbers) + (f"  # {call.note}" if call.note and noted else "")


def _loop(fillings: Sequence[_Filling]) -> Iterator[str]:
    """A loop over parameters that are filled alike."""
    names = _names([filling.path for filling in fillings])
    if len(names) == 1:
        yield f"for name in {names[0].removeprefix('*')}:"
    else:
        yield from ("for name in (", *(f"{INDENT}{name}," for name in names), "):")
    noted = len({tuple(call.note for call in filling.calls) for filling in fillings}) == 1
    yield from (INDENT + line for line in _lines(fillings[0], "name", noted=noted))


def _table(fillings: Sequence[_Filling]) -> Iterator[str]:
    """A loop over parameters whose numbers differ, each filled by one call."""
    first = fillings[0].calls[0]
    yield f"for {', '.join(('name', *first.names))} in ("
    for filling in fillings:
        call = filling.calls[0]
        entry = f"({', '.join((json.dumps(filling.path), *call.numbers))}),"
        yield INDENT + entry + (f"  # {call.note}" if call.note else "")
    yield "):"
    yield INDENT + first.on("name", first.names)


def _names(paths: Sequence[str]) -> list[str]:
    """The paths as items of a tuple, those that differ in a number alone as one."""
    return [_name(item.parts, item.axes) for item in fold(paths, [0] * len(paths))]


def _name(parts: Sequence[str], axes: Sequence[Axis]) -> str:
    if not axes:
        return json.dumps(".".join(parts))
    letters = {axis.at: LETTERS[i] for i, axis in enumerate(axes)}
    words = [f"{{{letters[i]}}}" if i in letters else _braced(part) for i, part in enumerate(parts)]
    loops = " ".join(f"for {letters[axis.at]} in {_range(axis.values)}" for axis in axes)
    return f"*[f{json.dumps('.'.join(words))} {loops}]"


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _range(values: Sequence[int]) -> str:
    steps = {after - before for before, after in pairwise(values)}
    if len(steps) != 1:
        return str(tuple(values))
    step = steps.pop()
    ends = [values[0], values[-1] + 1] if values[0] or step > 1 else [values[-1] + 1]
    return f"range({', '.join(map(str, [*ends, step] if step > 1 else ends))})"


def _filling(row: Row) -> _Filling:
    """The calls that fill a parameter: one, or one a block where its maps have different laws."""
    maps = () if row.law is None else named_parts(row.law, row.shape, row.layout)
    parts = [_call(row, part) for part in maps]
    calls = [call for call in parts if call is not None]
    if len(calls) < len(parts):
        lacking = _Call(f"# @: {formula(row)} has no call in torch.nn.init, fanwise.torch.apply draws it")
        return _Filling(row.path, (lacking,), row.reason)
    return _Filling(row.path, tuple(_joined(calls, [part.box for part in maps])), row.reason)


def _joined(calls: Sequence[_Call], boxes: Sequence[Box]) -> Sequence[_Call]:
    """One call in place of equal ones on all blocks of a parameter; a matrix goes block by block."""
    if len({(call.code, call.numbers) for call in calls}) != 1 or len(calls) == 1:
        return calls
    first = calls[0]
    if first.code != ORTHOGONAL:
        return [replace(first, part="")]
    axis = next((i for i, (a, b) in enumerate(zip(boxes[0].start, boxes[1].start, strict=True)) if a != b), 0)
    if len({box.shape for box in boxes}) > 1:
        return calls
    cut = f"{len(boxes)}" if axis == 0 else f"{len(boxes)}, dim={axis}"
    return [replace(first, part="", code=f"for block in @.chunk({cut}): {ORTHOGONAL.replace('@', 'block')}")]


def _call(row: Row, part: Part) -> _Call | None:
    """The call that fills one map; None where torch has none."""
    box, layout = part.box, part.layout
    law = resolve(part.law, box.shape, layout)
    if isinstance(law, Orthogonal):
        call = _orthogonal(law, box.shape, layout)
    elif isinstance(law, LooksLinear):
        call = _mirrored(law, box.shape, layout)
    else:
        call = _identity(law, row) if isinstance(law, Identity) else _elementwise(law, row)
    if call is None or row.dtype.startswith("float8"):
        return None
    code, numbers = call
    texts = tuple(_number(value * row.factor) for value in numbers.values())
    return _Call(code, _index(box, row.shape), tuple(numbers), texts, _note(row, law, box, layout))


def _elementwise(law: Initializer, row: Row) -> tuple[str, dict[str, float]] | None:
    """The call that draws each element alone, and its numbers."""
    if isinstance(law, Zeros | Ones | Constant):
        return _constant(law.moments(()).mean * row.factor, row.factor)
    if isinstance(law, Normal):
        return "init.normal_(@, std=$0)", {"std": law.std}
    if row.dtype.startswith("complex"):
        return None
    if isinstance(law, Uniform):
        return "init.uniform_(@, -$0, $0)", {"bound": law.bound}
    return _truncated(law) if isinstance(law, TruncatedNormal) and law.std else None


def _constant(value: float, factor: float) -> tuple[str, dict[str, float]]:
    calls = {0.0: "init.zeros_(@)", 1.0: "init.ones_(@)"}
    return (calls[value], {}) if value in calls else ("init.constant_(@, $0)", {"value": value / factor})


def _truncated(law: TruncatedNormal) -> tuple[str, dict[str, float]]:
    """The std that torch asks for is that of the normal law before it is cut."""
    sigma = law.std / Truncation(law.low, law.high).moments()[1]
    numbers = {"sigma": sigma, "low": law.low * sigma, "high": law.high * sigma}
    return "init.trunc_normal_(@, std=$0, a=$1, b=$2)", numbers


def _orthogonal(law: Orthogonal, shape: Shape, layout: Layout | None) -> tuple[str, dict[str, float]] | None:
    """The call where torch, which flattens all axes but the first, means the same matrix; else None."""
    known = known_layout(layout, shape)
    groups = known.group_count(shape)
    stacked = known.axes[0] == "stack"
    axes = known.axes[1:] if stacked else known.axes
    plain = axes in (("in", "out"), ("out", "in"))
    if not plain and not (axes[0] == "out" and set(axes[1:]) <= {"in", "kernel"}):
        return None
    gain = {"gain": law.moments(shape, layout=known).high}
    if groups == 1:
        return (f"for part in @: {PART}" if stacked else ORTHOGONAL), gain
    return None if known.grouped != "out" or axes[0] != "out" else (f"for part in @.chunk({groups}): {PART}", gain)


def _mirrored(law: LooksLinear, shape: Shape, layout: Layout | None) -> tuple[str, dict[str, float]] | None:
    """The call for a plain matrix of even sizes; None for any other."""
    known = known_layout(layout, shape)
    if known.axes not in (("in", "out"), ("out", "in")) or any(size % 2 for size in shape):
        return None
    signs, rows, columns = "torch.tensor([[1.0, -1.0], [-1.0, 1.0]])", shape[0] // 2, shape[1] // 2
    quarter = f"init.orthogonal_(torch.empty({rows}, {columns}), gain=$0)"
    return f"@.copy_(torch.kron({signs}, {quarter}))", {"gain": law.moments(shape, layout=known).high}


def _identity(law: Identity, row: Row) -> tuple[str, dict[str, float]] | None:
    """The call for a matrix; None for any other shape."""
    if len(row.shape) != 2:
        return None
    return ("init.eye_(@)", {}) if law.gain == row.factor == 1 else ("init.eye_(@).mul_($0)", {"gain": law.gain})


def _index(box: Box, shape: Shape) -> str:
    """The index of a part, such as "[:, 0:512]"; "" for the whole."""
    sides = zip(box.start, box.shape, shape, strict=True)
    cuts = [":" if size == extent else f"{first}:{first + size}" for first, size, extent in sides]
    while cuts and cuts[-1] == ":":
        cuts.pop()
    return f"[{', '.join(cuts)}]" if cuts else ""


def _note(row: Row, law: Initializer, box: Box, layout: Layout | None) -> str:
    """Origin of a std, where there is a fan_in and something is drawn."""
    if layout is None or not isinstance(law, Normal | TruncatedNormal | Uniform):
        return ""
    fan_in = layout.fans(box.shape).fan_in
    std = law.moments(box.shape).std * row.factor
    std_text = "" if isinstance(law, Normal) else f"std {_number(std)} = "
    return f"{std_text}{_number(std * math.sqrt(fan_in))} / sqrt(fan_in {short(fan_in)})" if fan_in > 1 else ""


def _number(value: float) -> str:
    """Six digits, as Python reads them: more than a sample of the numbers can show."""
    if math.isinf(value):
        return 'float("inf")' if value > 0 else '-float("inf")'
    return f"{value:.6g}"
