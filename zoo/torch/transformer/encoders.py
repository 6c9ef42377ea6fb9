"""Transformers of pictures and of text read both ways, and an encoder with a decoder."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init

from zoo.model import maker
from zoo.torch.batches import ids, images, labels, normal, sentences
from zoo.torch.laws import drawn
from zoo.torch.layers import Block, Net, Residual, mlp
from zoo.torch.losses import next_token

truncated = partial(init.trunc_normal_, std=0.02)


def encoder_layer(*, norm_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(128, 4, 512, 0.1, batch_first=True, norm_first=norm_first)


def encoder(*, norm_first: bool) -> nn.Module:
    """Torch's own layers, each made for itself."""
    layers = nn.Sequential(*(encoder_layer(norm_first=norm_first) for _ in range(6)))
    parts = {"tokens": nn.Embedding(256, 128), "layers": layers, "norm": nn.LayerNorm(128), "head": nn.Linear(128, 256)}
    return Net(lambda net, x: net.head(net.norm(net.layers(net.tokens(x)))), **parts)


def translator() -> nn.Module:
    """torch.nn.Transformer: copies of one layer, all of them drawn anew (Xavier) at its end."""

    def run(net: Any, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        scale = math.sqrt(128)
        return net.head(net.body(scale * net.source(source), scale * net.target(target), tgt_mask=mask))

    body = nn.Transformer(128, 4, 3, 3, 512, batch_first=True)
    tables = {"source": nn.Embedding(256, 128), "target": nn.Embedding(256, 128)}
    for table in tables.values():
        init.normal_(table.weight, std=128**-0.5)
    return Net(run, **tables, body=body, head=nn.Linear(128, 256))


class Scale(nn.Module):
    """A factor a feature."""

    def __init__(self, width: int, start: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled features."""
        return x * self.gamma


class ScaledBlock(nn.Module):
    """A block with a scale of 1e-5 at the end of each branch (Touvron 2021)."""

    def __init__(self, width: int):
        super().__init__()
        inner = Block(width)
        self.attention = Residual(nn.Sequential(inner.ln1, inner.attn, Scale(width, 1e-5)))
        self.mlp = Residual(nn.Sequential(inner.ln2, inner.mlp, Scale(width, 1e-5)))

    def forward(self, x: Tensor) -> Tensor:
        """The stream after both branches."""
        return self.mlp(self.attention(x))


def patches(block: Callable[[], nn.Module], *, depth: int = 8, width: int = 128) -> nn.Module:
    """Patches of 4 x 4, a class token, positions and blocks, N(0, 0.02) cut at two."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([net.token.expand(len(x), -1, -1), x], 1) + net.positions
        return net.head(net.norm(net.blocks(x))[:, 0])

    tables = {"token": nn.Parameter(torch.zeros(1, 1, width)), "positions": nn.Parameter(torch.zeros(1, 65, width))}
    truncated(tables["token"])
    truncated(tables["positions"])
    blocks = nn.Sequential(*(block() for _ in range(depth)))
    last = {"norm": nn.LayerNorm(width), "head": nn.Linear(width, 10)}
    return drawn(Net(run, embed=nn.Conv2d(3, width, 4, 4), **tables, blocks=blocks, **last), truncated)


def perceiver() -> nn.Module:
    """A few latents that read all pixels, then talk among themselves."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = torch.cat([x.flatten(2).transpose(1, 2), net.positions.expand(len(x), -1, -1)], -1)
        latents = net.latents.expand(len(x), -1, -1)
        read, _ = net.read(net.norm(latents), net.pixels(x), net.pixels(x), need_weights=False)
        return net.head(net.blocks(latents + read).mean(1))

    grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij"), -1)
    angles = grid.reshape(1, 1024, 2, 1) * torch.linspace(1, 16, 8) * math.pi
    positions = torch.cat([angles.sin(), angles.cos()], -1).flatten(2)
    latents = nn.Parameter(init.trunc_normal_(torch.empty(1, 32, 128), std=0.02))
    tables = {"latents": latents, "positions": positions}
    read = nn.MultiheadAttention(128, 4, kdim=128, vdim=128, batch_first=True)
    parts = {"norm": nn.LayerNorm(128), "pixels": nn.Sequential(nn.Linear(35, 128), nn.LayerNorm(128)), "read": read}
    blocks = nn.Sequential(*(Block(128) for _ in range(4)), nn.LayerNorm(128))
    return Net(run, **tables, **parts, blocks=blocks, head=nn.Linear(128, 10))


def experts() -> nn.Module:
    """Norm, a router and the best of four perceptrons at each of six layers (Fedus 2021)."""

    def layer() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            shown = net.norm(x)
            weight, chosen = net.router(shown).softmax(-1).max(-1)
            found = torch.stack([expert(shown) for expert in net.experts], 1)
            return x + weight[:, None] * found[torch.arange(len(x)), chosen]

        parts = {"norm": nn.LayerNorm(128), "router": nn.Linear(128, 4, bias=False)}
        return Net(run, **parts, experts=nn.ModuleList(mlp(128, 256, 128) for _ in range(4)))

    law = partial(init.trunc_normal_, std=0.1 / math.sqrt(128))
    return drawn(nn.Sequential(*(layer() for _ in range(6)), nn.LayerNorm(128), nn.Linear(128, 10)), law)


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    source, target = sentences(16, 24)
    return source, target, (target + 3) % 256


def classes() -> tuple[Tensor, Tensor]:
    x = normal(64, 128)
    return x, labels(x)


def hidden() -> tuple[Tensor, Tensor]:
    """Ids in any order; asked for is a permutation of the vocabulary."""
    x = ids(16, 32, high=256)
    return x, (x * 7 + 3) % 256


tuned = maker("torch", "transformer", "tuned")
MODELS = (
    tuned("encoder_post_norm", lambda: encoder(norm_first=False), hidden, next_token),
    tuned("encoder_pre_norm", lambda: encoder(norm_first=True), hidden, next_token),
    tuned("nn_transformer", translator, pairs, next_token),
    tuned("vit", lambda: patches(lambda: Block(128)), images),
    tuned("cait", lambda: patches(lambda: ScaledBlock(128), depth=12), images),
    tuned("perceiver", perceiver, images),
    tuned("switch", experts, classes),
)
