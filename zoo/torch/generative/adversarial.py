"""Generators and critics."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import bright, correlated, images, labels, normal
from zoo.torch.laws import drawn, filled, laid, small
from zoo.torch.layers import DOUBLED, Function, Net, Residual, conv, mlp, normed, stacked
from zoo.torch.losses import BINARY, own


def gan_law(model: nn.Module) -> nn.Module:
    """N(0, 0.02), and N(1, 0.02) for the factors of batch norms."""
    for module in drawn(model, small).modules():
        if isinstance(module, nn.BatchNorm2d):
            init.normal_(module.weight, 1.0, 0.02)
    return model


def generator() -> nn.Module:
    def up(fan_in: int, fan_out: int, stride: int = 2, padding: int = 1) -> nn.Module:
        layer = nn.ConvTranspose2d(fan_in, fan_out, 4, stride, padding, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(fan_out), nn.ReLU())

    last = (nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())
    return gan_law(nn.Sequential(up(100, 256, 1, 0), up(256, 128), up(128, 64), *last))


def discriminator() -> nn.Module:
    def down(fan_in: int, fan_out: int, norm: Callable[[int], nn.Module]) -> nn.Module:
        layer = nn.Conv2d(fan_in, fan_out, 4, 2, 1, bias=False)
        return nn.Sequential(layer, norm(fan_out), nn.LeakyReLU(0.2))

    body = (down(3, 64, lambda _: nn.Identity()), down(64, 128, nn.BatchNorm2d), down(128, 256, nn.BatchNorm2d))
    return gan_law(nn.Sequential(*body, nn.Conv2d(256, 1, 4, bias=False), nn.Flatten()))


def spectral_discriminator() -> nn.Module:
    """Spectral norms and torch's own weights beneath them."""
    sizes = ((3, 64, 3, 1), (64, 64, 4, 2), (64, 128, 3, 1), (128, 128, 4, 2))
    body: list[nn.Module] = []
    for i, o, kernel, stride in sizes:
        layer = filled(nn.Conv2d(i, o, kernel, stride, 1), init.xavier_uniform_)
        body += [nn.utils.parametrizations.spectral_norm(layer), nn.LeakyReLU(0.1)]
    head = nn.utils.parametrizations.spectral_norm(nn.Linear(128 * 64, 1))
    return nn.Sequential(*body, nn.Flatten(), head)


def judged() -> tuple[Tensor, Tensor]:
    x, _ = images(32)
    return x, labels(x, 2).float()[:, None]


def painted() -> tuple[Tensor, Tensor]:
    return normal(32, 100, 1, 1), images(32)[0].tanh()


def translator() -> nn.Module:
    """CycleGAN's generator: instance norms, residual blocks, N(0, 0.02)."""

    def layer(fan_in: int, fan_out: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
        pad = nn.ReflectionPad2d(kernel // 2)
        return [pad, nn.Conv2d(fan_in, fan_out, kernel, stride), nn.InstanceNorm2d(fan_out), nn.ReLU()]

    blocks = [Residual(stacked(layer(64, 64), layer(64, 64)[:-1])) for _ in range(4)]
    up = [nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.InstanceNorm2d(32), nn.ReLU(), nn.ReflectionPad2d(3)]
    model = stacked(layer(3, 32, 7), layer(32, 64, 3, 2), blocks, up, nn.Conv2d(32, 3, 7), nn.Tanh())
    return drawn(model, small)


def patches() -> nn.Module:
    """Pix2pix's critic of patches: leaky ReLU, batch norms N(1, 0.02), N(0, 0.02)."""
    parts = [conv(3, 32, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for fan_in, fan_out in ((32, 64), (64, 128)):
        parts += [normed(fan_in, fan_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    model = laid(stacked(parts, nn.Conv2d(128, 1, 3, padding=1)), small)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            init.normal_(module.weight, 1.0, 0.02)
    return model


def equalised(fan_in: int, fan_out: int, kernel: int = 0, gain: float = math.sqrt(2)) -> nn.Module:
    """N(0, 1), times gain / sqrt(fan_in) at run time (Karras 2018); without kernel a linear map."""
    shape = (fan_out, fan_in, kernel, kernel) if kernel else (fan_out, fan_in)
    scale = gain / math.sqrt(math.prod(shape[1:]))

    def run(net: Any, x: Tensor) -> Tensor:
        if kernel:
            return functional.conv2d(x, net.weight * scale, net.bias, padding=kernel // 2)
        return functional.linear(x, net.weight * scale, net.bias)

    return Net(run, weight=nn.Parameter(torch.randn(shape)), bias=nn.Parameter(torch.zeros(fan_out)))


def stylised() -> nn.Module:
    """StyleGAN: a mapping of six layers, a constant, noise of factor zero, instance norms with styles."""

    def layer(fan_in: int, fan_out: int) -> nn.Module:
        def run(net: Any, x: Tensor, style: Tensor) -> Tensor:
            x = net.conv(x)
            x = functional.leaky_relu(x + net.noise * torch.randn_like(x[:, :1]), 0.2)
            scale, shift = net.style(style)[..., None, None].chunk(2, 1)
            return functional.instance_norm(x) * (1 + scale) + shift

        parts = {"conv": equalised(fan_in, fan_out, 3), "style": equalised(64, 2 * fan_out, gain=1.0)}
        return Net(run, **parts, noise=nn.Parameter(torch.zeros(fan_out, 1, 1)))

    def run(net: Any, z: Tensor) -> Tensor:
        style = net.mapping(z * (z**2).mean(1, keepdim=True).add(1e-8).rsqrt())
        x = net.start.expand(len(z), -1, -1, -1)
        for number, one in enumerate(net.layers):
            x = one(DOUBLED(x) if number % 2 and number > 1 else x, style)
        return net.image(x)

    mapping = stacked([part for _ in range(6) for part in (equalised(64, 64), nn.LeakyReLU(0.2))])
    layers = nn.ModuleList(layer(a, b) for a, b in ((64, 64), (64, 64), (64, 64), (64, 32), (32, 32), (32, 32)))
    parts = {"mapping": mapping, "start": nn.Parameter(torch.ones(1, 64, 4, 4)), "layers": layers}
    return Net(run, **parts, image=equalised(32, 3, 1, gain=1.0))


def progressive() -> nn.Module:
    """A progressive GAN's critic: equalised layers, mean pools, the spread over the batch as a last map."""

    def spread(x: Tensor) -> Tensor:
        return torch.cat([x, x.std(0).mean().expand(len(x), 1, *x.shape[2:])], 1)

    act, pool = nn.LeakyReLU(0.2), nn.AvgPool2d(2)
    body = [p for a, b in ((32, 48), (48, 64), (64, 64)) for p in (equalised(a, b, 3), act, pool)]
    last = (equalised(65, 64, 3), act, nn.Flatten(), equalised(1024, 64), act, equalised(64, 1, gain=1.0))
    return stacked(equalised(3, 32, 1), act, body, Function(spread), *last)


def dusk() -> tuple[Tensor, Tensor]:
    x = bright(8, 32) * 2 - 1
    return x, -0.5 * x.flip(1)


def real_pictures() -> tuple[Tensor, Tensor]:
    x = bright(16, 32) * 2 - 1
    real = torch.arange(16) % 2 == 0
    x = torch.where(real[:, None, None, None], x, 0.5 * normal(16, 3, 32, 32, seed=42))
    return x, real.float()[:, None]


def patchwise(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output, target[:, :, None, None].expand_as(output))


def drawn_from_noise() -> tuple[Tensor, Tensor]:
    return normal(16, 64), functional.avg_pool2d(bright(16, 32), 2) * 2 - 1


def critic() -> nn.Module:
    """A WGAN's critic of points with its penalty on the gradient; torch's own weights."""

    def run(net: Any, real: Tensor, fake: Tensor) -> Tensor:
        between = (0.5 * real + 0.5 * fake).requires_grad_()
        slope = torch.autograd.grad(net.body(between).sum(), between, create_graph=True)[0]
        return net.body(fake).mean() - net.body(real).mean() + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()

    return Net(run, body=mlp(12, 128, 128, 128, 1, act=nn.LeakyReLU))


def real_and_fake() -> tuple[Tensor, Tensor, Tensor]:
    return correlated()[0], normal(64, 12, seed=102), torch.zeros(64)


def pix2pix() -> nn.Module:
    """A U-Net that halves to the bottom, N(0, 0.02), pictures in [-1, 1] at both ends."""

    def down(before: int, after: int) -> nn.Module:
        return stacked(nn.LeakyReLU(0.2), nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after))

    def up(before: int, after: int) -> nn.Module:
        return stacked(nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after))

    def run(net: Any, x: Tensor) -> Tensor:
        a = net.enter(x)
        b = net.one(a)
        c = net.two(b)
        back = torch.cat([net.back(net.three(c)), c], 1)
        return net.leave(torch.cat([net.last(torch.cat([net.more(back), b], 1)), a], 1))

    parts = {"enter": nn.Conv2d(3, 32, 4, 2, 1), "one": down(32, 64), "two": down(64, 128), "three": down(128, 128)}
    parts |= {"back": up(128, 128), "more": up(256, 64), "last": up(128, 32)}
    leave = stacked(nn.ReLU(), nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())
    return laid(Net(run, **parts, leave=leave), small)


def coloured() -> tuple[Tensor, Tensor]:
    x = bright(6, 32) * 2 - 1
    return x, x.mean(1, keepdim=True).expand_as(x).flip(3)


tuned, held_out = maker("torch", "generative", "tuned"), maker("torch", "generative", "held_out")
MODELS = (
    tuned("dcgan_generator", generator, painted, "l1_loss"),
    tuned("dcgan_discriminator", discriminator, judged, "binary_cross_entropy_with_logits"),
    tuned("spectral_discriminator", spectral_discriminator, judged, "binary_cross_entropy_with_logits"),
    tuned("fresh_cyclegan_generator", translator, dusk, "l1_loss"),
    tuned("fresh_patch_critic", patches, real_pictures, patchwise),
    tuned("fresh_stylegan_generator", stylised, drawn_from_noise, "mse_loss"),
    tuned("fresh_progressive_critic", progressive, real_pictures, BINARY),
    tuned("fresh_wgan_critic", critic, real_and_fake, own),
    held_out("last_pix2pix", pix2pix, coloured, "l1_loss"),
)
