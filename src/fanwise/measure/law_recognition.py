"""Names the law in the values of a weight as they were found: 'He normal', 'N(0, 0.02)', 'orthogonal'."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from fanwise.laws.layout import Fans, Layout
from fanwise.measure.observation import Values
from fanwise.stream.box import Shape

FEWEST = 64
"""Values below which a law cannot be told."""
ORTHOGONAL = 0.2
"""Overlap (see `Values`) below which rows are orthogonal; of independent rows it is 1 +- 0.03."""
ROUND = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Stds that people write down."""
EVEN = 0.005
"""By how much, beside its standard error, a std may be further from a common law's than from a rarer one's."""
PART_STEP, EVEN_STEP = 1.4, 1.2
"""Factor between parts of a weight from which they were drawn by different laws, and below which by one."""
PARTED = 2048
"""Values from which the sizes of a weight's parts are told apart."""
SHIFTED = 0.1
"""Mean, in units of the std, from which a law is not centred, if that is beyond its standard errors too."""
CUT = 0.3
"""Share of zeros from which values were cut off at 0, or masked, on purpose."""
HALF_NORMAL = 3.869
"""Kurtosis of |N(0, s^2)|: 3 + 8 (pi - 3) / (pi - 2)^2."""
HALF_NORMAL_MEAN = math.sqrt(2 / (math.pi - 2))
"""Its mean over its std."""
SHARDS = (8,)
"""Numbers of shards whose local fan could have been taken; 4, 16 and 64 look like gains of 2, 4 and 8."""


@dataclass(frozen=True)
class FoundLaw:
    """The law that the values of a parameter look like.

    Args:
        text: for people, such as "U(±sqrt(1/fan_in)), torch default".
        kind: "zeros", "constant", "default", "he", "lecun", "glorot", "he_fan_out", "lecun_fan_out", "slip", "shard",
            "fused", "orthogonal", "fixed" (a std that does not depend on the fans), "shifted" (random, its mean far
            from 0), "none" (random, of no known size), "trained" (neither normal nor uniform) or "few" (too few
            values to tell, or complex ones).
        fresh: whether the values look as if a generator had drawn them and nobody had trained them since.
        gain: std times sqrt(fan_in); NaN where there are no fans.
        kinds: every kind that fits: where one fan is twice the other, several do.
    """

    text: str
    kind: str
    fresh: bool = True
    gain: float = math.nan
    kinds: tuple[str, ...] = ()

    @property
    def drawn(self) -> bool:
        """Whether the values are those of a generator, as far as they tell: neither written down nor trained.

        Example:
            >>> FoundLaw("He normal", "he").drawn, FoundLaw("0", "zeros").drawn
            (True, False)
        """
        return self.fresh and self.kind not in ("zeros", "constant", "few")


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
    if values.count < FEWEST:
        return FoundLaw("too few values to tell", "few")
    fans = _fans(shape, layout)
    if math.isnan(values.kurtosis):  # of complex numbers, whose size alone is measured
        return FoundLaw(f"complex, std {values.std:.3g}", "few", gain=_gain(values, fans))
    return _random(values, shape, layout, fans)


def _constant(value: float) -> FoundLaw:
    return FoundLaw("0", "zeros") if value == 0 else FoundLaw(f"constant {value:.4g}", "constant")


def _fans(shape: Shape, layout: Layout | None) -> Fans | None:
    """The fans of one of the maps that the weight holds, the widest."""
    if layout is None or "lookup" in layout.axes or 0 in shape:
        return None
    return max(layout.block_fans(shape), key=lambda fans: fans.fan_out)


def _gain(values: Values, fans: Fans | None) -> float:
    """Standard deviation times the root of the fan_in; NaN where that is not known."""
    return math.nan if fans is None else values.std * math.sqrt(fans.fan_in)


def _random(values: Values, shape: Shape, layout: Layout | None, fans: Fans | None) -> FoundLaw:
    distribution = _distribution(values)
    gain = _gain(values, fans)
    parts = _in_parts(values, gain) or _shifted(values, distribution, gain) or _delta(values, shape, layout, gain)
    if parts is not None or distribution is None:
        return parts or FoundLaw(f"std {values.std:.3g}, looks trained", "trained", False, gain)
    if fans is None or layout is None:
        return _fixed(values, distribution) or FoundLaw(_plain(values, distribution), "none")
    if values.overlap < ORTHOGONAL:
        return FoundLaw(_orthogonal(values, shape, layout), "orthogonal", gain=gain)
    return _by_fans(values, shape, layout, distribution)


def _delta(values: Values, shape: Shape, layout: Layout | None, gain: float) -> FoundLaw | None:
    """A kernel that is 0 but for one tap, which no training leaves so.

    Xiao et al., "Dynamical isometry and a mean field theory of CNNs", 2018, algorithm 1 (delta-orthogonal kernels).
    """
    roles = () if layout is None else layout.axes
    taps = math.prod(size for size, role in zip(shape, roles, strict=False) if role == "kernel")
    if taps < 2 or abs((1 - values.zeros) * values.count - values.count / taps) > 0.5:
        return None
    kind = "orthogonal" if values.overlap < ORTHOGONAL else "none"
    return FoundLaw(f"std {values.std:.3g}, one of {taps} taps", kind, gain=gain)


def _by_fans(values: Values, shape: Shape, layout: Layout, distribution: str) -> FoundLaw:
    """The law of independent values that a std and fans tell of."""
    fans = max(layout.block_fans(shape), key=lambda fans: fans.fan_out)
    gain = values.std * math.sqrt(fans.fan_in)
    named = _named(values, [fans, *_as_others_count(shape, layout)], distribution)
    if named:
        kinds = tuple(dict.fromkeys(rule.kind for rule, _ in named))
        limit = min(distance for _, distance in named) + std_error(values) + EVEN
        best = next(rule for rule, distance in named if distance < limit)
        return FoundLaw(best.text.format(distribution), best.kind, gain=gain, kinds=kinds)
    return (
        _fused(values, shape, layout, distribution)
        or _with_gain(_fixed(values, distribution), gain)
        or _with_gain(_sharded(values, fans, distribution), gain)
        or FoundLaw(_times_he(values, fans, distribution), "none", gain=gain)
    )


def _fused(values: Values, shape: Shape, layout: Layout, distribution: str) -> FoundLaw | None:
    """Glorot's law of a whole matrix that holds several maps."""
    if layout.fused is None:
        return None
    whole = replace(layout, fused=None).fans(shape)
    if not _is_close(values, math.sqrt(2 / (whole.fan_in + whole.fan_out))):
        return None
    gain = values.std * math.sqrt(whole.fan_in)
    return FoundLaw(f"Glorot {distribution} of the fused matrix, not of each map in it", "fused", gain=gain)


def _as_others_count(shape: Shape, layout: Layout | None) -> list[Fans]:
    """The fans as other libraries count them, who know neither strides nor groups."""
    if layout is None or not (layout.stride or layout.groups != 1):
        return []
    plain = replace(layout, stride=())
    readings = [_fans(shape, plain)]
    if layout.groups != 1 and layout.grouped == "out":
        readings.append(_fans(shape, replace(plain, groups=1)))
    return [fans for fans in readings if fans is not None]


def _named(values: Values, fans: list[Fans], distribution: str) -> "list[tuple[_Candidate, float]]":
    """The candidates that fit, and by what share the std differs from each."""
    return [
        (rule, abs(values.std / rule.std(each) - 1))
        for each in fans
        for rule in _CANDIDATES
        if rule.distribution in ("", distribution) and _is_close(values, rule.std(each))
    ]


def _with_gain(law: FoundLaw | None, gain: float) -> FoundLaw | None:
    return None if law is None else FoundLaw(law.text, law.kind, law.fresh, gain)


def _in_parts(values: Values, gain: float) -> FoundLaw | None:
    """Two sizes, each in whole parts of the units: drawn part by part, by different fans."""
    sizes = sorted(values.parts) if values.count >= PARTED else []
    steps = [math.sqrt(after / before) for before, after in pairwise(sizes) if before > 0]
    if len(steps) < len(sizes) - 1 or not steps or max(steps) < PART_STEP:
        return None
    rest = [step for step in steps if step < max(steps)]
    text = f"parts of its units {max(steps):.3g} times as large as others"
    return FoundLaw(text, "shard", gain=gain) if not rest or max(rest) < EVEN_STEP else None


def _shifted(values: Values, distribution: str | None, gain: float) -> FoundLaw | None:
    """A law whose mean is far from 0: U(0, a), |N(0, s^2)|, N(m, s^2)."""
    if values.zeros > CUT or abs(values.mean) < (SHIFTED + 5 / math.sqrt(values.count)) * values.std:
        return None
    text = _interval(values) if distribution == "uniform" else _half_normal(values)
    if text is None and distribution is not None:
        text = f"N({values.mean:.3g}, {values.std:.3g}²)"
    return None if text is None else FoundLaw(text, "shifted", gain=gain)


def _interval(values: Values) -> str:
    """The ends of a uniform law, 0 where that is within 5 standard errors."""
    reach, error = math.sqrt(3) * values.std, values.std * (0.02 + 8 / math.sqrt(values.count))
    ends = [end if abs(end) > error else 0.0 for end in (values.mean - reach, values.mean + reach)]
    return f"U({ends[0]:.3g}, {ends[1]:.3g})"


def _half_normal(values: Values) -> str | None:
    """The absolute values of a normal law, by kurtosis and mean, within 5 standard errors and what a cut changes.

    The kurtosis of n such values errs by about 9 / sqrt(n), their mean over std by about 1.3 / sqrt(n).
    """
    root = math.sqrt(min(values.count, 1 << 16))
    ratio = abs(values.mean) / values.std
    near = -0.06 - 7 / root < ratio - HALF_NORMAL_MEAN < 0.18 + 7 / root
    if not near or not _is_one_sided(values) or not -1.5 - 15 / root < values.kurtosis - HALF_NORMAL < 0.1 + 45 / root:
        return None
    sign = "-" if values.mean < 0 else ""
    return f"{sign}|N(0, {math.sqrt(values.second_moment):.3g}²)|"


def _is_one_sided(values: Values) -> bool:
    """Whether no value of the sample lies on the other side of 0 than the mean."""
    half = len(values.histogram) // 2
    other = values.histogram[half:] if values.mean < 0 else values.histogram[:half]
    return bool(other) and sum(other) == 0


def _distribution(values: Values) -> str | None:
    """Which distribution the kurtosis tells of, None for another than the three."""
    if _is_uniform(values):
        return "uniform"
    count = min(values.count, 1 << 16)
    error = 5 * math.sqrt(24 / count)
    skewed = error * (1 + 4 / math.sqrt(count))  # few normal values have outliers more often than they lack them
    if -error - 0.05 < values.kurtosis - 3.0 < skewed + 0.05:
        return "normal"
    return "truncated normal" if 2.2 < values.kurtosis < 3.0 else None


def _is_uniform(values: Values) -> bool:
    """Whether kurtosis and range are those of a uniform law: 5 standard errors, cut where a normal law begins.

    Of a sample of n the kurtosis errs by sqrt(1.32 / n), the std by sqrt(0.2 / n).
    """
    error = 5 * math.sqrt(1.32 / min(values.count, 1 << 16)) + 0.05
    wide = math.sqrt(3) * (1 + min(5 * math.sqrt(0.2 / values.count) + 0.01, 0.15))
    near = -min(error, 0.28) < values.kurtosis - 1.8 < min(error, 0.35)
    return near and values.largest < wide * values.std + abs(values.mean)


def _is_close(values: Values, std: float) -> bool:
    """Whether a std fits: 5 standard errors of the sample's, and 1 % for laws that are cut or rounded."""
    error = 5 * std_error(values) + 0.01
    return abs(values.std / std - 1) < error and abs(values.mean) < 5 * std / math.sqrt(values.count) + 0.01 * std


def std_error(values: Values) -> float:
    """Of the std of so many values, as a share of it."""
    return math.sqrt(max(values.kurtosis - 1, 0.5) / (4 * values.count))


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
    """The gain, if the rows, or the columns, of a map have this length; libraries unfold a weight in several ways."""
    gains = [values.std * math.sqrt(length) for length in _lengths(shape, layout)]
    each = " per block" if layout.fused is not None else ""
    plain = any(abs(gain - 1) < 0.02 for gain in gains)
    return f"orthogonal{each}" if plain else f"orthogonal{each} x {gains[0]:.3g}"


def _lengths(shape: Shape, layout: Layout) -> list[float]:
    """The longer side of a map as a matrix (out, in * kernel); of all groups; of the first axis; its fan_in."""
    box = max((box.shape for box, _ in layout.blocks(shape)), key=math.prod)
    inputs, outputs, window, stack = (layout.extent(box, role) for role in ("in", "out", "kernel", "stack"))
    groups = max(layout.group_count(box), 1)
    lengths = (inputs, outputs // groups) if layout.grouped == "out" else (inputs // groups, outputs)
    whole = math.prod(shape) // stack
    return [
        max(lengths[1], lengths[0] * window),
        max(outputs, inputs * window),
        max(shape[0], whole // max(shape[0], 1)),
        max(fans.fan_in for fans in layout.block_fans(shape)),
    ]


def _plain(values: Values, distribution: str) -> str:
    return f"U(±{values.largest:.3g})" if distribution == "uniform" else f"N(0, {values.std:.3g})"


def _times_he(values: Values, fans: Fans, distribution: str) -> str:
    """A plain law, and what multiple of He's it is."""
    return f"{_plain(values, distribution)}, He x {values.std / math.sqrt(2 / fans.fan_in):.2g}"
