"""The values that a model holds, read when they are asked about: `fanwise.plan.starts.Starts` for any framework."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from fanwise.adapters.protocol import Backend
from fanwise.graph.kinds import MAP_USES
from fanwise.graph.op import Parameter, UseRole
from fanwise.graph.trace import Trace
from fanwise.laws.base import Initializer
from fanwise.laws.elementwise import Normal
from fanwise.measure.law_recognition import ROUND, FoundLaw, found_law
from fanwise.measure.weight_axes import unit_layout
from fanwise.measure.weight_statistics import values_of
from fanwise.plan.recipes.spread import even
from fanwise.plan.row import nearest
from fanwise.stream.formats import Array

TRAINED = "trained"
"""What `keep` takes for weights that look trained."""
FEWEST = 8
"""Values below which nothing can be told of how they came about."""
STANDARD_ERRORS = 5.0
"""By how many standard errors a mean, or the likeness of neighbours, may differ from 0 in values that were drawn."""
LARGEST = 6.0
"""Size beyond which no value of a standard normal law is met: once in 5 * 10^8."""


class ModelStarts:
    """The values of one model.

    Args:
        read: gives a copy of a parameter's values by its path.
        anew: paths whose values say nothing of how they were meant.
    """

    def __init__(self, read: Callable[[str], Array], anew: Collection[str] = ()) -> None:
        self._read = read
        self._anew = anew
        self._constants: dict[str, float | None] = {}

    def constant(self, path: str) -> float | None:
        """The one value of a parameter, None where its values differ or are not finite."""
        if path not in self._constants:
            self._constants[path] = None if path in self._anew else _one_value(self._values(path))
        return self._constants[path]

    def multiple_of_identity(self, path: str) -> float | None:
        """The factor c of a square matrix c I, None for anything else; 0 is none."""
        values = self._values(path)
        if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 2 or values[0, 1] != 0:
            return None
        factor = complex(values[0, 0])
        is_multiple = factor.imag == 0 and factor.real and np.array_equal(values, factor.real * np.eye(len(values)))
        return factor.real if is_multiple and math.isfinite(factor.real) else None

    def is_finite(self, path: str) -> bool:
        """Whether no value is infinite or not a number."""
        return bool(np.isfinite(self._values(path)).all())

    def looks_written(self, path: str, bound: float) -> bool:
        """Whether a vector was written down: its values repeat, stand off 0 together, or are huge."""
        values = self._values(path)
        if values.size < 2 or np.iscomplexobj(values) or not np.isfinite(values).all():
            return False
        if len(np.unique(values)) < values.size * (0.5 if _is_coarse(values) else 1):
            return bool(np.any(values != 0))
        largest = float(np.abs(values).max())
        return largest > LARGEST or (largest > bound and values.size >= FEWEST and _is_off_zero(values))

    def drawn_like(self, path: str) -> Initializer | None:
        """A normal law of their std, to the digits that their number tells."""
        values = self._values(path)
        if values.size < FEWEST or not np.isfinite(values).all() or len(np.unique(values)) < 0.9 * values.size:
            return None
        if _is_off_zero(values) or any(_is_smooth(values, axis) for axis in range(values.ndim)):
            return None
        return Normal(_common_std(float(values.std()), values.shape))

    def drawn_around(self, path: str) -> Initializer | None:
        """An even law of their mean and std, to three digits."""
        values = self._values(path)
        if values.size < FEWEST or np.iscomplexobj(values) or not np.isfinite(values).all():
            return None
        if len(np.unique(values)) < 0.9 * values.size or not _is_off_zero(values):
            return None
        if any(_is_smooth(values, axis) for axis in range(values.ndim)):
            return None
        mean, half = (float(f"{value:.3g}") for value in (values.mean(), math.sqrt(3) * values.std()))
        return even(mean, half)

    def random_sign(self, path: str) -> float | None:
        """The size of values that differ in their signs alone, and in no order."""
        values = self._values(path)
        size = float(np.abs(values).flat[0]) if values.size else 0.0
        if values.size < FEWEST or np.iscomplexobj(values) or not size or not math.isfinite(size):
            return None
        is_even = np.all(np.abs(values) == size) and abs(values.mean()) < STANDARD_ERRORS * size / math.sqrt(
            values.size
        )
        return size if is_even and not any(_is_smooth(values, axis) for axis in range(values.ndim)) else None

    def _values(self, path: str) -> Array:
        values = np.asarray(self._read(path))
        return values if np.iscomplexobj(values) else values.astype(np.float64)


def _one_value(values: Array) -> float | None:
    if not values.size or np.iscomplexobj(values):
        return None
    first = values.flat[0]
    return float(first) if bool(np.all(values == first)) and math.isfinite(first) else None


def _is_coarse(values: Array) -> bool:
    """Whether values are those of a 16-bit format, in which drawn ones repeat by chance."""
    single = values.astype(np.float32)
    is_bfloat16 = not np.any(single.view(np.uint32) & 0xFFFF)
    with np.errstate(over="ignore"):
        return is_bfloat16 or bool(np.all(single.astype(np.float16) == single))


def _is_off_zero(values: Array) -> bool:
    """Whether the mean is further from 0 than that of random values."""
    return bool(abs(values.mean()) > STANDARD_ERRORS * float(values.std()) / math.sqrt(values.size))


def _is_smooth(values: Array, axis: int) -> bool:
    """Whether neighbours along an axis are alike, as in a ramp, or repeated.

    The correlation of n pairs of independent values errs by 1 / sqrt(n).
    """
    if values.shape[axis] < 3:
        return False
    steps = np.diff(values, axis=axis)
    if steps.shape[axis] > 3 and (np.all(steps >= 0) or np.all(steps <= 0)):
        return True
    centred = values - values.mean()
    ahead, behind = (np.take(centred, range(start, values.shape[axis] + start - 1), axis) for start in (0, 1))
    likeness = float((ahead * behind).mean() / (centred**2).mean())
    return abs(likeness) > min(STANDARD_ERRORS / math.sqrt(ahead.size), 0.9)


def _common_std(std: float, shape: Sequence[int]) -> float:
    """The std that people would have written, where one is near; two digits elsewhere."""
    error = 3 / math.sqrt(2 * math.prod(shape))
    common = (*ROUND, *(1 / math.sqrt(extent) for extent in shape if extent > 1))
    near = [value for value in common if abs(std / value - 1) < error]
    return min(near, key=lambda value: abs(std / value - 1)) if near else float(f"{std:.2g}")


# What the user keeps


def kept_paths(backend: Backend, model: object, trace: Trace, keep: str | Collection[str] | None) -> Mapping[str, str]:
    """What a user keeps of a model, as why, by path.

    Args:
        backend: the framework.
        model: the model.
        trace: of a run of it.
        keep: patterns of paths, or "trained"; None means nothing.

    Raises:
        TypeError: something that is no pattern.
        ValueError: a pattern that matches no parameter; the message lists the nearest names.
    """
    patterns = checked_keep(keep)
    known = {name: parameter for parameter in trace.parameters for name in (parameter.path, *parameter.aliases)}
    kept: dict[str, str] = {}
    for pattern in patterns:
        if pattern == TRAINED and pattern not in known:
            kept |= dict.fromkeys(_trained(backend, model, trace), "it looks trained (keep = 'trained')")
            continue
        matched = {p.path for name, p in known.items() if name == pattern or fnmatchcase(name, pattern)}
        if not matched:
            raise ValueError(f"keep = {pattern!r} matches no parameter{nearest(pattern, known)}")
        kept |= dict.fromkeys(matched, f"asked for (keep = {pattern!r})")
    return kept


def checked_keep(keep: str | Collection[str] | None) -> tuple[str, ...]:
    """Patterns as a tuple; a single text is one pattern, not its letters.

    Raises:
        TypeError: something else.
    """
    if keep is None:
        return ()
    if isinstance(keep, str):
        return (keep,)
    if not isinstance(keep, Collection) or not all(isinstance(pattern, str) for pattern in keep):
        raise TypeError(f"keep = {keep!r}: expected patterns of paths such as 'encoder.*', or 'trained'")
    return tuple(keep)


def _trained(backend: Backend, model: object, trace: Trace) -> Iterator[str]:
    """Parameters that look trained: maps by their law, vectors where they vary and their map looks trained."""
    read = backend.reader(model)
    laws = {p.path: _law(read(p.path), p, trace) for p in trace.parameters if trace.uses[p.path]}
    told = [law for law in laws.values() if law.kind not in ("few", "zeros", "constant")]
    mostly = sum(law.kind == "trained" for law in told) > 0.5 * len(told)
    trained = {path for path, law in laws.items() if _looks_trained(law, mostly=mostly)}
    yield from trained
    for path, law in laws.items():
        if path not in trained and law.kind not in ("zeros", "constant") and _beside(trace, path, trained):
            yield path


def _law(values: Array, parameter: Parameter, trace: Trace) -> FoundLaw:
    if np.iscomplexobj(values) or not values.size:
        return FoundLaw("not looked at", "few")
    layout = unit_layout(trace, parameter.path)
    return found_law(values_of(values, layout), parameter.shape, layout)


def _looks_trained(law: FoundLaw, *, mostly: bool) -> bool:
    """Whether values follow no random law; in a model of which most do not, also those of no known size."""
    return law.kind == "trained" or (mostly and law.kind in ("none", "shifted") and law.fresh)


def _beside(trace: Trace, path: str, trained: set[str]) -> bool:
    """Whether a vector belongs to a weight that looks trained, or to none of its own in such a model, as a norm's."""
    op, use = trace.uses[path][0]
    if use.role in MAP_USES or use.role == UseRole.TABLE:
        return False
    own = {other.path for other in op.uses if other.role in MAP_USES}
    return bool(own & trained) if own else bool(trained)
