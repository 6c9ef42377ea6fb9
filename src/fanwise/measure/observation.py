"""What one run of a model showed: plain numbers, one `Signal` an op and one `Values` a parameter.

Neutral: an adapter (`fanwise.torch`, the lab) measures, the rules read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fanwise.graph.op import INPUT, Op
from fanwise.graph.trace import Trace

NAN = math.nan


@dataclass(frozen=True)
class Signal:
    """What stood at one place of the model. NaN where a number was not measured or does not apply.

    Args:
        mean: E x.
        second_moment: E x^2.
        zeros: share of values that are exactly 0.
        silent: of an activation, the share of units that gave one and the same value for the whole batch.
        saturated: of a bounded nonlinearity, the share of values where its slope is below 5 % of its steepest; of a
            softmax, the share of distributions of which 1 - sum p^2 is below 5 % of that of an even one.
        mode: of a softmax, the largest mean that the probability of one outcome has.
        places: mean cosine between the places of an example; 1 where they are all alike.
        likeness: mean cosine between the outputs for different examples; 1 where they do not depend on the input.
        alike: of an input, a lookup and what is made of constants alone: E x x' of a feature at two places of an
            example, over E x^2.
        gradient: E (dL/dx)^2.
        overlap: of the same, E (x . x')^2 over (E x . x)^2 of what two windows hold: the features of a place, in
            pictures those of 3 places along each axis. 1 / fan_in where they are independent.
    """

    mean: float = NAN
    second_moment: float = NAN
    zeros: float = NAN
    silent: float = NAN
    saturated: float = NAN
    mode: float = NAN
    places: float = NAN
    likeness: float = NAN
    gradient: float = NAN
    alike: float = NAN
    overlap: float = NAN

    @property
    def rms(self) -> float:
        """Root mean square."""
        return math.sqrt(self.second_moment)

    @property
    def varying(self) -> float:
        """The part of the second moment that differs between examples."""
        return self.second_moment * (1 - self.likeness)


@dataclass(frozen=True)
class Values:
    """The numbers that one parameter held.

    Args:
        count: how many.
        mean: E w.
        second_moment: E w^2.
        kurtosis: E (w - mean)^4 / variance^2: 3 for a normal, 1.8 for a uniform law; NaN for equal values.
        largest: max |w|.
        zeros: share that is exactly 0.
        infinite: share that is infinite or not a number.
        repeated: share of a map's units whose incoming weights are, bit for bit, those of another of its units.
        overlap: rms cosine of a map's rows (or columns, where they are fewer), times the square root of their length:
            1 for independent weights, 0 for orthogonal ones; NaN where it was not measured.
        blocks: E w^2 of each map that a fused weight holds, as in a matrix of Q, K and V, and of each gate in a bias of
            a recurrent cell; () elsewhere.
        block_means: E w of the same.
        parts: E w^2 of each eighth of a map's units, in their order; () elsewhere.
        histogram: counts of a sample of them in 32 equal bins from -largest to largest; () where there is none.
        twin: path of an earlier parameter, of another storage, with the same numbers; "" where there is none.
        kin: path of an earlier parameter that begins with the same numbers, up to a factor; "" where there is none.
        reached: whether a gradient came to it; False, too, where the run had no backward pass.
        gradient: E (dL/dw)^2, NaN where no gradient came.
        elsewhere: whether another output of the model than those in the loss would send a gradient to it.
    """

    count: int
    mean: float
    second_moment: float
    kurtosis: float = NAN
    largest: float = NAN
    zeros: float = 0.0
    infinite: float = 0.0
    repeated: float = 0.0
    overlap: float = NAN
    blocks: tuple[float, ...] = ()
    block_means: tuple[float, ...] = ()
    parts: tuple[float, ...] = ()
    histogram: tuple[int, ...] = ()
    twin: str = ""
    kin: str = ""
    reached: bool = False
    gradient: float = NAN
    elsewhere: bool = False

    @property
    def std(self) -> float:
        """Standard deviation; 0 for equal values."""
        variance = self.second_moment - self.mean**2
        return math.sqrt(variance) if variance > 1e-12 * self.second_moment else 0.0

    @property
    def constant(self) -> bool:
        """Whether all its values are equal."""
        return self.count > 0 and self.infinite == 0 and self.std == 0


@dataclass(frozen=True)
class ObservedLoss:
    """The loss of the run.

    Args:
        value: what it was.
        name: the function's name, "the model's own" or "random projection".
        chance: what a model that has learned nothing and says nothing gives: ln C, ln 2, or the second moment of the
            target; NaN where that is not known.
        classes: C, 0 where there are none.
        drawn: whether the targets were drawn, since the batch had none.
        probe: whether it stands for a loss that was not given: its value means nothing, its gradients do.
        target: what it compares with, the name of a `fanwise.measure.losses.Target`; "" where that is not known.
        constant: the loss of the best constant output (`fanwise.measure.best_constant`), NaN where there is none.
        zero: the loss of outputs of 0, where that of the best constant output is known.
        best: the numbers of the best constant output, one for each array of the output.
        span: the least and the largest number of a target of numbers or truth values; () elsewhere.
        target_rms: root mean square of such a target.
        broadcast: the shapes of the output and of the target, where the loss repeats one along an axis of the other.
        sure: share of the distributions that the loss computes of the outputs which are sure, as in `Signal.saturated`.
        sure_op: the op whose output the surest of them are made of; None where that is not known.
    """

    value: float
    name: str
    chance: float = NAN
    classes: int = 0
    drawn: bool = False
    probe: bool = False
    target: str = ""
    constant: float = NAN
    zero: float = NAN
    best: tuple[float, ...] = ()
    span: tuple[float, ...] = ()
    target_rms: float = NAN
    broadcast: tuple[tuple[int, ...], ...] = ()
    sure: float = NAN
    sure_op: int | None = None


@dataclass(frozen=True)
class Place:
    """Line of the user's sources that constructs a module.

    Args:
        file: path of the file.
        line: from 1.
    """

    file: str
    line: int


@dataclass(frozen=True)
class RoundTrip:
    """Values that left the graph along which gradients come back, and were read again as constants.

    Args:
        by: the function with which they left, such as "numpy".
        op: that gave them; None where they are those of parameters.
        paths: of these parameters.
        reader: the op that reads them again; None where they are an output of the model.
        choice: what was chosen, where it is the places of a largest or least value.
    """

    by: str
    op: int | None = None
    paths: tuple[str, ...] = ()
    reader: int | None = None
    choice: "Choice | None" = None


@dataclass(frozen=True)
class Choice:
    """Outcomes that were chosen, such as the nearest entry of a codebook.

    Args:
        outcomes: how many there are.
        chosen: how many of them were chosen at all.
        rows: how often it was chosen.
        each: how many each time.
    """

    outcomes: int
    chosen: int
    rows: int
    each: int = 1


@dataclass(frozen=True)
class Observation:
    """One run.

    Args:
        trace: what was run.
        signals: one an op of the trace.
        values: of every parameter, by path.
        inputs: what the model's tensors of floating point gave, in their order; `Op.given` counts integer
            tensors too, `given` maps it.
        loss: None where there was no backward pass.
        given: for each of the model's input tensors its place in `inputs`, None for one of integers.
        outputs: what the model returned first.
        seed: of the initialisation; None for a model as it was found.
        backward: whether gradients were asked for.
        training: whether it ran in training mode, since its backward pass works in no other.
        broken: state that is no parameter, such as running variances, with values that are not finite.
        round_trips: values that left the graph and came back as constants.
    """

    trace: Trace
    signals: tuple[Signal, ...]
    values: Mapping[str, Values]
    inputs: tuple[Signal, ...] = ()
    loss: ObservedLoss | None = None
    given: tuple[int | None, ...] = ()
    outputs: Signal = field(default_factory=Signal)
    seed: int | None = None
    backward: bool = True
    training: bool = False
    broken: tuple[str, ...] = ()
    round_trips: tuple[RoundTrip, ...] = ()

    def fed(self, op: Op, operand: int = 0) -> Signal:
        """What an op reads at a place; a signal of NaN for a tensor of integers."""
        if operand >= len(op.inputs):
            return Signal()
        source = op.inputs[operand]
        if source != INPUT:
            return self.signals[source]
        rank = sum(1 for earlier in op.inputs[:operand] if earlier == INPUT)
        numbers = op.given
        which = self.given[numbers[rank]] if rank < len(numbers) and numbers[rank] < len(self.given) else None
        return Signal() if which is None else self.inputs[which]


def observation(
    trace: Trace,
    signals: Sequence[Signal],
    values: Mapping[str, Values],
    *,
    given: Sequence[Signal | None],
    output: Signal | None,
    loss: ObservedLoss | None,
    backward: bool,
) -> Observation:
    """What a run showed, put together from what an adapter measured.

    Args:
        trace: what was run.
        signals: one an op of the trace.
        values: of every parameter, by path.
        given: the signal of each of the model's input tensors, None for one of integers.
        output: of what the model returned first; None where it returned no floating point.
        loss: None where there was none.
        backward: whether gradients were asked for.
    """
    places = iter(range(len(given)))
    return Observation(
        trace,
        tuple(signals),
        values,
        tuple(signal for signal in given if signal is not None),
        loss if backward else None,
        tuple(None if signal is None else next(places) for signal in given),
        output or Signal(),
        backward=backward and loss is not None,
    )
