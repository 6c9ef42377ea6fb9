"""Frozen models with side paths that are trained, in the ways people write them; each with what its base gives."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, RANK, PLACES = 16, 4, 5


class LowRank(nn.Module):
    """A frozen map and a low-rank update of it (Hu et al., 2021)."""

    def __init__(self, base: nn.Linear, *, scale: float = 2.0) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), scale
        self.lower = nn.Parameter(torch.randn(RANK, base.in_features) * 0.3)
        self.upper = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + (x @ self.lower.T @ self.upper.T) * self.scale


class Merged(LowRank):
    """The same update, added to the weight."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.base.weight + self.scale * (self.upper @ self.lower), self.base.bias)


class Decomposed(LowRank):
    """A weight of a length of its own, whose direction is updated (Liu et al., 2024)."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.length = nn.Parameter(base.weight.detach().norm(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        direction = self.base.weight + self.upper @ self.lower
        return functional.linear(x, self.length * direction / direction.norm(dim=1, keepdim=True), self.base.bias)


class Diagonal(LowRank):
    """Three factors, the middle one 0 (Zhang et al., 2023)."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.middle = nn.Parameter(torch.zeros(RANK, 1))
        nn.init.normal_(self.upper, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ (self.lower * self.middle).T @ self.upper.T


class Vectors(nn.Module):
    """Frozen random factors, scaled by vectors (Kopiczko et al., 2023)."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lower = nn.Linear(base.in_features, RANK, bias=False).requires_grad_(False)
        self.upper = nn.Linear(RANK, base.out_features, bias=False).requires_grad_(False)
        self.inner, self.outer = nn.Parameter(torch.full((RANK,), 0.1)), nn.Parameter(torch.zeros(base.out_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.outer * self.upper(self.inner * self.lower(x))


class Quantised(LowRank):
    """The base as a buffer."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        del self.base
        self.register_buffer("held", base.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.held) + x @ self.lower.T @ self.upper.T


class Bottleneck(nn.Module):
    """An adapter after a frozen part (Houlsby et al., 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, RANK), nn.Linear(RANK, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(functional.gelu(self.down(x)))


class Block(nn.Module):
    """A frozen pre-norm block with two places for what is trained."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.requires_grad_(False)
        if kind == "houlsby":
            self.adapters = nn.ModuleList(Bottleneck(WIDTH) for _ in range(2))
        if kind == "parallel":
            self.side = nn.Sequential(nn.Linear(WIDTH, RANK), nn.ReLU(), nn.Linear(RANK, WIDTH))
            nn.init.zeros_(self.side[2].weight)
            nn.init.zeros_(self.side[2].bias)
            self.scale = nn.Parameter(torch.full((1,), 0.1))
        if kind == "crossed":
            self.cross = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
            self.gate = nn.Parameter(torch.zeros(()))
        if kind == "factors":
            self.factor = nn.Parameter(torch.ones(4 * WIDTH))

    def forward(self, x: Tensor, media: Tensor) -> Tensor:
        if self.kind == "crossed":
            x = x + self.gate.tanh() * self.cross(x, media, media, need_weights=False)[0]
        h = self.norms[0](x)
        h = self.attention(h, h, h, need_weights=False)[0]
        x = x + (self.adapters[0](h) if self.kind == "houlsby" else h)
        h = functional.gelu(self.up(self.norms[1](x)))
        h = self.down(h * self.factor if self.kind == "factors" else h)
        if self.kind == "houlsby":
            h = self.adapters[1](h)
        if self.kind == "parallel":
            h = h + self.scale * self.side(x)
        return x + h


class Trunk(nn.Module):
    """A frozen stack of blocks, with a frozen head or a new one."""

    def __init__(self, kind: str, *, new_head: bool = False) -> None:
        super().__init__()
        self.stem = nn.Linear(8, WIDTH).requires_grad_(False)
        self.blocks = nn.ModuleList(Block(kind) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH).requires_grad_(False)
        self.head = nn.Linear(WIDTH, 10).requires_grad_(new_head)

    def features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        media = 1.5 * x
        for block in self.blocks:
            x = block(x, media)
        return self.norm(x).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Perceptron(nn.Module):
    """Three maps, each of a kind."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(kind(nn.Linear(a, b)) for a, b in ((8, 32), (32, 32), (32, 10)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.maps[:-1]:
            x = layer(x).relu()
        return self.maps[-1](x)


class Controlled(nn.Module):
    """A frozen network of convolutions and a trained copy of its first half (Zhang et al., 2023)."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"stem": (3, 8), "first": (8, 8), "second": (8, 8), "third": (16, 8), "last": (8, 3)}
        self.base = nn.ModuleDict({name: nn.Conv2d(a, b, 3, padding=1) for name, (a, b) in shapes.items()})
        self.copy = nn.ModuleDict(
            {name: nn.Conv2d(*shapes[name], 3, padding=1) for name in ("stem", "first", "second")}
        )
        self.zeros = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(2))
        self.base.requires_grad_(False)
        for conv in self.zeros:
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        first, a = self._half(self.base, x)
        mine, b = self._half(self.copy, 0.7 * x)
        y = torch.cat([a + self.zeros[1](b), first + self.zeros[0](mine)], 1)
        return self.base["last"](functional.silu(self.base["third"](y)))

    @staticmethod
    def _half(maps: nn.ModuleDict, x: Tensor) -> tuple[Tensor, Tensor]:
        first = functional.silu(maps["first"](maps["stem"](x)))
        return first, functional.silu(maps["second"](first))


class SideTuned(nn.Module):
    """A frozen network and a small one of the same input, added."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 10)).requires_grad_(False)
        self.side = nn.Sequential(nn.Linear(8, RANK), nn.Tanh(), nn.Linear(RANK, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.side(x)


def rows() -> Tensor:
    """Vectors."""
    return torch.randn(64, 8, generator=torch.Generator().manual_seed(1))


def tokens() -> Tensor:
    """Sequences."""
    return torch.randn(6, PLACES, 8, generator=torch.Generator().manual_seed(1))


def images() -> Tensor:
    """Pictures."""
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


ADAPTED = {
    "low rank": (lambda: Perceptron(LowRank), rows),
    "merged": (lambda: Perceptron(Merged), rows),
    "decomposed": (lambda: Perceptron(Decomposed), rows),
    "three factors": (lambda: Perceptron(Diagonal), rows),
    "vectors": (lambda: Perceptron(Vectors), rows),
    "buffer": (lambda: Perceptron(Quantised), rows),
    "houlsby": (lambda: Trunk("houlsby"), tokens),
    "parallel": (lambda: Trunk("parallel"), tokens),
    "crossed": (lambda: Trunk("crossed"), tokens),
    "factors": (lambda: Trunk("factors"), tokens),
    "controlled": (Controlled, images),
}
"""Models that start as their base, and what they read."""


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """The focal loss of alpha 0.25 and gamma 2, over the number of positives (Lin et al., 2017, eq. 5)."""
    p = torch.sigmoid(logits)
    cross = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    right = p * targets + (1 - p) * (1 - targets)
    weight = 0.25 * targets + 0.75 * (1 - targets)
    return (weight * (1 - right) ** 2 * cross).sum() / targets.sum()


def focal_of_prior(prior: float, positives: int, negatives: int) -> float:
    """The focal loss where every logit says the prior."""
    hit = 0.25 * (1 - prior) ** 2 * -math.log(prior)
    return hit + 0.75 * prior**2 * -math.log(1 - prior) * negatives / positives
