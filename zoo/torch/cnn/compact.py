"""Convolutional classifiers for small devices: depthwise, grouped and shuffled convolutions, searched cells."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import images, photos
from zoo.torch.laws import CONVS, drawn, drawn_convs, filled, he, he_out
from zoo.torch.layers import Net, Residual, conv, conv_norm, normed, pooled, stacked


def mobilenet() -> nn.Module:
    """Depthwise and pointwise convolutions with batch norms."""

    def pair(fan_in: int, fan_out: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(conv_norm(fan_in, fan_in, groups=fan_in, stride=stride), conv_norm(fan_in, fan_out, 1))

    widths = ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 256, 1))
    return drawn(pooled(conv_norm(3, 32), *(pair(*sizes) for sizes in widths), width=256), he_out, CONVS)


def mobilenet_plain() -> nn.Module:
    """The same without norms, He over fan_in."""
    body: list[nn.Module] = [conv(3, 32), nn.ReLU()]
    for i, o, stride in ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)):
        body += [conv(i, i, groups=i, stride=stride), nn.ReLU(), conv(i, o, 1), nn.ReLU()]
    return drawn(pooled(*body, width=256), he)


def shuffled() -> nn.Module:
    """ShuffleNet v2: half the channels pass, the others go through a depthwise branch, then all are shuffled."""

    def branch(fan_in: int, width: int, stride: int) -> nn.Sequential:
        middle = normed(width, width, stride=stride, groups=width)
        return stacked(normed(fan_in, width, 1), nn.ReLU(), middle, normed(width, width, 1), nn.ReLU())

    def shuffle(x: Tensor) -> Tensor:
        return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)

    def unit(width: int) -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            a, b = x.chunk(2, 1)
            return shuffle(torch.cat([a, net.branch(b)], 1))

        return Net(run, branch=branch(width // 2, width // 2, 1))

    def down(fan_in: int, width: int) -> nn.Module:
        half = width // 2
        skip = stacked(normed(fan_in, fan_in, stride=2, groups=fan_in), normed(fan_in, half, 1), nn.ReLU())
        parts = {"skip": skip, "branch": branch(fan_in, half, 2)}
        return Net(lambda net, x: shuffle(torch.cat([net.skip(x), net.branch(x)], 1)), **parts)

    body = (normed(3, 24), nn.ReLU(), down(24, 64), unit(64), unit(64), down(64, 128), unit(128), unit(128))
    return pooled(*body, normed(128, 192, 1), nn.ReLU(), width=192, classes=8)


def ghosts() -> nn.Module:
    """GhostNet: half of each map is a cheap depthwise image of the other half; He over fan_out."""

    def ghost(fan_in: int, fan_out: int, act: type[nn.Module]) -> nn.Module:
        half = fan_out // 2
        parts = {
            "main": stacked(normed(fan_in, half, 1), act()),
            "cheap": stacked(normed(half, half, groups=half), act()),
        }

        def run(net: Any, x: Tensor) -> Tensor:
            main = net.main(x)
            return torch.cat([main, net.cheap(main)], 1)

        return Net(run, **parts)

    def block(width: int) -> nn.Module:
        return Residual(stacked(ghost(width, 2 * width, nn.ReLU), ghost(2 * width, width, nn.Identity)))

    body = [normed(3, 32, stride=2), nn.ReLU(), block(32), block(32), normed(32, 64, stride=2), nn.ReLU()]
    model = pooled(*body, *(block(64) for _ in range(4)), width=64, classes=8)
    return drawn_convs(model, he_out)


def inverted() -> nn.Module:
    """MobileNetV3's blocks: hard swish, squeeze and excite, linear ends; He over fan_out, head N(0, 0.01)."""

    def excite(width: int) -> nn.Module:
        gate = stacked(nn.AdaptiveAvgPool2d(1), conv(width, width // 4, 1), nn.ReLU(), conv(width // 4, width, 1))
        return Net(lambda net, x: x * functional.hardsigmoid(net.gate(x)), gate=gate)

    def block(width: int, kernel: int) -> nn.Module:
        inner, act = 4 * width, nn.Hardswish
        middle = [normed(inner, inner, kernel, groups=inner), act(), excite(inner)]
        return Residual(stacked(normed(width, inner, 1), act(), middle, normed(inner, width, 1)))

    body = [normed(3, 24, stride=2), nn.Hardswish(), block(24, 3), block(24, 5), normed(24, 48, stride=2)]
    model = pooled(*body, block(48, 5), block(48, 5), normed(48, 192, 1), nn.Hardswish(), width=192, classes=8)
    filled(model[-1], partial(init.normal_, std=0.01))
    return drawn_convs(model, he_out)


def cells() -> nn.Module:
    """A searched cell (DARTS): sums of separable and dilated convolutions, pools and skips."""

    def separable(dilation: int) -> nn.Module:
        deep = conv(32, 32, padding=dilation, dilation=dilation, groups=32, bias=False)
        return stacked(nn.ReLU(), deep, conv(32, 32, 1, bias=False), nn.BatchNorm2d(32))

    def cell() -> nn.Module:
        def run(net: Any, old: Tensor, new: Tensor) -> Tensor:
            a, b = net.old(old), net.new(new)
            c = net.ops[0](a) + net.ops[1](b)
            d = net.ops[2](a) + functional.max_pool2d(c, 3, 1, 1)
            return torch.cat([c, d, net.ops[3](c) + b, net.ops[4](d) + a], 1)

        ops = nn.ModuleList(separable(dilation) for dilation in (1, 1, 2, 1, 2))
        sides = {"old": stacked(nn.ReLU(), normed(128, 32, 1)), "new": stacked(nn.ReLU(), normed(128, 32, 1))}
        return Net(run, ops=ops, **sides)

    def run(net: Any, x: Tensor) -> Tensor:
        old = new = net.stem(x)
        for one in net.cells:
            old, new = new, one(old, new)
        return net.head(new.mean((2, 3)))

    body = nn.ModuleList(cell() for _ in range(5))
    return Net(run, stem=normed(3, 128, stride=2), cells=body, head=nn.Linear(128, 8))


def xception() -> nn.Module:
    """Separable convolutions with batch norm in residual threes."""

    def separable() -> nn.Module:
        return stacked(nn.ReLU(), conv(64, 64, groups=64, bias=False), conv(64, 64, 1, bias=False), nn.BatchNorm2d(64))

    middle = [Residual(stacked(separable(), separable(), separable())) for _ in range(4)]
    return pooled(conv_norm(3, 64, stride=2), *middle, separable(), nn.ReLU(), width=64, classes=8)


tuned, held_out = maker("torch", "cnn", "tuned"), maker("torch", "cnn", "held_out")
MODELS = (
    tuned("mobilenet", mobilenet, images),
    tuned("mobilenet_plain", mobilenet_plain, images),
    tuned("fresh_shufflenet", shuffled, photos()),
    tuned("fresh_ghostnet", ghosts, photos()),
    tuned("fresh_mobilenet_v3", inverted, photos()),
    tuned("fresh_darts_cells", cells, photos()),
    held_out("last_xception", xception, photos()),
)
