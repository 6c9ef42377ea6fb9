"""FAN001: a usual law with another number in the place of the fan_in, of many kinds; and laws that are right."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from fanwise.torch import check, fix  # noqa: E402

from ..traced import Wrapped  # noqa: E402

ROWS, DEPTH = 32, 6
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def drawn(layer, fan, gain=2.0):
    """A layer of second moment gain / fan."""
    nn.init.normal_(layer.weight, std=math.sqrt(gain / fan))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def headed(layers, shape):
    """Layers with ReLU between them, a mean over what is no channel, a quiet head; and inputs for it."""
    body = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    x = torch.randn(ROWS, *shape)
    width = body(x).shape[1]
    head = drawn(nn.Linear(width, 4), 100 * width)
    return Wrapped(
        lambda m, x: m.head(m.body(x).flatten(2).mean(2) if x.dim() > 2 else m.body(x)), body=body, head=head
    ), x


def convolutions(dims, kernel, channels, fan, groups=1):
    """Convolutions of one width, a number in the place of the fan_in of each."""
    made = [CONVS[dims](channels, channels, kernel, padding=kernel // 2, groups=groups) for _ in range(DEPTH)]
    return headed([drawn(layer, fan(layer)) for layer in made], (channels, *[6] * dims))


def transposed(dims, kernel, stride, channels, depth, fan):
    made = [TRANSPOSED[dims](channels, channels, kernel, stride, (kernel - stride) // 2) for _ in range(depth)]
    return headed([drawn(layer, fan(layer)) for layer in made], (channels, *[2] * dims))


def dense(sizes, fan, gain=2.0):
    made = [nn.Linear(n, m) for n, m in itertools.pairwise(sizes)]
    return headed([drawn(layer, fan(layer), gain) for layer in made], sizes[:1])


def area(layer):
    return math.prod(layer.kernel_size)


def fan_in(layer):
    """Channels of one group times the kernel's area."""
    return layer.in_channels // layer.groups * area(layer)


WRONG = {
    "area, 1 axis": (lambda: convolutions(1, 5, 24, area), 5, 120),
    "area, 2 axes": (lambda: convolutions(2, 3, 16, area), 9, 144),
    "area, 5 by 5": (lambda: convolutions(2, 5, 12, area), 25, 300),
    "area, 3 axes": (lambda: convolutions(3, 3, 8, area), 27, 216),
    "area, wide": (lambda: convolutions(2, 3, 48, area), 9, 432),
    "stride, 2 axes": (lambda: transposed(2, 4, 2, 12, 4, fan_in), 192, 48),
    "stride, 1 axis": (lambda: transposed(1, 8, 4, 32, 4, fan_in), 256, 64),
    "stride, 3 axes": (lambda: transposed(3, 4, 2, 6, 3, fan_in), 384, 48),
    "stride of 3": (lambda: transposed(2, 3, 3, 16, 3, fan_in), 144, 16),
    "stride of 2, kernel of 2": (lambda: transposed(2, 2, 2, 32, 4, fan_in), 128, 32),
    "groups forgotten": (lambda: convolutions(2, 3, 32, lambda c: 4 * fan_in(c), 4), 288, 72),
    "8 groups forgotten": (lambda: convolutions(2, 3, 32, lambda c: 8 * fan_in(c), 8), 288, 36),
    "groups of 1 axis forgotten": (lambda: convolutions(1, 5, 48, lambda c: 6 * fan_in(c), 6), 240, 40),
    "fan_in over groups": (lambda: convolutions(2, 3, 48, lambda c: fan_in(c) // 4, 4), 27, 108),
    "fan_in over 8 groups": (lambda: convolutions(2, 3, 64, lambda c: fan_in(c) // 8, 8), 9, 72),
    "fan_out, 4 to 1": (lambda: dense((1024, 256, 64, 16), lambda m: m.out_features), 256, 1024),
    "fan_out, 3 to 1": (lambda: dense((972, 324, 108, 36, 12), lambda m: m.out_features), 324, 972),
    "fan_out, 1 to 4": (lambda: dense((16, 64, 256, 1024), lambda m: m.out_features), 64, 16),
    "fan_out, 8 to 1": (lambda: dense((1024, 128, 16), lambda m: m.out_features), 128, 1024),
    "fan_out, LeCun's": (lambda: dense((1024, 256, 64, 16), lambda m: m.out_features, 1.0), 256, 1024),
}
"""Models whose maps were drawn for another fan, that fan, and the one that the first of them has."""


def finding(model, x):
    report = check(model, (x, torch.randint(0, 4, (ROWS,))), "cross_entropy")
    found = [one for root in report.findings for one in root.walk() if one.code == "FAN001"]
    return (found or [None])[0], report


@pytest.mark.parametrize("name", WRONG)
def test_both_fans_are_named(name):
    torch.manual_seed(0)
    make, fan, right = WRONG[name]
    found, report = finding(*make())
    assert found is not None, str(report)
    assert (found.evidence["fan"], found.evidence["fan_in"]) == (fan, right)
    assert f"for a fan_in of {fan}, reads {right}" in found.message


@pytest.mark.parametrize("name", WRONG)
def test_its_fix_cures(name):
    torch.manual_seed(0)
    model, x = WRONG[name][0]()
    _, report = finding(model, x)
    batch = x, torch.randint(0, 4, (ROWS,))
    mending = fix(model, report, batch, loss="cross_entropy")
    exec(mending.code, {"model": model})
    assert finding(model, x)[0] is None, str(mending.table)


def default(layer):
    layer.reset_parameters()
    return layer


def glorot(layer):
    nn.init.xavier_uniform_(layer.weight)
    return layer


def by_fan_out(layer):
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def stacked(make, law, widths=(3, 16, 32, 64, 128)):
    shape = (widths[0], 6, 6) if make is not nn.Linear else (widths[0],)
    options = {} if make is nn.Linear else {"kernel_size": 3, "padding": 1}
    return headed([law(make(n, m, **options)) for n, m in itertools.pairwise(widths)], shape)


def depth_scaled():
    return dense((64,) * 7, lambda m: 6 * m.in_features)


def width_scaled():
    """muP: a head of std 1 / fan_in, hidden maps of 1 / sqrt(fan_in)."""
    model, x = dense((64, 256, 256, 256), lambda m: m.in_features, 1.0)
    nn.init.normal_(model.head.weight, std=1 / 256)
    return model, x


RIGHT = {
    "torch's default of convolutions": lambda: stacked(nn.Conv2d, default),
    "torch's default of transposed ones": lambda: stacked(nn.ConvTranspose2d, default),
    "torch's default of dense maps": lambda: stacked(nn.Linear, default, (256, 128, 64, 32)),
    "Glorot": lambda: stacked(nn.Conv2d, glorot),
    "Glorot of dense maps": lambda: stacked(nn.Linear, glorot, (256, 64, 64, 16)),
    "He by fan_out of a pyramid": lambda: stacked(nn.Conv2d, by_fan_out),
    "He of groups": lambda: convolutions(2, 3, 32, fan_in, 4),
    "He of a stride": lambda: transposed(2, 4, 2, 12, 4, lambda c: fan_in(c) / 4),
    "scaled by depth": depth_scaled,
    "scaled by width": width_scaled,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_laws_and_those_of_frameworks_are_none(name):
    torch.manual_seed(0)
    found, _ = finding(*RIGHT[name]())
    assert found is None or found.severity == "info"
