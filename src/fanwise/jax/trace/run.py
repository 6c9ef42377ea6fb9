"""Runs a model of JAX once, operation by operation, shows a visitor each op, and returns the trace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jax.tree_util import tree_flatten, tree_unflatten

from fanwise.graph.inputs import Inputs
from fanwise.graph.op import INPUT, Parameter
from fanwise.graph.patterns import recognised
from fanwise.graph.trace import Trace
from fanwise.graph.tracking.source_lines import outermost
from fanwise.graph.visitor import ModelError, Visitor, Watcher
from fanwise.jax.trace.interpreter import Interpreter
from fanwise.jax.trace.leaving import said
from fanwise.jax.trace.models import Model, as_model, parameters
from fanwise.jax.trace.provenance import parameter_value
from fanwise.jax.trace.recorder import Recorder
from fanwise.jax.trace.traced_value import Value

__all__ = ["Inputs", "ModelError", "Program", "Visitor", "Watcher", "run"]


@dataclass(frozen=True)
class Program:
    """A model as a program of JAX, and what it is given.

    Args:
        model: the model.
        parameters: its parameters, tied ones once.
        jaxpr: its inputs are the parameters in their order, then the arrays of `given`.
        given: the arrays of the inputs, or shapes.
        outputs: positions of what the model returns, its logits first where it names them.
        structure: of what it returns.
    """

    model: Model
    parameters: tuple[Parameter, ...]
    jaxpr: ClosedJaxpr
    given: tuple[Any, ...]
    outputs: tuple[int, ...]
    structure: Any

    @property
    def is_abstract(self) -> bool:
        """Whether there are shapes alone."""
        return self.model.is_abstract or any(isinstance(array, jax.ShapeDtypeStruct) for array in self.given)

    def values(self, leaves: Mapping[str, Any] | None = None) -> list[Value]:
        """The program's inputs as values.

        Args:
            leaves: in place of the model's own parameters.
        """
        arrays = self.model.leaves if leaves is None else leaves
        ordered = {path: arrays[path] for path in self.model.leaves}  # gradients sort the paths of what they are given
        held = [parameter_value(path, None if self.is_abstract else leaf, leaf) for path, leaf in ordered.items()]
        return [*held, *(self._input(number, array) for number, array in enumerate(self.given))]

    def _input(self, number: int, array: Any) -> Value:
        data = None if self.is_abstract else array
        return Value(tuple(array.shape), array.dtype, data, INPUT, number)


def run(model: Any, inputs: Inputs, visitor: Visitor | None = None) -> Trace:
    """Executes a model once and traces what it does.

    The model becomes a program of JAX (a jaxpr), which is interpreted operation by operation; nothing of the model is
    changed. Loops are unrolled: every layer of a scan over stacked parameters is traced, and the first two steps of
    a loop over time. `Trace.unseen` says what was not looked into.

    Args:
        model: ``(function, params)`` with ``function(params, *inputs)``, ``(linen module, variables)``, an nnx module
            or an Equinox module. Where its arrays or the inputs are shapes alone, nothing is computed.
        inputs: what it is called with.
        visitor: what is shown each op.

    Returns:
        The ops in order, with norms written by hand and fused projections named (`fanwise.graph.patterns`).

    Raises:
        TypeError: not a model.
        ValueError: parameters that were deleted, or two of one path.
        ModelError: the model could not be run on these inputs.

    Example:
        >>> params = {"w": jnp.ones((3, 4)), "b": jnp.zeros(4)}
        >>> trace = run((lambda p, x: jax.nn.relu(x @ p["w"] + p["b"]), params), Inputs((jnp.ones((2, 3)),)))
        >>> [str(op.kind) for op in trace.ops]
        ['linear', 'shift', 'activation']
    """
    return traced(program_of(model, inputs), visitor or Watcher())


def traced(program: Program, visitor: Visitor) -> Trace:
    """The trace of a program, shown to a visitor."""
    recorder = Recorder({parameter.path: parameter for parameter in program.parameters}, program.model.leaves, visitor)
    returned = interpret_program(program, recorder, program.values())
    return recognised(recorder.trace([returned[index] for index in program.outputs]))


def interpret_program(program: Program, recorder: Recorder, values: Sequence[Value]) -> list[Value]:
    """Interprets the program and returns its outputs.

    Raises:
        ModelError: an operation could not be carried out.
    """
    interpreter = Interpreter(recorder)
    try:
        return [interpreter.resolve(value) for value in interpreter.interpret(program.jaxpr, values)]
    except Exception as error:
        raise ModelError(
            f"{program.model.name} could not be run: at operation {interpreter.last!r}: {said(error)}"
        ) from error


def program_of(model: Any, inputs: Inputs) -> Program:
    """A model as a program.

    Raises:
        TypeError: not a model.
        ModelError: it raised an error of its own.
    """
    read, known = as_model(model), parameters(model)
    arrays, rebuild = _split((tuple(inputs.args), dict(inputs.kwargs)))
    paths = list(read.leaves)

    @outermost
    def function(leaves: Sequence[Any], given: Sequence[Any]) -> Any:
        args, named = rebuild(given)
        return _as_mapping(read.call(dict(zip(paths, leaves, strict=True)), args, named))

    try:
        jaxpr, shape = jax.make_jaxpr(function, return_shape=True)(list(read.leaves.values()), arrays)
    except Exception as error:
        words = said(error, [tuple(array.shape) for array in arrays])
        raise ModelError(f"{read.name} could not be traced on these inputs: {words}") from error
    leaves, structure = tree_flatten(shape)
    return Program(read, known, jaxpr, tuple(arrays), _main(shape, leaves), structure)


def _split(inputs: Any) -> tuple[list[Any], Any]:
    """The arrays among the inputs, and what puts others in their places."""
    leaves, structure = tree_flatten(inputs)
    places = [
        index for index, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)
    ]
    arrays = [_checked_input(leaves[index]) for index in places]

    def rebuild(given: Sequence[Any]) -> Any:
        filled = list(leaves)
        for index, array in zip(places, given, strict=True):
            filled[index] = array
        return tree_unflatten(structure, filled)

    return arrays, rebuild


def _checked_input(array: Any) -> Any:
    if isinstance(array, jax.core.Tracer):
        raise TypeError("an input is being traced: expected arrays with values, call this outside of jit")
    if isinstance(array, jax.Array) and array.is_deleted():
        raise ValueError("an input was deleted or donated: its values are gone")
    return jnp.asarray(array) if isinstance(array, np.ndarray) else array


def _as_mapping(outputs: Any) -> Any:
    """Leaves out of a model's outputs what is no array."""
    leaves, structure = tree_flatten(outputs)
    return tree_unflatten(structure, [leaf if isinstance(leaf, jax.Array) else None for leaf in leaves])


def _main(shape: Any, leaves: Sequence[Any]) -> tuple[int, ...]:
    """Positions of the outputs in floating point, the logits first where they are named."""
    floats = [index for index, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    if isinstance(shape, Mapping) and "logits" in shape:
        first = next((index for index, leaf in enumerate(leaves) if leaf is shape["logits"]), None)
        floats.sort(key=lambda index: index != first)
    return tuple(floats)
