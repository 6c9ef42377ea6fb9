"""Detectors of objects and of joints."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import ids, images, normal, uniform
from zoo.torch.cnn.residual import basic, resnet
from zoo.torch.laws import drawn, drawn_convs, filled, he_out
from zoo.torch.layers import DOUBLED, Net, Residual, conv, conv_norm, normed, stacked


def detector() -> nn.Module:
    """RetinaNet's head: N(0, 0.01) throughout and a bias of -4.6, so that everything starts as background."""
    backbone = resnet(basic, (32, 64), (1, 2))[:-3]
    tower = [part for _ in range(4) for part in (conv(64, 64), nn.ReLU())]
    head = drawn(nn.Sequential(*tower, conv(64, 9)), partial(init.normal_, std=0.01))
    init.constant_(head[-1].bias, -4.6)
    return nn.Sequential(backbone, head)


def boxes() -> tuple[Tensor, Tensor]:
    x, _ = images(16)
    places = functional.avg_pool2d(x, 2).repeat(1, 3, 1, 1)
    return x, (places > 1.9).float()


RESIZE = partial(functional.interpolate, scale_factor=2)


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


def hourglasses() -> nn.Module:
    """Two stacked hourglasses, each answering heat maps; torch's own weights."""

    def block() -> nn.Module:
        narrow = stacked(nn.BatchNorm2d(48), nn.ReLU(), conv(48, 24, 1), nn.BatchNorm2d(24), nn.ReLU(), conv(24, 48))
        return Residual(narrow)

    def glass(depth: int) -> nn.Module:
        inner = glass(depth - 1) if depth > 1 else block()
        low = stacked(nn.MaxPool2d(2), block(), inner, block(), DOUBLED)
        return Net(lambda net, x: net.side(x) + net.low(x), side=block(), low=low)

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        seen = net.glasses[0](x)
        first = net.heads[0](seen)
        return torch.stack([first, net.heads[1](net.glasses[1](x + seen + net.back(first)))], 1)

    def whole() -> nn.Module:
        return stacked(glass(2), block(), normed(48, 48, 1), nn.ReLU())

    heads = nn.ModuleList(conv(48, 4, 1) for _ in "ab")
    parts = {"glasses": nn.ModuleList(whole() for _ in "ab"), "heads": heads, "back": conv(4, 48, 1)}
    return Net(run, stem=stacked(normed(3, 48, stride=2), nn.ReLU()), **parts)


def joints() -> tuple[Tensor, Tensor]:
    x, _ = images(8, 32)
    smooth = functional.avg_pool2d(x.mean(1, keepdim=True), 2)
    return x, torch.cat([smooth, -smooth, smooth.flip(2), smooth.flip(3)], 1).exp()


def at_both(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output, target[:, None].expand_as(output))


def cells(output: Tensor, target: Tensor) -> Tensor:
    """Each cell's objectness, and its class."""
    sure = functional.binary_cross_entropy_with_logits(output[:, 0], (target > 0).float())
    return sure + functional.cross_entropy(output[:, 1:], target)


def grid_detector() -> nn.Module:
    return stacked(*(conv_norm(a, 64, stride=2) for a in (3, 64, 64)), conv(64, 6, 1))


tuned, held_out = maker("torch", "cnn", "tuned"), maker("torch", "cnn", "held_out")
MODELS = (
    tuned("retinanet", detector, boxes, "binary_cross_entropy_with_logits"),
    tuned("fresh_feature_pyramid", pyramid, anchors, focal),
    tuned("fresh_centernet", centres, hot, heat),
    tuned("fresh_darknet", darknet, grid, yolo),
    tuned("fresh_hourglass", hourglasses, joints, at_both),
    held_out("last_grid_detector", grid_detector, lambda: (images(8, 64)[0], ids(8, 8, 8, high=5)), cells),
)
