"""Weights that the model makes: what makes them is settled when the product that uses them is reached."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fanwise.graph.details import Runs
from fanwise.graph.made import Product, makes_outputs
from fanwise.graph.op import Op, OpKind
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Moment
from fanwise.laws.base import Initializer
from fanwise.laws.composite import Blocks
from fanwise.plan.measured import OpKey
from fanwise.plan.recipes.recipe import Demand, Feed
from fanwise.plan.roles import Case

HALF = 0.5
"""Part of a product's output that its weight has where a bias is made beside it, and the part of the bias."""


@dataclass
class MadeWeights:
    """The state of a pass.

    Args:
        trace: of an earlier run.
        cases: of the parameters, by path.
    """

    trace: Trace
    cases: Mapping[str, Case]
    feeds: dict[str, Feed] = field(default_factory=dict)
    drawn: dict[OpKey, Initializer] = field(default_factory=dict)
    sizes: dict[OpKey, float] = field(default_factory=dict)
    factors: dict[OpKey, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        makers = [(path, case.maker) for path, case in self.cases.items() if case.maker is not None]
        self.products: dict[OpKey, tuple[str, Product]] = {
            self.trace.ops[product.op].key: (path, product)
            for path, maker in makers
            if maker is not None
            for product in maker.products
        }
        self.roots = {self.trace.ops[maker.root].key: path for path, maker in makers if maker is not None}

    def first_feed(self, case: Case, feed: Feed) -> Feed:
        """What is known of a maker before any product is reached: half of a unit for the biases that it makes."""
        if case.maker is None:
            return feed
        demands = {
            part: replace(self._of_product(case, self.trace.ops[product]), part=HALF)
            for product, runs in case.maker.biases
            if (part := self._part(case, runs)) is not None
        }
        self.feeds[case.parameter.path] = replace(feed, demands=demands)
        return self.feeds[case.parameter.path]

    def demand(self, op: Op, moment: Moment) -> tuple[str, Feed] | None:
        """The path of a maker and its feed with what the product that is about to be carried out asks of it.

        None where it is asked for already.
        """
        path, product = self.products[op.key]
        case, feed, part = self.cases[path], self.feeds.get(path), self._part(self.cases[path], product.weight.runs)
        if feed is None or part is None or part in feed.demands:
            return None
        asked = self._demand(case, product, op, moment)
        self.feeds[path] = replace(feed, demands={**feed.demands, part: asked})
        return path, self.feeds[path]

    def factor(self, op: Op, law: Initializer | None) -> float:
        """By what a product's output is multiplied so that it is as if its weight had been made under the new law."""
        path, product = self.products[op.key]
        case, before = self.cases[path], self.drawn.get(self.trace.ops[product.weight.root].key)
        part = self._part(case, product.weight.runs)
        if law is None or before is None or part is None:
            return 1.0
        old, new = (_part_std(drawn, case, part) for drawn in (before, law))
        return new / old if old > 0 else 1.0

    def _demand(self, case: Case, product: Product, op: Op, moment: Moment) -> Demand:
        made, traced = product.weight, self.trace.ops[product.op]
        beside = 1 - made.operand if made.operand < 2 else 0
        fed = _number(moment(beside)) if beside < len(op.inputs) or moment.known(made.operand) else 1.0
        gain = product.gain
        if gain is None:
            gain = _number(moment(made.operand) / self.sizes.get(self.trace.ops[made.root].key, math.nan))
        if case.op is not None and case.op.kind == OpKind.EMBEDDING:
            gain /= _table_fan(case)
        part = 1.0 if product.bias is None else HALF
        return replace(self._of_product(case, traced), fan_in=made.fan_in, fed=fed, gain=gain, part=part)

    def _of_product(self, case: Case, product: Op) -> Demand:
        """What the product is for."""
        around = case.around
        if around is None:
            return Demand()
        ended, factor = around.ended(product), around.factor(product)
        is_head = around.is_head(product) and makes_outputs(self.trace, product)
        role = "head" if is_head else "weight" if ended is None else "branch_end"
        share = 1.0 if ended is None else 1.0 / (ended[0].total * ended[1])
        return Demand(
            role=role,
            outputs=_outputs(product),
            share=share,
            factor=1.0 if factor is None else factor.value,
        )

    def _part(self, case: Case, runs: Runs) -> int | None:
        """The number of the part of a map's features that a weight takes, 0 where the map has no parts."""
        fused = None if case.layout is None else case.layout.fused
        if not case.blocks or fused is None or not fused.sizes:
            return 0
        starts = [sum(fused.sizes[:part]) for part in range(len(fused.sizes))]
        parts = [part for part, first in enumerate(starts) if runs == ((first, fused.sizes[part]),)]
        return parts[0] if parts else None


def _part_std(law: Initializer, case: Case, part: int) -> float:
    shape, layout = case.parameter.shape, case.layout
    if not isinstance(law, Blocks) or layout is None:
        return law.moments(shape, layout=layout).std
    box, own = layout.blocks(shape)[part]
    return law.laws[part].moments(box.shape, layout=own).std


def _table_fan(case: Case) -> float:
    """What the law of a table divides its variance by."""
    return 1.0 if case.use is None or case.use.fan_in is None else case.use.fan_in


def _outputs(op: Op) -> int:
    return op.shape[-1] if len(op.shape) < 2 or op.shape[-1] > 1 else op.shape[-2]


def _number(value: float) -> float:
    return float(f"{value:.3g}") if math.isfinite(value) and value > 0 else 1.0
