"""`observe` and `check` for the lab's network: what stands there at step zero, and what the rules say of it.

The same numbers as `fanwise.torch` measures, here from arrays: signals in float64, and never sampled.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fanwise.check.arguments import parse_optimizer
from fanwise.check.assembly import assembled
from fanwise.check.findings import SEVERITIES, Severity
from fanwise.check.report import Report
from fanwise.check.rules.judgement import chosen_codes
from fanwise.check.subject import Subject
from fanwise.graph.details import Activation, Detail, Normalisation
from fanwise.graph.op import Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.lab.layers import Array, Layer, LayerPass, Parameters, overflow_allowed
from fanwise.lab.network import Architecture, Backward, Forward, backward, check_examples, check_parameters, forward
from fanwise.lab.probing import SATURATED, STEEPEST
from fanwise.laws.layout import Layout
from fanwise.measure.observation import NAN, Observation, ObservedLoss, Signal
from fanwise.measure.signal_statistics import overlap
from fanwise.measure.weight_statistics import weigh
from fanwise.stream.arguments import checked_choice

EXAMPLES = 16
"""Examples that are compared with one another."""
CONSTANT = 1e-6
"""Units whose values differ by no more than this share of the layer's range give one and the same."""


def check(
    architecture: Architecture,
    parameters: Parameters | Sequence[Parameters],
    x: Array,
    y: NDArray[np.int64],
    *,
    optimizer: str | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: Severity = "error",
) -> Report:
    """Judges a network before its first training step, by the rules that judge models of every framework.

    Args:
        architecture: the network.
        parameters: by name, as `initialize` returns them; several, to judge a law over several seeds.
        x: inputs, shape (n, inputs).
        y: labels, shape (n,).
        optimizer: what will train it, as in ``"sgd:0.01"``; None leaves the rules on updates out.
        select: beginnings of the codes of rules to apply; () for all.
        ignore: beginnings of codes to leave out.
        fail_on: from which severity on the report is not ok.

    Returns:
        A report: `.ok`, `.findings`, `.table`, `.to_json()`, `.html(path)`; printing it shows the table.

    Raises:
        TypeError: an optimizer that is not a str.
        ValueError: parameters or examples that do not fit the architecture; an unknown optimizer, code or severity.

    Example:
        >>> from fanwise import VarianceScaling, lab
        >>> network, data = lab.Architecture((784, *[100] * 9, 10)), lab.load_digits()
        >>> slip = lab.initialize(network, VarianceScaling(4.0), key=0)  # std 2 / sqrt(fan_in)
        >>> report = lab.check(network, slip, data.train_x, data.train_y)
        >>> report.ok, report.findings[0].code
        (False, 'FWD002')
    """
    chosen_codes(select, ignore)
    checked_choice(fail_on, SEVERITIES, name="fail_on")
    parsed = None if optimizer is None else parse_optimizer(optimizer)
    if isinstance(parameters, Mapping):
        observations: tuple[Observation, ...] = (observe(architecture, parameters, x, y),)
    else:
        seeds = (observe(architecture, each, x, y) for each in parameters)
        observations = tuple(replace(observation, seed=seed) for seed, observation in enumerate(seeds))
    if not observations:
        raise ValueError("parameters holds none: expected those of one network, or of several of one architecture")
    report = assembled(Subject(observations, None, parsed), select=select, ignore=ignore, fail_on=fail_on)
    widths = "-".join(map(str, architecture.widths))
    name = f"{architecture.nonlinearity} network {widths}"
    batch = f"{len(x)},{architecture.widths[0]}:{x.dtype}"
    return replace(report, model=name, framework=f"numpy {np.__version__}", batch=batch)


def observe(architecture: Architecture, parameters: Parameters, x: Array, y: NDArray[np.int64]) -> Observation:
    """Runs a network once, forward and backward, and measures every op and every parameter.

    Batch norms use the moments of these examples. The passes run in the dtype of the parameters.

    Args:
        architecture: the network.
        parameters: by name.
        x: inputs, shape (n, inputs).
        y: labels, shape (n,).

    Raises:
        ValueError: parameters or examples that do not fit the architecture.
    """
    check_parameters(architecture, parameters)
    check_examples(architecture, x, y)
    passed = forward(architecture, parameters, x)
    gradients = backward(architecture, parameters, passed, y)
    classes, held = architecture.widths[-1], {name: parameters[name] for name in architecture.shapes()}
    with overflow_allowed():
        steps = [step for each in _records(architecture, parameters, passed, gradients) for step in _steps(each)]
        signals = tuple(step.signal for step in steps)
        trace = _trace(steps, held)
        return Observation(
            trace,
            signals,
            weigh(held, trace, {name: moment_of(gradient) for name, gradient in gradients.parameters.items()}),
            (replace(_signal(x), overlap=overlap(x, x.ndim - 1)),),
            ObservedLoss(gradients.loss, "cross_entropy", math.log(classes), classes, target="CLASS"),
            (0,),
            replace(signals[-1], gradient=NAN),
        )


@dataclass(frozen=True, eq=False)
class _Record:
    """One layer's passes.

    Args:
        layer: which.
        passed: forward.
        at_pre: gradient at its pre-activation.
        at_output: gradient at its output.
    """

    layer: Layer
    passed: LayerPass
    at_pre: Array
    at_output: Array


@dataclass(frozen=True)
class _Step:
    """One op of a layer, and what was measured there."""

    kind: OpKind
    name: str
    module: str
    ordinal: int
    uses: tuple[Use, ...]
    detail: Detail | None
    shape: tuple[int, ...]
    signal: Signal


def _records(
    architecture: Architecture, parameters: Parameters, passed: Forward, gradients: Backward
) -> Iterator[_Record]:
    weights = [parameters[f"{layer.path}.weight"] for layer in architecture.layers]
    later = [pre @ weight.T for pre, weight in zip(gradients.pre[1:], weights[1:], strict=True)]
    return map(_Record, architecture.layers, passed.layers, gradients.pre, (*later, gradients.pre[-1]))


def _steps(record: _Record) -> Iterator[_Step]:
    """The ops of a layer in order: a map, then a norm and a nonlinearity where it has them."""
    layer, passed, shape = record.layer, record.passed, record.passed.output.shape
    uses = (
        Use(f"{layer.path}.weight", UseRole.WEIGHT, Layout.dense("in out")),
        Use(f"{layer.path}.bias", UseRole.BIAS),
    )
    yield _Step(OpKind.LINEAR, "linear", layer.path, 0, uses, None, shape, _signal(passed.pre, record.at_pre))
    if layer.norm != "none":
        name, module = f"{layer.norm}_norm", f"{layer.path}.norm"
        uses = (Use(f"{module}.scale", UseRole.SCALE), Use(f"{module}.shift", UseRole.SHIFT))
        signal = _signal(passed.normalized, record.at_output * passed.slope)
        yield _Step(OpKind.NORM, name, module, 0, uses, Normalisation(name), shape, signal)
    if layer.nonlinearity != "linear":
        detail = Activation(layer.nonlinearity)
        yield _Step(OpKind.ACTIVATION, layer.nonlinearity, layer.path, 1, (), detail, shape, _activation(record))


def _trace(steps: Sequence[_Step], parameters: Parameters) -> Trace:
    """A chain: the first op reads `INPUT`, which is -1, every other the op before it."""
    ops = tuple(
        Op(i, step.kind, step.name, step.module, 0, step.ordinal, (i - 1,), step.uses, step.shape, detail=step.detail)
        for i, step in enumerate(steps)
    )
    first = replace(ops[0], given=(0,))
    held = tuple(Parameter(name, array.shape, str(array.dtype)) for name, array in parameters.items())
    return Trace((first, *ops[1:]), held, (len(ops) - 1,))


def moment_of(array: Array) -> float:
    """E x^2, in float64: beyond what float32 holds, too."""
    return float(np.square(array, dtype=np.float64).mean())


def _signal(values: Array, gradient: Array | None = None) -> Signal:
    return Signal(
        float(values.mean(dtype=np.float64)),
        moment_of(values),
        likeness=_likeness(values[:EXAMPLES].astype(np.float64)),
        gradient=NAN if gradient is None else moment_of(gradient),
    )


def _activation(record: _Record) -> Signal:
    """Of an activation: units of a nonlinearity that saturates have flat sides, but no dead one."""
    output, steepest = record.passed.output, STEEPEST.get(record.layer.nonlinearity)
    return replace(
        _signal(output, record.at_output),
        zeros=float((output == 0).mean()),
        silent=_silent(output) if steepest is None else NAN,
        saturated=NAN if steepest is None else float((record.passed.slope < SATURATED * steepest).mean()),
    )


def _likeness(examples: Array) -> float:
    """Mean cosine of the pairs of examples; NaN for a single one."""
    count = len(examples)
    if count < 2:
        return NAN
    unit = examples / np.linalg.norm(examples, axis=1, keepdims=True)
    return float(((unit @ unit.T).sum() - count) / (count * (count - 1)))


def _silent(output: Array) -> float:
    """Share of units that give one and the same value for every example."""
    low, high = output.min(axis=0), output.max(axis=0)
    return float((high - low <= CONSTANT * (high.max() - low.min())).mean())
