"""Convolutional classifiers and detectors that no rule of the check was chosen on."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.batches import normed, photos, stacked, subject, uniform
from zoo.torch.layers import (
    Function,
    Law,
    Net,
    Residual,
    Subject,
    conv,
    digit_images,
    drawn,
    filled,
    he,
    he_out,
    images,
    lecun,
    normal,
    pooled,
    trained,
    zeroed,
)

RESIZE = partial(functional.interpolate, scale_factor=2)


def pre_norm(width: int, act: type[nn.Module] = nn.ReLU) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), act()]


# Residual


def wide_resnet() -> nn.Module:
    """WRN-16-2: norms first, dropout within, He over fan_out, a zero bias for the head."""

    def block(fan_in: int, fan_out: int, stride: int) -> nn.Module:
        first = [*pre_norm(fan_in), conv(fan_in, fan_out, stride=stride, bias=False)]
        branch = stacked(first, pre_norm(fan_out), nn.Dropout(0.3), conv(fan_out, fan_out, bias=False))
        skip = nn.Identity() if fan_in == fan_out else conv(fan_in, fan_out, 1, stride=stride, bias=False)
        return Net(lambda net, x: net.branch(x) + net.skip(x), branch=branch, skip=skip)

    plan = [(16, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    body = stacked(conv(3, 16, bias=False), [block(*one) for one in plan], pre_norm(128))
    return classified(body)


def classified(body: nn.Sequential) -> nn.Module:
    """The mean over positions and a head, He over fan_out for the convolutions."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            he_out(module.weight)
    model = pooled(*body, width=128, classes=8)
    init.zeros_(model[-1].bias)
    return model


class Standardised(nn.Conv2d):
    """A convolution by its weight with mean zero and variance 1 / fan_in, times a learnt gain (Brock 2021)."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))
        he(self.weight)
        init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        scale = torch.rsqrt(variance * self.weight[0].numel() + 1e-4) * self.gain
        return self._conv_forward(x, (self.weight - mean) * scale, self.bias)


def norm_free() -> nn.Module:
    """NFNet: standardised weights, scaled GELU, branches read x / beta and add 0.2 of themselves, factor zero."""
    act = Function(lambda x: functional.gelu(x) * 1.7015)

    def block(beta: float) -> nn.Module:
        branch = stacked(act, Standardised(64, 32, 1), act, Standardised(32, 32, 3, padding=1), act)
        parts = {"branch": branch.append(Standardised(32, 64, 1)), "factor": nn.Parameter(torch.zeros(()))}
        return Net(lambda net, x: x + 0.2 * net.factor * net.branch(x / beta), **parts)

    blocks = [block(math.sqrt(1 + 0.04 * number)) for number in range(8)]
    model = pooled(Standardised(3, 64, 3, stride=2, padding=1), *blocks, act, width=64, classes=8)
    filled(model[-1], partial(init.normal_, std=0.01))
    return model


def group_normed() -> nn.Module:
    """Residual blocks with group norms, torch's own weights."""

    def block(width: int) -> nn.Module:
        half = [part for _ in range(2) for part in (nn.GroupNorm(8, width), nn.SiLU(), conv(width, width))]
        return Residual(nn.Sequential(*half))

    body = (conv(3, 48, stride=2), *(block(48) for _ in range(3)), conv(48, 96, stride=2), *(block(96) for _ in "abc"))
    return pooled(*body, nn.GroupNorm(8, 96), nn.SiLU(), width=96, classes=8)


def two_scales() -> nn.Module:
    """Res2Net: the channels of a bottleneck in four parts, each read after the one before it."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            parts = list(net.enter(x).relu().chunk(4, 1))
            for i, layer in enumerate(net.layers):
                parts[i + 1] = layer(parts[i + 1] + (parts[i] if i else 0)).relu()
            return (x + net.leave(torch.cat(parts, 1))).relu()

        layers = nn.ModuleList(normed(16, 16) for _ in range(3))
        return Net(run, enter=normed(128, 64, 1), layers=layers, leave=normed(64, 128, 1))

    body = (normed(3, 128, stride=2), nn.ReLU(), *(block() for _ in range(5)))
    return classified(nn.Sequential(*body))


def reparametrisable() -> nn.Module:
    """RepVGG: a 3 x 3, a 1 x 1 and a norm side by side, no skip; torch's own weights."""

    def block(fan_in: int, fan_out: int, stride: int) -> nn.Module:
        parts = {"three": normed(fan_in, fan_out, stride=stride), "one": normed(fan_in, fan_out, 1, stride=stride)}
        same = fan_in == fan_out and stride == 1
        parts |= {"same": nn.BatchNorm2d(fan_in)} if same else {}
        return Net(lambda net, x: sum(part(x) for part in net.children()).relu(), **parts)

    plan = [(3, 32, 2), (32, 48, 2), (48, 48, 1), (48, 96, 2), *[(96, 96, 1)] * 5, (96, 192, 2)]
    return pooled(*(block(*one) for one in plan), width=192, classes=8)


# Cheap


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


def drawn_convs(model: nn.Module, law: Law) -> nn.Module:
    """Convolutions anew, the rest as it was."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            filled(module, law)
    return model


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


# Plain


def within() -> nn.Module:
    """Network in network: 5 x 5 and 1 x 1 maps, dropout, no norm (Lin 2014); He over fan_in, head N(0, 0.01)."""
    plan = ((3, 96, 5), (96, 80, 1), (80, 48, 1), "pool", (48, 96, 5), (96, 96, 1), (96, 96, 1), "pool", (96, 96, 3))
    parts: list[nn.Module] = []
    for one in plan:
        parts += [nn.MaxPool2d(3, 2, 1), nn.Dropout(0.5)] if one == "pool" else [conv(*one), nn.ReLU()]
    last = filled(conv(96, 8, 1), partial(init.normal_, std=0.01))
    return nn.Sequential(*drawn(nn.Sequential(*parts), he), last, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def old_lenet() -> nn.Module:
    """LeNet-5 with scaled tanh and mean pools, N(0, 1 / fan_in) (LeCun 1998)."""
    act, pool = Function(lambda x: 1.7159 * torch.tanh(2 * x / 3)), nn.AvgPool2d(2)
    body = stacked(conv(1, 6, 5), act, pool, nn.Conv2d(6, 16, 5), act, pool, nn.Conv2d(16, 120, 5), act, nn.Flatten())
    return drawn(stacked(body, nn.Linear(120, 84), act, nn.Linear(84, 10)), lecun)


def isometric() -> nn.Module:
    """Twenty tanh layers, each an orthogonal map at the centre of its kernel (Xiao 2018)."""
    body = [part for _ in range(20) for part in (conv(64, 64), nn.Tanh())]
    model = stacked(filled(conv(3, 64, stride=2), he), nn.Tanh(), drawn_convs(nn.Sequential(*body), delta))
    return pooled(*model, width=64, classes=8)


def delta(weight: Tensor) -> None:
    """Orthogonal at the centre of the kernel, zero elsewhere."""
    init.zeros_(weight)
    middle = weight.shape[-1] // 2
    weight.data[:, :, middle, middle] = init.orthogonal_(torch.empty(weight.shape[:2]))


def sequential_variance() -> nn.Module:
    """LSUV: orthogonal, then every layer divided by what a first batch shows (Mishkin 2016)."""
    widths = (3, 32, 32, 64, 64, 96, 96)
    body = [p for i, (a, b) in enumerate(pairwise(widths)) for p in (conv(a, b, stride=1 + i % 2), nn.LeakyReLU(0.05))]
    model = drawn(pooled(*body, width=96, classes=8), init.orthogonal_)
    x, _ = images(16)
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight.data /= layer(x).std().detach()
        x = layer(x).detach()
    return model


def capsules() -> nn.Module:
    """Capsules with two rounds of routing (Sabour 2017): convolutions of torch, votes N(0, 0.1)."""

    def squash(x: Tensor) -> Tensor:
        square = (x**2).sum(-1, keepdim=True)
        return square / (1 + square) * x / (square + 1e-8).sqrt()

    def run(net: Any, x: Tensor) -> Tensor:
        x = squash(net.second(net.first(x).relu()).unflatten(1, (8, -1)).flatten(2).transpose(1, 2))
        votes = torch.einsum("bid,iodk->biok", x, net.votes)
        logits = votes.new_zeros(votes.shape[:3])
        for turn in range(3):
            found = squash((logits.softmax(2)[..., None] * votes).sum(1))
            logits = logits + (votes * found[:, None]).sum(-1) if turn < 2 else logits
        return (found**2).sum(-1).add(1e-8).sqrt()

    votes = nn.Parameter(0.1 * torch.randn(8 * 36, 10, 8, 8))
    return Net(run, first=nn.Conv2d(1, 64, 9), second=nn.Conv2d(64, 64, 9, 2), votes=votes)


def margin(output: Tensor, target: Tensor) -> Tensor:
    """The margins of capsules."""
    right = functional.one_hot(target, 10)
    return (right * (0.9 - output).relu() ** 2 + 0.5 * (1 - right) * (output - 0.1).relu() ** 2).sum(1).mean()


def transformed() -> nn.Module:
    """A spatial transformer: the last map of its locator is zero with the identity as bias (Jaderberg 2015)."""

    def run(net: Any, x: Tensor) -> Tensor:
        grid = functional.affine_grid(net.where(x).view(-1, 2, 3), list(x.shape), align_corners=False)
        return net.what(functional.grid_sample(x, grid, align_corners=False))

    def seen(kernel: int) -> list[nn.Module]:
        return [nn.Conv2d(1, 8, kernel), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU()]

    where = stacked(seen(7), nn.Flatten(), nn.Linear(90, 32), nn.ReLU(), zeroed(nn.Linear(32, 6)))
    where[-1].bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])
    what = stacked(seen(5), nn.Flatten(), nn.Linear(160, 50), nn.ReLU(), nn.Dropout(), nn.Linear(50, 10))
    return Net(run, where=where, what=what)


def volumes() -> nn.Module:
    """A plain 3-D network with batch norms, He over fan_out."""
    plan = ((1, 16), (16, 32), (32, 64))
    parts = [p for a, b in plan for p in (nn.Conv3d(a, b, 3, padding=1), nn.BatchNorm3d(b), nn.ReLU(), nn.MaxPool3d(2))]
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(64 * 8, 5))
    for module in model:
        if isinstance(module, nn.Conv3d):
            he_out(module.weight)
    return model


def finished() -> nn.Module:
    """A small convnet trained to the end on its batch."""
    body = (conv(1, 12, 5), nn.ReLU(), nn.MaxPool2d(2), conv(12, 24, 5), nn.ReLU(), nn.MaxPool2d(2))
    return trained(nn.Sequential(*body, nn.Flatten(), nn.Linear(24 * 49, 10)), digit_images(), 150)


# Detectors


def pyramid() -> nn.Module:
    """A feature pyramid with shared towers (RetinaNet): Caffe2's uniform laws, towers N(0, 0.01), bias -4.6."""

    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        levels = []
        for stage in net.stages:
            x = stage(x)
            levels.append(x)
        maps = [side(level) for side, level in zip(net.sides, levels, strict=True)]
        for low in (1, 0):
            maps[low] = maps[low] + RESIZE(maps[low + 1])
        maps = [smooth(one) for smooth, one in zip(net.smooth, maps, strict=True)]
        classes = torch.cat([net.classes(one).flatten(2) for one in maps], 2)
        return classes, torch.cat([net.boxes(one).flatten(2) for one in maps], 2)

    def tower(outputs: int, bias: float) -> nn.Module:
        model = stacked(conv(64, 64), nn.ReLU(), conv(64, 64), nn.ReLU(), conv(64, outputs))
        drawn(model, partial(init.normal_, std=0.01))
        init.constant_(model[-1].bias, bias)
        return model

    pairs = ((3, 32), (32, 64), (64, 128))
    stages = nn.ModuleList(stacked(normed(a, b, stride=2), nn.ReLU(), normed(b, b), nn.ReLU()) for a, b in pairs)
    sides = nn.ModuleList(filled(conv(b, 64, 1), partial(init.kaiming_uniform_, a=1)) for _, b in pairs)
    smooth = nn.ModuleList(filled(conv(64, 64), partial(init.kaiming_uniform_, a=1)) for _ in pairs)
    parts = {"sides": sides, "smooth": smooth, "classes": tower(6, -math.log(99)), "boxes": tower(4, 0.0)}
    return Net(run, stages=drawn_convs(stages, he_out), **parts)


def focal(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """Focal loss of the classes, smooth L1 of the boxes where there is one."""
    logits, boxes = output
    truth = target[:, :6]
    loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = torch.where(truth > 0, 1 - logits.sigmoid(), logits.sigmoid())
    there = truth.amax(1, keepdim=True)
    away = functional.smooth_l1_loss(boxes, target[:, 6:], reduction="none") * there
    share = torch.where(truth > 0, 0.25, 0.75)
    return ((share * wrong**2 * loss).sum() + away.sum()) / there.sum()


def anchors() -> tuple[Tensor, Tensor]:
    x, _ = images(8, 64)
    places = 32 * 32 + 16 * 16 + 8 * 8
    there = uniform(8, 1, places, seed=31) < 0.02
    kind = functional.one_hot((uniform(8, places, seed=32) * 6).long(), 6).transpose(1, 2)
    return x, torch.cat([there * kind, normal(8, 4, places, seed=33)], 1).float()


def centres() -> nn.Module:
    """CenterNet's heads on a small residual body: heat with bias -2.19, sizes; torch's own weights."""

    def head(outputs: int, bias: float) -> nn.Module:
        model = stacked(conv(64, 64), nn.ReLU(), conv(64, outputs, 1))
        init.constant_(model[-1].bias, bias)
        return model

    def block() -> nn.Module:
        return Residual(stacked(normed(64, 64), nn.ReLU(), normed(64, 64)))

    body = stacked(normed(3, 64, stride=2), nn.ReLU(), block(), block(), normed(64, 64, stride=2), nn.ReLU(), block())
    parts = {"heat": head(6, -2.19), "size": head(2, 0.0)}
    for layer in (parts["size"][0], parts["size"][2]):
        init.normal_(layer.weight, std=0.001)
        init.zeros_(layer.bias)
    return Net(lambda net, x: torch.cat([net.heat(net.body(x)), net.size(net.body(x))], 1), body=body, **parts)


def heat(output: Tensor, target: Tensor) -> Tensor:
    found = functional.binary_cross_entropy_with_logits(output[:, :6], target[:, :6])
    return found + 0.1 * functional.l1_loss(output[:, 6:], target[:, 6:])


def hot() -> tuple[Tensor, Tensor]:
    x, _ = images(8, 64)
    return x, torch.cat([(uniform(8, 6, 16, 16, seed=34) < 0.03).float(), 2 + normal(8, 2, 16, 16, seed=35)], 1)


def darknet() -> nn.Module:
    """Darknet's body with leaky ReLU and batch norms, and a grid of answers; torch's own weights."""
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise((3, 16, 32, 64)):
        parts += [normed(fan_in, fan_out), nn.LeakyReLU(0.1), nn.MaxPool2d(2)]
    for _ in range(2):
        parts += [normed(64, 128), nn.LeakyReLU(0.1), normed(128, 64, 1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*parts, conv(64, 11, 1))


def grid() -> tuple[Tensor, Tensor]:
    x, _ = images(12, 64)
    return x, torch.cat([uniform(12, 4, 8, 8, seed=36), (uniform(12, 7, 8, 8, seed=37) < 0.1).float()], 1)


def yolo(output: Tensor, target: Tensor) -> Tensor:
    places = functional.mse_loss(output[:, :4].sigmoid(), target[:, :4])
    return 5 * places + functional.binary_cross_entropy_with_logits(output[:, 4:], target[:, 4:])


# The collection

image = subject("cnn")


def bodies() -> tuple[Tensor, Tensor]:
    scale = 0.5 + uniform(12, 1, 1, 1, 1, seed=38)
    return normal(12, 1, 16, 16, 16) * scale, (scale.flatten() * 5 - 2.5).long()


CONVS: tuple[Subject, ...] = (
    image("wide_resnet", wide_resnet, photos()),
    image("nfnet", norm_free, photos()),
    image("resnet_group_norm", group_normed, photos()),
    image("res2net", two_scales, photos()),
    image("repvgg", reparametrisable, photos()),
    image("shufflenet", shuffled, photos()),
    image("ghostnet", ghosts, photos()),
    image("mobilenet_v3", inverted, photos()),
    image("darts_cells", cells, photos()),
    image("network_in_network", within, photos()),
    image("lenet_1998", old_lenet, digit_images),
    image("delta_orthogonal", isometric, photos()),
    image("lsuv", sequential_variance, photos()),
    image("capsules", capsules, partial(digit_images, 24), margin),
    image("spatial_transformer", transformed, partial(digit_images, 48)),
    image("volumes", volumes, bodies),
    image("finished_convnet", finished, digit_images),
    image("feature_pyramid", pyramid, anchors, focal),
    image("centernet", centres, hot, heat),
    image("darknet", darknet, grid, yolo),
)
