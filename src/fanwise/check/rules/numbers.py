"""Rules on the random numbers that weights hold: copies of others, of one seed, the same under every seed."""

import math
from collections.abc import Iterator, Sequence

from fanwise.check.findings import Fix, and_more
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.subject import Map, Subject
from fanwise.measure.observation import Observation
from fanwise.measure.resemblance import MARKS

HALF = 0.5
"""Share of numbers that are the same under every seed; share of zeros from which a weight is structured."""


@rule(
    "COP001",
    severity="warning",
    title="layers that are copies of others",
    page=Page(
        says="Two layers, each with its own memory, start with the same random numbers, or begin with them.",
        why="Layers that begin as one layer repeated start from less variety than independent ones; and branches that "
        "are copied side by side get equal gradients and stay copies.",
        measured="Trained weights of equal shape, in different memory, are compared value by value; random ones of any "
        f"shape by the direction of their first {MARKS} values, since one seed gives one row of numbers whatever the "
        "shape and the std. Frozen copies, such as a target network, and starts of few different numbers, such as "
        "identities, are left out.",
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
        yield _of_one_seed([*twins, *kin], kin[0])
    elif twins:
        first, others = twins[0], and_more(len(twins) - 1, "weight")
        yield of_maps(
            twins,
            f"{first.path} holds the same numbers as {first.values.twin}{others}",
            cause="layers made by deepcopy, or drawn from one seed each, begin as one layer repeated",
            kind="copies",
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


def _of_one_seed(maps: Sequence[Map], first: Map) -> Symptom:
    other = first.values.kin
    return of_maps(
        maps,
        f"{first.path} begins with the numbers of {other}, up to a factor{and_more(len(maps) - 1, 'weight')}",
        cause="both were drawn from one seed or key, at stds of their own: they are no independent draws",
        kind="copies",
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
