"""Perceptrons, tables, fields and pairs of networks that no rule of the check was chosen on."""

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.batches import BINARY, bounded, curve, fan_bounded, laid, own, rows, subject, uniform
from zoo.torch.layers import (
    Function,
    Net,
    Residual,
    digits,
    drawn,
    filled,
    frozen,
    he,
    ids,
    mlp,
    normal,
    trained,
    zeroed,
)

# Stacks


def leaky() -> nn.Module:
    law = partial(init.kaiming_normal_, a=0.3)
    return drawn(mlp(96, *[192] * 15, 12, act=lambda: nn.LeakyReLU(0.3)), law)


def concatenated() -> nn.Module:
    """CReLU: both halves of every unit go on, so He's law holds with the doubled fan."""

    def piece(fan_in: int) -> list[nn.Module]:
        return [nn.Linear(fan_in, 96), Function(lambda x: torch.cat([x, -x], 1).relu())]

    body = [part for fan_in in (96, *[192] * 8) for part in piece(fan_in)]
    return drawn(nn.Sequential(*body, nn.Linear(192, 12)), he)


def softsign() -> nn.Module:
    """Five hidden layers, softsign, Glorot's normalised law (2010)."""
    return drawn(mlp(784, *[300] * 5, 10, act=nn.Softsign), init.xavier_uniform_)


def gated_stream() -> nn.Module:
    """RMS norms and SwiGLU branches without biases, N(0, 0.02)."""

    def block() -> nn.Module:
        parts = {"gate": nn.Linear(160, 320, bias=False), "up": nn.Linear(160, 320, bias=False)}
        down = nn.Linear(320, 160, bias=False)
        branch = Net(lambda net, x: net.down(functional.silu(net.gate(x)) * net.up(x)), **parts, down=down)
        return Residual(nn.Sequential(nn.RMSNorm(160), branch))

    body = (nn.Linear(96, 160, bias=False), *(block() for _ in range(7)), nn.RMSNorm(160))
    return drawn(nn.Sequential(*body, nn.Linear(160, 12, bias=False)), partial(init.normal_, std=0.02))


def gated() -> nn.Module:
    """Three GLU layers, torch's own weights."""
    body = [part for fan_in in (96, 128, 128) for part in (nn.Linear(fan_in, 256), nn.GLU())]
    return nn.Sequential(*body, nn.Linear(128, 12))


def tangent() -> nn.Module:
    """NTK's parameters: N(0, 1) everywhere, divided by sqrt(fan_in) at run time."""

    def layer(fan_in: int, fan_out: int, gain: float) -> nn.Module:
        weight, bias = nn.Parameter(torch.randn(fan_out, fan_in)), nn.Parameter(torch.zeros(fan_out))

        def run(net: Any, x: Tensor) -> Tensor:
            return functional.linear(x, net.weight * gain / math.sqrt(fan_in), net.bias)

        return Net(run, weight=weight, bias=bias)

    root = math.sqrt(2)
    hidden = [part for fan_in in (96, *[384] * 4) for part in (layer(fan_in, 384, root), nn.ReLU())]
    return nn.Sequential(*hidden, layer(384, 12, 1.0))


def dense_input() -> nn.Module:
    """Every hidden layer sees the input again (Sinha 2020), torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        hidden = net.first(x).relu()
        for layer in net.layers:
            hidden = layer(torch.cat([hidden, x], 1)).relu()
        return net.last(hidden)

    layers = nn.ModuleList(nn.Linear(256 + 24, 256) for _ in range(3))
    return Net(run, first=nn.Linear(24, 256), layers=layers, last=nn.Linear(256, 1))


def variational_weights() -> nn.Module:
    """Bayes by backprop: means uniform in 1 / sqrt(fan_in), spreads 0.05."""

    def layer(fan_in: int, fan_out: int) -> nn.Module:
        mean = nn.Parameter(fan_bounded(torch.empty(fan_out, fan_in)))
        parts = {"mean": mean, "log_sigma": nn.Parameter(torch.full((fan_out, fan_in), math.log(0.05)))}

        def run(net: Any, x: Tensor) -> Tensor:
            noise = net.log_sigma.exp() * torch.randn_like(net.mean)
            return functional.linear(x, net.mean + noise, net.bias)

        return Net(run, **parts, bias=nn.Parameter(torch.zeros(fan_out)))

    return nn.Sequential(layer(784, 200), nn.ReLU(), layer(200, 200), nn.ReLU(), layer(200, 10))


def modulated() -> nn.Module:
    """FiLM: a condition scales and shifts each layer, by one and zero at first."""

    def run(net: Any, x: Tensor, condition: Tensor) -> Tensor:
        for layer, film in zip(net.layers, net.films, strict=True):
            scale, shift = film(condition).chunk(2, 1)
            x = functional.gelu((1 + scale) * layer(x) + shift)
        return net.head(x)

    layers = nn.ModuleList(nn.Sequential(nn.Linear(n, 128), nn.LayerNorm(128)) for n in (96, 128, 128, 128))
    films = nn.ModuleList(zeroed(nn.Linear(10, 256)) for _ in layers)
    return Net(run, layers=layers, films=films, head=nn.Linear(128, 12))


def random_features() -> nn.Module:
    """Frozen random Fourier features and a zero linear model."""
    layer = frozen(nn.Linear(24, 512))
    init.normal_(layer.weight, std=0.3)
    init.uniform_(layer.bias, 0, 2 * math.pi)
    return nn.Sequential(layer, Function(lambda x: x.cos() * math.sqrt(2 / 512)), zeroed(nn.Linear(512, 1)))


# Fields and operators


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


# Several networks, and trained ones


def distilled() -> nn.Module:
    """A student and the trained frozen teacher that it follows."""
    teacher = frozen(trained(mlp(784, 256, 256, 10), digits(), 60))
    return Net(lambda net, x: (net.student(x), net.teacher(x)), student=mlp(784, 64, 10), teacher=teacher)


def mean_teacher() -> nn.Module:
    """A frozen copy that follows the student, on another view."""

    def run(net: Any, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            told = net.teacher(other)
        return net.student(x), told

    student = mlp(96, 128, 128, 12, norm=nn.BatchNorm1d)
    return Net(run, student=student, teacher=frozen(copy.deepcopy(student)))


def early_exits() -> nn.Module:
    """A head after each of four stages."""

    def run(net: Any, x: Tensor) -> tuple[Tensor, ...]:
        found = []
        for stage, head in zip(net.stages, net.heads, strict=True):
            x = stage(x)
            found.append(head(x))
        return tuple(found)

    stages = nn.ModuleList(nn.Sequential(filled(nn.Linear(n, 128), he), nn.ReLU()) for n in (96, 128, 128, 128))
    return Net(run, stages=stages, heads=nn.ModuleList(nn.Linear(128, 12) for _ in stages))


def averages() -> nn.Module:
    """Deep sets: a map of each element, their sum, a map of that; ELU, torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.after(net.each(x).mean(1))

    return Net(run, each=mlp(8, 64, 64, 64, act=nn.ELU), after=mlp(64, 64, 64, 1, act=nn.ELU))


# Batches and losses


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


def taught(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    student, teacher = output[0].div(4).log_softmax(1), output[1].div(4).softmax(1)
    soft = functional.kl_div(student, teacher, reduction="batchmean")
    return functional.cross_entropy(output[0], target) + 16 * soft


def consistent(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    away = functional.mse_loss(output[0].softmax(1), output[1].softmax(1))
    return functional.cross_entropy(output[0], target) + away


def seen_twice() -> tuple[Tensor, Tensor, Tensor]:
    x, y = rows(48, 96, 12)()
    return x, x + 0.2 * normal(48, 96, seed=18), y


def at_every_exit(output: tuple[Tensor, ...], target: Tensor) -> Tensor:
    return sum(functional.cross_entropy(one, target) for one in output) / len(output)


def sets() -> tuple[Tensor, Tensor]:
    spread = 0.5 + uniform(48, 1, 1, seed=19)
    return normal(48, 24, 8) * spread, spread[:, 0] - 1


def noisy_digits() -> tuple[Tensor, Tensor]:
    x, _ = digits(48)
    return (x + 0.1 * normal(*x.shape)).clamp(0, 1), x


def conditioned() -> tuple[Tensor, Tensor, Tensor]:
    x, y = rows(48, 96, 12)()
    return x, functional.one_hot(ids(48, high=10), 10).float(), y


def pinball(output: Tensor, target: Tensor) -> Tensor:
    """Nine quantiles."""
    share, away = torch.arange(1, 10) / 10, target - output
    return torch.maximum(share * away, (share - 1) * away).mean()


# The collection

dense, other = subject("mlp"), subject("other")
FEATURES = rows(48, 96, 12)

DENSE = (
    dense("leaky_16", leaky, FEATURES),
    dense("crelu", concatenated, FEATURES),
    dense("softsign_xavier", softsign, digits),
    dense("hardtanh_xavier", lambda: drawn(mlp(96, *[128] * 4, 12, act=nn.Hardtanh), init.xavier_uniform_), FEATURES),
    dense("softplus_3", lambda: mlp(24, 128, 128, 1, act=nn.Softplus), curve(64, 24), "mse_loss"),
    dense("mish_batch_norm", lambda: mlp(96, *[160] * 7, 12, act=nn.Mish, norm=nn.BatchNorm1d), FEATURES),
    dense("swiglu_rms_norm", gated_stream, FEATURES),
    dense("glu_default", gated, FEATURES),
    dense("ntk", tangent, FEATURES),
    dense("d2rl", dense_input, curve(64, 24), "mse_loss"),
    dense("bayes", variational_weights, digits),
    dense("film", modulated, conditioned),
    dense("quantiles", lambda: mlp(24, 64, 64, 9), curve(64, 24), pinball),
    dense("elu_autoencoder", lambda: mlp(784, 256, 64, 16, 64, 256, 784, act=nn.ELU), noisy_digits, BINARY),
    dense("half_trained", lambda: trained(mlp(784, 160, 160, 10, act=nn.GELU), digits(1000), 100), digits),
    dense("logistic", lambda: zeroed(nn.Linear(784, 10)), digits),
    other("random_features", random_features, curve(64, 24), "mse_loss"),
    other("pinn", physics, collocation, own),
    other("deeponet", operator, antiderivatives, "mse_loss"),
    other("fno", spectral, waves, "mse_loss"),
    other("neural_ode", euler, rows(48, 24, 12)),
    other("hash_grid", hashed_grid, picture, "mse_loss"),
    other("fourier_features", fourier, picture, "mse_loss"),
    other("distilled", distilled, digits, taught),
    other("mean_teacher", mean_teacher, seen_twice, consistent),
    other("early_exits", early_exits, FEATURES, at_every_exit),
    other("deep_sets", averages, sets, "mse_loss"),
)
