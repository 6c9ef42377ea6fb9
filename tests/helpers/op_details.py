"""Details of ops from the names of their fields, for tests that write traces by hand."""

from dataclasses import fields, replace

from fanwise.graph.details import (
    Activation,
    Arithmetic,
    Attention,
    AttentionBlock,
    Convolution,
    Lookup,
    Normalisation,
    Pooling,
    Product,
    Recurrence,
    Slicing,
    Softmax,
)
from fanwise.graph.op import OpKind

RECORDS = {
    OpKind.ACTIVATION: Activation,
    OpKind.ADD: Arithmetic,
    OpKind.MUL: Arithmetic,
    OpKind.ELEMENTWISE: Arithmetic,
    OpKind.CONV: Convolution,
    OpKind.CONV_TRANSPOSE: Convolution,
    OpKind.EMBEDDING: Lookup,
    OpKind.RECURRENT: Recurrence,
    OpKind.ATTENTION_BLOCK: AttentionBlock,
    OpKind.ATTENTION: Attention,
    OpKind.MATMUL: Product,
    OpKind.SOFTMAX: Softmax,
    OpKind.NORM: Normalisation,
    OpKind.SLICE: Slicing,
    OpKind.POOL: Pooling,
}
NAMES = {"norm": "name"}
OF_ANY = ("given", "blocks")


def with_facts(op, **facts):
    """The op, with a detail of its kind made of these facts, and those that any op may have."""
    own = {NAMES.get(name, name): value for name, value in facts.items() if name not in OF_ANY}
    told = {name: value for name, value in facts.items() if name in OF_ANY}
    return replace(op, detail=RECORDS[op.kind](**own) if own else None, **told)


def facts_of(op):
    """The facts of an op's detail that are told, and those that any op may have, by name."""
    names = () if op.detail is None else [field.name for field in fields(op.detail)]
    detail = {name: getattr(op.detail, name) for name in names}
    own = {name: value for name, value in detail.items() if value not in (None, ()) and value is not False}
    return own | {name: getattr(op, name) for name in OF_ANY if getattr(op, name)}
