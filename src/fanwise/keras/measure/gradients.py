"""Gradients of a loss at what each op gave and at each parameter: by a tape, by PyTorch's graph, or by taps on JAX."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from fanwise.stream.formats import Array


class Tape:
    """The tape of a backward pass: a context for the forward pass, and the gradients after it.

    TensorFlow and PyTorch alone; JAX has no tape.
    """

    def __init__(self) -> None:
        self._tape: Any = None
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf  # noqa: PLC0415  (only where TensorFlow is the backend)

            self._tape = tf.GradientTape(persistent=False)

    def recording(self) -> AbstractContextManager[Any]:
        """The context of the forward pass and the loss."""
        if self._tape is not None:
            tape: AbstractContextManager[Any] = self._tape
            return tape
        import torch  # noqa: PLC0415  (only where PyTorch is the backend)

        return torch.enable_grad() if keras.config.backend() == "torch" else nullcontext()

    def gradients(self, loss: Any, tensors: Sequence[Any], variables: Sequence[Any]) -> list[Array | None]:
        """The gradient at each tensor and then at each variable; None where none came."""
        if self._tape is not None:
            import tensorflow as tf  # noqa: PLC0415  (only where TensorFlow is the backend)

            gradients = self._tape.gradient(loss, [*tensors, *(variable.value for variable in variables)])
            return [None if gradient is None else tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
        return _of_torch(loss, [*tensors, *(variable.value for variable in variables)])


def _of_torch(loss: Any, sources: Sequence[Any]) -> list[Array | None]:
    import torch  # noqa: PLC0415  (only where PyTorch is the backend)

    wanted = [i for i, source in enumerate(sources) if source.requires_grad]
    gradients: list[Array | None] = [None] * len(sources)
    if not wanted or not loss.requires_grad:
        return gradients
    for i, gradient in zip(
        wanted, torch.autograd.grad(loss, [sources[i] for i in wanted], allow_unused=True), strict=True
    ):
        gradients[i] = None if gradient is None else keras.ops.convert_to_numpy(gradient.to_dense())
    return gradients


def by_taps(
    forward: Callable[[Callable[[int, Any], Any]], Any], shapes: Mapping[int, tuple[Any, str]], variables: Sequence[Any]
) -> tuple[dict[int, Array], list[Array | None]]:
    """Gradients on JAX: zeros are added to what each op gives, and the loss is differentiated by them.

    Args:
        forward: runs the model with a function that is given an op's number and its output, and returns the output to
            go on with; gives the loss.
        shapes: shape and dtype of what each op gives, by its number.
        variables: the parameters.

    Returns:
        The gradient at each op, by number, and at each variable; None where none comes, as `Tape` has it.
    """
    import jax  # noqa: PLC0415  (only where JAX is the backend)
    import jax.numpy as jnp  # noqa: PLC0415

    def loss(taps: dict[int, Any], values: list[Any]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return forward(lambda index, output: output + taps[index] if index in taps else output)

    taps = {index: jnp.zeros(shape, dtype) for index, (shape, dtype) in shapes.items()}
    given = taps, [variable.value for variable in variables]
    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(*given)
    gradients = traced.lower().compile()(*given)
    come = _depending(traced.jaxpr.jaxpr)[len(taps) :]
    arrays = [np.asarray(gradient) for gradient in gradients[1]]
    reached = [gradient if depends or gradient.any() else None for gradient, depends in zip(arrays, come, strict=True)]
    return {index: np.asarray(gradient) for index, gradient in gradients[0].items()}, reached


def _depending(program: Any) -> list[bool]:
    """Which outputs of a JAX program depend on its inputs; the zeros for what is cut off do not."""
    from jax.extend.core import Literal  # noqa: PLC0415  (only where JAX is the backend)

    depending = set(program.invars)
    for equation in program.eqns:
        if any(not isinstance(atom, Literal) and atom in depending for atom in equation.invars):
            depending.update(equation.outvars)
    return [not isinstance(atom, Literal) and atom in depending for atom in program.outvars]
