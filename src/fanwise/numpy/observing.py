"""`observe` and `run`: a chain carried out once, and what it showed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fanwise.graph.kinds import CONVOLUTIONS
from fanwise.graph.op import Op
from fanwise.graph.trace import Trace
from fanwise.graph.tracking.tracker import Measured, drawn_values
from fanwise.graph.visitor import ModelError, Visitor
from fanwise.measure.losses import LossLike
from fanwise.measure.observation import NAN, Observation, ObservedLoss, Signal, observation
from fanwise.measure.signal_statistics import Signals, distribution, moment_of, numbers_of, sampled, signal_of
from fanwise.measure.weight_statistics import weigh
from fanwise.numpy.chain import Arrays, Back, Chain
from fanwise.numpy.losses import observed
from fanwise.numpy.windows import Array


def overflow_allowed() -> np.errstate:
    """Lets numbers that outgrow their dtype become inf and NaN: what exploding weights do is what a check shows."""
    return np.errstate(all="ignore")


def observe(
    chain: Chain,
    x: Array,
    target: Array | None = None,
    loss: LossLike = None,
    *,
    backward: bool = True,
    wide: bool = False,
) -> Observation:
    """Runs a network once, forward and backward, and measures every op and every parameter.

    Args:
        chain: the network.
        x: its inputs.
        target: what the loss compares with.
        loss: name of a loss; None for none.
        backward: whether gradients are wanted.
        wide: whether squares that the dtype does not hold are told as numbers; else they are infinite, as in a model.

    Raises:
        ModelError: inputs or a target that do not fit.
    """
    kind = np.float64 if wide else None
    with overflow_allowed():
        outputs, backs = forward(chain, x)
        seen, gradient = observed(outputs[-1], target, loss)
        at_outputs, at_parameters = gradients(chain, backs, gradient) if backward else ([], {})
        ops = [chain.op(i, (x, *outputs)[i].shape, output.shape) for i, output in enumerate(outputs)]
        trace, measured = chain.trace(ops), Signals()
        sizes = [_moment(np.asarray(each, kind)) for each in at_outputs] or [NAN] * len(ops)
        signals = [
            Signal(**measured.of(op, np.asarray(output, kind)), gradient=size)
            for op, output, size in zip(ops, outputs, sizes, strict=True)
        ]
        return observation(
            trace,
            signals,
            weigh(chain.arrays, trace, _sizes(at_parameters, kind)),
            given=[signal_of(x, _channels(ops))],
            output=Signal(**numbers_of(np.asarray(outputs[-1], kind), compared=True)),
            loss=_with_sureness(seen, outputs[-1], trace) if backward else None,
            backward=backward,
        )


def _with_sureness(loss: ObservedLoss | None, scores: Array, trace: Trace) -> ObservedLoss | None:
    """A loss of classes with the share of its distributions that are sure."""
    if loss is None or loss.target not in ("CLASS", "SHARES"):
        return loss
    logits = scores.astype(np.float64) - scores.max(-1, keepdims=True)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return replace(loss, sure=distribution(shares, -1)["saturated"], sure_op=trace.outputs[0])


def forward(chain: Chain, x: Array) -> tuple[list[Array], list[Back]]:
    """The output of every stage, and the derivative of each.

    Raises:
        ModelError: a stage could not be carried out; the message names its layer.
    """
    outputs: list[Array] = []
    backs: list[Back] = []
    for i in range(len(chain.stages)):
        x, back = _carried_out(chain, i, x, chain.arrays)
        outputs.append(x)
        backs.append(back)
    return outputs, backs


def run(chain: Chain, x: Array, visitor: Visitor) -> Trace:
    """Runs a network once and shows a visitor each op; it may give parameters other values, and scale outputs."""
    ops: list[Op] = []
    with overflow_allowed():
        for i in range(len(chain.stages)):
            read, op = x, chain.op(i, x.shape)
            laws = visitor.before(op, Measured((read,), _moment, lambda array: True))
            layouts = {use.path: use.layout for use in op.uses}
            held = {parameter.path: parameter for parameter in chain.parameters}
            drawn = {path: drawn_values(held[path], law, layouts[path]) for path, law in laws.items()}
            output, _ = _carried_out(chain, i, read, {**chain.arrays, **_in_dtypes(drawn, chain.arrays)})
            factor = visitor.after(op, lambda given=output: _moment(given))  # type: ignore[misc]
            x = output if factor is None else output * output.dtype.type(factor)
            ops.append(chain.op(i, read.shape, x.shape))
    return chain.trace(ops)


def _in_dtypes(drawn: Arrays, held: Arrays) -> Arrays:
    return {path: array.astype(held[path].dtype) for path, array in drawn.items()}


def _carried_out(chain: Chain, index: int, x: Array, arrays: Arrays) -> tuple[Array, Back]:
    stage = chain.stages[index]
    try:
        return stage.run(x, arrays)
    except Exception as error:
        raise ModelError(f"{stage.module}: {stage.name} of {x.shape}: {type(error).__name__}: {error}") from error


def gradients(chain: Chain, backs: Sequence[Back], gradient: Array) -> tuple[list[Array], dict[str, Array]]:
    """The gradients at the output of every stage, and at every parameter."""
    at_outputs: list[Array] = []
    at_parameters: dict[str, Array] = {}
    for back in reversed(backs):
        at_outputs.append(gradient)
        gradient, own = back(gradient)
        for path, array in own.items():
            at_parameters[path] = at_parameters[path] + array if path in at_parameters else array
    return at_outputs[::-1], at_parameters


def _moment(array: Array) -> float:
    return moment_of(sampled(array)) if array.size else NAN


def _sizes(at_parameters: Arrays, kind: type | None) -> dict[str, float]:
    """E g^2 of each gradient."""
    return {path: _moment(np.asarray(array, kind)) for path, array in at_parameters.items()}


def _channels(ops: Sequence[Op]) -> int:
    """The axis of an input's features."""
    return ops[0].axis if ops[0].kind in CONVOLUTIONS else -1
