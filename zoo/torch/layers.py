"""What the models of false_alarms.py are put together from: the record of one model, batches, laws and blocks.

A batch is the same at every call, and drawn from generators of its own: torch's random state stays as it was.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from fanwise.lab.data import load_digits

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class Subject:
    """A model to check.

    Args:
        name: unique in the collection.
        build: makes the model with its own initial weights, drawn from torch's random state.
        batch: the inputs with the target last, or arguments by name of a model that returns its own loss.
        loss: a name of torch.nn.functional, a function of output and target, or None for the model's own loss.
        family: "mlp", "cnn", "rnn", "transformer" or "other".
    """

    name: str
    build: Callable[[], nn.Module]
    batch: Callable[[], Any]
    loss: str | Callable[[Any, Tensor], Tensor] | None
    family: str


# Batches


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ids(*shape: int, high: int, seed: int = 2) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def labels(x: Tensor, classes: int = 10) -> Tensor:
    """The classes that a random linear teacher gives."""
    return (x.flatten(1) @ normal(x[0].numel(), classes, seed=3)).argmax(1)


def targets(x: Tensor, width: int = 1) -> Tensor:
    """The values of a random teacher, of unit variance."""
    return torch.tanh(x.flatten(1) @ normal(x[0].numel(), width, seed=4) / math.sqrt(x[0].numel())) * 1.6


def vectors(count: int = 64, width: int = 128, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Standard normal features and a teacher's classes."""
    x = normal(count, width)
    return x, labels(x, classes)


def images(count: int = 16, side: int = 32, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Standardised pictures in colour: random, and smooth over a few pixels as pictures are."""
    coarse = functional.interpolate(normal(count, 3, side // 4, side // 4), size=side, mode="bilinear")
    x = coarse + 0.3 * normal(count, 3, side, side, seed=5)
    x = (x - x.mean()) / x.std()
    return x, labels(x, classes)


@lru_cache
def _digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    x = torch.from_numpy(data.train_x)
    return (x - x.min()) / (x.max() - x.min()), torch.from_numpy(data.train_y)


def digits(count: int = 64) -> tuple[Tensor, Tensor]:
    """Handwritten digits as vectors of 784 pixels in [0, 1]."""
    x, y = _digits()
    return x[:count].clone(), y[:count].clone()


def digit_images(count: int = 64) -> tuple[Tensor, Tensor]:
    """The same as pictures of 28 x 28."""
    x, y = digits(count)
    return x.view(-1, 1, 28, 28), y


def sentences(count: int = 16, length: int = 32, high: int = 256) -> tuple[Tensor, Tensor]:
    """Token ids of a sequence that can be learnt, and their successors."""
    start, step = ids(count, 1, high=high), 1 + ids(count, 1, high=7, seed=6)
    x = (start + step * torch.arange(length + 1)) % high
    return x[:, :-1], x[:, 1:]


def next_token(output: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy at every place."""
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


# Laws

Law = Callable[[Tensor], object]


def he(weight: Tensor, gain: float = 1.0) -> None:
    """N(0, 2 gain^2 / fan_in)."""
    fan_in, _ = init._calculate_fan_in_and_fan_out(weight)
    init.normal_(weight, std=gain * math.sqrt(2 / fan_in))


def lecun(weight: Tensor, gain: float = 1.0) -> None:
    """N(0, gain^2 / fan_in)."""
    he(weight, gain / math.sqrt(2))


he_out = partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu")
small = partial(init.normal_, std=0.02)
GAINS = {"gelu": 1.534, "silu": 1.677, "elu": 1.245}
"""1 / sqrt(E f(z)^2), z standard normal."""


def drawn(model: nn.Module, law: Law, kinds: tuple[type[nn.Module], ...] = LINEAR) -> nn.Module:
    """The model with weights of these kinds drawn anew and their biases zero."""
    for module in model.modules():
        if isinstance(module, kinds):
            law(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
    return model


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with weight and bias zero."""
    for parameter in layer.parameters():
        init.zeros_(parameter)
    return layer


def filled(layer: nn.Module, law: Law) -> nn.Module:
    """One layer drawn by a law, its bias zero."""
    return drawn(layer, law)


def frozen(model: nn.Module) -> nn.Module:
    """The model with nothing left to train."""
    return model.requires_grad_(False)


def headed(model: nn.Module, law: Law) -> nn.Module:
    """The network with its head drawn anew."""
    filled(model[-1], law)
    return model


def trained(model: nn.Module, batch: tuple[Tensor, Tensor], steps: int = 200) -> nn.Module:
    """The network after some steps on one batch."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, y = batch
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


# Blocks


class Net(nn.Module):
    """Named parts, and the function of itself and its inputs that runs them."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module | nn.Parameter | Tensor):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            elif isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *args: Any) -> Any:
        """What the function gives."""
        return self.run(self, *args)


class Function(nn.Module):
    """A function without parameters."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        """What the function gives."""
        return self.function(*args)


class Residual(nn.Module):
    """x + scale * branch(x)."""

    def __init__(self, branch: nn.Module, scale: Tensor | float = 1.0):
        super().__init__()
        self.branch = branch
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """The stream with the branch added."""
        return x + self.scale * self.branch(x)


Maker = Callable[[], nn.Module]
Normed = Callable[[int], nn.Module]
Wrap = Callable[[nn.Module], nn.Module]


def itself(layer: nn.Module) -> nn.Module:
    return layer


def mlp(*widths: int, act: Maker = nn.ReLU, norm: Normed | None = None, wrap: Wrap = itself) -> nn.Sequential:
    """Linear maps, each but the last with its norm and its nonlinearity."""
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths[:-1]):
        parts += [wrap(nn.Linear(fan_in, fan_out)), *([norm(fan_out)] if norm else []), act()]
    return nn.Sequential(*parts, wrap(nn.Linear(*widths[-2:])))


def deep(depth: int, width: int = 256, fan_in: int = 128, classes: int = 10) -> tuple[int, ...]:
    """The widths of a network of `depth` linear maps."""
    return (fan_in, *[width] * (depth - 1), classes)


def conv(fan_in: int, fan_out: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(fan_in, fan_out, kernel, **({"padding": kernel // 2} | options))


def conv_norm(fan_in: int, fan_out: int, kernel: int = 3, act: Maker = nn.ReLU, **options: Any) -> nn.Sequential:
    """Convolution, batch norm and nonlinearity."""
    return nn.Sequential(conv(fan_in, fan_out, kernel, bias=False, **options), nn.BatchNorm2d(fan_out), act())


def pooled(*body: nn.Module, width: int, classes: int = 10) -> nn.Sequential:
    """A body, the mean over positions and a head."""
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Attention(nn.Module):
    """Self-attention with one fused projection."""

    def __init__(self, width: int, heads: int = 4, *, causal: bool = False):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The mix of the values."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """A transformer's block, norms before the branches."""

    def __init__(self, width: int, heads: int = 4, *, causal: bool = False, ratio: int = 4):
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(width), Attention(width, heads, causal=causal)
        self.ln2, self.mlp = nn.LayerNorm(width), mlp(width, ratio * width, width, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        """The stream after attention and perceptron."""
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))
