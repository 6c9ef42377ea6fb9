"""Weights that a model makes, as hypernetworks and dynamic convolutions do: what makes them, and for which products.

References:
    Chang, Flokas, Lipson, "Principled weight initialization for hypernetworks", 2020: the variance of what a
    hypernetwork's last map gives is to be that of a weight of the map which uses it; a bias that is made takes half.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from fanwise.graph.details import MadeWeight, Runs, Slicing
from fanwise.graph.factors import SCATTERED, factor_of
from fanwise.graph.kinds import AT_ONCE, BEFORE_SOFTMAX, MADE_STEPS, MOVING, STRETCH_MAPS
from fanwise.graph.op import Op, OpKind
from fanwise.graph.paths import nearest
from fanwise.graph.trace import Trace


@dataclass(frozen=True)
class Product:
    """A product with a weight that the model makes.

    Args:
        op: index of the product.
        weight: the operand.
        bias: the map that makes the summand of its output and the features of this that it takes; None without one.
        gain: second moment of the weight over that of the features that it holds, where constants alone multiply it; a
            nonlinearity counts with its slope at 0. None where it is to be measured.
    """

    op: int
    weight: MadeWeight
    bias: tuple[int, Runs] | None = None
    gain: float | None = 1.0


@dataclass(frozen=True)
class Maker:
    """What makes weights.

    Args:
        root: index of the map, or of the lookup.
        products: those that use what it makes.
        biases: features that are added to the output of such a product, of this map's or of another's weights, each
            with the index of the product.
    """

    root: int
    products: tuple[Product, ...] = ()
    biases: tuple[tuple[int, Runs], ...] = ()


def makers(trace: Trace) -> Mapping[int, Maker]:
    """What makes weights, by the index of its op."""
    products = [product for op in trace.ops if (product := _product(trace, op)) is not None]
    roots = [product.weight.root for product in products]
    roots += [product.bias[0] for product in products if product.bias is not None]
    return {root: _maker(root, products) for root in dict.fromkeys(roots)}


def _maker(root: int, products: Sequence[Product]) -> Maker:
    own = tuple(product for product in products if product.weight.root == root)
    biases = tuple((made.op, made.bias[1]) for made in products if made.bias is not None and made.bias[0] == root)
    return Maker(root, own, biases)


def _product(trace: Trace, op: Op) -> Product | None:
    """The product that an op is; None where its operand is no weight, or where it gives attention scores."""
    if op.made is None or trace.after(op, {OpKind.SOFTMAX}, BEFORE_SOFTMAX) is not None:
        return None
    between = _between(trace, op.inputs[op.made.operand], op.made.root)
    if any(_adds_matrix(trace, step) for step in between) or _reads_out(trace, op, op.made):
        return None
    return Product(op.index, op.made, _bias(trace, op), _gain(between))


def _reads_out(trace: Trace, op: Op, made: MadeWeight) -> bool:
    """Whether a product is of signals: what its other operand holds came of the same map as data, or is a state.

    So a query reads out what keys and values have left in the state of a linear attention or of a state space. A map
    that makes the weights of several layers leads from one to the next by way of these weights alone.
    """
    queue = [source for place, source in enumerate(op.inputs) if place != made.operand]
    seen = set(queue)
    while queue:
        here = queue.pop()
        if here == made.root or here in trace.filled:
            return True
        fresh = [source for source in _data_of(trace, here, made.root) if source not in seen and source >= 0]
        seen.update(fresh)
        queue += [source for source in fresh if source >= made.root]  # what is older did not come of it
    return False


def _data_of(trace: Trace, index: int, root: int) -> tuple[int, ...]:
    """What an op reads, without the weights and biases that a map makes for it."""
    op = trace.ops[index] if index >= 0 else None
    if op is None:
        return ()
    if op.made is not None and op.made.root == root:
        return tuple(source for place, source in enumerate(op.inputs) if place != op.made.operand)
    products = [source for source in op.inputs if _is_product_of(trace, source, root)] if op.kind == OpKind.ADD else []
    return tuple(products) or op.inputs


def _is_product_of(trace: Trace, index: int, root: int) -> bool:
    """Whether an op gives a product with a weight that a map makes, moved at most."""
    while index >= 0 and trace.ops[index].kind in MOVING and trace.ops[index].inputs:
        index = trace.ops[index].inputs[0]
    made = trace.ops[index].made if index >= 0 else None
    return made is not None and made.root == root


def _gain(between: Sequence[Op]) -> float | None:
    gain = 1.0
    for step in between:
        number = 1.0 if step.kind in AT_ONCE | {OpKind.ACTIVATION} else factor_of(step)
        if number is None:
            return None
        gain *= number**2
    return gain


def _adds_matrix(trace: Trace, op: Op) -> bool:
    """Whether a weight stands beside the one that is made."""
    return op.kind == OpKind.SHIFT and any(len(trace.by_path[use.path].shape) > 1 for use in op.uses)


def _between(trace: Trace, index: int, root: int) -> list[Op]:
    """The ops from one back to another."""
    steps: list[Op] = []
    while index > root:
        steps.append(trace.ops[index])
        index = steps[-1].inputs[0] if steps[-1].inputs else root
    return steps


def _bias(trace: Trace, op: Op) -> tuple[int, Runs] | None:
    """The map whose output is added to that of a product, and which of its features are."""
    added = trace.after(op, {OpKind.ADD}, MOVING)
    if added is None or any(join.op == added.index for join in trace.joins):
        return None
    past = trace.ancestors(op.index)
    others = [trace.ops[i] for i in added.inputs if i >= 0 and op.index not in trace.ancestors(i)]
    if len(others) != 1 or (others[0].index in past and others[0].kind in STRETCH_MAPS):
        return None
    first = partial(_first, trace)
    root = others[0] if others[0].kind in STRETCH_MAPS else nearest(others[0], first, STRETCH_MAPS, MADE_STEPS)
    if root is None or not root.shape:
        return None
    detail = others[0].detail
    return root.index, detail.runs if isinstance(detail, Slicing) else ((0, root.shape[root.axis]),)


def _first(trace: Trace, op: Op) -> tuple[Op, ...]:
    return trace.feeds(op)[:1]


def makes_outputs(trace: Trace, op: Op) -> bool:
    """Whether the model returns what a product gives, scaled, moved or squashed at most: not a function of it."""
    queue, seen = [op], {op.index}
    while queue:
        here = queue.pop()
        if here.index in trace.outputs:
            return True
        fresh = [reader for reader in trace.follows(here) if reader.index not in seen and _keeps_logits(reader)]
        seen.update(reader.index for reader in fresh)
        queue += fresh
    return False


def _keeps_logits(op: Op) -> bool:
    is_step = op.kind in AT_ONCE | {OpKind.ADD, OpKind.SCALE, OpKind.ACTIVATION, OpKind.SOFTMAX}
    return is_step or factor_of(op) is not None or (op.kind == OpKind.ELEMENTWISE and op.name in SCATTERED)


def is_map(op: Op, kinds: AbstractSet[OpKind]) -> bool:
    """Whether an op is a map of these kinds, with weights of its own or with one that the model makes."""
    return op.kind in kinds or op.made is not None
