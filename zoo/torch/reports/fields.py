"""Networks of coordinates of reports: sine layers without the 30, a density that is dead."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.planting import planted
from zoo.torch.batches import normal
from zoo.torch.layers import Function, Net

WIDTH = 128


def sines(first: float) -> nn.Module:
    """sin(30 (W x + b)): the first map within a bound, the others in sqrt(6 / fan_in) / 30 (Sitzmann 2020)."""
    bound = math.sqrt(6 / WIDTH) / 30
    layers = [within(nn.Linear(2, WIDTH), first), *(within(nn.Linear(WIDTH, WIDTH), bound) for _ in range(4))]
    parts = [part for layer in layers for part in (layer, Function(lambda x: torch.sin(30 * x)))]
    return nn.Sequential(*parts, within(nn.Linear(WIDTH, 1), bound))


def within(layer: nn.Linear, bound: float) -> nn.Linear:
    init.uniform_(layer.weight, -bound, bound)
    return layer


def picture() -> tuple[Tensor, Tensor]:
    """Places in (-1, 1) and a grey value of each."""
    axis = torch.linspace(-1, 1, 48)
    x = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    disc = (x.norm(dim=-1, keepdim=True) < 0.5).float()
    return x, torch.sin(12 * x[:, :1] * x[:, 1:]) * 0.5 + disc - 0.3


def pixels() -> tuple[Tensor, Tensor]:
    """The same with the numbers of pixels for places."""
    x, y = picture()
    return (x + 1) * 24, y


def waves(x: Tensor, count: int) -> Tensor:
    """Numbers, and sines and cosines of their doubles."""
    return torch.cat([x, *(f(x * 2.0**i) for i in range(count) for f in (torch.sin, torch.cos))], -1)


def radiance(act: Callable[[Tensor], Tensor]) -> nn.Module:
    """NeRF with its rendering: colours along a ray, weighed by a density that a function of one unit gives."""

    def run(net: Any, points: Tensor, rays: Tensor) -> Tensor:
        x, seen = (h := waves(points, 10)), waves(rays, 4)[:, None].expand(-1, points.shape[1], -1)
        for i, layer in enumerate(net.layers):
            h = layer(torch.cat([x, h], -1) if i == 4 else h).relu()
        opaque = 1 - torch.exp(-act(net.density(h))[..., 0] * 4.0 / points.shape[1])
        colour = torch.sigmoid(net.colour(net.turned(torch.cat([net.body(h), seen], -1)).relu()))
        clear = torch.cumprod(torch.cat([torch.ones_like(opaque[:, :1]), 1 - opaque + 1e-10], -1), -1)[:, :-1]
        share = opaque * clear
        return (share[..., None] * colour).sum(1) + 1 - share.sum(1, keepdim=True)

    widths = (63, WIDTH, WIDTH, WIDTH, WIDTH + 63, WIDTH, WIDTH, WIDTH)
    parts = {"density": nn.Linear(WIDTH, 1), "body": nn.Linear(WIDTH, WIDTH)}
    parts |= {"turned": nn.Linear(WIDTH + 27, WIDTH // 2), "colour": nn.Linear(WIDTH // 2, 3)}
    return Net(run, layers=nn.ModuleList(nn.Linear(width, WIDTH) for width in widths), **parts)


def rays() -> tuple[Tensor, Tensor, Tensor]:
    """Points of 64 rays, their directions, and what they see: a red ball before white."""
    spread, ahead = torch.tensor([0.25, 0.25, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    directions = functional.normalize(normal(64, 3) * spread + ahead, dim=-1)
    points = directions[:, None] * torch.linspace(2, 6, 32)[None, :, None] - 4 * ahead
    hit = (points.norm(dim=-1) < 0.5).any(1)
    return points, directions, torch.where(hit[:, None], torch.tensor([0.8, 0.1, 0.1]), torch.ones(3))


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """A model of one seed, whatever the seed is."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


of_report = maker("torch", "fields", "reports", "mse_loss")
SINES = of_report("report_sines", partial(sines, 1 / 2), picture)
RADIANCE = of_report("report_radiance", partial(radiance, lambda x: functional.softplus(x - 1)), rays)
MODELS = (
    SINES,
    planted(SINES, "first_map", partial(sines, math.sqrt(6 / 2) / 30), "0.weight"),
    planted(SINES, "input", SINES.build, batch=pixels),
    RADIANCE,
    planted(RADIANCE, "dead", partial(radiance, torch.relu), "density"),
)
