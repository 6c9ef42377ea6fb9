"""Names the law in the values of a weight as they were found: 'He normal', 'N(0, 0.02)', 'orthogonal'."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from fanwise.check.observation import Values
from fanwise.laws.layout import Fans, Layout
from fanwise.stream.box import Shape

FEWEST = 64
"""Values below which a law cannot be told."""
ORTHOGONAL = 0.2
"""Overlap (see `Values`) below which rows are orthogonal; of independent rows it is 1 +- 0.03."""
ROUND = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Stds that people write down."""
PART_STEP, EVEN_STEP = 1.4, 1.2
"""Factor between parts of a weight from which they were drawn by different laws, and below which by one."""
SHARDS = (4, 8, 16, 32, 64)
"""Numbers of shards whose local fan could have been taken."""


@dataclass(frozen=True)
class FoundLaw:
    """The law that the values of a parameter look like.

    Args:
        text: for people, such as "U(±sqrt(1/fan_in)), torch default".
        kind: "zeros", "constant", "default", "he", "lecun", "glorot", "he_fan_out", "lecun_fan_out", "slip", "shard",
            "fused", "orthogonal", "fixed" (a std that does not depend on the fans), "none" (random, of no known size),
            "trained" (neither normal nor uniform) or "few" (too few values to tell).
        fresh: whether the values look as if a generator had drawn them and nobody had trained them since.
        gain: std times sqrt(fan_in); NaN where there are no fans.
        kinds: every kind that fits: where one fan is twice the other, several do.
    """

    text: str
    kind: str
    fresh: bool = True
    gain: float = math.nan
    kinds: tuple[str, ...] = ()


def found_law(values: Values, shape: Shape, layout: Layout | None) -> FoundLaw:
    """The law that fits.

    Args:
        values: the parameter's statistics.
        shape: of the parameter.
        layout: roles of its axes; None where they are not known: no law with fans is named then.

    Example:
        >>> from fanwise import Layout
        >>> values = Values(78400, 0.0, 2 / 784, kurtosis=3.0, largest=0.2, overlap=1.0)
        >>> found_law(values, (100, 784), Layout.dense("out in")).text
        'He normal'
    """
    if values.infinite:
        return FoundLaw("not finite", "none", fresh=False)
    if values.constant:
        return _constant(values.mean)
    if values.count < FEWEST or math.isnan(values.kurtosis):
        return FoundLaw("too few values to tell", "few")
    fans = _fans(shape, layout)
    return _random(values, shape, layout, fans)


def _constant(value: float) -> FoundLaw:
    return FoundLaw("0", "zeros") if value == 0 else FoundLaw(f"constant {value:.4g}", "constant")


def _fans(shape: Shape, layout: Layout | None) -> Fans | None:
    """The fans of one of the maps that the weight holds, the widest."""
    if layout is None or "lookup" in layout.axes or 0 in shape:
        return None
    return max(layout.block_fans(shape), key=lambda fans: fans.fan_out)


def _random(values: Values, shape: Shape, layout: Layout | None, fans: Fans | None) -> FoundLaw:
    distribution = _distribution(values)
    if distribution is None:
        gain = math.nan if fans is None else values.std * math.sqrt(fans.fan_in)
        return _in_parts(values, gain) or FoundLaw(f"std {values.std:.3g}, looks trained", "trained", False, gain)
    if fans is None:
        return _fixed(values, distribution) or FoundLaw(_plain(values, distribution), "none")
    gain = values.std * math.sqrt(fans.fan_in)
    if values.overlap < ORTHOGONAL and layout is not None:
        return FoundLaw(_orthogonal(values, shape, layout), "orthogonal", gain=gain)
    named = _named(values, [fans, *_as_others_count(shape, layout)], distribution)
    if named:
        kinds = tuple(dict.fromkeys(rule.kind for rule in named))
        return FoundLaw(named[0].text.format(distribution), named[0].kind, gain=gain, kinds=kinds)
    if layout is not None and layout.fused is not None:
        whole = _fans(shape, replace(layout, fused=None))
        if whole is not None and _is_close(values, math.sqrt(2 / (whole.fan_in + whole.fan_out))):
            return FoundLaw(f"Glorot {distribution} of the fused matrix, not of each map in it", "fused", gain=gain)
    return (
        _with_gain(_fixed(values, distribution), gain)
        or _sharded(values, fans, distribution)
        or FoundLaw(_times_he(values, fans, distribution), "none", gain=gain)
    )


def _as_others_count(shape: Shape, layout: Layout | None) -> list[Fans]:
    """The fans as other libraries count them, who know neither strides nor groups."""
    if layout is None or not (layout.stride or layout.groups != 1):
        return []
    plain = replace(layout, stride=())
    found = [_fans(shape, plain)]
    if layout.groups != 1 and layout.grouped == "out":
        found.append(_fans(shape, replace(plain, groups=1)))
    return [fans for fans in found if fans is not None]


def _named(values: Values, fans: list[Fans], distribution: str) -> "list[_Candidate]":
    return [
        rule
        for each in fans
        for rule in _CANDIDATES
        if rule.distribution in ("", distribution) and _is_close(values, rule.std(each))
    ]


def _with_gain(law: FoundLaw | None, gain: float) -> FoundLaw | None:
    return None if law is None else FoundLaw(law.text, law.kind, law.fresh, gain)


def _in_parts(values: Values, gain: float) -> FoundLaw | None:
    """Two sizes, each in whole parts of the units: drawn part by part, by different fans."""
    sizes = sorted(values.parts)
    steps = [math.sqrt(after / before) for before, after in pairwise(sizes) if before > 0]
    if len(steps) < len(sizes) - 1 or not steps or max(steps) < PART_STEP:
        return None
    rest = [step for step in steps if step < max(steps)]
    text = f"parts of its units {max(steps):.3g} times as large as others"
    return FoundLaw(text, "shard", gain=gain) if not rest or max(rest) < EVEN_STEP else None


def _distribution(values: Values) -> str | None:
    """Which distribution the kurtosis tells of, None for another than the three."""
    error = 5 * math.sqrt(24 / min(values.count, 1 << 16)) + 0.05
    if abs(values.kurtosis - 1.8) < min(error, 0.25) and values.largest < 1.8 * values.std + abs(values.mean):
        return "uniform"
    if abs(values.kurtosis - 3.0) < error:
        return "normal"
    return "truncated normal" if 2.2 < values.kurtosis < 3.0 else None


def _is_close(values: Values, std: float) -> bool:
    """Whether a std fits: 5 standard errors of the sample's, and 1 % for laws that are cut or rounded."""
    error = 5 * math.sqrt(max(values.kurtosis - 1, 0.5) / (4 * values.count)) + 0.01
    return abs(values.std / std - 1) < error and abs(values.mean) < 5 * std / math.sqrt(values.count) + 0.01 * std


@dataclass(frozen=True)
class _Candidate:
    text: str
    kind: str
    std: Callable[[Fans], float]
    distribution: str = ""


_CANDIDATES = (
    _Candidate("U(±sqrt(1/fan_in)), torch default", "default", lambda f: 1 / math.sqrt(3 * f.fan_in), "uniform"),
    _Candidate("He {}", "he", lambda f: math.sqrt(2 / f.fan_in)),
    _Candidate("LeCun {}", "lecun", lambda f: math.sqrt(1 / f.fan_in)),
    _Candidate("Glorot {}", "glorot", lambda f: math.sqrt(2 / (f.fan_in + f.fan_out))),
    _Candidate("He {} by fan_out", "he_fan_out", lambda f: math.sqrt(2 / f.fan_out)),
    _Candidate("LeCun {} by fan_out", "lecun_fan_out", lambda f: math.sqrt(1 / f.fan_out)),
    _Candidate("2/sqrt(fan_in): a slip for sqrt(2/fan_in)", "slip", lambda f: 2 / math.sqrt(f.fan_in)),
    _Candidate(
        "U(±sqrt(1/fan_out)): torch's default on swapped axes",
        "default",
        lambda f: 1 / math.sqrt(3 * f.fan_out),
        "uniform",
    ),
)
"""Laws in the order in which they are tried: where fans are equal, the commoner name wins."""


def _fixed(values: Values, distribution: str) -> FoundLaw | None:
    for std in ROUND:
        if _is_close(values, std):
            return FoundLaw(f"N(0, {std:g})" if distribution != "uniform" else f"uniform, std {std:g}", "fixed")
    return None


def _sharded(values: Values, fans: Fans, distribution: str) -> FoundLaw | None:
    for name, base in (("He", 2.0), ("LeCun", 1.0)):
        for shards in SHARDS:
            if fans.fan_in % shards == 0 and _is_close(values, math.sqrt(base * shards / fans.fan_in)):
                return FoundLaw(f"{name} {distribution} by fan_in/{shards}", "shard")
    return None


def _orthogonal(values: Values, shape: Shape, layout: Layout) -> str:
    """The gain of one map, whose rows or columns have this length."""
    lengths = [max(fans.fan_in, fans.fan_out) for fans in layout.block_fans(shape)]
    gain = values.std * math.sqrt(max(lengths))
    each = " per block" if len(lengths) > 1 else ""
    return f"orthogonal{each}" if abs(gain - 1) < 0.02 else f"orthogonal{each} x {gain:.3g}"


def _plain(values: Values, distribution: str) -> str:
    letter = "U" if distribution == "uniform" else "N"
    if letter == "U":
        return f"U(±{values.largest:.3g})"
    return (
        f"N({values.mean:.2g}, {values.std:.3g})" if abs(values.mean) > 0.1 * values.std else f"N(0, {values.std:.3g})"
    )


def _times_he(values: Values, fans: Fans, distribution: str) -> str:
    """A plain law, and what multiple of He's it is."""
    return f"{_plain(values, distribution)}, He x {values.std / math.sqrt(2 / fans.fan_in):.2g}"
