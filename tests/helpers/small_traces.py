"""Traces of a few ops, and what theory says of them."""

from op_details import with_facts

from fanwise import Layout
from fanwise.graph.op import Op, OpKind, Parameter, Use
from fanwise.graph.trace import Trace
from fanwise.theory.propagation import Given, Start, propagate

WIDTH, BATCH, PLACES = 256, 16, 12


class Laws:
    def __init__(self, **laws):
        self.laws = laws

    def before(self, op, moment):
        return {use.path: self.laws[use.path] for use in op.uses if use.path in self.laws}

    def after(self, op, moment):
        return None


def op(index, kind, inputs, *uses, shape=(BATCH, PLACES, WIDTH), reads=None, name=None, axis=-1, **detail):
    read = tuple(reads) if reads is not None else (shape,) * len(inputs)
    made = Op(index, OpKind(kind), name or kind, "", 0, index, tuple(inputs), uses, shape, axis, reads=read)
    return with_facts(made, **detail)


def dense(path):
    return Use(path, "weight", Layout.dense("out in"))


def said(ops, laws, given=None, gradients=None, constants=None, alike=None, **shapes):
    parameters = tuple(Parameter(path, shape, "float32") for path, shape in shapes.items())
    inputs = {0: given or Given()}
    trace = Trace(tuple(ops), parameters, (len(ops) - 1,))
    return propagate(trace, Laws(**laws), inputs=Start(inputs, constants or {}, alike or {}), gradients=gradients)
