"""Small models on which calibrators are compared."""

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from zoo.model import Arguments, Model
from zoo.torch.layers import Net


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
    return Net(forward, first=first, second=second)


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

    return Net(
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

    return Net(forward, stem=nn.Linear(64, 256), cell=nn.LSTM(256, 256, batch_first=True), head=nn.Linear(256, 10))


def unet():
    def forward(self, x):
        first = torch.relu(self.down[0](x))
        second = torch.relu(self.down[1](first))
        low = torch.relu(self.middle(second))
        up = torch.cat([torch.relu(self.up[0](low)), first], 1)
        return self.head(torch.relu(self.up[1](up)))

    down = nn.ModuleList([nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, 2, 1)])
    up = nn.ModuleList([nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.Conv2d(64, 32, 3, padding=1)])
    return Net(forward, down=down, middle=nn.Conv2d(64, 64, 3, padding=1), up=up, head=nn.Conv2d(32, 3, 1))


def normal(*shape: int) -> Callable[[], Arguments]:
    return lambda: Arguments((torch.randn(shape, generator=torch.Generator().manual_seed(1)),))


def row(name: str, build: Callable[[], nn.Module], batch: Callable[[], Arguments], family: str = "mlp") -> Model:
    return Model(name, build, batch, None, family, "torch", use="calibrate")


MODELS = (
    row("MLP, 31 x 256", mlp, normal(256, 256)),
    row("CNN, 7 maps", cnn, normal(32, 3, 32, 32), "cnn"),
    row("ResNet without norms, 8 blocks", resnet, normal(16, 3, 32, 32), "cnn"),
    row("transformer, pre-LN, 4 x 256", lambda: transformer(norm_first=True), normal(8, 64, 64), "transformer"),
    row("transformer, post-LN, 4 x 256", lambda: transformer(norm_first=False), normal(8, 64, 64), "transformer"),
    row("gated MLP, 6 x 256", gated, normal(256, 256)),
    row("LSTM, 256", lstm, normal(16, 32, 64), "recurrent"),
    row("U-Net", unet, normal(16, 3, 32, 32), "cnn"),
)
