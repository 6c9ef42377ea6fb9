"""Checks of a file of weights alone, without the model that it belongs to."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fanwise.check.baseline import gravest, without
from fanwise.check.findings import Finding, Severity
from fanwise.check.report import Report
from fanwise.check.report_data import Layer
from fanwise.check.rules.judgement import chosen_codes, judge_weights
from fanwise.graph.op import Parameter
from fanwise.laws.layout import Layout
from fanwise.measure.law_recognition import found_law
from fanwise.measure.observation import NAN, Values
from fanwise.measure.resemblance import twins_of
from fanwise.torch.measure.weight_statistics import values_of
from fanwise.torch.trace.provenance import dtype_name

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Last names of what a model keeps beside its parameters."""
FEWEST = 16
"""Numbers below which two tensors may be alike by chance."""
TABLES = ("embed", "wte", "wpe")
"""Parts of the name of a table of vectors, in most models."""
RAN_NOTHING = (
    "Nothing was run: a file of weights tells what its numbers are, not what a model does with them. No activation, "
    "gradient or loss was looked at."
)
GUESSED = (
    "Fans are guessed from shapes, as PyTorch stores weights, (out, in, *kernel): those of weights that are stored the "
    "other way round, of transposed convolutions and of fused or tied weights are not known."
)


@dataclass(frozen=True)
class Weights:
    """Parameters and statistics of a file.

    Args:
        values: of each tensor of floating point, by name.
        parameters: the same tensors.
        others: how many tensors were left out: of integers, or buffers.
    """

    values: Mapping[str, Values]
    parameters: tuple[Parameter, ...]
    others: int = 0


def read_weights(path: str | Path) -> Weights:
    """Measures the tensors of a .safetensors file, one after the other.

    Memory: a few times the largest tensor; the file itself is mapped, not read into memory.

    Args:
        path: of the file.

    Raises:
        ImportError: safetensors is missing.
        OSError: the file cannot be read.
        ValueError: it is no such file, or a damaged one.
    """
    with _opened(Path(path)) as file:
        values: dict[str, Values] = {}
        parameters = []
        names = list(file.keys())
        for name in names:
            tensor = _tensor(file, name, path)
            if _is_weight(name, tensor):
                shape = tuple(tensor.shape)
                parameters.append(Parameter(name, shape, dtype_name(tensor.dtype)))
                values[name] = values_of(name, tensor, guessed_layout(name, shape))
    return Weights(_with_twins(values), tuple(parameters), len(names) - len(parameters))


def guessed_layout(name: str, shape: tuple[int, ...]) -> Layout | None:
    """The layout that a weight of this name and shape has in most models; None for vectors."""
    if len(shape) < 2:
        return None
    if len(shape) == 2 and any(word in name for word in TABLES):
        return Layout.embedding()
    return Layout(("out", "in") + ("kernel",) * (len(shape) - 2))


def _with_twins(values: Mapping[str, Values]) -> dict[str, Values]:
    """The values, those marked whose numbers are those of an earlier tensor: all their statistics are the same."""
    marked = {
        path: statistics
        for path, statistics in values.items()
        if not statistics.constant and statistics.count >= FEWEST
    }
    twins = twins_of(
        {
            path: (statistics.count, statistics.mean, statistics.second_moment, statistics.kurtosis, statistics.largest)
            for path, statistics in marked.items()
        }
    )
    return {path: replace(statistics, twin=twins.get(path, "")) for path, statistics in values.items()}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        library = importlib.import_module("safetensors")
    except ModuleNotFoundError:
        raise ImportError(f"{str(path)!r} needs safetensors: python -m pip install 'fanwise[torch]'") from None
    path.open("rb").close()  # says what the library does not: that it is a folder, or which file is not there
    try:
        opened = library.safe_open(str(path), framework="pt")
    except library.SafetensorError as error:
        raise _damage_error(path, error) from error
    with opened as file:
        yield file


def _tensor(file: Any, name: str, path: str | Path) -> Tensor:
    try:
        tensor: Tensor = file.get_tensor(name)
    except Exception as error:  # the library raises its own kind, and torch others for dtypes it lacks
        raise _damage_error(path, error, f"tensor {name!r} of ") from error
    return tensor


def _is_weight(name: str, tensor: Tensor) -> bool:
    """Whether a tensor holds numbers that a law may have drawn; packed ones, of 4 and 6 bits, cannot be read."""
    dtype = str(tensor.dtype)
    readable = tensor.dtype.is_floating_point and not any(packed in dtype for packed in ("float4_", "float6_", "e8m0"))
    return readable and name.rpartition(".")[2] not in BUFFERS


def _damage_error(path: str | Path, error: Exception, part: str = "") -> ValueError:
    return ValueError(f"{part}{str(path)!r} cannot be read as safetensors: {type(error).__name__}: {error}")


def check_weights(
    path: str | Path, *, select: Sequence[str] = (), ignore: Sequence[str] = (), fail_on: Severity = "error"
) -> Report:
    """Applies the rules that need values alone to a .safetensors file; nothing is run.

    Args:
        path: of the file.
        select: codes of rules, or beginnings of codes; () for all.
        ignore: likewise, those to leave out.
        fail_on: from which severity on the report is not `ok`.

    Raises:
        ImportError: safetensors is missing.
        OSError: the file cannot be read.
        ValueError: it is no such file, or a damaged one.
    """
    codes = chosen_codes(select, ignore)
    weights = read_weights(path)
    maps = [(op, parameter) for op, parameter in enumerate(weights.parameters) if len(parameter.shape) > 1]
    left = (f"Left out, as integers or buffers: {weights.others} of the file's tensors.",) if weights.others else ()
    guessed = {parameter.path: guessed_layout(parameter.path, parameter.shape) for parameter in weights.parameters}
    layouts = {name: layout for name, layout in guessed.items() if layout is not None}
    findings = judge_weights(weights.values, weights.parameters, layouts)
    report = Report(
        findings,
        tuple(
            _layer(number, op, parameter, weights.values[parameter.path])
            for number, (op, parameter) in enumerate(maps, 1)
        ),
        (),
        model=Path(path).name,
        framework=f"torch {torch.__version__.partition('+')[0]}",
        parameters=sum(prod(parameter.shape) for parameter in weights.parameters),
        fail_on=fail_on,
        notes=(RAN_NOTHING, GUESSED, *left),
    )
    everything = [finding for cause in findings for finding in cause.walk()]
    return without(
        _with_marks(report, everything),
        {(finding.code, finding.place) for finding in everything if finding.code not in codes},
    )


def _layer(number: int, op: int, parameter: Parameter, values: Values) -> Layer:
    """The line of a weight: its law, and nothing that only a run tells."""
    layout = guessed_layout(parameter.path, parameter.shape)
    law = found_law(values, parameter.shape, layout).text
    name = parameter.path.removesuffix(".weight")
    return Layer(number, op, name, "weight", law, NAN, NAN, NAN, NAN, NAN)


def _with_marks(report: Report, findings: Sequence[Finding]) -> Report:
    """The report with the findings told at their weights."""
    here = {layer.op: [finding for finding in findings if finding.op == layer.op] for layer in report.layers}
    layers = (replace(layer, severity=gravest(here[layer.op]), codes=_codes(here[layer.op])) for layer in report.layers)
    return replace(report, layers=tuple(layers))


def _codes(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.code for finding in findings))
