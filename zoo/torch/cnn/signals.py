"""Convolutions along time: sound, series, words."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import classed, ids, normal, sentences, series, targets, uniform
from zoo.torch.cnn.residual import joined
from zoo.torch.laws import drawn
from zoo.torch.layers import Net, Residual, stacked
from zoo.torch.losses import next_token


def wavenet(width: int = 64, depth: int = 10) -> nn.Module:
    """Gated dilated convolutions with residual and skip outputs; answers the next of 256 levels."""

    def block(dilation: int) -> nn.Module:
        def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            a, b = net.gated(functional.pad(x, (dilation, 0))).chunk(2, 1)
            mixed = a.tanh() * b.sigmoid()
            return x + net.out(mixed), net.skip(mixed)

        parts = {"out": nn.Conv1d(width, width, 1), "skip": nn.Conv1d(width, 128, 1)}
        return Net(run, gated=nn.Conv1d(width, 2 * width, 2, dilation=dilation), **parts)

    def run(net: Any, ids: Tensor) -> Tensor:
        x, total = net.embed(ids).transpose(1, 2), 0
        for layer in net.blocks:
            x, skip = layer(x)
            total = total + skip
        return net.head(total).transpose(1, 2)

    blocks = nn.ModuleList(block(2 ** (number % 5)) for number in range(depth))
    head = nn.Sequential(nn.ReLU(), nn.Conv1d(128, 128, 1), nn.ReLU(), nn.Conv1d(128, 256, 1))
    return drawn(Net(run, embed=nn.Embedding(256, width), blocks=blocks, head=head), init.xavier_uniform_)


def temporal(width: int = 64, depth: int = 4) -> nn.Module:
    """Residual dilated convolutions over time, torch's own weights; answers one number at every step."""

    def block(fan_in: int, dilation: int) -> nn.Module:
        pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
        first = (pad, nn.Conv1d(fan_in, width, 3, dilation=dilation), nn.ReLU(), nn.Dropout(0.1))
        branch = nn.Sequential(*first, pad, nn.Conv1d(width, width, 3, dilation=dilation), nn.ReLU())
        skip = nn.Identity() if fan_in == width else nn.Conv1d(fan_in, width, 1)
        return joined(branch, skip)

    body = nn.Sequential(block(8, 1), *(block(width, 2**number) for number in range(1, depth)))
    return nn.Sequential(body, nn.Conv1d(width, 1, 1))


def signals() -> tuple[Tensor, Tensor]:
    x = normal(16, 8, 64)
    return x, targets(x.transpose(1, 2).reshape(-1, 8)).view(16, 64, 1).transpose(1, 2)


def levels() -> tuple[Tensor, Tensor]:
    x, y = sentences(16, 64)
    return x, y.contiguous()


def bag_of_words() -> nn.Module:
    """Convolutions of three widths over words and their maxima (Kim 2014); torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.words(x).transpose(1, 2)
        return net.head(net.drop(torch.cat([layer(x).relu().amax(2) for layer in net.layers], 1)))

    layers = nn.ModuleList(nn.Conv1d(128, 100, kernel) for kernel in (3, 4, 5))
    return Net(run, words=nn.Embedding(256, 128), layers=layers, drop=nn.Dropout(0.5), head=nn.Linear(300, 10))


def topics() -> tuple[Tensor, Tensor]:
    x = ids(32, 24, high=256)
    return x, x[:, :3].sum(1) % 10


def demixer() -> nn.Module:
    """Demucs in small: strided maps with GLU, an LSTM in the middle, and Demucs's rescaling of torch's weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        kept = []
        for layer in net.down:
            x = layer(x)
            kept.append(x)
        x = net.widen(net.middle(x.transpose(1, 2))[0]).transpose(1, 2)
        for layer in net.up:
            x = layer(x + kept.pop())
        return x

    def strided(fan_in: int, fan_out: int) -> nn.Module:
        return stacked(nn.Conv1d(fan_in, fan_out, 8, 4, 2), nn.ReLU(), nn.Conv1d(fan_out, 2 * fan_out, 1), nn.GLU(1))

    down = [strided(1, 24), strided(24, 48)]
    up = [
        stacked(nn.Conv1d(48, 96, 3, padding=1), nn.GLU(1), nn.ConvTranspose1d(48, 24, 8, 4, 2), nn.ReLU()),
        stacked(nn.Conv1d(24, 48, 3, padding=1), nn.GLU(1), nn.ConvTranspose1d(24, 2, 8, 4, 2)),
    ]
    middle = nn.LSTM(48, 48, 1, bidirectional=True, batch_first=True)
    model = Net(run, down=nn.ModuleList(down), up=nn.ModuleList(up), middle=middle, widen=nn.Linear(96, 48))
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            scale = (module.weight.std().detach() / 0.1).sqrt()
            module.weight.data /= scale
            module.bias.data /= scale
    return model


def mixed() -> tuple[Tensor, Tensor]:
    time = torch.arange(1024) / 1024
    low = torch.sin(40 * time * (1 + uniform(12, 1, seed=46)))
    high = torch.sin(300 * time + 6 * uniform(12, 1, seed=47))
    return (low + high)[:, None], torch.stack([low, high], 1)


def inception_time(width: int = 32) -> nn.Module:
    """Three kernels and a pool side by side, batch norm, residual every third."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            thin = net.thin(x)
            return functional.relu(net.norm(torch.cat([*(one(thin) for one in net.sides), net.pool(x)], 1)))

        sides = nn.ModuleList(nn.Conv1d(32, width, k, padding=k // 2, bias=False) for k in (9, 19, 39))
        parts = {"thin": nn.Conv1d(4 * width, 32, 1, bias=False), "norm": nn.BatchNorm1d(4 * width), "sides": sides}
        return Net(run, **parts, pool=stacked(nn.MaxPool1d(3, 1, 1), nn.Conv1d(4 * width, width, 1, bias=False)))

    threes = [Residual(stacked(block(), block(), block())) for _ in range(2)]
    enter = stacked(nn.Conv1d(2, 4 * width, 1, bias=False), nn.BatchNorm1d(4 * width))
    return stacked(enter, *threes, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4 * width, 5))


def sound() -> nn.Module:
    parts = [stacked(nn.Conv1d(a, b, 5, 2, 2), nn.BatchNorm1d(b), nn.ReLU()) for a, b in ((1, 32), (32, 64), (64, 128))]
    return stacked(*parts, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 5))


tuned, held_out = maker("torch", "cnn", "tuned"), maker("torch", "cnn", "held_out")
MODELS = (
    tuned("wavenet", wavenet, levels, next_token),
    tuned("temporal_conv", temporal, signals, "mse_loss"),
    tuned("text_cnn", bag_of_words, topics),
    tuned("fresh_demucs", demixer, mixed, "l1_loss"),
    held_out("last_raw_sound", sound, lambda: classed(series(16, 800)[:, None], 5)),
    held_out("last_inception_time", inception_time, lambda: classed(normal(16, 2, 64), 5)),
)
