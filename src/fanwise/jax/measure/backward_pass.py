"""The backward pass of a program: its loss, and the sizes of the gradients at its operations and parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import tree_unflatten

from fanwise.graph.visitor import ModelError, Watcher
from fanwise.jax.measure.losses import numbers
from fanwise.jax.measure.reachability import reached
from fanwise.jax.measure.watched import measured, moment_of_size, probe, size_of, watched
from fanwise.jax.trace.leaving import said
from fanwise.jax.trace.recorder import Recorder
from fanwise.jax.trace.run import Program, interpret_program
from fanwise.measure.losses import Loss
from fanwise.measure.observation import NAN
from fanwise.measure.signal_statistics import moment_of, sampled
from fanwise.stream.box import Shape

Leaves: TypeAlias = dict[str, Any]
Tap: TypeAlias = Callable[[int, Any], Any]
"""Is given the number and the output of an operation, and returns what the model goes on with."""

ONCE: Mapping[str, bool | int] = MappingProxyType(
    {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
)
"""Options of XLA that compile for a processor in the least time and memory."""


@dataclass(frozen=True)
class BackwardPass:
    """Results of a backward pass; or nothing.

    Args:
        value: of the loss.
        ops: E g^2 by the number of the operation; what no gradient came to may be left out.
        sizes: the same of the parameters that it reached, by path.
    """

    value: float = NAN
    ops: Mapping[int, float] | None = None
    sizes: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program, loss: Loss, forms: Mapping[int, Shape] | None = None) -> "BackwardPass":
        """The pass of a program.

        Args:
            program: the program.
            loss: of its outputs.
            forms: shapes of what the operations give at which gradients are wanted, by their number. Given them, the
                pass is compiled as a whole, which takes the memory of a training step, unless the program needs numbers
                to go on with; else it is carried out operation by operation.
        """
        value_of = partial(_value, program, loss)
        whole = None if forms is None else _compiled(value_of, dict(program.model.leaves), forms)
        seen = _step_by_step(value_of, dict(program.model.leaves)) if whole is None else whole
        if 0 in seen.sizes.values():
            sizes = _without_cut(seen.sizes, lambda given: value_of(given, _as_it_is), dict(program.model.leaves))
            return cls(seen.value, seen.ops, sizes)
        return seen


def _value(program: Program, loss: Loss, leaves: Leaves, tap: Tap) -> Any:
    """The loss of a program with other arrays in place of its parameters."""
    known = {parameter.path: parameter for parameter in program.parameters}
    recorder = Recorder(known, leaves, Watcher(), tap)
    returned = interpret_program(program, recorder, program.values(leaves))
    arrays = [recorder.numbers(value) for value in returned]
    return loss(tree_unflatten(program.structure, arrays)).astype(jnp.float32)


ValueOf: TypeAlias = Callable[[Leaves, Tap], Any]


def _step_by_step(value_of: ValueOf, leaves: Leaves) -> BackwardPass:
    ops: dict[int, float] = {}
    see = partial(watched, lambda index, gradient: ops.update({index: _moment(gradient)}))

    def seen(given: Leaves, asked: Any) -> Any:
        return value_of(given, lambda index, array: see(index, array, asked))

    try:
        value, (gradients, _) = jax.value_and_grad(seen, (0, 1))(leaves, jnp.zeros(()))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the loss or its backward pass failed: {said(error)}") from error
    return BackwardPass(float(value), ops, {path: _moment(gradient) for path, gradient in gradients.items()})


def _compiled(value_of: ValueOf, leaves: Leaves, forms: Mapping[int, Shape]) -> BackwardPass | None:
    """The same in one program; None where it cannot be written down without the numbers."""

    def value(given: Leaves, probes: Mapping[int, Any]) -> Any:
        return value_of(given, lambda index, array: measured(array, probes[index]) if index in probes else array)

    def sizes(given: Leaves, probes: Mapping[int, Any]) -> Any:
        with jax.ensure_compile_time_eval():  # what is made of inputs alone keeps its numbers, as step by step
            loss, (gradients, ops) = jax.value_and_grad(value, (0, 1))(given, probes)
        return loss, ops, {path: size_of(gradient) for path, gradient in gradients.items()}

    probes = {number: probe(shape) for number, shape in forms.items()}
    try:
        loss, ops, gradients = jax.device_get(_built(jax.jit(sizes).lower(leaves, probes))(leaves, probes))
    except Exception:  # the pass step by step says what is wrong, if it is more than missing numbers
        return None
    return BackwardPass(
        float(loss),
        {number: moment_of_size(size) for number, size in ops.items()},
        {path: moment_of_size(size) for path, size in gradients.items()},
    )


def _built(lowered: Any) -> Any:
    """A program that runs once: what is saved later by taking longer now is lost."""
    try:
        return lowered.compile(dict(ONCE) if jax.default_backend() == "cpu" else None)
    except RuntimeError:  # another version of the compiler, which does not know the options
        return lowered.compile()


def _as_it_is(index: int, array: Any) -> Any:
    """An op's output, at which no gradient is wanted."""
    return array


def _without_cut(sizes: Mapping[str, float], function: Callable[[Leaves], Any], leaves: Leaves) -> dict[str, float]:
    """The sizes of the gradients that come to their parameters, zeros among them."""
    connected = reached(function, leaves)
    return {path: size for path, size in sizes.items() if size != 0 or path in connected}


def _moment(gradient: Any) -> float:
    """E g^2; a parameter to which no gradient comes has one of zeros."""
    array = numbers([gradient])[0]
    return moment_of(sampled(array)) if array.any() else 0.0
