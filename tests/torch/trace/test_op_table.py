"""Functions of torch by their names, and what a call of one is."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
F = torch.nn.functional

from fanwise.graph.details import Arithmetic  # noqa: E402
from fanwise.torch.trace import function_names as names  # noqa: E402
from fanwise.torch.trace.function_names import bare_name, writes_in_place  # noqa: E402
from fanwise.torch.trace.op_table import describe, unknown  # noqa: E402
from fanwise.torch.trace.products import einsum_layouts  # noqa: E402

from ..traced import normal  # noqa: E402

NAMES = {
    "add": [torch.add, torch.Tensor.add, torch.Tensor.add_, torch.Tensor.__add__, torch.ops.aten.add.Tensor],
    "mm": [torch.mm, torch.Tensor.mm, torch.ops.aten.mm.default],
    "linear": [F.linear, torch.ops.aten.linear.default],
    "relu": [F.relu, torch.relu, torch.relu_, torch.Tensor.relu_],
    "getitem": [torch.Tensor.__getitem__],
    "T": [torch.Tensor.T.__get__],
    "batch_norm": [F.batch_norm],
    "native_batch_norm": [torch.batch_norm],
    "softmax": [torch.special.softmax, F.softmax, torch.softmax],
    "grouped_mm": [F.grouped_mm],
}


@pytest.mark.parametrize(("name", "functions"), NAMES.items(), ids=NAMES)
def test_bare_names(name, functions):
    assert {bare_name(function) for function in functions} == {name}


def test_what_writes_in_place():
    tensor = torch.Tensor
    assert all(map(writes_in_place, [tensor.add_, torch.relu_, tensor.__iadd__, tensor.__setitem__]))
    assert not any(map(writes_in_place, [tensor.add, tensor.__add__, tensor.__invert__, tensor.__init__, F.relu]))


def test_every_name_has_one_meaning():
    families = [names.NONLINEARITIES, names.VIEWS, names.SELECTIONS, names.NORMS, names.POOLS, names.REDUCTIONS]
    families += [names.DROPOUTS, names.SUMS, names.DIVISIONS, names.PRODUCTS, names.JOINS, names.ELEMENTWISE]
    families += [names.SOFTMAXES, names.ATTENTIONS, names.CONSTANTS, names.QUESTIONS]
    every = [name for family in families for name in family]
    assert len(every) == len(set(every)), sorted(name for name in every if every.count(name) > 1)


def test_every_function_named_is_one_of_torch():
    """A name misspelt would describe nothing."""
    known = {bare_name(f) for functions in torch.overrides.get_overridable_functions().values() for f in functions}
    known |= {bare_name(getattr(torch.ops.aten, name).default) for name in ("native_group_norm", "native_layer_norm")}
    known |= set(vars(F))
    for family in (names.NORMS, names.SUMS, names.DIVISIONS, names.PRODUCTS, names.SOFTMAXES, names.DROPOUTS):
        assert len(family & known) >= 0.6 * len(family), family - known
    assert known >= names.NONLINEARITIES


def told(name, *args, weights=(), **named):
    return describe(name, args, named, lambda value: any(value is weight for weight in weights))


def test_data_and_parts():
    x, w, b = normal(2, 3), normal(4, 3), normal(4)
    call = told("linear", x, w, bias=b, weights=(w, b))
    assert [part.role for part in call.parts] == ["weight", "bias"]
    assert call.data[0] is x
    assert told("matmul", x, x.T).kind == "matmul"
    assert told("matmul", x, w.T, weights=()).parts == ()
    assert told("no_such_function", x) is None
    assert unknown("no_such_function", (x, w), {}, lambda value: value is w).parts[0].role == "operand"


@pytest.mark.parametrize(("name", "kind"), [("add", "shift"), ("mul", "scale"), ("div", "scale"), ("rsub", "shift")])
def test_sums_and_products_with_a_parameter(name, kind):
    x, w = normal(2, 3), normal(3)
    assert told(name, x, w, weights=(w,)).kind == told(name, w, x, weights=(w,)).kind == kind
    assert told(name, x, 2.0).detail == Arithmetic(2.0)
    assert told(name, x, 2.0).kind == "elementwise"


def test_what_is_subtracted():
    x, y = normal(3), normal(3)
    details = [told(name, x, y).detail for name in ("add", "sub", "rsub")]
    assert [detail and detail.minus for detail in details] == [None, 1, 0]


def test_einsum_layouts():
    x, w = torch.empty(2, 3, 4), torch.empty(4, 5)
    (layout,), axis = einsum_layouts("abi,io->oab", [1], [x, w])
    assert (layout.axes, axis) == (("in", "out"), -3)
    (layout,), axis = einsum_layouts("...i,io->...o", [1], [x, w])
    assert (layout.axes, axis) == (("in", "out"), -1)
