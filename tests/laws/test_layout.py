"""Fans against the variance that comes out of the actual linear map, forward and backward."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import linear_maps
import numpy as np
import pytest

from fanwise import Fans, Key, Layout, VarianceScaling

DRAWS = 40


@dataclass(frozen=True)
class Kind:
    """A layer: its layout and storage shape, how storage becomes the map's weights, the map and its input shape."""

    layout: Layout
    shape: tuple[int, ...]
    layer: Any
    x: tuple[int, ...]
    weights: Any = field(default=lambda w: [w])


def axes(*order):
    return lambda w: [np.transpose(w, order)]


def split(axis, *ends):
    return lambda w: [part if axis == 1 else part.T for part in np.split(w, ends, axis)]


conv, spread = linear_maps.conv, linear_maps.conv_transpose
L = Layout

KINDS = {
    "dense (in, out)": Kind(L.dense(), (30, 50), linear_maps.dense, (30,)),
    "dense (out, in)": Kind(L.dense("out in"), (50, 30), linear_maps.dense, (30,), axes(1, 0)),
    "dense to heads": Kind(L.dense("in out out"), (30, 4, 10), linear_maps.dense, (30,), lambda w: [w.reshape(30, 40)]),
    "dense from heads": Kind(
        L.dense("in in out"), (4, 10, 30), linear_maps.dense, (40,), lambda w: [w.reshape(40, 30)]
    ),
    "einsum bhi,hio->bho": Kind(L.einsum("bhi,hio->bho"), (3, 20, 40), linear_maps.dense, (20,), list),
    "einsum bsd,dhk->bshk": Kind(
        L.einsum("bsd,dhk->bshk"), (30, 4, 10), linear_maps.dense, (30,), lambda w: [w.reshape(30, 40)]
    ),
    "conv 1-D": Kind(L.conv("out in kernel"), (6, 5, 3), conv, (5, 8)),
    "conv 2-D": Kind(L.conv("out in kernel kernel"), (6, 4, 3, 3), conv, (4, 6, 6)),
    "conv 2-D, channels last": Kind(L.conv(), (3, 3, 4, 6), conv, (4, 6, 6), axes(3, 2, 0, 1)),
    "conv 2-D, stride 2": Kind(
        L.conv("out in kernel kernel", stride=2), (6, 4, 3, 3), partial(conv, stride=2), (4, 6, 6)
    ),
    "conv 1x1, stride 2": Kind(
        L.conv("out in kernel kernel", stride=2), (12, 6, 1, 1), partial(conv, stride=2), (6, 4, 4)
    ),
    "conv 2-D, dilation 2": Kind(L.conv("out in kernel kernel"), (6, 4, 3, 3), partial(conv, dilation=2), (4, 6, 6)),
    "conv 2-D, 4 groups": Kind(
        L.conv("out in kernel kernel", groups=4), (16, 2, 3, 3), partial(conv, groups=4), (8, 5, 5)
    ),
    "conv 3-D": Kind(L.conv("out in kernel kernel kernel"), (4, 3, 2, 2, 2), conv, (3, 4, 4, 4)),
    "depthwise (channels, 1, *kernel)": Kind(
        L.conv("out in kernel kernel", groups=8), (8, 1, 3, 3), partial(conv, groups=8), (8, 6, 6)
    ),
    "depthwise (*kernel, in, multiplier)": Kind(
        L.depthwise(),
        (3, 3, 8, 2),
        partial(conv, groups=8),
        (8, 6, 6),
        lambda w: [w.reshape(3, 3, 16, 1).transpose(2, 3, 0, 1)],
    ),
    "transposed (in, out, *kernel), stride 2": Kind(
        L.conv_transpose("in out kernel kernel", stride=2), (6, 4, 4, 4), partial(spread, stride=2), (6, 4, 4)
    ),
    "transposed (*kernel, out, in), kernel 3, stride 2": Kind(
        L.conv_transpose("kernel kernel out in", stride=2),
        (3, 3, 4, 6),
        partial(spread, stride=2),
        (6, 4, 4),
        axes(3, 2, 0, 1),
    ),
    "transposed (*kernel, in, out)": Kind(L.conv_transpose("kernel in out"), (3, 6, 4), spread, (6, 8), axes(1, 2, 0)),
    "transposed, 2 groups, stride 2": Kind(
        L.conv_transpose("in out kernel", groups=2, stride=2), (8, 3, 4), partial(spread, groups=2, stride=2), (8, 8)
    ),
    "fused q, k, v": Kind(L.dense("out in").fuse(0, 3), (90, 40), linear_maps.dense, (40,), split(0, 30, 60)),
    "fused q, k, v of grouped queries": Kind(
        L.dense("out in").fuse(0, (60, 15, 15)), (90, 40), linear_maps.dense, (40,), split(0, 60, 75)
    ),
    "fused LSTM gates (in, 4 out)": Kind(
        L.dense().fuse(1, 4), (20, 120), linear_maps.dense, (20,), split(1, 30, 60, 90)
    ),
    "stacked experts": Kind(L.dense("stack in out"), (4, 20, 35), linear_maps.dense, (20,), list),
    "scanned layers (stack, out, in)": Kind(
        L.dense("stack out in"), (3, 35, 20), linear_maps.dense, (20,), lambda w: [part.T for part in w]
    ),
}


def ratios(kind, mode, layout=None):
    """Second moment of output over input (of input gradient over output gradient) in each of DRAWS draws."""
    law, rng, found = VarianceScaling(1.0, mode, "uniform"), np.random.default_rng(3), []
    for draw in range(DRAWS):
        w = law(kind.shape, key=Key(draw, mode), layout=layout or kind.layout, dtype="float64")
        matrices = [linear_maps.jacobian(kind.layer, part, kind.x) for part in kind.weights(w)]
        for matrix in matrices if mode == "fan_in" else [m.T for m in matrices]:
            x = rng.normal(size=matrix.shape[1])
            found.append(np.mean((matrix @ x) ** 2) / np.mean(x**2))
    return np.array(found)


def standard_errors_from_one(found):
    return abs(found.mean() - 1) / (found.std(ddof=1) / math.sqrt(found.size))


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("name", KINDS)
def test_the_map_keeps_the_second_moment(name, mode):
    found = ratios(KINDS[name], mode)
    assert standard_errors_from_one(found) < 5
    assert found.std(ddof=1) / math.sqrt(found.size) < 0.1  # sharp enough to see a factor of 2


MUTANTS = {
    "depthwise read as dense": ("depthwise (*kernel, in, multiplier)", "fan_in", L.conv()),
    "groups ignored": ("conv 2-D, 4 groups", "fan_out", L.conv("out in kernel kernel")),
    "stride ignored": ("transposed (in, out, *kernel), stride 2", "fan_in", L.conv_transpose("in out kernel kernel")),
    "transposed, fans swapped": ("transposed (in, out, *kernel), stride 2", "fan_in", L.conv("out in kernel kernel")),
    "fused read as one": ("fused q, k, v", "fan_out", L.dense("out in")),
    "experts read as a convolution": ("stacked experts", "fan_in", L.dense("in in out")),
    "stride of a convolution ignored": ("conv 2-D, stride 2", "fan_out", L.conv("out in kernel kernel")),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_layout_fails(mutant):
    name, mode, wrong = MUTANTS[mutant]
    assert standard_errors_from_one(ratios(KINDS[name], mode, layout=wrong)) > 5


def test_a_lookup_keeps_each_weight():
    """Each output value of an embedding is one weight; a row feeds all outputs."""
    assert L.embedding().fans((1000, 64)) == Fans(1, 64)
    table = VarianceScaling(1.0)((1000, 64), key=0, layout=L.embedding())
    rows = table[np.random.default_rng(0).integers(0, 1000, 500)]
    assert abs(np.mean(rows**2) - 1) < 5 * math.sqrt(2 / 32_000)  # at most 32,000 distinct weights


# independent values of the frameworks' own layers: true fans by counting
COUNTED = {
    "depthwise 3x3": (L.depthwise(), (3, 3, 64, 1), 9, 9),
    "transposed 64->256, k 4, stride 2": (
        L.conv_transpose("in out kernel kernel", stride=2),
        (64, 256, 4, 4),
        256,
        4096,
    ),
    "16 experts": (L.dense("stack in out"), (16, 256, 512), 256, 512),
    "512 -> 8 x 64": (L.dense("in out out"), (512, 8, 64), 512, 512),
    "16 -> 32, 3x3, 4 groups": (L.conv("out in kernel kernel", groups=4), (32, 4, 3, 3), 36, 72),
}


@pytest.mark.parametrize("name", COUNTED)
def test_counted_fans(name):
    layout, shape, fan_in, fan_out = COUNTED[name]
    assert layout.fans(shape) == Fans(fan_in, fan_out)


def test_default_layouts_are_those_of_jax():
    assert Layout.default(2) == L.dense()
    assert Layout.default(4) == L.conv()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.default(0), "a shape with 0 axes has no fans"),
        (lambda: L.default(1), "a shape with 1 axes has no fans"),
        (lambda: L(("in", "outt")), "expected roles among in, out, kernel, stack, lookup"),
        (lambda: L(()), "expected roles"),
        (lambda: L.conv("out in kernel", groups=-1), "groups = -1"),
        (lambda: L.dense("in out out").fuse(3, 2), "axis = 3: expected one of the 3 axes"),
        (lambda: L.conv().fuse(0, 2), "cannot hold fused maps"),
        (lambda: L.conv("out in kernel", stride=(1, 2)), "one entry for each kernel axis"),
        (lambda: L(("in", "out"), groups=2, grouped="kernel"), "expected 'in' or 'out'"),
        (lambda: L(("in", "in", "out"), groups=2), "need one 'in' and one 'out' axis"),
        (lambda: L.einsum("bi,io"), "expected two operands and an output"),
        (lambda: L.einsum("bi,ioz->bo"), "label 'z' of the weight stands neither"),
        (lambda: L.dense().fans((3, 4, 5)), "has 3 axes, the layout"),
        (lambda: L.conv("out in kernel", groups=3).fans((8, 2, 3)), "groups = 3 do not divide the 8 'out' channels"),
        (lambda: L.dense().fuse(1, 3).fans((4, 8)), "3 equal blocks do not fill axis 1, which has 8"),
        (lambda: L.dense().fuse(1, (3, 3)).fans((4, 8)), r"sizes \(3, 3\) do not fill axis 1"),
        (lambda: L.dense("out in").fuse(0, (4, 2)).fans((6, 8)), "different fans"),
    ],
)
def test_bad_layouts(make, message):
    with pytest.raises(ValueError, match=message):
        make()
