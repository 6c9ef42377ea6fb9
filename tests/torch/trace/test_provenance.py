"""Which parameter stands behind a tensor, on which of its axes, and which part of it."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from fanwise.laws.layout import Fused, Layout  # noqa: E402
from fanwise.torch.trace.invocation import Invocation  # noqa: E402
from fanwise.torch.trace.provenance import ParameterProvenance, Provenance, parameters  # noqa: E402
from fanwise.torch.trace.stored_layout import layout_in_storage  # noqa: E402

from ..traced import Wrapped, normal  # noqa: E402

MODEL = Wrapped(None, w=normal(4, 6, 10), v=normal(6))
HOLDINGS = ParameterProvenance(MODEL)

AXES = [
    (lambda w: w, (0, 1, 2)),
    (lambda w: w.permute(2, 0, 1), (2, 0, 1)),
    (lambda w: w[1], (1, 2)),
    (lambda w: w[1].T, (2, 1)),
    (lambda w: w[:, None], (0, None, 1, 2)),
    (lambda w: w[None].expand(3, -1, -1, -1), (None, 0, 1, 2)),
    (lambda w: w[..., 0], (0, 1)),
    (lambda w: w.view(4, 2, 3, 10), (0, 1, 1, 2)),
    (lambda w: w.view(24, 10), (1, 2)),
    (lambda w: w.detach()[:, ::2], (0, 1, 2)),
]


@pytest.mark.parametrize(("view", "axes"), AXES)
def test_axes_of_views(view, axes):
    held = HOLDINGS.find(view(MODEL.w))
    assert (held.paths, held.axes, held.steps) == (("w",), (axes,), ())


def test_parts_of_views():
    assert HOLDINGS.find(MODEL.w[:, :, 5:]).parts == ((2, 5, 5),)
    assert HOLDINGS.find(MODEL.w[:, 2:4].transpose(0, 1)).parts == ((1, 2, 2),)
    assert HOLDINGS.find(MODEL.w).parts == ()


def test_other_memory_is_not_held():
    assert HOLDINGS.find(MODEL.w.detach().clone()) is None
    assert HOLDINGS.find(normal(4, 6, 10)) is None


def test_what_is_made_of_parameters():
    provenance = ParameterProvenance(MODEL)
    made = MODEL.w.detach() * MODEL.v.detach()[:, None]
    provenance.derive(made, [MODEL.w, MODEL.v[:, None]], Invocation(torch.mul, "mul", (MODEL.w, MODEL.v[:, None]), {}))
    held = provenance.find(made[0])
    assert (held.paths, held.steps, held.sides) == (("w", "v"), ("mul",), (None, "scale"))
    assert held.axes[0] == (1, 2)
    assert [held.role(which, "weight") for which in (0, 1)] == ["weight", "scale"]


def test_parameters_are_listed_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[1].bias = nn.Parameter(model[0].bias.detach())  # other object, same memory
    model[0].weight.requires_grad_(False)
    found = parameters(model)
    assert [(p.path, p.aliases, p.trained, p.dtype) for p in found] == [
        ("0.weight", ("1.weight",), False, "float32"),
        ("0.bias", ("1.bias",), True, "float32"),
    ]


def test_empty_parameters_are_apart():
    model = Wrapped(None, a=torch.empty(0, 3), b=torch.empty(0, 3))
    assert [p.path for p in parameters(model)] == ["a", "b"]


def told(layout, axes, shape, view):
    return layout_in_storage(layout, Provenance(("w",), (axes,)), 0, (shape, torch.empty(view, device="meta")))


def test_layouts_in_storage():
    dense = Layout.dense("in out")
    assert told(dense, (1, 0), (10, 6), (6, 10)).axes == ("out", "in")
    assert told(dense, (1, 2), (4, 6, 10), (6, 10)).axes == ("stack", "in", "out")
    assert told(dense, (1, 2), (4, 6, 10), (24, 10)).axes == ("in", "in", "out")
    stacked = told(Layout.dense("stack in out"), (0, 0, 1), (24, 10), (4, 6, 10))
    assert (stacked.axes, stacked.fused) == (("in", "out"), Fused(0, (), 4))


def test_layouts_that_cannot_be_told():
    assert told(Layout.dense("in out"), (0,), (6,), (6, 1)) is None
    assert told(Layout.conv("out in kernel"), (0, 1, None), (6, 4), (6, 4, 3)) is None
    assert told(Layout.conv("out in kernel", groups=4), (0, 1, 2), (6, 4, 3), (6, 4, 3)) is None
