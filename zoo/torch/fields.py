"""Networks of coordinates, and operators between functions."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import curve, normal, rows, uniform
from zoo.torch.laws import bounded, drawn, frozen, laid, zeroed
from zoo.torch.layers import Function, Net, mlp
from zoo.torch.losses import own


def siren() -> nn.Module:
    """sin(30 W x), W uniform in sqrt(6 / fan_in) / 30, the first in 1 / fan_in (Sitzmann 2020)."""
    widths = (2, 256, 256, 256, 256)
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layer = nn.Linear(fan_in, fan_out)
        bound = 1 / fan_in if fan_in == 2 else math.sqrt(6 / fan_in) / 30
        init.uniform_(layer.weight, -bound, bound)
        parts += [layer, Function(lambda x: torch.sin(30 * x))]
    last = nn.Linear(256, 1)
    init.uniform_(last.weight, -math.sqrt(6 / 256) / 30, math.sqrt(6 / 256) / 30)
    return nn.Sequential(*parts, last)


def radiance() -> nn.Module:
    """NeRF: angles of the place, a perceptron with a skip, colour and density; torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        scaled = (x[..., None] * 2.0 ** torch.arange(6) * math.pi).flatten(1)
        seen = torch.cat([x, scaled.sin(), scaled.cos()], 1)
        return net.last(torch.cat([net.first(seen), seen], 1))

    return Net(run, first=nn.Sequential(mlp(39, 256, 256, 256), nn.ReLU()), last=mlp(295, 256, 256, 4))


def coordinates(width: int, outputs: int) -> tuple[Tensor, Tensor]:
    x = normal(512, width).clamp(-2, 2) / 2
    return x, torch.sin(3 * x[:, :1] + torch.arange(outputs)) * torch.cos(2 * x[:, 1:2])


def random_features() -> nn.Module:
    """Frozen random Fourier features and a zero linear model."""
    layer = frozen(nn.Linear(24, 512))
    init.normal_(layer.weight, std=0.3)
    init.uniform_(layer.bias, 0, 2 * math.pi)
    return nn.Sequential(layer, Function(lambda x: x.cos() * math.sqrt(2 / 512)), zeroed(nn.Linear(512, 1)))


def physics() -> nn.Module:
    """Burgers' equation in (x, t): tanh, Xavier normal, its own derivatives (Raissi 2019)."""

    def run(net: Any, place: Tensor) -> Tensor:
        place = place.clone().requires_grad_()
        u = net.body(place)
        first = torch.autograd.grad(u.sum(), place, create_graph=True)[0]
        second = torch.autograd.grad(first[:, 0].sum(), place, create_graph=True)[0][:, 0]
        known = net.body(torch.stack([place[:, 0], torch.zeros_like(place[:, 0])], 1))[:, 0]
        residual = first[:, 1] + u[:, 0] * first[:, 0] - 0.01 / math.pi * second
        return (residual**2).mean() + ((known + (math.pi * place[:, 0]).sin()) ** 2).mean()

    return Net(run, body=drawn(mlp(2, *[20] * 8, 1, act=nn.Tanh), init.xavier_normal_))


def operator() -> nn.Module:
    """DeepONet: a branch for the function, a trunk for the place, Glorot normal."""

    def run(net: Any, function: Tensor, place: Tensor) -> Tensor:
        return (net.branch(function) * net.trunk(place).tanh()).sum(1, keepdim=True) + net.bias

    parts = {"branch": mlp(50, 40, 40, act=nn.Tanh), "trunk": mlp(1, 40, 40, 40, act=nn.Tanh)}
    return drawn(Net(run, **parts, bias=nn.Parameter(torch.zeros(1))), init.xavier_normal_)


def spectral(width: int = 32, modes: int = 12) -> nn.Module:
    """A Fourier neural operator: complex weights U(0, 1) / width^2 (Li 2021)."""

    def layer() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            seen = torch.fft.rfft(x)
            kept = torch.einsum("bik,iok->bok", seen[..., :modes], net.weight)
            back = functional.pad(kept, (0, seen.shape[-1] - modes))
            return functional.gelu(torch.fft.irfft(back, n=x.shape[-1]) + net.local(x))

        weight = torch.rand(width, width, modes, dtype=torch.cfloat) / width**2
        return Net(run, weight=nn.Parameter(weight), local=nn.Conv1d(width, width, 1))

    ends = (nn.Conv1d(width, 128, 1), nn.GELU(), nn.Conv1d(128, 1, 1))
    return nn.Sequential(nn.Conv1d(2, width, 1), *(layer() for _ in range(4)), *ends)


def euler() -> nn.Module:
    """A neural ODE by six Euler steps of one map (shared by design), whose last weight is zero."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.enter(x)
        for step in range(6):
            time = x.new_full((len(x), 1), step / 6)
            x = x + net.field(torch.cat([x, time], 1)) / 6
        return net.head(x)

    field = mlp(65, 128, 128, 64, act=nn.Softplus)
    zeroed(field[-1])
    return Net(run, enter=nn.Linear(24, 64), field=field, head=nn.Linear(64, 12))


def hashed_grid() -> nn.Module:
    """Instant-NGP: four hashed grids, uniform in 1e-4, and a small perceptron."""
    primes = torch.tensor([1, 2654435761])

    def run(net: Any, x: Tensor) -> Tensor:
        found = []
        for level, table in enumerate(net.tables):
            scaled = x * 4 * 2**level
            low, share = scaled.floor().long(), scaled - scaled.floor()
            total = 0
            for corner in torch.cartesian_prod(torch.arange(2), torch.arange(2)):
                mixed = ((low + corner) * net.primes).unbind(1)
                weight = torch.where(corner.bool(), share, 1 - share).prod(1, keepdim=True)
                total = total + weight * table((mixed[0] ^ mixed[1]) % 1024)
            found.append(total)
        return net.body(torch.cat(found, 1))

    grids = nn.ModuleList(laid(nn.Embedding(1024, 4), bounded(1e-4)) for _ in range(4))
    return Net(run, tables=grids, primes=primes, body=mlp(16, 64, 64, 3))


def fourier() -> nn.Module:
    """Gaussian Fourier features of the place, then ReLU (Tancik 2020), torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        angle = 2 * math.pi * x @ net.waves
        return net.body(torch.cat([angle.sin(), angle.cos()], 1)).sigmoid()

    return Net(run, waves=3 * torch.randn(2, 64), body=mlp(128, 256, 256, 256, 3))


def collocation() -> tuple[Tensor, Tensor]:
    return uniform(128, 2) * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0.0]), torch.zeros(128)


def antiderivatives() -> tuple[Tensor, Tensor, Tensor]:
    share = torch.linspace(0, 1, 50)
    function = normal(48, 1) + normal(48, 1, seed=2) * torch.sin(6 * share + normal(48, 1, seed=3))
    place = uniform(48, 1)
    index = (place[:, 0] * 49).long()
    return function, place, (function.cumsum(1) / 50)[torch.arange(48), index][:, None]


def waves() -> tuple[Tensor, Tensor]:
    place = torch.linspace(0, 1, 64)
    start = sum(normal(16, 1, seed=k) * torch.sin(2 * math.pi * k * place) for k in (1, 2, 3))
    return torch.stack([start, place.expand(16, -1)], 1), (start.roll(8, 1) * 0.8)[:, None]


def picture() -> tuple[Tensor, Tensor]:
    x = uniform(512, 2)
    return x, 0.5 + 0.5 * torch.sin(8 * x[:, :1] + torch.arange(3)) * torch.cos(6 * x[:, 1:])


tuned = maker("torch", "fields", "tuned")
MODELS = (
    tuned("siren", siren, partial(coordinates, 2, 1), "mse_loss"),
    tuned("nerf", radiance, partial(coordinates, 3, 4), "mse_loss"),
    tuned("fresh_random_features", random_features, curve(64, 24), "mse_loss"),
    tuned("fresh_pinn", physics, collocation, own),
    tuned("fresh_deeponet", operator, antiderivatives, "mse_loss"),
    tuned("fresh_fno", spectral, waves, "mse_loss"),
    tuned("fresh_neural_ode", euler, rows(48, 24, 12)),
    tuned("fresh_hash_grid", hashed_grid, picture, "mse_loss"),
    tuned("fresh_fourier_features", fourier, picture, "mse_loss"),
)
