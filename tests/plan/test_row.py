import math
import pickle

import numpy as np
import pytest

from fanwise import (
    ICNR,
    Blocks,
    Constant,
    Fans,
    Key,
    Layout,
    Normal,
    delta_orthogonal,
    dirac,
    he_normal,
    lecun_normal,
    orthogonal,
    sparse,
    zeros,
)
from fanwise.plan.row import Row

DENSE = Layout.dense("out in")


def row(**changes):
    usual = {
        "path": "0.weight",
        "shape": (100, 784),
        "dtype": "float32",
        "law": he_normal,
        "layout": DENSE,
        "role": "weight",
        "op": "linear",
        "reason": "He.",
    }
    return Row(**(usual | changes))


def test_fans_std_and_gain():
    he = row()
    assert he.fans == (Fans(784, 100),)
    assert he.std == math.sqrt(2 / 784)
    assert math.isclose(he.gain, math.sqrt(2), rel_tol=1e-15)
    assert math.isclose(row(factor=0.5).std, he.std / 2)


def test_fans_are_of_each_map():
    fused = row(shape=(768, 512), layout=DENSE.fuse(0, (512, 128, 128)))
    assert fused.fans == (Fans(512, 512), Fans(512, 128), Fans(512, 128))
    assert fused.fan_in == 512
    assert math.isclose(fused.gain, math.sqrt(2))
    uneven = row(shape=(512, 768), layout=DENSE.fuse(1, (512, 256)))
    assert (uneven.fan_in, uneven.gain) == (None, None)


def test_what_is_kept_has_no_std():
    kept = row(law=None)
    assert (kept.std, kept.gain, kept.fan_in) == (None, None, 784)


def test_a_vector_has_no_fans():
    bias = row(shape=(100,), law=Normal(0.1), layout=None)
    assert (bias.fans, bias.fan_in, bias.gain, bias.std) == ((), None, None, 0.1)


@pytest.mark.parametrize(
    "law", [he_normal, orthogonal, sparse, ICNR(Normal(0.1), 4), Blocks((zeros, he_normal), axis=0)], ids=repr
)
def test_a_law_that_needs_fans_needs_a_layout(law):
    with pytest.raises(ValueError, match=r"'0.weight'.*needs fans: give a layout"):
        row(law=law, layout=None)


@pytest.mark.parametrize(
    ("order", "shape", "axes"),
    [
        ("out in", (4, 3), (1, 0)),
        ("in out", (3, 4), (0, 1)),
        ("out in kernel kernel", (4, 3, 5, 6), (2, 3, 1, 0)),
        ("kernel kernel in out", (5, 6, 3, 4), (0, 1, 2, 3)),
        ("out stack in out", (4, 2, 3, 5), (1, 2, 0, 3)),
        ("lookup out", (9, 4), (0, 1)),
    ],
)
def test_canonical_axes(order, shape, axes):
    assert row(shape=shape, layout=Layout.dense(order), law=None).canonical_axes == axes


def test_without_a_layout_storage_is_canonical():
    assert row(shape=(3, 4), law=Normal(1.0), layout=None).canonical_axes == (0, 1)


@pytest.mark.parametrize("law", [he_normal, Blocks((Normal(1.0), zeros, lecun_normal), axis=0)], ids=["he", "blocks"])
def test_ports_that_store_differently_draw_the_same_numbers(law):
    """Counted in canonical order: PyTorch's (out, in, k, k) and Keras' (k, k, in, out)."""
    torch = row(shape=(6, 4, 3, 2), layout=Layout.conv("out in kernel kernel", stride=(2, 1)), law=law)
    keras_law = Blocks(law.laws, axis=3) if isinstance(law, Blocks) else law
    keras = row(shape=(3, 2, 4, 6), layout=Layout.conv(stride=(2, 1)), law=keras_law)
    drawn = [drawn_from(row_, order="canonical") for row_ in (torch, keras)]
    np.testing.assert_array_equal(drawn[0], np.transpose(drawn[1], (3, 2, 0, 1)))
    assert not np.array_equal(drawn[0], drawn_from(torch, order="storage"))


def drawn_from(one, *, order):
    counted = Row(**{**fields_of(one), "order": order}).counted
    values = counted.law(counted.shape, key=Key(0), layout=counted.layout)
    return values if order == "storage" else np.transpose(values, np.argsort(one.canonical_axes))


def fields_of(one):
    return {name: vars(one)[name] for name in Row.__dataclass_fields__}


def test_fused_maps_move_with_their_axis():
    one = row(shape=(6, 4), layout=DENSE.fuse(0, 3), order="canonical")
    assert (one.counted.shape, one.counted.layout) == ((4, 6), Layout.dense("in out").fuse(1, 3))
    assert one.counted.std == one.std


def test_orthogonal_matrices_are_not_fixed_to_the_bit():
    square = {"shape": (4, 4)}
    assert row().exact
    assert not row(law=None).exact
    assert not row(law=orthogonal, **square).exact
    assert not row(law=Blocks((zeros, orthogonal), axis=0), **square).exact
    conv = {"shape": (4, 4, 3), "layout": Layout.conv("out in kernel")}
    assert not row(law=ICNR(delta_orthogonal, 2), **conv).exact
    assert row(law=ICNR(dirac, 2), **conv).exact


def test_an_edit_forgets_what_was_said_of_the_old_law():
    old = row(source="He 2015", gives=1.0, fed=0.5, guess=True, factor=0.9)
    new = old.edited(lecun_normal, "mine")
    assert (new.law, new.reason) == (lecun_normal, "mine")
    assert (new.source, new.gives, new.guess, new.factor, new.fed) == ("", None, False, 1.0, 0.5)


def test_a_row_is_a_value():
    one = row(aliases=["tied"], shape=[np.int64(100), 784], fed=np.float32(0.5))
    assert one.std is not None
    assert (one.aliases, one.shape, one.fed, type(one.shape[0])) == (("tied",), (100, 784), 0.5, int)
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(one) == hash(row(aliases=("tied",), fed=0.5))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0)])
def test_empty_parameters_and_scalars(shape):
    layout = Layout.dense() if len(shape) == 2 else None
    assert row(shape=shape, law=zeros, layout=layout).std == 0
    if layout:
        assert row(shape=shape, layout=layout).std == 0


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"path": ""}, ValueError, "path = ''"),
        ({"path": 3}, TypeError, "path = 3: expected a str"),
        ({"path": "\ud800"}, ValueError, "surrogates"),
        ({"shape": (3, -1)}, ValueError, "-1 is negative"),
        ({"shape": "34"}, TypeError, "expected a sequence of integers"),
        ({"shape": (1 << 40, 1 << 40)}, ValueError, "the limit is"),
        ({"shape": (3,)}, ValueError, "has 1 axes, the layout"),
        ({"dtype": "torch.float32"}, ValueError, "a name without prefix"),
        ({"dtype": np.float32}, TypeError, "dtype = "),
        ({"law": "he_normal"}, TypeError, "law = 'he_normal': expected an initializer"),
        ({"law": Blocks((zeros, zeros), axis=5)}, ValueError, "axis = 5"),
        ({"layout": "out in"}, TypeError, "layout = 'out in': expected a fanwise.Layout"),
        ({"layout": Layout(["out", "in"])}, TypeError, "expected tuples in them"),
        ({"role": None}, TypeError, "role = None"),
        ({"op": 1}, TypeError, "op = 1"),
        ({"reason": "\udfff"}, ValueError, "reason = "),
        ({"stream": None}, TypeError, "stream = None"),
        ({"order": "fortran"}, ValueError, "expected one of storage, canonical"),
        ({"aliases": "tied"}, TypeError, "expected a tuple of names"),
        ({"aliases": ("0.weight",)}, ValueError, "other names than the path"),
        ({"aliases": ("a", "a")}, ValueError, "each once"),
        ({"fed": -1.0}, ValueError, "fed = -1.0"),
        ({"gives": math.nan}, ValueError, "gives = nan"),
        ({"fed": "1"}, TypeError, "fed = '1'"),
        ({"factor": 0.0}, ValueError, "expected a number > 0"),
        ({"factor": math.inf}, ValueError, "factor = inf"),
        ({"guess": 1}, TypeError, "guess = 1"),
    ],
)
def test_bad_fields_are_named(changes, kind, words):
    with pytest.raises(kind, match=".*" + words.replace("(", r"\(")) as raised:
        row(**changes)
    if "path" not in changes:
        assert "'0.weight'" in str(raised.value)


def test_constants_need_no_layout():
    assert row(law=Constant(0.5), layout=None).std == 0
