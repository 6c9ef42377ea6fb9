"""Transformers and their relatives made by hand for false_alarms.py."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.layers import (
    LINEAR,
    Block,
    Net,
    Residual,
    Subject,
    drawn,
    ids,
    images,
    labels,
    mlp,
    next_token,
    normal,
    sentences,
    small,
    targets,
    zeroed,
)

TABLES = (*LINEAR, nn.Embedding)
truncated = partial(init.trunc_normal_, std=0.02)


def redrawn(model: nn.Module, law: Callable[[Tensor], object]) -> nn.Module:
    """Linear maps and tables of one law."""
    for module in drawn(model, law).modules():
        if isinstance(module, nn.Embedding):
            law(module.weight)
    return model


# Decoders


def language_model(blocks: nn.ModuleList, width: int, vocabulary: int = 256, length: int = 32) -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        x = net.tokens(x) + net.positions[: x.shape[1]]
        for block in net.blocks:
            x = block(x)
        return net.head(net.norm(x))

    parts = {"tokens": nn.Embedding(vocabulary, width), "positions": nn.Parameter(0.02 * torch.randn(length, width))}
    last = {"norm": nn.LayerNorm(width), "head": nn.Linear(width, vocabulary, bias=False)}
    return Net(run, **parts, blocks=blocks, **last)


def gpt(depth: int = 12, width: int = 128) -> nn.Module:
    """N(0, 0.02), and what ends a branch divided by sqrt(2 depth)."""
    model = redrawn(language_model(nn.ModuleList(Block(width, causal=True) for _ in range(depth)), width), small)
    for name, parameter in model.named_parameters():
        if name.endswith(("attn.proj.weight", "mlp.2.weight")):
            init.normal_(parameter, std=0.02 / math.sqrt(2 * depth))
    return model


def gpt_unscaled(depth: int, width: int) -> nn.Module:
    """Norms before branches of unit gain: the stream grows, and the branches count for less and less."""
    model = language_model(nn.ModuleList(Block(width, causal=True) for _ in range(depth)), width)
    drawn(model.blocks, init.xavier_normal_)
    small(model.tokens.weight)
    small(model.head.weight)
    return model


def gpt_tied() -> nn.Module:
    """The head reads the table of tokens."""
    model = gpt(6)
    model.head.weight = model.tokens.weight
    return model


def gpt_frozen_positions() -> nn.Module:
    """A fixed table of sines and cosines, and a zero head."""
    model = gpt(6)
    angle = torch.arange(32)[:, None] / 10000 ** (torch.arange(0, 128, 2) / 128)
    table = torch.stack((angle.sin(), angle.cos()), -1).flatten(1)
    model.positions = nn.Parameter(table, requires_grad=False)
    zeroed(model.head)
    return model


# Encoders


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


def averaged(blocks: list[nn.Module], width: int = 128) -> nn.Module:
    """Patches, blocks, the mean over them and a head."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.blocks(net.embed(x).flatten(2).transpose(1, 2))
        return net.head(net.norm(x).mean(1))

    parts = {"blocks": nn.Sequential(*blocks), "norm": nn.LayerNorm(width), "head": nn.Linear(width, 10)}
    return Net(run, embed=nn.Conv2d(3, width, 4, 4), **parts)


def mixer() -> nn.Module:
    """Perceptrons over places and over channels, Xavier uniform, and a zero head (Tolstikhin 2021)."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            x = x + net.places(net.ln1(x).transpose(1, 2)).transpose(1, 2)
            return x + net.channels(net.ln2(x))

        mixed = {"places": mlp(64, 128, 64, act=nn.GELU), "channels": mlp(128, 512, 128, act=nn.GELU)}
        return Net(run, ln1=nn.LayerNorm(128), ln2=nn.LayerNorm(128), **mixed)

    model = averaged([block() for _ in range(8)])
    drawn(model.blocks, init.xavier_uniform_)
    zeroed(model.head)
    return model


def gated_mlp() -> nn.Module:
    """gMLP: the gate over places starts near zero weight and at one."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            kept, gate = functional.gelu(net.up(net.norm(x))).chunk(2, -1)
            gate = net.places(net.gate_norm(gate).transpose(1, 2)).transpose(1, 2)
            return x + net.down(kept * gate)

        places = nn.Linear(64, 64)
        init.normal_(places.weight, std=1e-6)
        init.ones_(places.bias)
        parts = {"norm": nn.LayerNorm(128), "up": nn.Linear(128, 512), "gate_norm": nn.LayerNorm(256)}
        return Net(run, **parts, places=places, down=nn.Linear(256, 128))

    return averaged([block() for _ in range(8)])


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


def tabular() -> nn.Module:
    """FT-Transformer: a token a feature, weights and biases uniform in 1 / sqrt(width)."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = torch.cat([net.token.expand(len(x), -1, -1), x[..., None] * net.weight + net.bias], 1)
        return net.head(net.blocks(x)[:, 0])

    shapes = {"token": (1, 1, 128), "weight": (16, 128), "bias": (16, 128)}
    bound = 128**-0.5
    tables = {name: nn.Parameter(init.uniform_(torch.empty(*shape), -bound, bound)) for name, shape in shapes.items()}
    head = nn.Sequential(nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 1))
    return Net(run, **tables, blocks=nn.Sequential(*(Block(128) for _ in range(3))), head=head)


# Batches


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    source, target = sentences(16, 24)
    return source, target, (target + 3) % 256


def classes() -> tuple[Tensor, Tensor]:
    x = normal(64, 128)
    return x, labels(x)


def table() -> tuple[Tensor, Tensor]:
    x = normal(64, 16)
    return x, targets(x)


def hidden() -> tuple[Tensor, Tensor]:
    """Ids in any order; asked for is a permutation of the vocabulary."""
    x = ids(16, 32, high=256)
    return x, (x * 7 + 3) % 256


def reads(name: str, build: Callable[[], nn.Module], batch: Any = sentences) -> Subject:
    return Subject(name, build, batch, next_token, "transformer")


def sees(name: str, build: Callable[[], nn.Module], batch: Any = images) -> Subject:
    return Subject(name, build, batch, "cross_entropy", "transformer")


ATTENTIVE = (
    reads("gpt", gpt),
    reads("gpt_tied", gpt_tied),
    reads("gpt_sines", gpt_frozen_positions),
    reads("gpt_deep_unit_branch", partial(gpt_unscaled, 64, 64)),
    reads("encoder_post_norm", lambda: encoder(norm_first=False), hidden),
    reads("encoder_pre_norm", lambda: encoder(norm_first=True), hidden),
    reads("nn_transformer", translator, pairs),
    sees("vit", lambda: patches(lambda: Block(128))),
    sees("cait", lambda: patches(lambda: ScaledBlock(128), depth=12)),
    sees("mixer", mixer),
    sees("gmlp", gated_mlp),
    sees("perceiver", perceiver),
    sees("switch", experts, classes),
    Subject("ft_transformer", tabular, table, "mse_loss", "transformer"),
)
