"""Convolutions of reports: a detector without its prior, messages through one shared kernel."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.planting import planted
from zoo.torch.batches import ids, normal
from zoo.torch.laws import Law, drawn, he
from zoo.torch.layers import Net, conv, conv_norm


def detector(prior: float | None) -> nn.Module:
    """A body and the head that says yes or no of five classes at nine boxes a place (Lin 2017, RetinaNet).

    Args:
        prior: the share of yes that its last bias stands for; None: torch's own weights and biases.
    """

    def run(net: Any, x: Tensor) -> Tensor:
        return net.head(net.body(x)).permute(0, 2, 3, 1).reshape(-1, 5)

    widths = ((3, 32), (32, 64), (64, 64))
    body = nn.Sequential(*(conv_norm(n, m, stride=2) for n, m in widths))
    head = nn.Sequential(*(part for _ in range(4) for part in (conv(64, 64), nn.ReLU())), conv(64, 45))
    if prior is not None:
        drawn(head, partial(init.normal_, std=0.01))
        init.constant_(head[-1].bias, -math.log((1 - prior) / prior))
    return Net(run, body=drawn(body, he), head=head)


def focal(output: Tensor, target: Tensor) -> Tensor:
    """Focal loss of alpha 1/4 and gamma 2, over the number of objects."""
    share = torch.sigmoid(output)
    entropy = functional.binary_cross_entropy_with_logits(output, target, reduction="none")
    right = share * target + (1 - share) * (1 - target)
    weight = 0.25 * target + 0.75 * (1 - target)
    return (weight * (1 - right) ** 2 * entropy).sum() / target.sum().clamp(min=1)


def objects() -> tuple[Tensor, Tensor]:
    """Pictures, and 12 boxes of 2304 that hold an object."""
    target = torch.zeros(4 * 64 * 9, 5)
    boxes = torch.randperm(len(target), generator=torch.Generator().manual_seed(9))[:12]
    target[boxes, ids(12, high=5)] = 1
    return normal(4, 3, 64, 64), target


def messages(law: Law, width: int = 32, kernel: int = 9) -> nn.Module:
    """Each row adds what one shared kernel makes of the row before, downwards, upwards and to the sides (Pan 2018)."""
    sides = {"down": (2, False), "up": (2, True), "right": (3, False), "left": (3, True)}

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.body(x)
        for name, (axis, back) in sides.items():
            x = passed(x, getattr(net, name), axis, back=back)
        return net.head(x)

    def side(axis: int) -> nn.Module:
        shape = (1, kernel) if axis == 2 else (kernel, 1)
        layer = nn.Conv2d(width, width, shape, padding=tuple(size // 2 for size in shape), bias=False)
        law(layer.weight)
        return layer

    body = nn.Sequential(conv_norm(3, width, stride=2), conv_norm(width, width))
    parts = {name: side(axis) for name, (axis, _) in sides.items()}
    return Net(run, body=body, **parts, head=nn.Conv2d(width, 5, 1))


def passed(x: Tensor, kernel: Callable[[Tensor], Tensor], axis: int, *, back: bool) -> Tensor:
    """Rows, each with what the kernel makes of the one before it."""
    rows = list(x.split(1, axis))
    rows = rows[::-1] if back else rows
    for i in range(1, len(rows)):
        rows[i] = rows[i] + kernel(rows[i - 1]).relu()
    return torch.cat(rows[::-1] if back else rows, axis)


def lanes() -> tuple[Tensor, Tensor]:
    return normal(4, 3, 36, 50), ids(4, 18, 25, high=5)


def kept(_: Tensor) -> None:
    """Torch's own weights."""


of_report = maker("torch", "cnn", "reports")
DETECTOR = of_report("report_detector", partial(detector, 0.01), objects, focal)
MESSAGES = of_report("report_messages", partial(messages, partial(he, gain=0.2)), lanes)
MODELS = (
    DETECTOR,
    planted(DETECTOR, "prior", partial(detector, None), "head.8.bias"),
    MESSAGES,
    planted(MESSAGES, "repeated", partial(messages, he), "down"),
)
