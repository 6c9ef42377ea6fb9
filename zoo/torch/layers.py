"""Layers and blocks that several families share."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


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


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def normed(fan_in: int, fan_out: int, kernel: int = 3, **options: Any) -> nn.Sequential:
    """Convolution and batch norm."""
    return nn.Sequential(conv(fan_in, fan_out, kernel, bias=False, **options), nn.BatchNorm2d(fan_out))


def stacked(*parts: nn.Module | list[nn.Module]) -> nn.Sequential:
    """One sequence of parts and of lists of parts."""
    return nn.Sequential(*(one for part in parts for one in (part if isinstance(part, list) else [part])))


def causal(length: int) -> Tensor:
    """True where a place may look."""
    return torch.ones(length, length).tril().bool()


def decoder(blocks: nn.ModuleList, width: int, words: int = 200, **more: Any) -> nn.Module:
    """Tokens, blocks, a norm and a head; `places` learns positions, `norm` replaces the last norm."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.tokens(x)
        x = x + net.places[: x.shape[1]] if "places" in more else x
        for block in net.blocks:
            x = block(x)
        return net.head(net.norm(x))

    parts = {"tokens": nn.Embedding(words, width), "blocks": blocks, "norm": nn.LayerNorm(width)}
    return Net(run, **(parts | {"head": nn.Linear(width, words, bias=False)} | more))


def rotated(x: Tensor) -> Tensor:
    """Rotary positions over the last axis."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10000 ** (-torch.arange(half) / half)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def sines(length: int, width: int) -> Tensor:
    angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)


DOUBLED = Function(partial(functional.interpolate, scale_factor=2))
