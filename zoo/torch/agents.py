"""Agents and densities that no rule of the check was chosen on."""

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.batches import BINARY, bounded, fan_bounded, own, stacked, subject, uniform
from zoo.torch.layers import (
    Net,
    conv,
    digit_images,
    digits,
    drawn,
    filled,
    frozen,
    ids,
    images,
    labels,
    mlp,
    normal,
    targets,
    zeroed,
)

# Agents


def duelling() -> nn.Module:
    """Duelling Q-learning from pixels, and a frozen copy that says what comes after; torch's own weights."""

    def make() -> nn.Module:
        body = stacked(nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten())
        parts = {"value": mlp(32 * 16, 128, 1), "gain": mlp(32 * 16, 128, 6)}

        def run(net: Any, x: Tensor) -> Tensor:
            x = net.body(x)
            gain = net.gain(x)
            return net.value(x) + gain - gain.mean(1, keepdim=True)

        return Net(run, body=body, **parts)

    def run(net: Any, before: Tensor, action: Tensor, after: Tensor) -> Tensor:
        with torch.no_grad():
            best = net.target(after).gather(1, net.online(after).argmax(1, keepdim=True))[:, 0]
        return net.online(before).gather(1, action[:, None])[:, 0] - 0.99 * best

    online = make()
    return Net(run, online=online, target=frozen(copy.deepcopy(online)))


def soft_actor() -> nn.Module:
    """SAC's actor and two critics: means and log spreads through tanh, Xavier uniform."""

    def run(net: Any, state: Tensor) -> Tensor:
        mean, spread = net.actor(state).chunk(2, 1)
        spread = spread.clamp(-20, 2)
        drawn_action = mean + spread.exp() * torch.randn_like(mean)
        action = drawn_action.tanh()
        chance = -0.5 * ((drawn_action - mean) / spread.exp()) ** 2 - spread - torch.log(1 - action**2 + 1e-6)
        seen = torch.cat([state, action], 1)
        return torch.cat([torch.minimum(net.one(seen), net.two(seen)), chance.sum(1, keepdim=True)], 1)

    model = Net(run, actor=mlp(17, 128, 128, 12), one=mlp(23, 128, 128, 1), two=mlp(23, 128, 128, 1))
    return drawn(model, init.xavier_uniform_)


def deterministic() -> nn.Module:
    """DDPG's critic: uniform in 1 / sqrt(fan_in), the last map in 0.003, the action enters at the second layer."""

    def run(net: Any, state: Tensor, action: Tensor) -> Tensor:
        return net.last(net.second(torch.cat([net.first(state).relu(), action], 1)).relu())

    parts = {"first": nn.Linear(17, 200), "second": nn.Linear(206, 150), "last": nn.Linear(150, 1)}
    for part in parts.values():
        fan_bounded(part.weight)
    bounded(3e-3)(parts["last"].weight)
    return Net(run, **parts)


def advantage() -> nn.Module:
    """A3C: four strided ELU convolutions, an LSTM cell, heads of normalised rows 0.01 and 1."""

    def law(weight: Tensor) -> None:
        fan_in, fan_out = init._calculate_fan_in_and_fan_out(weight)
        bounded(math.sqrt(6 / (fan_in + fan_out)))(weight)

    def rows(layer: nn.Linear, size: float) -> nn.Module:
        init.normal_(layer.weight)
        layer.weight.data *= size / layer.weight.data.norm(dim=1, keepdim=True)
        return zeroed_bias(layer)

    def zeroed_bias(layer: nn.Linear) -> nn.Module:
        init.zeros_(layer.bias)
        return layer

    def run(net: Any, frames: Tensor) -> Tensor:
        state = None
        for step in range(frames.shape[1]):
            state = net.cell(net.convs(frames[:, step]), state)
        return torch.cat([net.policy(state[0]), net.value(state[0])], 1)

    convs = [p for a in (1, 24, 24, 24) for p in (filled(conv(a, 24, stride=2), law), nn.ELU())]
    heads = {"policy": rows(nn.Linear(96, 6), 0.01), "value": rows(nn.Linear(96, 1), 1.0)}
    return Net(run, convs=stacked(convs, nn.Flatten()), cell=nn.LSTMCell(24 * 4, 96), **heads)


def dreaming() -> nn.Module:
    """A world model's memory: an LSTM and a mixture of five Gaussians for each of eight numbers (Ha 2018)."""

    def run(net: Any, x: Tensor, following: Tensor) -> Tensor:
        found = net.head(net.body(x)[0]).unflatten(-1, (3, 5, 8))
        weight, mean, spread = found.unbind(2)
        near = -0.5 * ((following[:, :, None] - mean) / spread.exp()) ** 2 - spread
        return -torch.logsumexp(weight.log_softmax(2) + near, 2).mean()

    return Net(run, body=nn.LSTM(10, 128, batch_first=True), head=nn.Linear(128, 120))


def curious() -> nn.Module:
    """Random network distillation: a predictor of a frozen network, orthogonal sqrt(2)."""

    def run(net: Any, x: Tensor) -> Tensor:
        return (net.predict(x) - net.target(x)) ** 2

    law = partial(init.orthogonal_, gain=math.sqrt(2))

    def body() -> list[nn.Module]:
        return [
            conv(1, 16, 4, stride=2, padding=1),
            nn.LeakyReLU(),
            conv(16, 32, stride=2),
            nn.LeakyReLU(),
            nn.Flatten(),
        ]

    target = drawn(stacked(body(), nn.Linear(32 * 64, 64)), law)
    predict = drawn(stacked(body(), nn.Linear(32 * 64, 64), nn.ReLU(), nn.Linear(64, 64)), law)
    return Net(run, target=frozen(target), predict=predict)


def noisy() -> nn.Module:
    """Noisy nets: factorised noise of 0.5 / sqrt(fan_in) on the weights (Fortunato 2018)."""

    def layer(fan_in: int, fan_out: int) -> nn.Module:
        def shaped(size: int) -> Tensor:
            noise = torch.randn(size)
            return noise.sign() * noise.abs().sqrt()

        def run(net: Any, x: Tensor) -> Tensor:
            row, column = shaped(fan_in), shaped(fan_out)
            weight = net.weight + net.spread * torch.outer(column, row)
            return functional.linear(x, weight, net.bias + net.bias_spread * column)

        bound = 1 / math.sqrt(fan_in)
        parts = {"weight": fan_bounded(torch.empty(fan_out, fan_in)), "bias": bounded(bound)(torch.empty(fan_out))}
        parts |= {"spread": torch.full((fan_out, fan_in), bound / 2), "bias_spread": torch.full((fan_out,), bound / 2)}
        return Net(run, **{name: nn.Parameter(value) for name, value in parts.items()})

    return nn.Sequential(nn.Linear(17, 128), nn.ReLU(), layer(128, 128), nn.ReLU(), layer(128, 6))


# Densities


def coupled() -> nn.Module:
    """RealNVP: six couplings with alternating masks, scales through a learnt tanh."""

    def run(net: Any, x: Tensor) -> Tensor:
        total = 0.0
        for number, (scale, shift) in enumerate(zip(net.scales, net.shifts, strict=True)):
            mask = (torch.arange(12) % 2 == number % 2).float()
            logs = scale(mask * x).tanh() * net.size * (1 - mask)
            x = mask * x + (1 - mask) * (x * logs.exp() + shift(mask * x))
            total = total + logs.sum(1)
        return (0.5 * (x**2).sum(1) - total).mean() / 12

    scales = nn.ModuleList(mlp(12, 64, 64, 12, act=nn.LeakyReLU) for _ in range(6))
    shifts = nn.ModuleList(mlp(12, 64, 64, 12, act=nn.LeakyReLU) for _ in range(6))
    return Net(run, scales=scales, shifts=shifts, size=nn.Parameter(torch.ones(12)))


def glowing() -> nn.Module:
    """Glow: norms set by a first batch, orthogonal 1 x 1 maps, couplings N(0, 0.05) that end at zero."""

    def step() -> nn.Module:
        def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            x = (x + net.shift) * net.scale.exp()
            a, b = functional.conv2d(x, net.turn[..., None, None]).chunk(2, 1)
            logs, shift = net.body(a).chunk(2, 1)
            share = (logs + 2).sigmoid()
            volume = 64 * (net.scale.sum() + torch.linalg.slogdet(net.turn)[1])
            return torch.cat([a, (b + shift) * share], 1), share.log().sum((1, 2, 3)) + volume

        body = drawn(stacked(conv(6, 64), nn.ReLU(), conv(64, 64, 1), nn.ReLU()), partial(init.normal_, std=0.05))
        parts = {
            "shift": torch.zeros(12, 1, 1),
            "scale": torch.zeros(12, 1, 1),
            "turn": init.orthogonal_(torch.empty(12, 12)),
        }
        numbers = {name: nn.Parameter(value) for name, value in parts.items()}
        return Net(run, **numbers, body=body.append(zeroed(conv(64, 12))))

    def run(net: Any, x: Tensor) -> Tensor:
        x, total = functional.pixel_unshuffle(x, 2), 0.0
        for one in net.steps:
            x, volume = one(x)
            total = total + volume
        return (0.5 * (x**2).sum((1, 2, 3)) - total).mean() / 768

    model = Net(run, steps=nn.ModuleList(step() for _ in range(4)))
    x = functional.pixel_unshuffle(squares()[0], 2)
    for one in model.steps:
        one.shift.data = -x.mean((0, 2, 3), keepdim=True)[0]
        one.scale.data = -x.std((0, 2, 3), keepdim=True)[0].log()
        x = one(x)[0].detach()
    return model


def autoregressive() -> nn.Module:
    """MADE: masks let every pixel see those before it; torch's own weights."""
    order = [torch.arange(784), *(torch.arange(256) % 783 for _ in "ab"), torch.arange(784)]

    def layer(number: int) -> nn.Module:
        before, after = order[number], order[number + 1]
        mask = (after[:, None] > before if number == 2 else after[:, None] >= before).float()

        def run(net: Any, x: Tensor) -> Tensor:
            return functional.linear(x, net.inner.weight * net.mask, net.inner.bias)

        return Net(run, inner=nn.Linear(len(before), len(after)), mask=mask)

    return stacked(layer(0), nn.ReLU(), layer(1), nn.ReLU(), layer(2))


def ladder() -> nn.Module:
    """A convolutional VAE for 28 x 28, its own evidence bound; torch's own weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        mean, logs = net.encoder(x).chunk(2, 1)
        z = mean + (logs / 2).exp() * torch.randn_like(mean)
        near = functional.binary_cross_entropy_with_logits(net.decoder(z), x, reduction="sum")
        return (near + 0.5 * (mean**2 + logs.exp() - 1 - logs).sum()) / len(x)

    down = [conv(1, 16, stride=2), nn.ReLU(), conv(16, 32, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 32)]
    up = [
        nn.Linear(16, 32 * 49),
        nn.ReLU(),
        nn.Unflatten(1, (32, 7, 7)),
        nn.ConvTranspose2d(32, 16, 4, 2, 1),
        nn.ReLU(),
    ]
    return Net(run, encoder=stacked(down), decoder=stacked(up, nn.ConvTranspose2d(16, 1, 4, 2, 1)))


def critic() -> nn.Module:
    """A WGAN's critic of points with its penalty on the gradient; torch's own weights."""

    def run(net: Any, real: Tensor, fake: Tensor) -> Tensor:
        between = (0.5 * real + 0.5 * fake).requires_grad_()
        slope = torch.autograd.grad(net.body(between).sum(), between, create_graph=True)[0]
        return net.body(fake).mean() - net.body(real).mean() + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()

    return Net(run, body=mlp(12, 128, 128, 128, 1, act=nn.LeakyReLU))


def scored() -> nn.Module:
    """Denoising score matching over ten levels of noise, conditional biases, softplus."""

    def run(net: Any, x: Tensor, level: Tensor) -> Tensor:
        for layer, table in zip(net.layers, net.tables, strict=True):
            x = functional.softplus(layer(x) + table(level))
        return net.last(x)

    layers = nn.ModuleList(nn.Linear(n, 128) for n in (12, 128, 128))
    tables = nn.ModuleList(zeroed(nn.Embedding(10, 128)) for _ in layers)
    return Net(run, layers=layers, tables=tables, last=nn.Linear(128, 12))


# Batches and losses


def frames() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    before, after = (0.5 + 0.25 * normal(24, 4, 44, 44, seed=s).clamp(-2, 2) for s in (81, 82))
    action = ids(24, high=6, seed=83)
    return before, action, after, action % 3 - 1.0


def situations() -> tuple[Tensor, Tensor]:
    x = normal(64, 17, seed=84)
    return x, targets(x)


def soft(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output[:, :1], target) + 0.2 * output[:, 1].mean() - 0.1 * output[:, 0].mean()


def deeds() -> tuple[Tensor, Tensor, Tensor]:
    x, y = situations()
    action = uniform(64, 6, seed=85) * 2 - 1
    return x, action, y + action[:, :1]


def games() -> tuple[Tensor, Tensor]:
    x = normal(12, 6, 1, 24, 24, seed=86)
    return x, torch.stack([labels(x[:, -1], 6).float(), targets(x[:, -1])[:, 0]], 1)


def policy(output: Tensor, target: Tensor) -> Tensor:
    away = functional.mse_loss(output[:, 6], target[:, 1])
    return functional.cross_entropy(output[:, :6], target[:, 0].long()) + 0.5 * away


def dreams() -> tuple[Tensor, Tensor, Tensor]:
    time = torch.arange(21)[None, :, None] * (0.1 + 0.2 * uniform(24, 1, 8, seed=87))
    x = torch.sin(time) * 1.4 + 0.1 * normal(24, 21, 8, seed=88)
    return torch.cat([x[:, :-1], normal(24, 20, 2, seed=89)], 2), x[:, 1:], torch.zeros(24)


def sights() -> tuple[Tensor, Tensor]:
    x, _ = images(24, 32)
    return x[:, :1], torch.zeros(24, 64)


def worth() -> tuple[Tensor, Tensor]:
    x = normal(64, 17, seed=90)
    return x, targets(x, 6)


def points() -> tuple[Tensor, Tensor]:
    x = normal(64, 12, seed=100) @ (torch.eye(12) + 0.3 * normal(12, 12, seed=101))
    return x, torch.zeros(64)


def squares() -> tuple[Tensor, Tensor]:
    return images(12, 16)[0], torch.zeros(12)


def written() -> tuple[Tensor, Tensor]:
    x = (digits(48)[0] > 0.5).float()
    return x, x


def drawings() -> tuple[Tensor, Tensor]:
    return (digit_images(32)[0] > 0.5).float(), torch.zeros(32)


def real_and_fake() -> tuple[Tensor, Tensor, Tensor]:
    return points()[0], normal(64, 12, seed=102), torch.zeros(64)


def noised() -> tuple[Tensor, Tensor, Tensor]:
    x, _ = points()
    level, noise = ids(64, high=10, seed=103), normal(64, 12, seed=104)
    return x + (0.1 * (1 + level))[:, None] * noise, level, -noise


# The collection

other, rnn = subject("other"), subject("rnn")

AGENTS = (
    other("duelling", duelling, frames, "smooth_l1_loss"),
    other("sac", soft_actor, situations, soft),
    other("ddpg_critic", deterministic, deeds, "mse_loss"),
    rnn("a3c_lstm", advantage, games, policy),
    rnn("world_model", dreaming, dreams, own),
    other("random_distillation", curious, sights, "l1_loss"),
    other("noisy_net", noisy, worth, "mse_loss"),
    other("real_nvp", coupled, points, own),
    other("glow", glowing, squares, own),
    other("made", autoregressive, written, BINARY),
    other("vae_conv", ladder, drawings, own),
    other("wgan_critic", critic, real_and_fake, own),
    other("score_matching", scored, noised, "mse_loss"),
)
