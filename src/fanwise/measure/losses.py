"""Losses: a batch split into inputs and target, what is drawn where it holds no target, and what a guess gives.

`Loss` makes one number of what a model returns. It is the same in every framework; an adapter brings the functions that
go by name (`NamedLoss`) and how its arrays are handled (`LossArrays`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np

from fanwise.graph.tracking.source_lines import described
from fanwise.graph.visitor import ModelError
from fanwise.measure.observation import NAN, ObservedLoss
from fanwise.stream import fill
from fanwise.stream.arguments import in_words
from fanwise.stream.formats import Array
from fanwise.stream.key import Key

LossLike: TypeAlias = "str | Callable[..., Any] | None"
"""A loss as users give it: its name, a function, or None for the model's own."""

TARGETS = ("target", "targets", "label", "labels", "y")
"""Names under which a mapping holds what a given loss compares with."""
SAME = 0.02
"""By what share two losses of one batch may differ and be taken for the same: auxiliary losses are small."""


class Target(Enum):
    """What a loss compares an output with."""

    CLASS = "the number of a class"
    SHARES = "a share of each class"
    TRUTH = "a truth value for each output"
    NUMBER = "a number for each output"


NEUTRAL: Mapping[str, Target] = MappingProxyType(
    {
        "cross_entropy": Target.CLASS,
        "binary_cross_entropy_with_logits": Target.TRUTH,
        "mse_loss": Target.NUMBER,
    }
)
"""Losses that go by the same name in every framework: of logits, of logits, of any output."""


@dataclass(frozen=True)
class NamedLoss:
    """A loss that a user asked for.

    Args:
        name: of the loss, or of the user's function.
        function: of an output and a target, or of an output alone where there is no target; gives one number.
        target: what it compares with, where the loss is a known one: it then sees the model's main output, and a target
            can be drawn. None for a function that sees all that the model returns.
    """

    name: str
    function: Callable[..., Any]
    target: Target | None = None


@dataclass(frozen=True)
class Loss:
    """A loss, ready to be computed of what a model returns.

    Args:
        name: of the loss, "the model's own" or "random projection".
        function: from what the model returns to one number, an array of the framework.
        target: what it compares with, None where it compares with nothing.
        drawn: whether the target was drawn.
        probe: whether it stands for a loss that was not given.
        named: the loss that the user asked for; None for the model's own and for a probe.
    """

    name: str
    function: Callable[[Any], Any]
    target: Any = None
    drawn: bool = False
    probe: bool = False
    named: NamedLoss | None = None

    def __call__(self, outputs: Any) -> Any:
        """The loss of these outputs, as an array of the framework that can be differentiated.

        Raises:
            ModelError: it raised an error, or is not one number.
        """
        return self.function(outputs)

    def observed(
        self, value: float, chance: float = NAN, classes: int = 0, target: Target | None = None
    ) -> ObservedLoss:
        """What the rules see of it."""
        kind = "" if target is None else target.name
        return ObservedLoss(value, self.name, chance, classes, self.drawn, self.probe, target=kind)


class LossArrays(Protocol):
    """What a framework does with outputs and targets."""

    def fields(self, outputs: Any) -> Mapping[Any, Any]:
        """The values that a model returns by name; {} where they have none."""
        ...

    def floats(self, outputs: Any) -> list[Any]:
        """The arrays of floating point among what a model returns, in order."""
        ...

    def shape(self, value: Any) -> tuple[int, ...] | None:
        """The shape of an array; None for anything else."""
        ...

    def class_axis(self, shape: tuple[int, ...]) -> int:
        """The axis of an output that counts classes."""
        ...

    def learns(self, array: Any) -> bool:
        """Whether a gradient would come through an array."""
        ...

    def drawn(self, values: Array, output: Any) -> Any:
        """A drawn target as an array of the framework, beside an output: floats in its dtype, integers as they are."""
        ...

    def replaced(self, outputs: Any, floats: Sequence[Any]) -> Any:
        """The outputs with other arrays of floating point, in the order of `floats`."""
        ...

    def host(self, value: Any) -> Array:
        """The numbers of an array, on the host."""
        ...

    def projected(self, output: Any, signs: Array) -> Any:
        """The mean of an output's values times these signs; its real part where it is complex."""
        ...

    def number(self, value: Any) -> Any:
        """What a loss gave as an array; whatever cannot be one, as it is."""
        ...


def split(batch: Any, loss: LossLike) -> tuple[Any, Any]:
    """What the model is given, and what a loss compares its output with.

    Args:
        batch: where a loss is given, the last element of a tuple or list of two and more, or what a mapping holds under
            one of `TARGETS`, is the target.
        loss: None: the whole batch goes to the model.

    Returns:
        The inputs, a tuple of those of a tuple or list; and the target, None where the batch holds none.

    Example:
        >>> split(([1.0, 2.0], [0]), "mse_loss"), split({"x": 1, "labels": 2}, "mse_loss")
        ((([1.0, 2.0],), [0]), ({'x': 1}, 2))
    """
    if loss is not None and isinstance(batch, Mapping):
        name = next((name for name in TARGETS if name in batch), None)
        rest = {key: value for key, value in batch.items() if key != name}
        return rest, None if name is None else batch[name]
    if loss is not None and isinstance(batch, tuple | list) and len(batch) > 1:
        return tuple(batch[:-1]), batch[-1]
    return batch, None


def check_kind(loss: LossLike, order: str = "output and target") -> None:
    """Refuses what is no loss; whether a name is known, the adapter says.

    Args:
        loss: as the user gave it.
        order: of the arguments of a function, for the message.

    Raises:
        TypeError: neither a name nor something to call, or a class.
    """
    if isinstance(loss, type):
        raise TypeError(f"loss = {loss.__name__}, a class: expected an instance, as in {loss.__name__}()")
    if not (loss is None or isinstance(loss, str) or callable(loss)):
        raise TypeError(f"loss = {in_words(loss)}: expected the name of a loss, a function of {order}, or None")


@dataclass(frozen=True)
class KnownLosses:
    """The losses of `NEUTRAL` in a framework, by which one of another name is recognised.

    Args:
        functions: of an output and a target, by name.
        is_integer: whether a target holds integers.
        square: E t^2 of a target.
    """

    functions: Mapping[str, Callable[[Any, Any], Any]]
    is_integer: Callable[[Any], bool]
    square: Callable[[Any], float]

    def observed(self, loss: Loss, value: float, output: Any, arrays: LossArrays) -> ObservedLoss:
        """The loss with its value, and with what a guess gives where a known loss of its target has the same value.

        Args:
            loss: that was computed.
            value: what it was.
            output: what the model returned first.
            arrays: of the framework.
        """
        shape, target_shape = arrays.shape(output), arrays.shape(loss.target)
        if loss.probe or shape is None or target_shape is None:
            return loss.observed(value)
        whole = self.is_integer(loss.target)
        for name, function in self.functions.items():
            fits = _fits(NEUTRAL[name], shape, target_shape, is_integer=whole)
            if fits and is_near(float(function(output, loss.target)), value) and _is(loss, function, output, arrays):
                return self.judged(loss, value, NEUTRAL[name], shape[-1] if shape else 0)
        return loss.observed(value)

    def of_inputs(
        self, loss: Loss, value: float, output: Any, given: Sequence[Any], arrays: LossArrays
    ) -> ObservedLoss:
        """The same of a loss that the model computed itself: what it compares with is among the model's inputs."""
        aims = given if loss.named is None and loss.target is None else (loss.target,)
        found = (self.observed(replace(loss, target=aim), value, output, arrays) for aim in aims)
        return next((seen for seen in found if seen.target), loss.observed(value))

    def judged(self, loss: Loss, value: float, target: Target, classes: int) -> ObservedLoss:
        """The loss with its value, and with what a guess gives of a target of this kind."""
        count = {Target.TRUTH: 2, Target.NUMBER: 0}.get(target, classes)
        return loss.observed(value, chance_of(target, count, lambda: self.square(loss.target)), count, target)


def _is(loss: Loss, function: Callable[[Any, Any], Any], output: Any, arrays: LossArrays) -> bool:
    """Whether a loss is a known one elsewhere too: softplus(x) is x from 17 on, and so is an answer that is a loss."""
    if loss.named is None and arrays.shape(output):
        return True  # the model computes it from this output and others
    other = 0.5 - 0.1 * output
    try:
        return is_near(float(arrays.host(function(other, loss.target))), float(arrays.host(loss(other))))
    except Exception:  # whatever the user's raises for outputs that no model gives
        return True


def _fits(target: Target, output: tuple[int, ...], given: tuple[int, ...], *, is_integer: bool) -> bool:
    """Whether a known loss is one of an output and a target of these shapes."""
    if target is Target.CLASS:
        return bool(output) and output[-1] > 1 and given == (output[:-1] if is_integer else output)
    return given == output and (target is Target.NUMBER or not is_integer)


Depends: TypeAlias = Callable[[int, int], bool]
"""Whether one of a model's arrays of floating point was computed from another, by their places among them."""


def loss_of(
    outputs: Any, target: Any, named: NamedLoss | None, arrays: LossArrays, depends: Depends = lambda one, other: True
) -> Loss | None:
    """The loss for outputs like these; None where nothing in them has a gradient.

    Args:
        outputs: what the model returned.
        target: what the batch holds for the loss, None where it holds none.
        named: what was asked for; None: the model's own loss, an output of one number that is computed from the others,
            or a random projection of the outputs, whose gradients have the size of those of a mean over the batch.
        arrays: of the framework.
        depends: on what the outputs depend: an auxiliary loss, as of the balance of experts, is not made of the logits.

    Raises:
        ModelError: a loss that needs a target, of outputs for which none can be drawn.
    """
    if named is None:
        return _own(outputs, arrays, depends)
    drawn = target is None and named.target is not None
    aim = _drawn_for(named, main_output(outputs, arrays), arrays) if drawn else target

    def compute(returned: Any) -> Any:
        output = returned if named.target is None else main_output(returned, arrays)
        return _one(named.name, _guarded(named, (output,) if aim is None else (output, aim), arrays), arrays)

    return Loss(named.name, compute, aim, drawn, named=named)


def probe_signs(shape: tuple[int, ...]) -> Array:
    """The signs of a random projection of an output, the same at every call."""
    return np.asarray(np.sign(fill.uniform(Key(0, "check.probe"), shape, bound=1.0)))


def main_output(outputs: Any, arrays: LossArrays) -> Any:
    """What a loss compares with a target: the logits where they are named, else the first array of floats."""
    logits, floats = arrays.fields(outputs).get("logits"), arrays.floats(outputs)
    if arrays.shape(logits) is not None:
        return logits
    return next((array for array in floats if arrays.shape(array)), floats[0] if floats else outputs)


def chance_of(target: Target, classes: int, square: Callable[[], float]) -> float:
    """The loss of a model that says nothing, of the logarithms of its classes or the square of its errors.

    Args:
        target: what the loss compares with.
        classes: how many there are.
        square: gives E t^2 of the target.
    """
    if target is Target.NUMBER:
        return square()
    number = 2 if target is Target.TRUTH else classes
    return math.log(number) if number > 1 else NAN


def is_near(value: float, other: float) -> bool:
    """Whether a loss is another, but for what is small beside it."""
    return math.isfinite(value) and abs(value - other) <= SAME * abs(other)


def _own(outputs: Any, arrays: LossArrays, depends: Depends) -> Loss | None:
    """The loss that the model computed itself, or a probe."""
    own = _own_value(outputs, arrays, depends)
    if own is not None:
        name = "the model's own"
        return Loss(name, lambda returned: _one(name, _averaged(own(returned), arrays), arrays))
    floats = arrays.floats(outputs)
    learning = [i for i, array in enumerate(floats) if arrays.learns(array)]
    position = next((i for i in learning if arrays.shape(floats[i])), next(iter(learning), None))
    if position is None:
        return None
    shape = arrays.shape(floats[position]) or ()
    signs = probe_signs(shape)
    return Loss(
        "random projection", lambda returned: arrays.projected(arrays.floats(returned)[position], signs), probe=True
    )


def _own_value(outputs: Any, arrays: LossArrays, depends: Depends) -> Callable[[Any], Any] | None:
    """What reads the loss among the outputs: named so, the only number, or a number made of the other outputs."""
    floats = arrays.floats(outputs)
    if arrays.fields(outputs).get("loss") is not None:
        return lambda returned: arrays.fields(returned)["loss"]
    position = _own_place([arrays.shape(array) or () for array in floats], depends)
    return None if position is None else lambda returned: arrays.floats(returned)[position]


def _own_place(shapes: Sequence[tuple[int, ...]], depends: Depends) -> int | None:
    """The place of the loss among the arrays of floating point."""
    if len(shapes) == 1:
        return 0 if math.prod(shapes[0]) == 1 else None
    numbers = [i for i, shape in enumerate(shapes) if not shape]
    main = next((i for i, shape in enumerate(shapes) if shape), None)
    if main is None:
        return numbers[0] if numbers else None
    made = [i for i in numbers if depends(i, main)]
    whole = [i for i in made if all(depends(i, other) for other in made if other != i)]
    return next(iter([*whole, *made]), None)


def _averaged(value: Any, arrays: LossArrays) -> Any:
    """A loss as a number; the mean of one for each example."""
    number = arrays.number(value)
    shape = arrays.shape(number)
    return arrays.projected(number, np.ones(shape, np.float32)) if shape is not None and len(shape) == 1 else number


def _drawn_for(named: NamedLoss, output: Any, arrays: LossArrays) -> Any:
    """A target for a batch that holds none, the same at every call."""
    shape = arrays.shape(output)
    if not shape or named.target is None:
        raise ModelError(f"loss {named.name!r} needs a target, and the model returned {type(output).__name__}: give it")
    return arrays.drawn(_drawn_values(named.target, shape, arrays.class_axis(shape)), output)


def _drawn_values(target: Target, shape: tuple[int, ...], axis: int) -> Array:
    """What a target of this kind holds, for an output of this shape."""
    drawn = generator("check.target")
    if target is Target.NUMBER:
        return drawn.standard_normal(shape, np.float32)
    if target is Target.TRUTH:
        return drawn.integers(0, 2, shape).astype(np.float32)
    rest = (*shape[:axis], *shape[axis:][1:])
    numbers = np.asarray(drawn.integers(0, max(shape[axis], 1), rest))
    return numbers if target is Target.CLASS else np.moveaxis(np.eye(shape[axis], dtype=np.float32)[numbers], -1, axis)


def generator(name: str) -> np.random.Generator:
    """Random numbers that follow from a name alone."""
    return np.random.default_rng(Key(0, name).philox().key[0])


def _guarded(named: NamedLoss, arguments: tuple[Any, ...], arrays: LossArrays) -> Any:
    try:
        return arrays.number(named.function(*arguments))
    except ModelError:
        raise
    except Exception as error:
        shapes = ", ".join(_described(argument, arrays) for argument in arguments)
        sizes = {arrays.shape(argument) for argument in arguments}
        alike = len(sizes) == 2 and len({math.prod(shape) for shape in sizes if shape is not None}) == 1
        words = described(error)
        hint = ". Give both the same shape, by squeeze(-1) or [..., None]" if alike else ""
        raise ModelError(f"loss {named.name!r} of {shapes} could not be computed: {words}{hint}") from error


def _described(value: Any, arrays: LossArrays) -> str:
    shape = arrays.shape(value)
    return type(value).__name__ if shape is None else f"{shape} {value.dtype}"


def _one(name: str, array: Any, arrays: LossArrays) -> Any:
    """A loss that is one number, as an array without axes."""
    shape = arrays.shape(array)
    if shape is None or math.prod(shape) != 1:
        described = type(array).__name__ if shape is None else shape
        raise ModelError(f"loss {name!r} gave {described}: expected one number, such as a mean over the batch")
    return array.reshape(()) if shape else array
