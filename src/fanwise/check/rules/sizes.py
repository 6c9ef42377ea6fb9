"""Rules on the sizes of weights: one weight beside its peers, and most weights together."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fanwise.check.findings import Fix, counted
from fanwise.check.rules.rule import MEASURED, Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.rules.weights import INNER
from fanwise.check.scale_causes import redraw, scale_cause
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import AFFINE, AT_ONCE, INVARIANT, MOVING
from fanwise.graph.op import INPUT, OpKind
from fanwise.graph.trace import Trace
from fanwise.laws.elementwise import Normal

OUTLIER = 8.0
"""Factor by which one weight differs from its peers however their std is counted."""
PEERS = 4
"""Fewest weights that an outlier is compared with."""
SPARED = 10
"""One in so many peers may be as far off as the outlier."""
POWERS = (0.0, 0.5, 1.0)
"""Of the fan, by which a std may be divided: one std for all, by its root, by the fan itself."""
SAME_STD = 0.1
"""Share by which the stds of weights of one law may differ."""
MADE_UP = 3.0
"""Factor up to which a weight may be larger than what makes up for the faint signal that it reads."""
FAINT_SHARE, LOUD_SHARE = 0.5, 0.3
"""Share of the inner maps that must be so."""
FAINT_GAIN, LOUD_GAIN = 0.03, 4.0
"""Gain (std times sqrt(fan_in)) below or above which hardly anything that was published starts. tanh layers on digits,
gains of 1, 3, 5, 8, the best of three rates and two seeds: steps to a loss of 0.7 with Adam in 3 layers 21, 23, 33, 41,
in 5 layers 22, 28, 52, 241, in 8 layers 28, 53, 584, never; with SGD 22, 20, 23, 33, in 5 layers 25, 25, 106, never."""
PERIODIC = ("sin", "cos")
"""Functions whose argument is a phase."""
SCALES_ANEW = frozenset({OpKind.NORM, OpKind.SOFTMAX, OpKind.RECURRENT})
"""Ops whose output is of one size, however large what they read is."""
REPAIRED = 0.25
"""Second moment after a normalisation from which it has done its work."""


@rule(
    "LAY001",
    severity="warning",
    title="one weight far from its peers",
    page=Page(
        says="One weight is much larger or much smaller than the other weights of its role in the model.",
        why="That weight alone sets the scale of everything after it, for the signal and for the gradient.",
        measured="The std of each inner weight against its peers: the weights of its role or, where those are fewer "
        f"than {PEERS - 2}, all inner weights. It is more than {OUTLIER:g} times, or less than 1/{OUTLIER:g} of, the "
        f"std of all but one in {SPARED} of them, whether the fans are counted in or not. A weight that no other "
        "weight follows may be small, as heads often are, and so may one that is drawn with the head it feeds, and one "
        "that only makes the scores of a softmax, which then weighs all alike; a large "
        f"one makes up for a faint signal, where what it reads is smaller by as much, within {MADE_UP:g} times, and a "
        "small one for a loud signal.",
        example="A layer that was left out of an init loop, or initialised twice.",
        remedy="Draw it as its peers are drawn (fanwise fix).",
    ),
    source=MEASURED,
    explains=("RES001", "FWD001"),
    weights_alone=True,
)
def outlier(subject: Subject) -> Iterator[Symptom]:
    """Inner weights far from their peers, with no normalisation behind them."""
    return (_departed(each) for each in _departures(subject) if not each.hidden)


@rule(
    "NRM001",
    severity="info",
    title="a normalisation hides a bad scale",
    page=Page(
        says="A weight is far too large or too small beside its peers, or most weights are far too small, and the "
        "normalisation behind each hides it.",
        why="The forward pass is healed, but a weight's gradient is divided by the weight's size: it learns at another "
        "rate than its peers.",
        measured=f"A single inner weight with a std more than {OUTLIER:g} times, or less than 1/{OUTLIER:g} of, that "
        f"of all but one in {SPARED} of its peers, and a normalisation that follows at once. Or more than "
        f"{100 * FAINT_SHARE:.0f} % of the inner weights with a gain (std times sqrt(fan_in)) below {FAINT_GAIN:g}, "
        f"and behind most of them a normalisation that brings the second moment above {REPAIRED:g} again.",
        example="A convolution 50 times too large before a batch norm.",
        remedy="Draw it as its peers are drawn (fanwise fix).",
    ),
    source='van Laarhoven, "L2 regularization versus batch and weight normalization", 2017, eq. 5',
)
def hidden_by_norm(subject: Subject) -> Iterator[Symptom]:
    """Weights of a wrong size that a normalisation hides: single ones, and most together."""
    yield from (_departed(each) for each in _departures(subject) if each.hidden)
    wrong, total = _tiny(subject)
    if wrong and _mostly_repaired(subject, wrong):
        yield _sized(wrong, total, ", which a normalisation behind each hides")


@rule(
    "WGT001",
    severity="warning",
    title="weights far too small",
    page=Page(
        says="Most weights of the model are far too small for what they read.",
        why=f"Each map divides the size of what it reads by {1 / FAINT_GAIN:.0f} or more, so the signal is gone after "
        "a few layers. A normalisation that repairs it multiplies noise and gradients by as much.",
        measured=f"The gain (std times sqrt(fan_in)) of the inner weights: below {FAINT_GAIN:g} in more than "
        f"{100 * FAINT_SHARE:.0f} % of them, and not repaired by a normalisation behind the half of those.",
        example="nn.init.normal_(w, std=1e-4) on every weight.",
        remedy="Draw the weights at unit second moment (fanwise fix).",
    ),
    source=MEASURED,
    explains=("FWD001",),
    weights_alone=True,
    shows_before=True,
)
def mostly_tiny(subject: Subject) -> Iterator[Symptom]:
    """Most inner maps far too small, where half of them or more are not repaired."""
    wrong, total = _tiny(subject)
    if wrong and not _mostly_repaired(subject, wrong):
        yield _sized(wrong, total)


@rule(
    "WGT002",
    severity="warning",
    title="weights far too large",
    page=Page(
        says="Many weights of the model are far too large for what they read.",
        why="Attention picks single tokens, bounded nonlinearities are saturated, and the steps of training are small "
        "beside the weights.",
        measured=f"The gain (std times sqrt(fan_in)) of the inner weights: above {LOUD_GAIN:g} in more than "
        f"{100 * LOUD_SHARE:.0f} % of them. Those that read a faint signal and give a second moment "
        f"below {LOUD_GAIN:g} are left out, and those that read the model's inputs and feed a sine or cosine: their "
        "size is a frequency.",
        example="nn.init.normal_(w) with its default std of 1.",
        remedy="Draw the weights at unit second moment (fanwise fix).",
    ),
    source=MEASURED,
    explains=("RES001",),
    weights_alone=True,
    shows_before=True,
)
def mostly_huge(subject: Subject) -> Iterator[Symptom]:
    """Many inner maps far too large."""
    inner = [*_inner(subject), *subject.hidden_maps]
    wrong = [layer for layer in inner if layer.law.gain > LOUD_GAIN and not _is_quiet(layer)]
    wrong = [layer for layer in wrong if not _gives_phases(subject, layer)]
    alone = len(wrong) == 1 and wrong[0].op.kind == OpKind.RECURRENT
    if (len(wrong) > 1 or alone) and len(wrong) > LOUD_SHARE * len(inner):
        yield _sized(wrong, len(inner))


def _gives_phases(subject: Subject, layer: Map) -> bool:
    """Whether it makes phases of the model's inputs: its size is the frequency of what the model can show.

    Tancik et al., "Fourier features let networks learn high frequency functions in low dimensional domains", 2020,
    section 5; Fathony et al., "Multiplicative filter networks", 2021, section 3.
    """
    after = subject.trace.after(layer.op, {OpKind.ACTIVATION}, INVARIANT)
    return set(layer.op.inputs) == {INPUT} and after is not None and after.nonlinearity in PERIODIC


def _is_quiet(layer: Map) -> bool:
    """Whether what a map gives is of usual size, whatever its gain: it reads a faint signal."""
    return layer.signal.second_moment < LOUD_GAIN and layer.fed.second_moment < 1


@dataclass(frozen=True)
class Departure:
    """A weight far from its peers.

    Args:
        map: the weight and its op.
        factor: its std over that of its peers.
        hidden: whether a normalisation hides it.
        std: what it would have as one of them.
    """

    map: Map
    factor: float
    hidden: bool
    std: float


def _departures(subject: Subject) -> Iterator[Departure]:
    sized = [layer for layer in subject.distinct_maps if layer.law.gain > 0]
    inner = [layer for layer in sized if layer.case.role in INNER and min(layer.case.parameter.shape) > 1]
    peers = _Peers(inner, [layer for layer in sized if layer.case.role == "head"])
    for layer in inner:
        factor = _departure(layer, peers)
        if factor is None or _makes_up(subject, layer, factor, inner) or _suits_stream(subject, layer, factor, inner):
            continue
        if factor >= 1 or _is_wrongly_small(subject, layer):
            yield Departure(layer, factor, _is_hidden(subject, layer), _std_of_peers(layer, peers))


def _is_wrongly_small(subject: Subject, layer: Map) -> bool:
    """Whether a small map is one that others follow, no part of a head, no weight of scores, and not made up for."""
    if layer.op.index not in subject.followed or _is_amplified(subject, layer) or _moves_inputs(subject, layer):
        return False
    return not _is_part_of_head(subject, layer) and not _only_weighs(subject, layer)


def _moves_inputs(subject: Subject, layer: Map) -> bool:
    """Whether what it gives is added to the model's inputs: a small one starts as the identity, as a warp of places."""
    trace = subject.trace
    total = trace.after(layer.op, {OpKind.ADD}, AFFINE | {OpKind.ELEMENTWISE})
    return total is not None and any(_moved_from(trace, source) == INPUT for source in total.inputs)


def _moved_from(trace: Trace, index: int) -> int:
    """What a part, or a moved form, was taken of."""
    while index >= 0 and trace.ops[index].kind in MOVING and trace.ops[index].inputs:
        index = trace.ops[index].inputs[0]
    return index


def _is_part_of_head(subject: Subject, layer: Map) -> bool:
    """Whether all maps that follow it up to the outputs are drawn with its std: a head of several maps."""
    ways = [[other.op.index for other in stretch.maps] for stretch in subject.stretches]
    mine = [(way.index(layer.op.index), stretch) for way, stretch in zip(ways, subject.stretches, strict=True)
            if layer.op.index in way]  # fmt: skip
    ends = [maps for place, stretch in mine if (maps := stretch.maps[place + 1 :])]
    alike = [abs(other.values.std / layer.values.std - 1) < SAME_STD for maps in ends for other in maps]
    return bool(ends) and all(maps[-1].op.index not in subject.followed for maps in ends) and all(alike)


def _only_weighs(subject: Subject, layer: Map) -> bool:
    """Whether all that it gives goes into a softmax that weighs something: small scores weigh all alike.

    Bahdanau et al., "Neural machine translation by jointly learning to align and translate", 2015, appendix B.1, draws
    the maps of its scores from N(0, 0.001).
    """
    seen, queue = {layer.op.index}, [layer.op]
    while queue:
        op = queue.pop()
        after = [reader for reader in subject.trace.follows(op) if reader.index not in seen]
        if op.index in subject.trace.outputs or not subject.trace.follows(op):
            return False
        seen.update(reader.index for reader in after)
        queue.extend(op for op in after if op.kind is not OpKind.SOFTMAX or not subject.trace.follows(op))
    return True


def _makes_up(subject: Subject, layer: Map, factor: float, inner: Sequence[Map]) -> bool:
    """Whether an outlier is as much larger than its peers as what it reads is fainter than what they read, or smaller.

    What stands behind a weight that is too large reads loud signals: a large weight is compared with the quieter ones
    among the peers, a small one with the louder ones. An outlier that takes its signal away from unit size makes those
    behind it read another size itself: they are counted as if it were of its peers' size.
    """
    scaled = frozenset[int]() if _nears_unit(layer) else _scaled_by(subject, layer)
    own = {other.path: factor**2 if scaled.intersection(other.op.inputs) else 1.0 for other in inner}
    read = sorted(other.fed.second_moment / own[other.path] for other in inner if other is not layer)
    read = [size for size in read if math.isfinite(size)]
    gives, quarter = factor**2 * layer.fed.second_moment, len(read) // 4
    if not read or not math.isfinite(gives):
        return False
    return gives < MADE_UP**2 * read[quarter] if factor > 1 else gives * MADE_UP**2 > read[-1 - quarter]


def _nears_unit(layer: Map) -> bool:
    """Whether what a map gives is nearer to unit size than what it reads."""
    read, given = layer.fed.second_moment, layer.signal.second_moment
    return read > 0 and given > 0 and abs(math.log(given)) < abs(math.log(read))


def _scaled_by(subject: Subject, layer: Map) -> frozenset[int]:
    """The ops whose output is as much larger as a map is: it leads to all that they read, by way of no norm."""
    scaled = {layer.op.index}
    for op in subject.trace.ops[layer.op.index + 1 :]:
        sums = op.kind in (OpKind.ADD, OpKind.CONCAT)
        if op.inputs and op.kind not in SCALES_ANEW and (all if sums else any)(i in scaled for i in op.inputs):
            scaled.add(op.index)
    return frozenset(scaled)


def _suits_stream(subject: Subject, layer: Map, factor: float, inner: Sequence[Map]) -> bool:
    """Whether what an outlier adds to its residual stream is as large a share of it as what its peers add to theirs."""
    own, others = _share_of_stream(subject, layer), [_share_of_stream(subject, other) for other in inner]
    shares = sorted(share for share in others if share is not None)
    if own is None or len(shares) < 2:
        return False
    quarter = len(shares) // 4
    return own < MADE_UP**2 * shares[-1 - quarter] if factor > 1 else own * MADE_UP**2 > shares[quarter]


def _share_of_stream(subject: Subject, layer: Map) -> float | None:
    """Second moment of what a map gives over that of the stream that it joins; None where it joins none."""
    join = layer.case.join
    if join is None or join.stream < 0:
        return None
    stream, given = subject.signals[join.stream].second_moment, layer.signal.second_moment
    return given / stream if stream > 0 and math.isfinite(given / stream) else None


def _departed(departure: Departure) -> Symptom:
    layer, factor = departure.map, departure.factor
    size = f"{factor:.3g} times" if factor > 1 else f"1/{1 / factor:.3g} of"
    hides = ", which the normalisation after it hides" if departure.hidden else ""
    return Symptom(
        f"the weights of {layer.name} are {size} what those of its peers are{hides}",
        layer.path,
        layer.op.index,
        f"std {layer.values.std:.3g} at fan_in {layer.fan_in:.0f}: {layer.law.text}",
        "one_layer_up" if factor > 1 else "one_layer_down",
        (layer.path,),
        {"factor": factor},
        _as_peers(layer, departure.std),
    )


def _as_peers(layer: Map, std: float) -> Fix:
    """Draws a weight as its peers are drawn, so that it is one of them whatever recipe they follow."""
    if layer.derived or not 0 < std < math.inf:
        return redraw([layer])
    fix = redraw([layer], f"draw {layer.path} anew as its peers are drawn, at std {std:.3g} (fanwise fix)")
    return replace(fix, laws={layer.path: Normal(float(f"{std:.3g}"))})


def _is_hidden(subject: Subject, layer: Map) -> bool:
    return layer.case.normalized or subject.trace.after(layer.op, {OpKind.NORM}, INVARIANT) is not None


class _Peers:
    """The maps that each inner map is compared with, their sizes in order.

    Args:
        inner: all inner maps.
        heads: maps that stand for peers where there are few inner ones.
    """

    def __init__(self, inner: Sequence[Map], heads: Sequence[Map]) -> None:
        kinds, roles = defaultdict[Any, list[Map]](list), defaultdict[Any, list[Map]](list)
        for layer in inner:
            kinds[_kind(layer)].append(layer)
            roles[layer.case.role].append(layer)
        self._kinds = {key: _Ordered(maps) for key, maps in kinds.items()}
        self._roles = {key: _Ordered(maps) for key, maps in roles.items()}
        self._all = _Ordered([*inner, *heads])

    def of(self, layer: Map) -> "_Ordered | None":
        """The maps of its role and kind of op; where they are few, of its role; or all; None where those are few."""
        if len(self._kinds[_kind(layer)]) >= PEERS:
            return self._kinds[_kind(layer)]
        several = (self._roles[layer.case.role], self._all)
        return next((peers for peers in several if len(peers) >= PEERS - 1), None)


class _Ordered:
    """Sizes of maps in ascending order, for each power of the fan, as they are and times the model's own constants."""

    def __init__(self, maps: Sequence[Map]) -> None:
        self._sizes = {(power, scaled): sorted(_size(layer, power, scaled=scaled) for layer in maps)
                       for power in POWERS for scaled in (False, True)}  # fmt: skip
        self._count = len(maps)

    def __len__(self) -> int:
        return self._count

    def beside(self, layer: Map, place: int) -> list[float]:
        """Its size over that of the others at a place among them, counted from the largest, each way of counting."""
        return [
            _beside(_size(layer, power, scaled=scaled), sizes, place) for (power, scaled), sizes in self._sizes.items()
        ]

    def middle(self) -> tuple[float, float]:
        """The power of the fan by which their stds differ least, and the size in the middle."""
        power = min(POWERS, key=lambda power: _spread(self._sizes[power, False]))
        return power, self._sizes[power, False][self._count // 2]


def _spread(sizes: Sequence[float]) -> float:
    """The quotient of the sizes at three quarters and at one."""
    return sizes[3 * len(sizes) // 4] / sizes[len(sizes) // 4]


def _beside(size: float, sizes: Sequence[float], place: int) -> float:
    """A size over that at a place among others, without itself once."""
    from_below = len(sizes) - 2 - place
    return size / sizes[from_below + (from_below >= bisect_left(sizes, size))]


def _kind(layer: Map) -> tuple[str, OpKind]:
    return layer.case.role, layer.op.kind


def _departure(layer: Map, among: _Peers) -> float | None:
    """The factor by which its std differs from that of nearly all its peers, however fans enter; None for none."""
    peers = among.of(layer)
    if peers is None:
        return None
    count = len(peers) - 1
    spared = max(count // SPARED, 1 if count > PEERS else 0)
    if min(peers.beside(layer, spared)) > OUTLIER:
        return min(peers.beside(layer, count // 2))
    is_low = max(peers.beside(layer, count - 1 - spared)) < 1 / OUTLIER
    return max(peers.beside(layer, count // 2)) if is_low else None


def _std_of_peers(layer: Map, among: _Peers) -> float:
    """The std that a weight would have as one of its peers; NaN where it has none."""
    peers = among.of(layer)
    if peers is None:
        return math.nan
    power, middle = peers.middle()
    return float(middle / layer.fan_in**power)


def _size(layer: Map, power: float, *, scaled: bool) -> float:
    around = layer.case.around if scaled else None
    number = 1.0 if around is None else abs(around.constant_after(layer.op))
    return float(layer.values.std * layer.fan_in**power) * (number or 1.0)


def _inner(subject: Subject) -> list[Map]:
    inner = [layer for layer in subject.maps if layer.case.role in ("weight", "branch_end") and layer.law.gain > 0]
    return [layer for layer in inner if not layer.case.normalized and not layer.derived]


def _tiny(subject: Subject) -> tuple[list[Map], int]:
    """The inner maps that are far too small, where they are most; and how many inner maps there are."""
    inner = [layer for layer in _inner(subject) if layer.op.kind != OpKind.RECURRENT]
    wrong = [layer for layer in inner if layer.law.gain < FAINT_GAIN and not _is_amplified(subject, layer)]
    return (wrong if len(wrong) > 1 and len(wrong) > FAINT_SHARE * len(inner) else []), len(inner)


def _is_amplified(subject: Subject, layer: Map) -> bool:
    """Whether a factor behind it makes what the next nonlinearity reads about as large as what it reads itself, or 1.

    As in sin(30 W x).
    """
    after = subject.trace.after(layer.op, {OpKind.ACTIVATION}, INVARIANT | {OpKind.SCALE})
    if after is None:
        return False
    read = subject.fed(after)
    return read.second_moment - read.mean**2 > REPAIRED * min(layer.fed.second_moment, 1.0)


def _mostly_repaired(subject: Subject, wrong: Sequence[Map]) -> bool:
    return 2 * sum(_repaired(subject, layer) for layer in wrong) > len(wrong)


def _repaired(subject: Subject, layer: Map) -> bool:
    """Whether a normalisation that follows at once brings its size to 1, as it cannot where its epsilon is larger."""
    norm = subject.trace.after(layer.op, {OpKind.NORM}, AT_ONCE)
    return norm is not None and subject.signals[norm.index].second_moment > REPAIRED


def _sized(wrong: Sequence[Map], total: int, hides: str = "") -> Symptom:
    middle = sorted(layer.law.gain for layer in wrong)[len(wrong) // 2]
    grows, first = middle > 1, wrong[0]
    does = f"multiply the rms of what they read by {middle:.3g}"
    does = does if grows else f"divide the rms of what they read by {1 / middle:.3g}"
    return of_maps(
        wrong,
        f"{len(wrong)} of {counted(total, 'inner weight')} {does}{hides}",
        cause=f"{first.law.text} at gain {first.law.gain:.3g}",
        kind=scale_cause(wrong, grows=grows)[0],
        evidence={"gain": middle},
    )
