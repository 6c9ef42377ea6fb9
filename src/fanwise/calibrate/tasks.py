"""Which ops of a trace are calibrated, by which of their parameters, and why others are left."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fanwise.calibrate.options import Options
from fanwise.graph.kinds import SCALED_USES, WEIGHTED
from fanwise.graph.op import Op, OpKind, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.plan.roles import ADDED_TABLES, Case, cases
from fanwise.plan.weight_steps import LINEAR

PRODUCTS = frozenset(("mul", "rmul", "multiply", "div", "truediv", "divide", "true_divide"))
"""Steps in which two parameters would multiply each other's factors."""


@dataclass(frozen=True)
class Task:
    """Work to be done at one op.

    Args:
        op: which.
        case: what its weight is in the model.
        weights: paths of the parameters that are scaled together, one but where a weight is put together from several.
        bias: path of what is added, "" where there is none.
        activation: index of the activation that alone reads the op, None where there is none.
        left: why it is left, "" where it is calibrated.
    """

    op: Op
    case: Case
    weights: tuple[str, ...]
    bias: str = ""
    activation: int | None = None
    left: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """All parameters that the op's factor multiplies."""
        return (*self.weights, self.bias) if self.bias else self.weights


def tasks(
    trace: Trace, options: Options, fixed: Mapping[str, str] = MappingProxyType({})
) -> Mapping[tuple[str, int, int], Task]:
    """The task of every op that has a weight, by the op's key, in the order of execution.

    Args:
        trace: of the model.
        options: what is asked for.
        fixed: why parameters cannot be scaled, by path, besides what the trace says.

    Raises:
        ValueError: `only` names no weight of the model.
    """
    parameter_cases = cases(trace)
    by_op = {op.key: _task(trace, op, parameter_cases, options) for op in trace.ops if op.kind in WEIGHTED and op.uses}
    by_op = {key: _fixed(task, fixed) for key, task in by_op.items()}
    if options.only is not None and not any(_is_meant(trace, task, options) for task in by_op.values()):
        names = ", ".join(repr(path) for task in list(by_op.values())[:3] for path in task.weights)
        raise ValueError(f"only = {options.only!r} names no weight that an op uses: there are {names}, ...")
    return MappingProxyType(by_op)


def _fixed(task: Task, fixed: Mapping[str, str]) -> Task:
    reason = next((fixed[path] for path in task.paths if path in fixed), "")
    return replace(task, left=task.left or reason)


def _is_meant(trace: Trace, task: Task, options: Options) -> bool:
    names = [name for path in task.weights for name in (path, *trace.by_path[path].aliases)]
    return options.means(*names)


def _task(trace: Trace, op: Op, parameter_cases: Mapping[str, Case], options: Options) -> Task:
    weights, bias = _scaled(op), _bias(op)
    shown = next((use for use in (*op.used(UseRole.OUTPUT), *op.uses) if use.role in SCALED_USES), op.uses[0])
    paths = tuple(use.path for use in weights) or (shown.path,)
    task = Task(op, parameter_cases[shown.path], paths, bias.path if bias else "", _activation(trace, op))
    return replace(task, left=next(_reasons(trace, task, (weights, bias), options), ""))


def _scaled(op: Op) -> tuple[Use, ...]:
    """The uses whose parameters multiply what the op gives: lengths where the weight is normalised by rows."""
    if op.kind == OpKind.ATTENTION_BLOCK:
        return op.used(UseRole.OUTPUT)
    return op.used(UseRole.SCALE) or tuple(use for use in op.uses if use.role in SCALED_USES)


def _bias(op: Op) -> Use | None:
    """The use of what is added to the output; the first bias of an attention block is inside."""
    position = max((i for i, use in enumerate(op.uses) if use.role == UseRole.OUTPUT), default=-1)
    return next((use for use in op.uses[position + 1 :] if use.role == UseRole.BIAS), None)


def _activation(trace: Trace, op: Op) -> int | None:
    """The activation that alone reads an op, through dropout at most."""
    here = op
    while len(readers := trace.follows(here)) == 1 and here.index not in trace.outputs:
        here = readers[0]
        if here.kind != OpKind.DROPOUT:
            gates = here.nonlinearity == "glu"
            return here.index if here.kind == OpKind.ACTIVATION and here.replay is not None and not gates else None
    return None


def _reasons(trace: Trace, task: Task, uses: tuple[tuple[Use, ...], Use | None], options: Options) -> Iterator[str]:
    """Why an op is left; nothing where it is not."""
    op, (weights, bias) = task.op, uses
    if op.kind == OpKind.RECURRENT:
        yield "a recurrent op's output is no multiple of any of its weights"
    if not weights:
        yield "it has no weight whose multiple multiplies its output"
    if not _is_meant(trace, task, options):
        yield "not among those asked for"
    yield from _of_role(task.case)
    yield from _of_making(weights)
    for use in (*weights, *((bias,) if bias else ())):
        yield from _of_parameter(trace, use)
    if bias is not None and not set(bias.steps) <= LINEAR - PRODUCTS:
        yield f"the model makes its bias by {', '.join(bias.steps)}"


def _of_role(case: Case) -> Iterator[str]:
    if case.role == "tied_embedding":
        yield "it is the head too: one factor cannot serve both"
    if case.role in ADDED_TABLES:
        yield "a table that is added to a signal keeps its share of it"


def _of_making(weights: tuple[Use, ...]) -> Iterator[str]:
    """How the model makes the weight of its parameters."""
    for use in weights:
        if "_SpectralNorm" in use.steps or "normalize" in use.steps:
            yield "the model normalises its weight: a factor would have no effect"
        if not set(use.steps) <= LINEAR:
            yield f"the model makes its weight by {', '.join(use.steps)}: no multiple of a parameter"
        if len(weights) > 1 and PRODUCTS & set(use.steps):
            yield "several parameters are multiplied to make its weight"


def _of_parameter(trace: Trace, use: Use) -> Iterator[str]:
    parameter = trace.by_path[use.path]
    if not parameter.trained:
        yield f"{use.path} is frozen: the model does not train it"
    if not parameter.dtype.startswith(("float", "bfloat")) or parameter.dtype.startswith("float8"):
        yield f"{use.path} is {parameter.dtype}: no floating point that can be scaled"
    for op, other in trace.uses[use.path]:
        if (
            other.role not in SCALED_USES | {UseRole.SCALE, UseRole.BIAS}
            or op.kind not in WEIGHTED
            or op.kind == OpKind.RECURRENT
        ):
            where = op.module or "the model itself"
            yield f"{use.path} is also used in {where} ({op.name}), where a factor has other effects"
