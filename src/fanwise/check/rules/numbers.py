"""Rules on the random numbers that weights hold: copies of others, of one seed, the same under every seed."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from fanwise.check.findings import Fix, Severity, and_more
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import MAP_USES
from fanwise.measure.observation import Observation
from fanwise.measure.resemblance import MARKS

ROW = 3
"""Equal layers from which they cost: decoders of 3 take 1.2 times the steps, of 6 and 12 up to 1.4 times, and of 2 as
many (tests/torch/api/test_copies.py)."""
APART = 1e-3
"""Share by which the gradients of two copies side by side differ, where they do not stay copies."""
HALF = 0.5
"""Share of numbers that are the same under every seed; share of zeros from which a weight is structured; share of the
numbers of a row of layers from which copies in it count."""


@rule(
    "COP001",
    severity="warning",
    title="layers that are copies of others",
    page=Page(
        says="Two layers, each with its own memory, start with the same random numbers, or begin with them.",
        why="Layers that begin as one layer repeated start from less variety than independent ones; and branches that "
        "are copied side by side and get equal gradients stay copies for ever.",
        measured="Trained weights of equal shape, in different memory, are compared value by value; random ones of any "
        f"shape by the direction of their first {MARKS} values, since one seed gives one row of numbers whatever the "
        "shape and the std. Frozen copies, such as a target network, and starts of few different numbers, such as "
        f"identities, are left out. Fewer than {ROW} equal layers one after the other, or side by side with gradients "
        f"that differ, and copies that are less than {100 * HALF:.0f} % of the maps among them, cost no steps of "
        "training: they are information.",
        example="copy.deepcopy(layer) for each of n layers, as nn.TransformerEncoder does; manual_seed in each "
        "constructor; one JAX key for every parameter.",
        remedy="Construct each layer by itself, or draw each from its own stream of random numbers (fanwise fix).",
    ),
    source="pytorch/pytorch issue 72253: nn.TransformerEncoder's layers start equal",
    weights_alone=True,
)
def copies(subject: Subject) -> Iterator[Symptom]:
    """Trained maps that hold the same numbers as others in other memory."""
    maps = {layer.path: layer for layer in subject.distinct_maps if layer.case.parameter.trained}
    twins = [layer for layer in maps.values() if layer.values.twin in maps and _alike(subject, layer)]
    kin = [layer for layer in maps.values() if layer.values.kin in maps and layer not in twins]
    kin = [layer for layer in kin if _is_drawn(layer) and _is_drawn(maps[layer.values.kin])]
    if kin and len(kin) > len(twins):
        yield _of_one_seed([*twins, *kin], kin[0], _severity(subject, maps, [*twins, *kin]))
    elif twins:
        first, others = twins[0], and_more(len(twins) - 1, "weight")
        yield of_maps(
            twins,
            f"{first.path} holds the same numbers as {first.values.twin}{others}",
            cause="layers made by deepcopy, or drawn from one seed each, begin as one layer repeated",
            kind="copies",
            severity=_severity(subject, maps, twins),
        )


@rule(
    "SEE001",
    severity="warning",
    title="seeds that change nothing",
    page=Page(
        says="A factory was called once a seed, and the random weights of its models are the same.",
        why="Runs that were meant to differ are one run: an ensemble has no spread, and an average over seeds is one "
        "number.",
        measured="Mean, second moment and kurtosis of each trained weight that looks drawn, of each seed's model. "
        f"Equal under every seed in more than {100 * HALF:.0f} % of the numbers. Weights that look trained, as those "
        "of a checkpoint, do not count.",
        example="A Flax module that draws from a key of its own; torch.manual_seed(0) in a constructor.",
        remedy="Draw from the seed or the key that the factory is given.",
    ),
    source="JAX documentation, Pseudorandom numbers: the same key gives the same numbers",
)
def same_seeds(subject: Subject) -> Iterator[Symptom]:
    """Factories whose random weights do not depend on the seed."""
    seen = subject.observations
    if len(seen) < 2 or any(observation.seed is None for observation in seen) or subject.plan is not None:
        return
    drawn = [layer for layer in subject.distinct_maps if _is_drawn(layer) and layer.case.parameter.trained]
    same = [layer for layer in drawn if len({_fingerprint(each, layer.path) for each in seen}) == 1]
    if sum(layer.values.count for layer in same) > HALF * sum(layer.values.count for layer in drawn):
        some = "" if len(same) == len(drawn) else f" in {len(same)} of {len(drawn)} weights"
        yield Symptom(
            f"the {len(seen)} seeds give the same numbers{some}, beginning with {same[0].path}",
            same[0].path,
            same[0].op.index,
            "the factory draws from a seed or key of its own and ignores what it is given",
            "seed",
            tuple(layer.path for layer in same),
            {"seeds": len(seen), "weights": len(same)},
            Fix("draw from the seed or the key that the factory is given"),
        )


def _severity(subject: Subject, maps: Mapping[str, Map], copied: Sequence[Map]) -> Severity | None:
    """Information where no copies cost: few of them, which do not stay copies."""
    groups = defaultdict[str, list[Map]](list)
    for layer in copied:
        groups[layer.values.twin or layer.values.kin].append(layer)
    whole = [[maps[path], *others] for path, others in groups.items()]
    if any(len(group) < ROW and _stay_equal(subject, *group) for group in whole):
        return None
    rows = [layer for group in whole if len(group) >= ROW for layer in group]
    return None if rows and _are_most(subject, rows) else "info"


def _are_most(subject: Subject, copied: Sequence[Map]) -> bool:
    """Whether copies hold most of the numbers of the maps among them, up to where the next of them would be."""
    indices = sorted(layer.op.index for layer in copied)
    end = indices[-1] + (indices[-1] - indices[0]) // (len(set(indices)) - 1 or 1)
    among = {use.path for op in subject.trace.ops[indices[0] : end] for use in op.uses if use.role in MAP_USES}
    total = sum(subject.values[path].count for path in among if path in subject.values)
    return sum(layer.values.count for layer in copied) > HALF * total


def _stay_equal(subject: Subject, one: Map, other: Map) -> bool:
    """Whether two copies stand side by side, and their gradients do not tell them apart."""
    first, last = sorted((one.op.index, other.op.index))
    if first in subject.trace.ancestors(last):
        return False
    gradients = one.values.gradient, other.values.gradient
    return not abs(gradients[0] - gradients[1]) > APART * max(gradients)


def _of_one_seed(maps: Sequence[Map], first: Map, severity: Severity | None) -> Symptom:
    other = first.values.kin
    return of_maps(
        maps,
        f"{first.path} begins with the numbers of {other}, up to a factor{and_more(len(maps) - 1, 'weight')}",
        cause="both were drawn from one seed or key, at stds of their own: they are no independent draws",
        kind="copies",
        severity=severity,
    )


def _is_drawn(layer: Map) -> bool:
    """Whether its numbers are those of a generator, neither structured nor trained."""
    return layer.law.drawn and layer.values.zeros < HALF


def _fingerprint(observation: Observation, path: str) -> tuple[float, ...]:
    values = observation.values.get(path)
    return (math.nan,) if values is None else (values.mean, values.second_moment, values.kurtosis)


def _alike(subject: Subject, layer: Map) -> bool:
    """Whether it has the shape of its twin: a decoder may begin as its encoder turned over."""
    shape = layer.case.parameter.shape
    return len(shape) > 1 and shape == subject.cases[layer.values.twin].parameter.shape
