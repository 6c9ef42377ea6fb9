"""Convolutional networks that draw, embed or label pixels, and those of sound, that no rule was chosen on."""

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.batches import BINARY, bounded, bright, laid, normed, own, split_heads, stacked, subject, uniform
from zoo.torch.layers import (
    Function,
    Net,
    Residual,
    conv,
    digit_images,
    drawn,
    frozen,
    images,
    mlp,
    normal,
    small,
    zeroed,
)

UP = functional.interpolate
DOUBLE = Function(partial(functional.interpolate, scale_factor=2))

# Labels of pixels


def high_resolution() -> nn.Module:
    """HRNet: three sizes side by side that read one another, batch norms, N(0, 0.001) (Sun 2019)."""

    def path(low: int, high: int) -> nn.Module:
        if low == high:
            return nn.Identity()
        if low > high:
            up = nn.Upsample(scale_factor=2 ** (low - high))
            return nn.Sequential(normed(24 * 2**low, 24 * 2**high, 1), up)
        middle = [p for _ in range(high - low - 1) for p in (normed(24 * 2**low, 24 * 2**low, stride=2), nn.ReLU())]
        return stacked(middle, normed(24 * 2**low, 24 * 2**high, stride=2))

    def exchange() -> nn.Module:
        def run(net: Any, sizes: list[Tensor]) -> list[Tensor]:
            seen = [body(one) for body, one in zip(net.bodies, sizes, strict=True)]
            return [sum(net.paths[3 * a + b](seen[a]) for a in range(3)).relu() for b in range(3)]

        bodies = nn.ModuleList(stacked(normed(24 * 2**k, 24 * 2**k), nn.ReLU()) for k in range(3))
        return Net(run, bodies=bodies, paths=nn.ModuleList(path(a, b) for a in range(3) for b in range(3)))

    def run(net: Any, x: Tensor) -> Tensor:
        sizes = [net.stem(x)]
        for down in net.downs:
            sizes.append(down(sizes[-1]))
        for stage in net.stages:
            sizes = stage(sizes)
        return net.head(torch.cat([UP(one, size=sizes[0].shape[2:]) for one in sizes], 1))

    downs = nn.ModuleList(stacked(normed(24 * 2**k, 48 * 2**k, stride=2), nn.ReLU()) for k in range(2))
    parts = {"stem": stacked(normed(3, 24, stride=2), nn.ReLU()), "downs": downs, "head": conv(168, 5, 1)}
    return drawn(
        Net(run, **parts, stages=nn.ModuleList(exchange() for _ in range(2))), partial(init.normal_, std=0.001)
    )


def hourglasses() -> nn.Module:
    """Two stacked hourglasses, each answering heat maps; torch's own weights."""

    def block() -> nn.Module:
        narrow = stacked(nn.BatchNorm2d(48), nn.ReLU(), conv(48, 24, 1), nn.BatchNorm2d(24), nn.ReLU(), conv(24, 48))
        return Residual(narrow)

    def glass(depth: int) -> nn.Module:
        inner = glass(depth - 1) if depth > 1 else block()
        low = stacked(nn.MaxPool2d(2), block(), inner, block(), DOUBLE)
        return Net(lambda net, x: net.side(x) + net.low(x), side=block(), low=low)

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        seen = net.glasses[0](x)
        first = net.heads[0](seen)
        return torch.stack([first, net.heads[1](net.glasses[1](x + seen + net.back(first)))], 1)

    def whole() -> nn.Module:
        return stacked(glass(2), block(), normed(48, 48, 1), nn.ReLU())

    heads = nn.ModuleList(conv(48, 4, 1) for _ in "ab")
    parts = {"glasses": nn.ModuleList(whole() for _ in "ab"), "heads": heads, "back": conv(4, 48, 1)}
    return Net(run, stem=stacked(normed(3, 48, stride=2), nn.ReLU()), **parts)


def atrous() -> nn.Module:
    """DeepLab's pyramid of dilated convolutions, one of them over the whole picture; He over fan_in."""

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.body(x)
        whole = net.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        seen = torch.cat([*(branch(x) for branch in net.branches), whole], 1)
        return functional.interpolate(net.head(seen), scale_factor=4, mode="bilinear")

    body = stacked(normed(3, 32, stride=2), nn.ReLU(), normed(32, 64, stride=2), nn.ReLU(), normed(64, 64), nn.ReLU())
    rates = nn.ModuleList(stacked(normed(64, 32, padding=d, dilation=d), nn.ReLU()) for d in (1, 2, 4))
    parts = {"branches": rates, "whole": stacked(conv(64, 32, 1), nn.ReLU())}
    head = stacked(normed(128, 64, 1), nn.ReLU(), nn.Dropout(0.5), conv(64, 5, 1))
    return drawn(Net(run, body=body, **parts, head=head), init.kaiming_normal_)


# Pictures of pictures


def enhanced() -> nn.Module:
    """EDSR: twelve residual blocks without norms, their branches times 0.1; torch's own weights."""
    blocks = (Residual(stacked(conv(48, 48), nn.ReLU(), conv(48, 48)), 0.1) for _ in range(12))
    return nn.Sequential(conv(3, 48), Residual(stacked(list(blocks), conv(48, 48))), conv(48, 12), nn.PixelShuffle(2))


def subpixel() -> nn.Module:
    """ESPCN: tanh and depth to space."""
    return nn.Sequential(conv(3, 64, 5), nn.Tanh(), conv(64, 32), nn.Tanh(), conv(32, 12), nn.PixelShuffle(2))


def denoiser() -> nn.Module:
    """DnCNN: fifteen plain layers with batch norms that answer the noise; He over fan_in."""
    body = [part for _ in range(13) for part in (normed(32, 32), nn.ReLU())]
    return drawn(stacked(conv(1, 32), nn.ReLU(), body, conv(32, 1)), init.kaiming_normal_)


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
            x = one(DOUBLE(x) if number % 2 and number > 1 else x, style)
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
            x = up(torch.cat([DOUBLE(x) if x.shape[2] != skip.shape[2] else x, skip + zeros], 1))
        return net.out(x)

    down, ups = half(), nn.ModuleList(stacked(conv(96, 48), nn.GroupNorm(8, 48), nn.SiLU()) for _ in "ab")
    trunk = {"down": down, "middle": attend(), "ups": ups, "out": conv(48, 3)}
    copied = copy.deepcopy(down)
    zeros = nn.ModuleList(zeroed(conv(48, 48, 1)) for _ in "abc")
    for part in trunk.values():
        frozen(part)
    return Net(run, **trunk, copy=copied, zeros=zeros, hint=stacked(conv(1, 16), nn.SiLU(), zeroed(conv(16, 3))))


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


# Embeddings


def encoder(width: int = 64) -> nn.Module:
    def block(fan_in: int, fan_out: int) -> list[nn.Module]:
        return [normed(fan_in, fan_out, stride=2), nn.ReLU(), Residual(stacked(normed(fan_out, fan_out), nn.ReLU()))]

    return stacked(block(3, 32), block(32, 64), block(64, width), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def contrasted() -> nn.Module:
    """SimCLR: an encoder and a projector, both views in one batch, temperature 0.5."""

    def run(net: Any, a: Tensor, b: Tensor) -> Tensor:
        z = functional.normalize(net.project(net.encoder(torch.cat([a, b]))), dim=1)
        return (z @ z.T / 0.5).masked_fill(torch.eye(len(z)).bool(), -1e4)

    return Net(run, encoder=encoder(), project=mlp(64, 64, 32))


def redundant() -> nn.Module:
    """Barlow twins: a wide projector with batch norms."""

    def run(net: Any, a: Tensor, b: Tensor) -> Tensor:
        one, two = (net.norm(net.project(net.encoder(x))) for x in (a, b))
        return one.T @ two / len(a)

    project = mlp(64, 256, 256, 256, norm=nn.BatchNorm1d)
    return Net(run, encoder=encoder(), project=project, norm=nn.BatchNorm1d(256, affine=False))


def bootstrapped() -> nn.Module:
    """BYOL: a predictor of what a frozen copy says of the other view."""

    def run(net: Any, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            told = functional.normalize(net.target(b), dim=1)
        return functional.normalize(net.predict(net.online(a)), dim=1), told

    online = nn.Sequential(encoder(), mlp(64, 128, 32, norm=nn.BatchNorm1d))
    return Net(run, online=online, target=frozen(copy.deepcopy(online)), predict=mlp(32, 128, 32, norm=nn.BatchNorm1d))


def triplets() -> nn.Module:
    body = stacked(conv(1, 16, 5), nn.PReLU(), nn.MaxPool2d(2), conv(16, 32, 5), nn.PReLU(), nn.MaxPool2d(2))
    model = stacked(body, nn.Flatten(), nn.Linear(32 * 49, 128), nn.PReLU(), nn.Linear(128, 16))
    return Net(lambda net, *three: tuple(net.body(one) for one in three), body=model)


# Sound


def demixer() -> nn.Module:
    """Demucs in small: strided maps with GLU, an LSTM in the middle, and Demucs's rescaling of torch's weights."""

    def run(net: Any, x: Tensor) -> Tensor:
        kept = []
        for layer in net.down:
            x = layer(x)
            kept.append(x)
        x = net.widen(net.middle(x.transpose(1, 2))[0]).transpose(1, 2)
        for layer in net.up:
            x = layer(x + kept.pop())
        return x

    def strided(fan_in: int, fan_out: int) -> nn.Module:
        return stacked(nn.Conv1d(fan_in, fan_out, 8, 4, 2), nn.ReLU(), nn.Conv1d(fan_out, 2 * fan_out, 1), nn.GLU(1))

    down = [strided(1, 24), strided(24, 48)]
    up = [
        stacked(nn.Conv1d(48, 96, 3, padding=1), nn.GLU(1), nn.ConvTranspose1d(48, 24, 8, 4, 2), nn.ReLU()),
        stacked(nn.Conv1d(24, 48, 3, padding=1), nn.GLU(1), nn.ConvTranspose1d(24, 2, 8, 4, 2)),
    ]
    middle = nn.LSTM(48, 48, 1, bidirectional=True, batch_first=True)
    model = Net(run, down=nn.ModuleList(down), up=nn.ModuleList(up), middle=middle, widen=nn.Linear(96, 48))
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            scale = (module.weight.std().detach() / 0.1).sqrt()
            module.weight.data /= scale
            module.bias.data /= scale
    return model


# Batches and losses


def regions() -> tuple[Tensor, Tensor]:
    x, _ = images(8, 32)
    return x, (x.sum(1) * 1.2 + 2.5).long().clamp(0, 4)


def quarters() -> tuple[Tensor, Tensor]:
    x, y = regions()
    return x, y[:, ::2, ::2]


def joints() -> tuple[Tensor, Tensor]:
    x, _ = images(8, 32)
    smooth = functional.avg_pool2d(x.mean(1, keepdim=True), 2)
    return x, torch.cat([smooth, -smooth, smooth.flip(2), smooth.flip(3)], 1).exp()


def at_both(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output, target[:, None].expand_as(output))


def small_and_large() -> tuple[Tensor, Tensor]:
    x = bright(16, 32)
    return functional.avg_pool2d(x, 2), x


def noised() -> tuple[Tensor, Tensor]:
    noise = 0.1 * normal(16, 1, 28, 28, seed=41)
    return digit_images(16)[0] + noise, noise


def dusk() -> tuple[Tensor, Tensor]:
    x = bright(8, 32) * 2 - 1
    return x, -0.5 * x.flip(1)


def judged() -> tuple[Tensor, Tensor]:
    x = bright(16, 32) * 2 - 1
    real = torch.arange(16) % 2 == 0
    x = torch.where(real[:, None, None, None], x, 0.5 * normal(16, 3, 32, 32, seed=42))
    return x, real.float()[:, None]


def patchwise(output: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(output, target[:, :, None, None].expand_as(output))


def drawn_from_noise() -> tuple[Tensor, Tensor]:
    return normal(16, 64), functional.avg_pool2d(bright(16, 32), 2) * 2 - 1


def hinted() -> tuple[Tensor, Tensor, Tensor]:
    x = bright(8, 32) * 2 - 1
    noise = normal(8, 3, 32, 32, seed=43)
    return 0.7 * x + 0.7 * noise, (x.mean(1, keepdim=True) > 0).float(), noise


def black_and_white() -> tuple[Tensor, Tensor]:
    x = (digit_images(16)[0] > 0.5).float()
    return x, x


def rebuilt() -> tuple[Tensor, Tensor, Tensor]:
    x = bright(16, 32) - 0.5
    return x, x, torch.zeros(16)


def two_views() -> tuple[Tensor, Tensor]:
    x, _ = images(24, 32)
    return x, x.flip(3) + 0.2 * normal(24, 3, 32, 32, seed=44)


def twins() -> tuple[Tensor, Tensor, Tensor]:
    return *two_views(), torch.arange(48).roll(24)


def unlike(output: Tensor, target: Tensor) -> Tensor:
    away = (output - torch.eye(len(output))) ** 2
    return away.diagonal().sum() + 0.005 * (away.sum() - away.diagonal().sum()) + 0 * target.sum()


def near(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return (target - 2 * (output[0] * output[1]).sum(1)).mean()


def three() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, _ = digit_images(48)
    return x, x + 0.2 * normal(48, 1, 28, 28, seed=45), x.roll(1, 0), torch.ones(48)


def triplet(output: tuple[Tensor, Tensor, Tensor], _: Tensor) -> Tensor:
    return functional.triplet_margin_loss(*output)


def mixed() -> tuple[Tensor, Tensor]:
    time = torch.arange(1024) / 1024
    low = torch.sin(40 * time * (1 + uniform(12, 1, seed=46)))
    high = torch.sin(300 * time + 6 * uniform(12, 1, seed=47))
    return (low + high)[:, None], torch.stack([low, high], 1)


# The collection

image = subject("cnn")

PICTURES = (
    image("hrnet", high_resolution, quarters),
    image("hourglass", hourglasses, joints, at_both),
    image("deeplab", atrous, regions),
    image("edsr", enhanced, small_and_large, "l1_loss"),
    image("espcn", subpixel, small_and_large, "mse_loss"),
    image("dncnn", denoiser, noised, "mse_loss"),
    image("cyclegan_generator", translator, dusk, "l1_loss"),
    image("patch_critic", patches, judged, patchwise),
    image("stylegan_generator", stylised, drawn_from_noise, "mse_loss"),
    image("progressive_critic", progressive, judged, BINARY),
    image("controlnet", controlled, hinted, "mse_loss"),
    image("pixelcnn", masked, black_and_white, BINARY),
    image("vq_vae", quantised, rebuilt, own),
    image("simclr", contrasted, twins),
    image("barlow_twins", redundant, lambda: (*two_views(), torch.zeros(24)), unlike),
    image("byol", bootstrapped, lambda: (*two_views(), torch.full((24,), 2.0)), near),
    image("triplet", triplets, three, triplet),
    image("demucs", demixer, mixed, "l1_loss"),
)
