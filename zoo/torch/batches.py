"""Batches, losses and blocks shared by the models of zoo/torch/second.py, which no rule of the check was chosen on."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.layers import LINEAR, Net, Subject, conv, ids, images, labels, normal, targets

BINARY = "binary_cross_entropy_with_logits"


def subject(family: str) -> Callable[..., Subject]:
    """A maker of subjects of one family; cross-entropy where no loss is told."""

    def make(name: str, build: Callable[[], nn.Module], batch: Any, loss: Any = "cross_entropy") -> Subject:
        return Subject(f"fresh_{name}", build, batch, loss, family)

    return make


# Batches


def uniform(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def rows(count: int, width: int, classes: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Standard normal features and a teacher's classes."""

    def batch() -> tuple[Tensor, Tensor]:
        x = normal(count, width, seed=11)
        return x, labels(x, classes)

    return batch


def curve(count: int, width: int, outputs: int = 1) -> Callable[[], tuple[Tensor, Tensor]]:
    """Standard normal features and a teacher's values."""

    def batch() -> tuple[Tensor, Tensor]:
        x = normal(count, width, seed=12)
        return x, targets(x, outputs)

    return batch


def photos(count: int = 16, side: int = 32, classes: int = 8) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: images(count, side, classes)


def bright(count: int = 16, side: int = 32) -> Tensor:
    """Pictures in [0, 1]."""
    return images(count, side)[0].mul(0.25).add(0.5).clamp(0, 1)


def text(count: int = 16, length: int = 24, high: int = 200) -> tuple[Tensor, Tensor]:
    """Ids that count down by a step of each line's own, and their successors."""
    start, step = ids(count, 1, high=high, seed=21), 1 + ids(count, 1, high=9, seed=22)
    x = (start - step * torch.arange(length + 1)) % high
    return x[:, :-1], x[:, 1:]


def themes(count: int = 32, length: int = 20, high: int = 200) -> tuple[Tensor, Tensor]:
    """Ids and one class a line."""
    x = ids(count, length, high=high, seed=23)
    return x, x[:, 0] % 5


def series(count: int = 32, length: int = 41) -> Tensor:
    """Sines of unit power."""
    time = torch.arange(length) / 6
    return torch.sin(time * (0.7 + uniform(count, 1, seed=61)) + 6 * uniform(count, 1, seed=62)) * math.sqrt(2)


# Losses


def tokenwise(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with the classes in the last axis."""
    return functional.cross_entropy(output.flatten(0, -2), target.flatten())


def first_of(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    return lambda output, target: loss(output[0], target)


def own(output: Any, _: Tensor) -> Tensor:
    """The model's answer is its loss."""
    return output


# Blocks


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def laid(model: nn.Module, law: Callable[[Tensor], object]) -> nn.Module:
    """Linear maps, convolutions and tables of one law, biases zero."""
    for module in model.modules():
        if isinstance(module, (*LINEAR, nn.Conv3d, nn.Embedding)):
            law(module.weight)
        if isinstance(module, (*LINEAR, nn.Conv3d)) and module.bias is not None:
            init.zeros_(module.bias)
    return model


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


def bounded(bound: float) -> Callable[[Tensor], Tensor]:
    """Uniform within a bound."""
    return lambda weight: init.uniform_(weight, -bound, bound)


def fan_bounded(weight: Tensor) -> Tensor:
    """Uniform within 1 / sqrt(fan_in)."""
    return bounded(1 / math.sqrt(weight[0].numel()))(weight)
