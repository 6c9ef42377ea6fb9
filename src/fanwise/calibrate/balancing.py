"""Equal ratios of gradient to weight along chains whose function a rescaling keeps."""

import math
from collections.abc import Iterator, Mapping, Sequence

from fanwise.calibrate.tasks import Task
from fanwise.graph.kinds import BALANCED_MAPS, HOMOGENEOUS
from fanwise.graph.op import Op, OpKind
from fanwise.graph.trace import Trace

PROPORTIONAL_FUNCTIONS = ("relu", "leaky_relu", "prelu")
"""Nonlinearities f with f(a x) = a f(x) for every a > 0."""
AVERAGES = ("mean", "sum", "amax", "amin", "max", "min")


def balanced(trace: Trace, tasks: Mapping[tuple[str, int, int], Task], ratios: Mapping[str, float]) -> dict[str, float]:
    r"""Factors that make the ratios of gradient to weight equal within each chain and keep the model's function.

    $$ \alpha_k = \sqrt{R_k / \bar R}, \quad R_k = \frac{\lVert \partial L / \partial W_k \rVert}{\lVert W_k \rVert},
    \quad \bar R = \Bigl(\prod_{k=1}^K R_k\Bigr)^{1/K} $$

    A chain is a run of maps with nothing but positively homogeneous functions between them. W_k times alpha_k has a
    gradient over alpha_k, as the product of all alpha is 1, and so a ratio over alpha_k^2. A bias is multiplied by the
    alphas up to its own.

    Args:
        trace: of the model.
        tasks: by the op's key.
        ratios: R_k by the path of the parameter that carries the scale.

    Returns:
        Factors by path, for weights and biases.

    References:
        Kraehenbuehl et al., "Data-dependent initializations of convolutional neural networks", 2015, section 3.2.
    """
    factors: dict[str, float] = {}
    for chain in chains(trace, tasks, ratios):
        own = [ratios[task.weights[0]] for task in chain]
        mean = math.exp(sum(map(math.log, own)) / len(own))
        product = 1.0
        for task, ratio in zip(chain, own, strict=True):
            alpha = math.sqrt(ratio / mean)
            product *= alpha
            factors[task.weights[0]] = alpha
            if task.bias:
                factors[task.bias] = product
    return factors


def chains(
    trace: Trace, tasks: Mapping[tuple[str, int, int], Task], ratios: Mapping[str, float]
) -> Iterator[Sequence[Task]]:
    """Runs of at least two maps that can be balanced."""
    members = {task.op.index: task for task in tasks.values() if _is_member(trace, task, ratios)}
    following = {index: _next_map(trace, task.op) for index, task in members.items()}
    inner = {there for there in following.values() if there in members}
    for first in members:
        chain, here = [], None if first in inner else first
        while here in members:
            chain.append(members[here])
            here = following[here]
        if len(chain) > 1:
            yield chain


def _is_member(trace: Trace, task: Task, ratios: Mapping[str, float]) -> bool:
    if task.left or task.op.kind not in BALANCED_MAPS or len(task.weights) != 1:
        return False
    ratio = ratios.get(task.weights[0], math.nan)
    alone = all(len(trace.uses[path]) == 1 for path in task.paths)
    return alone and math.isfinite(ratio) and ratio > 0


def _next_map(trace: Trace, op: Op) -> int | None:
    """The map that alone reads an op, through homogeneous functions."""
    here = op
    while len(readers := trace.follows(here)) == 1 and here.index not in trace.outputs:
        here = readers[0]
        if len(here.inputs) != 1:
            return None
        if here.kind in BALANCED_MAPS:
            return here.index
        if not _is_homogeneous(here):
            return None
    return None


def _is_homogeneous(op: Op) -> bool:
    if op.kind == OpKind.ACTIVATION:
        return op.nonlinearity in PROPORTIONAL_FUNCTIONS
    return op.kind in HOMOGENEOUS or (op.kind == OpKind.REDUCE and op.name in AVERAGES)
