"""Runs the rules over a subject."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from fanwise.check.findings import Finding
from fanwise.check.rules.folding import folded, ordered
from fanwise.check.rules.registry import RULES
from fanwise.check.subject import Subject
from fanwise.graph.op import Op, OpKind, Parameter, Use, UseRole
from fanwise.graph.trace import Trace
from fanwise.laws.layout import Layout
from fanwise.measure.observation import Observation, Signal, Values


def judge(subject: Subject, select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Every finding of a subject, causes with what follows from them, gravest first, then in the order of execution.

    Args:
        subject: what was observed.
        select: beginnings of codes; () selects all.
        ignore: beginnings of codes that are left out.

    Raises:
        ValueError: a text that no code begins with.
    """
    return _judged(subject, chosen_codes(select, ignore))


def chosen_codes(select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[str, ...]:
    """The codes that are asked for.

    Raises:
        ValueError: a text that no code begins with.
    """
    for text in (*select, *ignore):
        if not any(code.startswith(text) for code in RULES) or not text:
            raise ValueError(f"code {text!r}: expected the beginning of one of {', '.join(RULES)}")
    kept = (code for code in RULES if not select or code.startswith(tuple(select)))
    return tuple(code for code in kept if not ignore or not code.startswith(tuple(ignore)))


def judge_weights(
    values: Mapping[str, Values], parameters: Sequence[Parameter], layouts: Mapping[str, Layout] = MappingProxyType({})
) -> tuple[Finding, ...]:
    """What can be said of weights alone, without a run: each tensor of two or more axes counts as a map.

    Args:
        values: of every parameter, by path.
        parameters: their names and shapes.
        layouts: roles of their axes, where they are known or guessed: without them scales are not compared.
    """
    ops = tuple(_alone(i, parameter, layouts.get(parameter.path)) for i, parameter in enumerate(parameters))
    subject = Subject((Observation(Trace(ops, tuple(parameters)), (Signal(),) * len(ops), values),))
    return _judged(subject, [code for code, rule in RULES.items() if rule.weights_alone])


def _judged(subject: Subject, codes: Sequence[str]) -> tuple[Finding, ...]:
    return ordered(folded(finding for code in codes for finding in RULES[code].findings(subject)))


def _alone(index: int, parameter: Parameter, layout: Layout | None) -> Op:
    """An op that uses one parameter and reads nothing."""
    table = layout is not None and "lookup" in layout.axes
    kind = OpKind.EMBEDDING if table else OpKind.LINEAR if len(parameter.shape) > 1 else OpKind.SHIFT
    role = UseRole.TABLE if table else UseRole.WEIGHT if len(parameter.shape) > 1 else UseRole.BIAS
    use = Use(parameter.path, role, layout)
    return Op(index, kind, "file", parameter.path.rpartition(".")[0], 0, index, (), (use,))
