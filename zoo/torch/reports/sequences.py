"""Transformers of reports: adapters on a trained base, scalars that nobody wrote."""

import math
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.planting import planted
from zoo.torch.batches import digit_images, ids
from zoo.torch.laws import Law, frozen
from zoo.torch.layers import Block, Net, merge_heads, split_heads

WIDTH = 64
DEFAULT = partial(init.kaiming_uniform_, a=math.sqrt(5))


def reader() -> nn.Module:
    """The digits as 14 rows of 14 pixels, read by four blocks."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.enter(functional.avg_pool2d(x, 2)[:, 0] * 2 - 1) + net.positions
        return net.head(net.norm(net.blocks(x)).mean(1))

    blocks = nn.Sequential(*(Block(WIDTH) for _ in range(4)))
    parts = {"enter": nn.Linear(14, WIDTH), "positions": nn.Parameter(torch.randn(14, WIDTH) * 0.02), "blocks": blocks}
    return Net(run, **parts, norm=nn.LayerNorm(WIDTH), head=nn.Linear(WIDTH, 10))


@lru_cache
def trained_state(steps: int = 150) -> dict[str, Tensor]:
    """The reader's parameters after a training on the digits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, (x, y) = reader(), digit_images(1024)
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        for step in range(steps):
            rows = slice(64 * step % 1024, 64 * step % 1024 + 64)
            optimizer.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.state_dict()


class LowRank(nn.Module):
    """A frozen map with a product of two thin matrices beside it (Hu 2021, LoRA)."""

    def __init__(self, base: nn.Linear, down: Law, up: Law, rank: int = 8):
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.empty(base.out_features, rank))
        down(self.down)
        up(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """The base's output and twice that of the path beside it."""
        return self.base(x) + 2.0 * (x @ self.down.T @ self.up.T)


def adapted(down: Law, up: Law) -> nn.Module:
    """The trained reader, frozen, with low-rank paths in its blocks."""
    model = reader()
    model.load_state_dict(trained_state())
    frozen(model)
    for block in model.blocks:
        block.attn.qkv, block.attn.proj = (LowRank(each, down, up) for each in (block.attn.qkv, block.attn.proj))
        block.mlp[0], block.mlp[2] = (LowRank(block.mlp[i], down, up) for i in (0, 2))
    return model


def upside_down() -> tuple[Tensor, Tensor]:
    """The new task: the digits on their heads."""
    x, y = digit_images()
    return x.flip(2), y


def smeared(memory: float | None) -> nn.Module:
    """A decoder in whose stream two scalars mix tokens and layers; all of it is drawn after `to_empty`.

    Args:
        memory: what the forgotten scalars hold; None: they are written.
    """

    def run(net: Any, tokens: Tensor) -> Tensor:
        x = unit(net.tokens(tokens))
        share = net.smear * torch.sigmoid(net.smear_gate(x[:, 1:, :24]))
        x = torch.cat([x[:, :1], x[:, 1:] + share * x[:, :-1]], 1)
        half = None
        for i, block in enumerate(net.blocks):
            x = block(x)
            half = x if i == 1 else half
        return net.head(unit(x - net.backout * half)).flatten(0, 1)

    blocks = nn.ModuleList(plain_block(128) for _ in range(4))
    scalars = {"smear": nn.Parameter(torch.zeros(1)), "backout": nn.Parameter(0.2 * torch.ones(1))}
    parts = {"tokens": nn.Embedding(256, 128), "head": nn.Linear(128, 256, bias=False)}
    net = Net(run, blocks=blocks, smear_gate=nn.Linear(24, 1, bias=False), **parts, **scalars)
    init.normal_(net.head.weight, std=0.001)
    init.uniform_(net.smear_gate.weight, -0.2, 0.2)
    if memory is not None:
        for forgotten in (net.smear_gate.weight, net.smear, net.backout):
            init.constant_(forgotten, memory)
    return net


def unit(x: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],))


def plain_block(width: int) -> nn.Module:
    """Attention and a squared ReLU, both of which end in zeros."""

    def run(net: Any, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, 4) for part in net.qkv(unit(x)).chunk(3, -1))
        x = x + net.proj(merge_heads(functional.scaled_dot_product_attention(q, k, v, is_causal=True)))
        return x + net.down(net.up(unit(x)).relu().square())

    shapes = {"qkv": (width, 3 * width), "proj": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}
    maps = {name: nn.Linear(*shape, bias=False) for name, shape in shapes.items()}
    for name, layer in maps.items():
        bound = math.sqrt(3 / width) if name in ("qkv", "up") else 0.0
        init.uniform_(layer.weight, -bound, bound)
    return Net(run, **maps)


def bytes_ahead() -> tuple[Tensor, Tensor]:
    tokens = ids(8, 65, high=256)
    return tokens[:, :-1], tokens[:, 1:].reshape(-1)


of_report = maker("torch", "transformer", "reports")
ADAPTED = of_report("report_adapted", partial(adapted, DEFAULT, init.zeros_), upside_down)
SMEARED = of_report("report_smeared", partial(smeared, None), bytes_ahead)
MODELS = (
    ADAPTED,
    planted(ADAPTED, "zeros", partial(adapted, init.zeros_, init.zeros_), "blocks"),
    planted(ADAPTED, "adapter", partial(adapted, DEFAULT, DEFAULT), "blocks"),
    SMEARED,
    planted(SMEARED, "skipped_init", partial(smeared, 7.3e8), mark="garbage"),
    planted(SMEARED, "nan", partial(smeared, math.nan), mark="memory"),
)
