"""Batches of the models of PyTorch: the same at every call, drawn from generators of their own."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from fanwise.lab.data import load_digits


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


def digits_again() -> tuple[Tensor, Tensor]:
    x, _ = digits()
    return x, x


def correlated() -> tuple[Tensor, Tensor]:
    x = normal(64, 12, seed=100) @ (torch.eye(12) + 0.3 * normal(12, 12, seed=101))
    return x, torch.zeros(64)


def classed(x: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    return x, labels(x, classes)
