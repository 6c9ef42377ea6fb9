"""What a plan makes of the models of the zoo that were written from papers: explained, started at a guess, bounded.

    python -m bench families                         # all frameworks; Keras computes with KERAS_BACKEND
    python -m bench families --framework jax --only experts --keys 1

Each model is planned and its plan applied under several keys. A trained parameter counts as explained where its law
stands on no assumption, or where it is left with values that do not depend on the random state: then a key fixes every
bit. The loss is the mean cross-entropy of labels drawn evenly, over ln C; it may start at most 6 % off. A residual
stream may grow by at most e. Both are statements about the law, not about a draw of it: they are held against the mean
over the keys, of which there should be ten or so, and the worst of them is printed beside.

A sum over time (`fanwise.graph.states`: a recurrence, a memory, an integrator) begins at zero, or with what its first
step gives, and fills up, so that its size over that of its begin says nothing. It is held against what was added to it:
E s_T^2 / (E s_0^2 + sum of E d_t^2), which is at most 1 where the steps keep or forget and what they add is not alike,
and may be at most e. Steps that amplify exceed it exponentially; steps that add the same again and again up to T times.
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from statistics import fmean
from typing import Any, get_args

import numpy as np

from fanwise.graph.inputs import Inputs
from fanwise.graph.kinds import STREAM_STEPS
from fanwise.graph.op import INPUT, OpKind
from fanwise.graph.residual import Join
from fanwise.graph.trace import Trace
from fanwise.graph.visitor import Watcher
from fanwise.plan.measured import OpKey
from fanwise.plan.plan import Plan
from zoo.model import Framework, Model
from zoo.registry import models

BOUND = math.e
TOLERANCE = 0.06


@dataclass(frozen=True)
class Result:
    """What one model showed.

    Args:
        model: of the zoo.
        parameters: how many it trains.
        unexplained: those that are left random, that nothing used, or whose law is a guess, each with why.
        losses: over ln C, one a key; empty where it has no logits.
        growths: of each residual stream, by name: the mean over the keys.
        largest: the same under the worst key.
        error: what ended it, "" where nothing did.
        seconds: what all of it took.
    """

    model: Model
    parameters: int = 0
    unexplained: tuple[str, ...] = ()
    losses: tuple[float, ...] = ()
    growths: Mapping[str, float] = field(default_factory=dict)
    largest: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0

    @property
    def loss(self) -> float:
        """The loss over ln C, the mean of the keys; 1 where there are no logits."""
        return fmean(self.losses) if self.losses else 1.0

    @property
    def is_off(self) -> bool:
        """Whether the loss starts further from ln C than it may."""
        return not abs(self.loss - 1) <= TOLERANCE

    @property
    def growth(self) -> float:
        """The largest growth of a stream."""
        return max(self.growths.values(), default=1.0)

    @property
    def grows(self) -> bool:
        """Whether a stream grows by more than it may."""
        return not self.growth <= BOUND

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.error or self.unexplained or self.is_off or self.grows)


class Moments(Watcher):
    """The second moment of what every op gives: by its key, for a trace may be pruned and renumbered after the run."""

    def __init__(self) -> None:
        self.by_key: dict[OpKey, float] = {}

    def after(self, op: Any, moment: Callable[[], float]) -> None:
        """Measures one op."""
        self.by_key[op.key] = moment()

    def by_op(self, trace: Trace) -> dict[int, float]:
        """The same by the index of the op in the trace of the run."""
        return {op.index: self.by_key[op.key] for op in trace.ops if op.key in self.by_key}


class Torch:
    """PyTorch: parameters are written in place."""

    def seeded(self, seed: int) -> None:
        """Random states follow from a seed."""
        import_module("torch").manual_seed(seed)

    def forward(self, model: Any, args: tuple[Any, ...]) -> Any:
        """Dropout off, batch norms on the batch's own statistics."""
        torch = import_module("torch")
        model.eval()
        for module in model.modules():
            if "BatchNorm" in type(module).__name__:
                module.train()
        with torch.no_grad():
            return model(*args)


class Jax:
    """JAX: a model of its own with the new parameters."""

    def seeded(self, seed: int) -> None:
        """Its zoo draws from fixed keys."""

    def forward(self, model: Any, args: tuple[Any, ...]) -> Any:
        """The function of the parameters, or the module itself."""
        if not isinstance(model, tuple):
            return model(*args)
        function, params = model
        return function.apply(params, *args) if hasattr(function, "apply") else function(params, *args)


class Keras:
    """Keras, on whichever backend it computes with."""

    def seeded(self, seed: int) -> None:
        """Random states and names follow from a seed."""
        utils = import_module("keras").utils
        utils.clear_session()
        utils.set_random_seed(seed)

    def forward(self, model: Any, args: tuple[Any, ...]) -> Any:
        """Batch norms on the batch's own statistics; no model here drops anything."""
        output = model(*args, training=True)
        numpy = import_module("keras").ops.convert_to_numpy
        return [numpy(part) for part in output] if isinstance(output, (list, tuple)) else numpy(output)


SIDES = {"torch": Torch(), "jax": Jax(), "keras": Keras()}


def built(model: Model, seed: int) -> tuple[Any, tuple[Any, ...]]:
    """A model and its inputs; one of Keras has its weights."""
    side = SIDES[model.framework]
    side.seeded(seed)
    net, args = model.build(), model.batch().args
    if model.framework == "keras":
        net(*args)
    return net, args


def unexplained(model: Model, backend: Any, plan: Plan, nets: Sequence[Any]) -> tuple[str, ...]:
    """Trained parameters whose values a key does not fix, that nothing used, or that stand on an assumption."""
    trained = {parameter.path for parameter in backend.parameters(nets[0]) if parameter.trained}
    readers = [backend.reader(net) for net in nets]
    bad = []
    for row in plan:
        if row.path not in trained or row.path in model.traits.unused:
            continue
        if row.role == "unused":
            bad.append(f"{row.path}: unused")
        elif row.guess:
            bad.append(f"{row.path}: a guess ({row.role}, {row.op})")
        elif row.law is None and not np.array_equal(*(read(row.path) for read in readers)):
            bad.append(f"{row.path}: left random ({row.role}, {row.op})")
    return tuple(bad)


def guessing_loss(logits: Any) -> float:
    """The expected cross-entropy of labels that are drawn evenly, over ln C."""
    z = np.asarray(logits, np.float64)
    top = z.max(-1, keepdims=True)
    total = np.log(np.exp(z - top).sum(-1)) + top[..., 0]
    return float((total - z.mean(-1)).mean()) / math.log(z.shape[-1])


def stream_growths(trace: Trace, moments: Mapping[int, float]) -> dict[str, float]:
    """By how much each stream grew, from its begin to its last join; of a sum over time, over all that was added to it.

    A norm on a stream sets its size anew: what the joins before it and those behind it grow it by is multiplied.
    """
    over_time = {index for state in trace.states for index in state.sums}
    last = {join.first: join for join in trace.joins if join.op not in over_time}
    growths = {
        f"state of {len(state.sums)} from {trace.ops[state.drives[0]].name}": state.growth(
            lambda op: moments.get(op, 0.0)
        )
        for state in trace.states
    }
    for first, join in last.items():
        begin = moments.get(first, 0.0) if first != INPUT else 0.0
        if not begin:
            begin = moments[next(other.op for other in trace.joins if other.first == first)]
        name = f"stream of {join.total} from {trace.ops[first].name if first != INPUT else 'the input'}"
        growths[name] = moments[join.op] / (begin * set_anew(trace, moments, join)) if begin else math.inf
    return growths


def set_anew(trace: Trace, moments: Mapping[int, float], join: Join) -> float:
    """By what the norms between the joins of a stream multiplied its second moment, on the way to its last join."""
    factor, here, before = 1.0, join.stream, {other.op for other in trace.joins}
    while here >= 0 and here != join.first and (here in before or trace.ops[here].kind in STREAM_STEPS):
        op = trace.ops[here]
        source = op.inputs[0] if op.inputs else INPUT
        if here in before:
            source = next(other.stream for other in trace.joins if other.op == here)
        elif op.kind == OpKind.NORM and moments.get(here) and moments.get(source):
            factor *= moments[here] / moments[source]
        here = source
    return factor


def measured(model: Model, package: Any, plan: Plan, key: int) -> tuple[float | None, dict[str, float]]:
    """The loss over ln C, and the growth of each stream, under one key."""
    net, args = built(model, 0)
    net = package.apply(net, plan, key=key)
    look = Moments()
    trace = package.run(net, Inputs(args), look)
    growths = stream_growths(trace, look.by_op(trace))
    output = SIDES[model.framework].forward(net, args)
    loss = guessing_loss(model.traits.logits(output)) if model.traits.logits else None
    return loss, growths


def judged(model: Model, keys: int) -> Result:
    """Plans, applies and measures one model."""
    start = time.perf_counter()
    package = import_module(f"fanwise.{model.framework}")
    backend = import_module(f"fanwise.{model.framework}.backend").BACKEND
    try:
        (net, args), (other, _) = (built(model, seed) for seed in (0, 1))
        plan = package.plan(net, Inputs(args))
        str(plan)
        bad = unexplained(model, backend, Plan.from_toml(plan.to_toml()), (net, other))
        runs = [measured(model, package, plan, key) for key in range(keys)]
    except Exception as error:  # a crash is what is counted
        return Result(model, error=f"{type(error).__name__}: {error}".partition("\n")[0][:200])
    losses = tuple(loss for loss, _ in runs if loss is not None)
    growths, largest = ({name: of(run[name] for _, run in runs) for name in runs[0][1]} for of in (fmean, max))
    count = sum(parameter.trained for parameter in backend.parameters(net))
    return Result(model, count, bad, losses, growths, largest, seconds=time.perf_counter() - start)


def line(result: Result) -> str:
    """What is wrong with one model."""
    words = [f"{result.model.framework}/{result.model.name}:"]
    if result.error:
        words.append(result.error)
    if result.unexplained:
        words.append(f"{len(result.unexplained)} of {result.parameters} unexplained, as {result.unexplained[0]};")
    if result.is_off:
        words.append(f"loss {result.loss:.3f} ln C ({max(result.losses):.3f} at most);")
    if result.grows:
        name = max(result.growths, key=lambda name: result.growths[name])
        words.append(f"{name} grows {result.growth:.3g} times ({result.largest[name]:.3g} at most)")
    return " ".join(words)


def totals(results: Sequence[Result]) -> str:
    """One line for all of them."""
    trained, bad = sum(one.parameters for one in results), sum(len(one.unexplained) for one in results)
    lossy = [one for one in results if one.losses]
    streams = sum(len(one.growths) for one in results)
    beyond = sum(not growth <= BOUND for one in results for growth in one.growths.values())
    return (
        f"{len(results)} models, {sum(bool(one.error) for one in results)} crashes; "
        f"{trained - bad} of {trained} trained parameters explained ({100 * (1 - bad / max(trained, 1)):.2f} %); "
        f"{len(lossy) - sum(one.is_off for one in lossy)} of {len(lossy)} losses within 6 % of ln C; "
        f"{streams - beyond} of {streams} streams within e; {sum(one.is_good for one in results)} models without fault"
    )


def main() -> None:
    """Judges the models of every framework, or of one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=get_args(Framework))
    parser.add_argument("--only", default="", help="models whose names contain this")
    parser.add_argument("--keys", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="every parameter that is not explained")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    results = []
    for framework in [asked.framework] if asked.framework else get_args(Framework):
        here = [judged(one, asked.keys) for one in models(framework, "families").values() if asked.only in one.name]
        for result in here:
            if not result.is_good:
                print(line(result), flush=True)
                for reason in result.unexplained if asked.full else ():
                    print(f"    {reason}")
        print(f"{framework}: {totals(here)}; {sum(one.seconds for one in here):.0f} s", flush=True)
        results += here
    print(f"all: {totals(results)}")
