"""Elementwise functions recognised by their values: a GELU is one however its program is written.

As a model is traced, every elementwise operation is also carried out on a few sample points, as a function of each
array that it is made of. What agrees with a known nonlinearity at all points is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fanwise.graph.details import Activation
from fanwise.jax.trace.calls import Step, first_on_host
from fanwise.jax.trace.op_table import ELEMENTWISE
from fanwise.laws.nonlinearities import Function, nonlinearity

POINTS: NDArray[np.float32] = np.linspace(-6.8, 6.7, 28, dtype=np.float32)
"""Both sides of all kinks; no point is 0."""
ROOTS = 10
"""The most arrays before a value of which it is followed as a function."""
CLOSE = 2e-5
"""Relative to the largest value: what rounding to float32 and the usual approximations of erf leave."""

NAMED: tuple[str, ...] = ("relu", "relu6", "relu_squared", "tanh", "sigmoid", "gelu", "gelu_tanh", "quick_gelu", "silu")
NAMED += ("elu(1)", "selu", "softplus")
"""Names of nonlinearities that the laws know."""
ENDS = frozenset(
    {"mul", "select_n", "max", "min", "clamp", "add", "sub", "div", "log", "log1p", "square", "integer_pow", "neg"}
)
"""Operations that a nonlinearity written out may end with."""


@dataclass(frozen=True)
class Sample:
    """Values at `POINTS` of a function of one array.

    Args:
        root: the array.
        values: one for each point.
        ops: the ops of the trace that the function is made of.
    """

    root: Any
    values: NDArray[Any]
    ops: tuple[int, ...] = ()


def sampled(step: Step, inputs: Sequence[Any]) -> dict[int, Sample]:
    """An operation carried out on the samples of its inputs, by root.

    Args:
        step: the operation.
        inputs: what it reads (`Value`).
    """
    if step.name not in ELEMENTWISE or any(value.shape != step.outs[0][0] and value.shape for value in inputs):
        return {}
    each = [_samples(value) for value in inputs if value.number is None]
    if not each:
        return {}
    shared = [root for root in each[0] if all(root in roots for roots in each)]
    samples: dict[int, Sample] = {}
    for root in shared[-ROOTS:]:
        own = [_arguments(value, root) for value in inputs]
        ops = tuple(dict.fromkeys(op for roots in each for op in roots[root].ops))
        samples[root] = Sample(each[0][root].root, _execute(step, own), ops)
    return samples


def _samples(value: Any) -> Mapping[int, Sample]:
    is_real = jnp.issubdtype(value.dtype, jnp.floating)
    own = {id(value): Sample(value, POINTS)} if is_real and value.is_data else {}
    return {**value.samples, **own}


def _arguments(value: Any, root: int) -> Any:
    number = value.number
    if number is not None:
        return np.full(POINTS.shape, number, value.dtype)
    return _samples(value)[root].values


def _execute(step: Step, arguments: Sequence[Any]) -> NDArray[Any]:
    floats = [a.astype(np.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a for a in arguments]
    if step.name == "convert_element_type":
        wide = jnp.issubdtype(step.outs[0][1], jnp.floating)
        return np.asarray(floats[0].astype(np.float32 if wide else step.outs[0][1]))
    return np.asarray(first_on_host(step, floats))


def recognised(step: Step, samples: Mapping[int, Sample]) -> tuple[Sample, Activation] | None:
    """The nonlinearity that an operation ends, as a function of the latest array of which it is one."""
    if step.name not in ENDS:
        return None
    for sample in reversed(list(samples.values())):
        activation = _named(sample)
        if activation is not None:
            return sample, activation
    return None


def _named(sample: Sample) -> Activation | None:
    values = sample.values
    if values.dtype != np.float32 or not np.isfinite(values).all():
        return None
    for name, expected in _table().items():
        if np.abs(values - expected).max() <= CLOSE * max(1.0, float(np.abs(expected).max())):
            return _detail(name)
    return _leaky(values)


def _detail(name: str) -> Activation:
    if name in ("gelu", "gelu_tanh"):
        return Activation("gelu", approximate="tanh" if name == "gelu_tanh" else "none")
    return Activation(name.partition("(")[0])


def _leaky(values: NDArray[Any]) -> Activation | None:
    slopes = values / POINTS
    below, above = slopes[POINTS < 0], slopes[POINTS > 0]
    straight = np.abs(above - 1).max() < 1e-6 and np.ptp(below) < 1e-6
    if not straight or not 0 < below[0] < 1:
        return None
    return Activation("leaky_relu", float(below[0]))


@cache
def _table() -> Mapping[str, NDArray[np.float32]]:
    wide = POINTS.astype(np.float64)
    return {name: function(wide).astype(np.float32) for name, function in _functions().items()}


@cache
def _functions() -> Mapping[str, Function]:
    """Functions that the laws know, and others that models use."""
    others: Mapping[str, Function] = {
        "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
        "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
        "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
        "hardtanh": lambda x: np.clip(x, -1, 1),
        "softsign": lambda x: x / (1 + np.abs(x)),
        "logsigmoid": lambda x: -np.logaddexp(0, -x),
    }
    return {name: nonlinearity(name).function for name in NAMED} | dict(others)


def replay_of(detail: Activation) -> Function:
    """The function that `recognised` told of, on NumPy arrays."""
    name = detail.nonlinearity
    if detail.negative_slope is not None:
        return nonlinearity(name, negative_slope=detail.negative_slope).function
    known = {key.partition("(")[0]: function for key, function in _functions().items()}
    return known["gelu_tanh" if detail.approximate == "tanh" else name]
