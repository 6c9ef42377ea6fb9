"""The rule on weights that a model makes, as hypernetworks do, of a size that does not suit their products."""

import math
from collections.abc import Collection, Iterator, Sequence

from fanwise.check.findings import and_more
from fanwise.check.rules.rule import Page, rule
from fanwise.check.rules.symptom import Symptom, of_maps
from fanwise.check.subject import Map, Subject
from fanwise.graph.kinds import STRETCH
from fanwise.graph.op import Op, OpKind

LOUD, FAINT = 10.0, 100.0
"""Factor on the rms over products in a row, from which they are too loud, and too faint."""


@rule(
    "GEN001",
    severity="warning",
    title="maps that make weights of a wrong size",
    page=Page(
        says="A map makes the weights of another one, as in a hypernetwork, and what it makes is far too large or far "
        "too small for what those weights read.",
        why="The usual laws give what a map makes unit variance. A weight needs 1 / fan_in of that: each product "
        "multiplies the rms by the root of its own fan_in.",
        measured="The rms of products with weights that the model makes, from what the first of a row reads to what "
        f"the last gives, with no normalisation between: above {LOUD:g} times; below 1/{FAINT:g}, without those that "
        "make the outputs, which may be small.",
        example="A hypernetwork whose last map is drawn by Kaiming's or Xavier's law.",
        remedy="Draw the last map of what makes the weights so that these have variance 1 / fan_in of their product "
        "(fanwise fix).",
    ),
    source='Chang, Flokas, Lipson, "Principled weight initialization for hypernetworks", 2020, section 4',
    explains=("SAT001", "LOS001"),
    shows_before=True,
)
def wrong_makers(subject: Subject) -> Iterator[Symptom]:
    """The row of products with made weights that changes the signal most, where that is too much."""
    rows = [_inner(subject, row) for row in _rows(subject)]
    changes = [(row, _change(subject, row)) for row in rows if row]
    wrong = [(row, change) for row, change in changes if change > LOUD or change < 1 / FAINT]
    if wrong:
        yield _symptom(subject, *max(wrong, key=lambda pair: abs(math.log(pair[1]))))


def _products(subject: Subject) -> dict[int, Map]:
    """The map that makes the weight of each product, by the product's op."""
    makers = [(layer, layer.case.maker) for layer in subject.maps]
    return {product.op: layer for layer, maker in makers if maker is not None for product in maker.products}


def _rows(subject: Subject) -> Iterator[list[Op]]:
    """Products that follow one another with nothing between that sets the scale anew."""
    products = _products(subject)
    before = {index: _product_before(subject, subject.trace.ops[index], products) for index in sorted(products)}
    for end in (index for index in before if index not in before.values()):
        row = [end]
        while (source := before[row[-1]]) is not None:
            row.append(source)
        yield [subject.trace.ops[index] for index in reversed(row)]


def _product_before(subject: Subject, op: Op, products: Collection[int]) -> int | None:
    """The product whose output another one reads, bent or with a bias that is made at most."""
    joins = {join.op for join in subject.trace.joins}
    queue, seen = [i for place, i in enumerate(op.inputs) if op.made is None or place != op.made.operand], set[int]()
    while queue:
        here = queue.pop()
        if here in products:
            return here
        step = None if here < 0 or here in seen or here in joins else subject.trace.ops[here]
        seen.add(here)
        if step is not None and step.kind in STRETCH | {OpKind.ADD}:
            queue.extend(step.inputs)
    return None


def _inner(subject: Subject, row: Sequence[Op]) -> list[Op]:
    """A row up to a normalisation; where it fades, without products that make the outputs."""
    alone = [op for op in row if subject.trace.norm_after(op) is None and op.index in _products(subject)]
    return [op for op in alone if op.index in subject.followed or not _change(subject, alone) < 1]


def _change(subject: Subject, row: Sequence[Op]) -> float:
    """Factor on the rms from what the first product of a row reads to what the last gives; 1 where it is not known."""
    if not row:
        return 1.0
    read, given = _read(subject, row[0]), subject.signals[row[-1].index].second_moment
    return math.sqrt(given / read) if 0 < read < math.inf and 0 < given < math.inf else 1.0


def _read(subject: Subject, op: Op) -> float:
    """Second moment of what a product reads beside the weight that the model makes."""
    weight = None if op.made is None else op.made.operand
    return next((subject.fed(op, i).second_moment for i in range(len(op.inputs)) if i != weight), math.nan)


def _symptom(subject: Subject, row: Sequence[Op], change: float) -> Symptom:
    products = _products(subject)
    off = [op for op in row if math.log(max(_change(subject, [op]), 1e-30)) * math.log(change) > 0]
    maps = list({products[op.index].path: products[op.index] for op in off or row}.values())
    first = (off or row)[0]
    fan_in = 1 if first.made is None else first.made.fan_in
    size = f"{change:.3g} times" if change > 1 else f"1/{1 / change:.3g} of"
    return of_maps(
        maps,
        f"{maps[0].name} makes weights that give {size} what they read"
        f"{f' over {len(row)} products' if len(row) > 1 else ''}{and_more(len(maps) - 1, 'map')}",
        cause=f"what it makes has rms {maps[0].signal.rms:.3g}; weights of fan_in {fan_in:g} need "
        f"{1 / math.sqrt(fan_in):.3g} ({maps[0].law.text})",
        kind="huge" if change > 1 else "tiny",
        evidence={"factor": change, "products": len(row)},
    )
