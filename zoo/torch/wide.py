"""Networks of eight kinds, each of width 256 or more, on batches of noise: theory is compared with them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.model import Model

WIDTH, CLASSES = 256, 10


def mlp(depth: int = 10) -> nn.Module:
    inner = [layer for _ in range(depth - 1) for layer in (nn.Linear(WIDTH * 2, WIDTH * 2), nn.ReLU())]
    return nn.Sequential(nn.Linear(784, WIDTH * 2), nn.ReLU(), *inner, nn.Linear(WIDTH * 2, CLASSES))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(WIDTH * 4, CLASSES),
    )


class Block(nn.Module):
    """A basic block of a residual network."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.Conv2d(after, after, 3, 1, 1)
        self.norm1, self.norm2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.short = nn.Conv2d(before, after, 1, stride) if stride > 1 or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm2(self.second(functional.relu(self.norm1(self.first(x))))) + self.short(x))


class ResNet(nn.Module):
    """Six blocks in three stages, batch norms, and a mean over the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        sizes = [(WIDTH, WIDTH, 1), (WIDTH, WIDTH, 1), (WIDTH, WIDTH, 2), (WIDTH, WIDTH, 1), (WIDTH, WIDTH, 2)]
        self.blocks = nn.Sequential(*(Block(*size) for size in sizes))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Attention(nn.Module):
    """Causal attention with packed projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.packed, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        parts = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.packed(x).chunk(3, -1))
        return self.out(functional.scaled_dot_product_attention(*parts, is_causal=True).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A layer of a transformer, its norms before or after its branches."""

    def __init__(self, width: int, *, before: bool) -> None:
        super().__init__()
        self.attention, self.before = Attention(width, 4), before
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def feed(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x)))

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            x = x + self.attention(self.norm1(x))
            return x + self.feed(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.feed(x))


class Transformer(nn.Module):
    """A small language model."""

    def __init__(self, *, before: bool, depth: int = 4) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(1000, WIDTH), nn.Embedding(64, WIDTH)
        self.layers = nn.Sequential(*(Layer(WIDTH, before=before) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 1000)

    def forward(self, x: Tensor) -> Tensor:
        found = self.layers(self.tokens(x) + self.places(torch.arange(x.shape[1])))
        return self.head(self.norm(found)).transpose(1, 2)


class Gated(nn.Module):
    """Residual blocks of a gated MLP behind RMS norms."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(784, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.norms = nn.ModuleList(nn.RMSNorm(WIDTH) for _ in range(depth))
        self.ups = nn.ModuleList(nn.Linear(WIDTH, 4 * WIDTH) for _ in range(depth))
        self.downs = nn.ModuleList(nn.Linear(2 * WIDTH, WIDTH) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=True):
            gate, value = up(norm(x)).chunk(2, -1)
            x = x + down(functional.silu(gate) * value)
        return self.head(x)


class Recurrent(nn.Module):
    """Two LSTM layers between maps."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(64, WIDTH)
        self.first = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.second = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(self.enter(x))[0])[0]).transpose(1, 2)


class UNet(nn.Module):
    """Down by strides, up by transposed convolutions, with a connection across."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, 2, 1)
        self.middle = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.up = nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1)
        self.join, self.out = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = functional.silu(self.enter(x))
        found = functional.silu(self.up(functional.silu(self.middle(functional.silu(self.down(first))))))
        return self.out(functional.silu(self.join(torch.cat([found, first], 1))))


def _numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def _labels(most: int, *shape: int) -> Tensor:
    return torch.randint(most, shape, generator=torch.Generator().manual_seed(2))


def _words() -> tuple[Any, ...]:
    return _labels(1000, 8, 32), _labels(1000, 8, 32)


def row(name: str, build: Callable[[], nn.Module], batch: Any, family: str, loss: str = "cross_entropy") -> Model:
    return Model(name, build, batch, loss, family, "torch", use="theory")


MODELS = (
    row("MLP", mlp, lambda: (_numbers(128, 784), _labels(CLASSES, 128)), "mlp"),
    row("CNN", cnn, lambda: (_numbers(32, 3, 16, 16), _labels(CLASSES, 32)), "cnn"),
    row("ResNet", ResNet, lambda: (_numbers(32, 3, 16, 16), _labels(CLASSES, 32)), "cnn"),
    row("pre-LN transformer", lambda: Transformer(before=True), _words, "transformer"),
    row("post-LN transformer", lambda: Transformer(before=False), _words, "transformer"),
    row("gated MLP", Gated, lambda: (_numbers(128, 784), _labels(CLASSES, 128)), "mlp"),
    row("LSTM", Recurrent, lambda: (_numbers(16, 20, 64), _labels(CLASSES, 16, 20)), "recurrent"),
    row("U-Net", UNet, lambda: (_numbers(8, 3, 16, 16), _numbers(8, 3, 16, 16)), "cnn", "mse_loss"),
)
