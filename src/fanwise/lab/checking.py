"""`observe` and `check` for the lab's network: what stands there at step zero, and what the rules say of it.

The network as a chain of `fanwise.numpy`, which `check_weights` runs too, with its norms beside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fanwise.check.arguments import parse_optimizer
from fanwise.check.assembly import assembled
from fanwise.check.findings import SEVERITIES, Severity
from fanwise.check.report import Report
from fanwise.check.rules.judgement import chosen_codes
from fanwise.check.subject import Subject
from fanwise.graph.details import Activation, Normalisation
from fanwise.graph.op import OpKind, Use, UseRole
from fanwise.lab.layers import ACTIVATIONS, NORM_AXES, Array, Layer, Parameters, moments, whiten, whiten_backward
from fanwise.lab.network import Architecture, check_examples, check_parameters
from fanwise.laws.layout import Layout
from fanwise.measure.observation import Observation
from fanwise.numpy.chain import Arrays, Back, Chain, Stage, bias_use, dense, weight_use
from fanwise.numpy.observing import observe as observe_chain
from fanwise.stream.arguments import checked_choice


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
    stages = tuple(stage for layer in architecture.layers for stage in _stages(layer))
    chain = Chain(stages, {name: parameters[name] for name in architecture.shapes()})
    return observe_chain(chain, x, y, "cross_entropy", wide=True)


def _stages(layer: Layer) -> Iterator[Stage]:
    """The ops of a layer in order: a map, then a norm and a nonlinearity where it has them."""
    yield dense(weight_use(f"{layer.path}.weight", Layout.dense("in out")), bias_use(f"{layer.path}.bias"))
    if layer.norm != "none":
        yield _norm(layer)
    if layer.nonlinearity != "linear":
        yield _activation(layer)


def _norm(layer: Layer) -> Stage:
    name, module = f"{layer.norm}_norm", f"{layer.path}.norm"
    scale, shift = f"{module}.scale", f"{module}.shift"

    def run(x: Array, arrays: Arrays) -> tuple[Array, Back]:
        whitened = whiten(x, *moments(layer, x))

        def back(gradient: Array) -> tuple[Array, dict[str, Array]]:
            at_parameters = {scale: (gradient * whitened.values).sum(0), shift: gradient.sum(0)}
            return whiten_backward(whitened, gradient * arrays[scale], axis=NORM_AXES[layer.norm]), at_parameters

        return whitened.values * arrays[scale] + arrays[shift], back

    uses = (Use(scale, UseRole.SCALE), Use(shift, UseRole.SHIFT))
    return Stage(OpKind.NORM, name, module, run, uses, Normalisation(name))


def _activation(layer: Layer) -> Stage:
    name = layer.nonlinearity

    def run(x: Array, arrays: Arrays) -> tuple[Array, Back]:
        output, slope = ACTIVATIONS[name](x)
        return output, lambda gradient: (gradient * slope, {})

    return Stage(OpKind.ACTIVATION, name, layer.path, run, detail=Activation(name))
