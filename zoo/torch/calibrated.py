"""Small models on which bench/calibrate.py compares calibrators, and those on which sequential calibrators go wrong."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations


@dataclass(frozen=True)
class Case:
    """A model and its inputs."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]


class Made(nn.Module):
    """Modules and parameters by name, and a forward over them."""

    def __init__(self, written, **held):
        super().__init__()
        for name, value in held.items():
            setattr(self, name, value)
        self.written = written

    def forward(self, *inputs):
        """What the function that was given makes of the inputs."""
        return self.written(self, *inputs)


def mlp(depth=30, width=256):
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def cnn():
    sizes = (3, 32, 32, 64, 64, 128, 128)
    layers = [
        part
        for i, (n, m) in enumerate(itertools.pairwise(sizes))
        for part in (nn.Conv2d(n, m, 3, stride=1 + i % 2, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def block(width):
    def forward(self, x):
        return x + self.second(torch.relu(self.first(x)))

    first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
    return Made(forward, first=first, second=second)


def resnet(blocks=8, width=64):
    stem = nn.Conv2d(3, width, 3, padding=1)
    return nn.Sequential(
        stem, *(block(width) for _ in range(blocks)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
    )


def transformer(*, norm_first):
    layer = nn.TransformerEncoderLayer(256, 4, 1024, 0.0, batch_first=True, norm_first=norm_first)
    body = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(64, 256), body, nn.Linear(256, 256))


def gated():
    def forward(self, x):
        for gate, up, down in zip(self.gate, self.up, self.down, strict=True):
            x = x + down(functional.silu(gate(self.norm(x))) * up(self.norm(x)))
        return self.head(x)

    def maps(n, m):
        return nn.ModuleList(nn.Linear(n, m) for _ in range(6))

    return Made(
        forward,
        gate=maps(256, 512),
        up=maps(256, 512),
        down=maps(512, 256),
        norm=nn.LayerNorm(256),
        head=nn.Linear(256, 10),
    )


def lstm():
    def forward(self, x):
        return self.head(self.cell(self.stem(x))[0])

    return Made(forward, stem=nn.Linear(64, 256), cell=nn.LSTM(256, 256, batch_first=True), head=nn.Linear(256, 10))


def unet():
    def forward(self, x):
        first = torch.relu(self.down[0](x))
        second = torch.relu(self.down[1](first))
        low = torch.relu(self.middle(second))
        up = torch.cat([torch.relu(self.up[0](low)), first], 1)
        return self.head(torch.relu(self.up[1](up)))

    down = nn.ModuleList([nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, 2, 1)])
    up = nn.ModuleList([nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.Conv2d(64, 32, 3, padding=1)])
    return Made(forward, down=down, middle=nn.Conv2d(64, 64, 3, padding=1), up=up, head=nn.Conv2d(32, 3, 1))


def normal(*shape):
    return lambda: (torch.randn(shape, generator=torch.Generator().manual_seed(1)),)


COMPARED = (
    Case("MLP, 31 x 256", mlp, normal(256, 256)),
    Case("CNN, 7 maps", cnn, normal(32, 3, 32, 32)),
    Case("ResNet without norms, 8 blocks", resnet, normal(16, 3, 32, 32)),
    Case("transformer, pre-LN, 4 x 256", lambda: transformer(norm_first=True), normal(8, 64, 64)),
    Case("transformer, post-LN, 4 x 256", lambda: transformer(norm_first=False), normal(8, 64, 64)),
    Case("gated MLP, 6 x 256", gated, normal(256, 256)),
    Case("LSTM, 256", lstm, normal(16, 32, 64)),
    Case("U-Net", unet, normal(16, 3, 32, 32)),
)


def twice():
    layer = nn.Linear(64, 64)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(64, 10))


def tied():
    def forward(self, ids):
        return self.head(torch.tanh(self.body(self.table(ids))))

    model = Made(forward, table=nn.Embedding(64, 64), body=nn.Linear(64, 64), head=nn.Linear(64, 64, bias=False))
    model.head.weight = model.table.weight
    return model


def turned():
    def forward(self, x):
        return self.first(torch.relu(self.second(torch.relu(self.third(x)))))

    return Made(forward, first=nn.Linear(64, 10), second=nn.Linear(64, 64), third=nn.Linear(64, 64))


def dead():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[2].bias, -1.0)
    return model


def two_inputs():
    def forward(self, x, y):
        return self.head(torch.relu(self.left(x) + self.right(y)))

    return Made(forward, left=nn.Linear(64, 64), right=nn.Linear(64, 64), head=nn.Linear(64, 10))


def bare():
    def forward(self, x):
        return torch.relu(functional.linear(x, self.first)) @ self.second

    return Made(forward, first=nn.Parameter(torch.randn(64, 64)), second=nn.Parameter(torch.randn(64, 10)))


def wrapped(wrap):
    return lambda: nn.Sequential(
        wrap(nn.Linear(64, 64)), nn.ReLU(), wrap(nn.Linear(64, 64)), nn.ReLU(), nn.Linear(64, 10)
    )


def shallow():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def frozen():
    model = shallow()
    model[0].weight.requires_grad_(requires_grad=False)
    return model


def normed():
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


def bilinear():
    return Made(lambda self, x, y: self.pair(x, y), pair=nn.Bilinear(64, 64, 10))


def ids():
    return (torch.arange(64).repeat(4).reshape(16, 16),)


HARD = (
    Case("a module used twice", twice, normal(256, 64)),
    Case("tied table and head", tied, ids),
    Case("registered in another order", turned, normal(256, 64)),
    Case("a dead layer", dead, normal(256, 64)),
    Case("two inputs", two_inputs, lambda: normal(256, 64)() * 2),
    Case("bare parameters", bare, normal(256, 64)),
    Case("weight norm", wrapped(parametrizations.weight_norm), normal(256, 64)),
    Case("spectral norm", wrapped(parametrizations.spectral_norm), normal(256, 64)),
    Case("bfloat16", lambda: shallow().bfloat16(), lambda: (normal(256, 64)()[0].bfloat16(),)),
    Case("batch norm", normed, normal(256, 64)),
    Case("frozen first layer", frozen, normal(256, 64)),
    Case("nn.Bilinear", bilinear, lambda: normal(64, 64)() * 2),
)
