"""All that theory says of one nonlinearity in a deep plain network, as numbers."""

from dataclasses import dataclass

import numpy as np

from fanwise.laws.gain import KINDS, NonlinearityLike, as_nonlinearity, gain
from fanwise.laws.nonlinearities import Nonlinearity
from fanwise.stream.arguments import checked_count, checked_number
from fanwise.theory.meanfield.finite_width import LogLength, walk
from fanwise.theory.meanfield.maps import (
    Critical,
    FixedPoint,
    MeanField,
    critical,
    critical_line,
    fixed_points,
    length_map,
    log_slope,
    trajectory,
)
from fanwise.theory.meanfield.transformed import LeakySlope, Transformed, dks, tat, tat_leaky_relu

LENGTHS = tuple(float(q) for q in np.geomspace(1e-4, 1e4, 17))
"""Lengths at which the stability of a gain without biases is looked at."""
LINE = tuple(float(q) for q in np.geomspace(1e-3, 1e4, 71))
"""Lengths of the points of the edge of chaos."""
DIGITS = 9
"""Of gains that count as the same."""
NEARLY = 1e-6
"""A slope this near to 1 is told as 1."""


@dataclass(frozen=True)
class Setting:
    """A pair (sigma_w, sigma_b), and what becomes of signals there.

    Args:
        name: in words.
        field: the network.
        points: the lengths that its layers keep.
        ends: second moment after the network's depth, from 1.
        q: the length that the pair was made for.
    """

    name: str
    field: MeanField
    points: tuple[FixedPoint, ...]
    ends: float
    q: float

    @property
    def point(self) -> FixedPoint | None:
        """The one above 0 that is nearest to `q`; None where there is none."""
        positive = [point for point in self.points if point.q > 0]
        return min(positive, key=lambda point: abs(point.q - self.q), default=None)


@dataclass(frozen=True)
class Summary:
    """What theory says of a nonlinearity.

    Args:
        f: the nonlinearity.
        sigma_b: std of the biases asked for.
        depth: layers.
        width: units of each.
        gains: by kind, at unit variance.
        slopes: of the variance map without biases, by the length that the gain keeps.
        settings: pairs worth a look.
        line: the edge of chaos.
        lengths: the log-length of each layer with the forward gain, up to where its expansion holds.
        transformed: the function made fit for depth, by DKS and TAT, where that exists.
        leaky: TAT's leaky ReLU, for ReLU and its like.
        refused: why something has no constants.
    """

    f: Nonlinearity
    sigma_b: float
    depth: int
    width: int
    gains: dict[str, float]
    slopes: dict[float, float]
    settings: tuple[Setting, ...]
    line: tuple[Critical, ...]
    lengths: tuple[LogLength, ...]
    transformed: tuple[Transformed, ...]
    leaky: LeakySlope | None
    refused: tuple[str, ...]

    @property
    def slope(self) -> float:
        """Of the variance map at unit variance, with the forward gain and no biases."""
        return log_slope(self.f, 1.0)

    @property
    def hopeless(self) -> bool:
        """Whether no gain keeps any length, without biases."""
        return all(slope > 1 for slope in self.slopes.values()) and max(self.slopes.values()) > 1 + NEARLY

    @property
    def homogeneous(self) -> bool:
        """Whether the right gain keeps every length."""
        return all(abs(slope - 1) <= NEARLY for slope in self.slopes.values())

    @property
    def stable_biases(self) -> Critical | None:
        """The pair on the edge of chaos with the smallest biases that keeps its length; None where there is none."""
        return next((pair for pair in self.line if pair.stability == "stable" and pair.sigma_b > 0), None)


def summary(f: NonlinearityLike, *, sigma_b: float = 0.05, depth: int = 50, width: int = 256) -> Summary:
    """All that theory says of a nonlinearity.

    Args:
        f: name, `Nonlinearity`, or function of arrays.
        sigma_b: std of the biases of the critical pair.
        depth: layers of a plain network.
        width: units of each.

    Raises:
        TypeError: not a nonlinearity, or another argument of the wrong type.
        ValueError: an unknown name, a number out of range, or a function without gains.
        QuadratureError: the function is not finite, or jumps.
    """
    known, biases = as_nonlinearity(f), checked_number(sigma_b, name="sigma_b", low=0.0)
    depth, width = checked_count(depth, name="depth"), checked_count(width, name="width")
    gains = {kind: gain(known, kind=kind) for kind in KINDS}
    forward = MeanField(known, gains["second_moment"])
    slopes = {q: log_slope(known, q) for q in LENGTHS}
    transformed, refused = _made_fit(known, depth)
    rectifier = bool(known.kinks) and all(abs(slope - 1) <= NEARLY for slope in slopes.values())
    return Summary(
        known,
        biases,
        depth,
        width,
        gains,
        slopes,
        _settings(known, gains, biases, depth),
        critical_line(known, LINE),
        _reliable(forward, depth, width),
        transformed,
        _leaky(depth) if rectifier else None,
        refused,
    )


def curve(field: MeanField, lengths: tuple[float, ...]) -> tuple[float, ...]:
    """The variance map at these lengths."""
    return tuple(length_map(field, q) for q in lengths)


def _settings(f: Nonlinearity, gains: dict[str, float], sigma_b: float, depth: int) -> tuple[Setting, ...]:
    """The gains and the edge of chaos; names of pairs that are the same share one setting."""
    pairs = [("forward gain", gains["second_moment"], 0.0, 1.0), ("backward gain", gains["backward"], 0.0, 1.0)]
    for biases in dict.fromkeys((0.0, sigma_b)):
        try:
            pair = critical(f, biases)
        except ValueError:
            continue
        pairs.append(("edge of chaos", pair.sigma_w, biases, pair.q))
    same: dict[tuple[float, float], list[tuple[str, float]]] = {}
    for name, sigma_w, biases, q in pairs:
        same.setdefault((round(sigma_w, DIGITS), biases), []).append((name, q))
    return tuple(_setting(MeanField(f, *pair), named, depth) for pair, named in same.items())


def _setting(field: MeanField, named: list[tuple[str, float]], depth: int) -> Setting:
    name = " = ".join(name for name, _ in named)
    return Setting(name, field, fixed_points(field), trajectory(field, 1.0, depth)[-1], named[0][1])


def _reliable(field: MeanField, depth: int, width: int) -> tuple[LogLength, ...]:
    """The layers whose log-length is known, and the first where it is not."""
    reliable = []
    for layer in walk(field, [width] * depth):
        reliable.append(layer)
        if not layer.reliable:
            break
    return tuple(reliable)


def _made_fit(f: Nonlinearity, depth: int) -> tuple[tuple[Transformed, ...], tuple[str, ...]]:
    """The function made fit for depth, and why that failed."""
    transformed: list[Transformed] = []
    refused: list[str] = []
    for make in (dks, tat):
        try:
            transformed.append(make(f, depth))
        except ValueError as error:
            refused.append(str(error))
    return tuple(transformed), tuple(dict.fromkeys(refused))


def _leaky(depth: int) -> LeakySlope | None:
    try:
        return tat_leaky_relu(depth)
    except ValueError:
        return None
