"""Densities: flows, autoencoders with a bound, autoregressive pictures, energies."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import bright, correlated, curve, digit_images, digits, digits_again, images, normal, uniform
from zoo.torch.laws import bounded, drawn, laid, zeroed
from zoo.torch.layers import Net, Residual, conv, mlp, stacked
from zoo.torch.losses import BINARY, own


def variational() -> nn.Module:
    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = net.encoder(x).chunk(2, 1)
        return net.decoder(mean + (0.5 * logvar).exp() * torch.randn_like(mean)).sigmoid(), mean, logvar

    return Net(run, encoder=mlp(784, 256, 64), decoder=mlp(32, 256, 784))


def flow() -> nn.Module:
    """Coupling layers whose last maps are zero: the identity at first."""

    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for step in net.steps:
            kept, changed = x.chunk(2, 1)
            logs, shift = step(kept).chunk(2, 1)
            x = torch.cat([changed * logs.tanh().exp() + shift, kept], 1)
            total = total + logs.tanh().sum(1)
        return x, total

    steps = [mlp(16, 128, 128, 32) for _ in range(6)]
    for step in steps:
        zeroed(step[-1])
    return Net(run, steps=nn.ModuleList(steps))


def first_error(output: tuple[Tensor, ...], target: Tensor) -> Tensor:
    return functional.mse_loss(output[0], target)


def likelihood(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    z, logdet = output
    return (0.5 * (z - target).square().sum(1) - logdet).mean() / z.shape[1]


def data() -> tuple[Tensor, Tensor]:
    x = normal(64, 32) @ (torch.eye(32) + 0.2 * normal(32, 32, seed=3))
    return x, torch.zeros(64, 32)


def masked() -> nn.Module:
    """PixelCNN: convolutions that see only what was drawn before, gated; answers one of two values."""

    def layer(fan_in: int, fan_out: int, kernel: int, *, first: bool = False) -> nn.Module:
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + (not first) :] = 0
        mask[kernel // 2 + 1 :] = 0

        def run(net: Any, x: Tensor) -> Tensor:
            return functional.conv2d(x, net.inner.weight * net.mask, net.inner.bias, padding=kernel // 2)

        return Net(run, inner=conv(fan_in, fan_out, kernel), mask=mask)

    def block() -> nn.Module:
        return Residual(stacked(nn.ReLU(), layer(64, 32, 1), nn.ReLU(), layer(32, 32, 3), nn.ReLU(), layer(32, 64, 1)))

    body = (layer(1, 64, 7, first=True), *(block() for _ in range(6)))
    return stacked(*body, nn.ReLU(), layer(64, 64, 1), nn.ReLU(), layer(64, 1, 1))


def quantised() -> nn.Module:
    """VQ-VAE: codes uniform in 1 / 128, the gradient straight through; answers its own loss."""

    def run(net: Any, x: Tensor, wanted: Tensor) -> Tensor:
        z = net.encoder(x).permute(0, 2, 3, 1)
        near = torch.cdist(z.flatten(0, 2), net.codes.weight).argmin(1).view(z.shape[:3])
        code = net.codes(near)
        held = functional.mse_loss(code, z.detach()) + 0.25 * functional.mse_loss(z, code.detach())
        back = net.decoder((z + (code - z).detach()).permute(0, 3, 1, 2))
        return functional.mse_loss(back, wanted) / 0.06 + held

    def block() -> nn.Module:
        return Residual(stacked(nn.ReLU(), conv(64, 32, bias=False), nn.ReLU(), conv(32, 64, 1, bias=False)))

    down = [nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), conv(64, 64), block(), block()]
    up = [conv(32, 64), block(), block(), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU()]
    parts = {"encoder": stacked(down, nn.ReLU(), conv(64, 32, 1)), "codes": nn.Embedding(128, 32)}
    laid(parts["codes"], bounded(1 / 128))
    return Net(run, **parts, decoder=stacked(up, nn.ConvTranspose2d(32, 3, 4, 2, 1)))


def black_and_white() -> tuple[Tensor, Tensor]:
    x = (digit_images(16)[0] > 0.5).float()
    return x, x


def rebuilt() -> tuple[Tensor, Tensor, Tensor]:
    x = bright(16, 32) - 0.5
    return x, x, torch.zeros(16)


def flowing() -> nn.Module:
    """WaveGlow in small: orthogonal maps of eight channels and couplings with gated nets that end at zero."""

    def coupling() -> nn.Module:
        def run(net: Any, x: Tensor, mel: Tensor) -> Tensor:
            x = net.start(x)
            for layer, told in zip(net.layers, net.told, strict=True):
                a, b = (layer(x) + told(mel)).chunk(2, 1)
                x = x + net.skip(a.tanh() * b.sigmoid())
            return net.end(x)

        layers = nn.ModuleList(nn.Conv1d(32, 64, 3, padding=2**k, dilation=2**k) for k in range(3))
        parts = {"layers": layers, "told": nn.ModuleList(nn.Conv1d(16, 64, 1) for _ in layers)}
        return Net(run, start=nn.Conv1d(4, 32, 1), **parts, skip=nn.Conv1d(32, 32, 1), end=zeroed(nn.Conv1d(32, 8, 1)))

    def run(net: Any, sound: Tensor, mel: Tensor) -> Tensor:
        x, total = sound.unflatten(1, (-1, 8)).transpose(1, 2), 0.0
        for rotation, couple in zip(net.rotations, net.couplings, strict=True):
            a, b = (rotation @ x).chunk(2, 1)
            logs, shift = couple(a, mel).chunk(2, 1)
            x = torch.cat([a, logs.exp() * b + shift], 1)
            total = total + logs.mean() / 2 + torch.linalg.slogdet(rotation)[1] / 8
        return (x**2).mean() / 2 - total

    rotations = nn.ParameterList(init.orthogonal_(torch.empty(8, 8)) for _ in range(4))
    return Net(run, rotations=rotations, couplings=nn.ModuleList(coupling() for _ in range(4)))


def sounds() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.sin(torch.arange(256) * (0.05 + 0.1 * uniform(16, 1, seed=72))) + 0.1 * normal(16, 256, seed=73)
    mel = x.unflatten(1, (-1, 8)).transpose(1, 2).repeat(1, 2, 1).abs()
    return x, mel, torch.zeros(16)


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


def squares() -> tuple[Tensor, Tensor]:
    return images(12, 16)[0], torch.zeros(12)


def written() -> tuple[Tensor, Tensor]:
    x = (digits(48)[0] > 0.5).float()
    return x, x


def drawings() -> tuple[Tensor, Tensor]:
    return (digit_images(32)[0] > 0.5).float(), torch.zeros(32)


def nice() -> nn.Module:
    """Additive couplings, halves in turn, and a log scale that begins at zero; the negative log-likelihood."""

    def run(net: Any, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        for shift in net.shifts:
            a, b = b + shift(a), a
        z = torch.cat([a, b], 1) * net.scale.exp()
        return (functional.softplus(z) + functional.softplus(-z)).sum(1).mean() / 32 - net.scale.mean()

    return Net(run, shifts=nn.ModuleList(mlp(16, 128, 128, 16) for _ in range(4)), scale=nn.Parameter(torch.zeros(32)))


def energy(width: int = 64) -> nn.Module:
    """The energies of pictures against those of noise, and a small price on both; torch's own weights."""

    def run(net: Any, x: Tensor, noise: Tensor) -> Tensor:
        real, false = net.body(x), net.body(noise)
        return real.mean() - false.mean() + 0.1 * (real.square() + false.square()).mean()

    convs = [stacked(nn.Conv2d(k, width, 4, 2, 1), nn.SiLU()) for k in (3, width, width)]
    return Net(run, body=stacked(*convs, nn.Flatten(), nn.Linear(width * 16, 1)))


tuned, held_out = maker("torch", "generative", "tuned"), maker("torch", "generative", "held_out")
MODELS = (
    tuned("vae", variational, digits_again, first_error),
    tuned("flow", flow, data, likelihood),
    tuned("fresh_pixelcnn", masked, black_and_white, BINARY),
    tuned("fresh_vq_vae", quantised, rebuilt, own),
    tuned("fresh_waveglow", flowing, sounds, own),
    tuned("fresh_real_nvp", coupled, correlated, own),
    tuned("fresh_glow", glowing, squares, own),
    tuned("fresh_made", autoregressive, written, BINARY),
    tuned("fresh_vae_conv", ladder, drawings, own),
    held_out("last_nice", nice, curve(64, 32), own),
    held_out(
        "last_energy_of_pictures", energy, lambda: (images(12, 32)[0], normal(12, 3, 32, 32), torch.zeros(())), own
    ),
)
