"""Networks that take noise away, and that move noise to data."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.model import maker
from zoo.torch.batches import bright, correlated, ids, images, normal, uniform
from zoo.torch.laws import frozen, zeroed
from zoo.torch.layers import DOUBLED, Net, Residual, conv, mlp, split_heads, stacked


def diffusion(width: int = 64) -> nn.Module:
    """A small U-Net that knows the time; the last convolution of each branch and of all is zero."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor, time: Tensor) -> Tensor:
            hidden = net.first(x) + net.time(time)[..., None, None]
            return x + net.second(hidden)

        first = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), conv(width, width))
        second = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), zeroed(conv(width, width)))
        return Net(run, first=first, second=second, time=nn.Linear(width, width))

    def run(net: Any, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] * 1000 ** -torch.linspace(0, 1, width // 2)
        known = net.time(torch.cat([angles.sin(), angles.cos()], 1))
        top = net.down(net.enter(x), known)
        low = net.middle(net.shrink(top), known)
        return net.leave(net.up(top + functional.interpolate(low, scale_factor=2), known))

    parts = {"time": mlp(width, width, width, act=nn.SiLU), "enter": conv(3, width), "down": block(), "middle": block()}
    last = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), zeroed(conv(width, 3)))
    return Net(run, **parts, shrink=conv(width, width, stride=2), up=block(), leave=last)


def noise() -> tuple[Tensor, Tensor, Tensor]:
    x, _ = images(16)
    time, added = torch.rand(16, generator=torch.Generator().manual_seed(8)), normal(16, 3, 32, 32, seed=9)
    share = time[:, None, None, None]
    return (1 - share).sqrt() * x + share.sqrt() * added, 1000 * time, added


def controlled() -> nn.Module:
    """ControlNet: a frozen denoiser, a copy of its encoder, and convolutions of zeros that join them."""

    def half() -> nn.Module:
        middle = [part for _ in range(2) for part in (nn.GroupNorm(8, 48), nn.SiLU(), conv(48, 48))]
        return nn.ModuleList([conv(3, 48), Residual(nn.Sequential(*middle)), conv(48, 48, stride=2)])

    def attend() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            flat = net.norm(x).flatten(2).transpose(1, 2)
            q, k, v = (split_heads(one, 4) for one in net.qkv(flat).chunk(3, -1))
            mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return x + net.out(mixed).transpose(1, 2).view_as(x)

        return Net(run, norm=nn.GroupNorm(8, 48), qkv=nn.Linear(48, 144), out=nn.Linear(48, 48))

    def run(net: Any, x: Tensor, hint: Tensor) -> Tensor:
        kept, control, told = [], [], x + net.hint(hint)
        for mine, copied, zero in zip(net.down, net.copy, net.zeros, strict=True):
            x, told = mine(x), copied(told)
            kept.append(x)
            control.append(zero(told))
        x = net.middle(x) + control[2]
        for skip, zeros, up in ((kept[1], control[1], net.ups[0]), (kept[0], control[0], net.ups[1])):
            x = up(torch.cat([DOUBLED(x) if x.shape[2] != skip.shape[2] else x, skip + zeros], 1))
        return net.out(x)

    down, ups = half(), nn.ModuleList(stacked(conv(96, 48), nn.GroupNorm(8, 48), nn.SiLU()) for _ in "ab")
    trunk = {"down": down, "middle": attend(), "ups": ups, "out": conv(48, 3)}
    copied = copy.deepcopy(down)
    zeros = nn.ModuleList(zeroed(conv(48, 48, 1)) for _ in "abc")
    for part in trunk.values():
        frozen(part)
    return Net(run, **trunk, copy=copied, zeros=zeros, hint=stacked(conv(1, 16), nn.SiLU(), zeroed(conv(16, 3))))


def hinted() -> tuple[Tensor, Tensor, Tensor]:
    x = bright(8, 32) * 2 - 1
    noise = normal(8, 3, 32, 32, seed=43)
    return 0.7 * x + 0.7 * noise, (x.mean(1, keepdim=True) > 0).float(), noise


def scored() -> nn.Module:
    """Denoising score matching over ten levels of noise, conditional biases, softplus."""

    def run(net: Any, x: Tensor, level: Tensor) -> Tensor:
        for layer, table in zip(net.layers, net.tables, strict=True):
            x = functional.softplus(layer(x) + table(level))
        return net.last(x)

    layers = nn.ModuleList(nn.Linear(n, 128) for n in (12, 128, 128))
    tables = nn.ModuleList(zeroed(nn.Embedding(10, 128)) for _ in layers)
    return Net(run, layers=layers, tables=tables, last=nn.Linear(128, 12))


def noised() -> tuple[Tensor, Tensor, Tensor]:
    x, _ = correlated()
    level, noise = ids(64, high=10, seed=103), normal(64, 12, seed=104)
    return x + (0.1 * (1 + level))[:, None] * noise, level, -noise


def noisy() -> tuple[Tensor, Tensor]:
    start, end, time = normal(128, 2, seed=320), normal(128, 2, seed=321).tanh(), uniform(128, 1, seed=322)
    return torch.cat([start + time * (1.5 * end - start), time], 1), 1.5 * end - start


tuned, held_out = maker("torch", "generative", "tuned"), maker("torch", "generative", "held_out")
MODELS = (
    tuned("diffusion", diffusion, noise, "mse_loss"),
    tuned("fresh_controlnet", controlled, hinted, "mse_loss"),
    tuned("fresh_score_matching", scored, noised, "mse_loss"),
    held_out("last_flow_matching", lambda: mlp(3, 256, 256, 256, 2, act=nn.SiLU), noisy, "mse_loss"),
)
