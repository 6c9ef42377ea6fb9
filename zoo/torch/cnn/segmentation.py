"""Labels of pixels and of voxels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import images, normal
from zoo.torch.cnn.plain import plain, vgg_parts
from zoo.torch.laws import CONVS, drawn, he, zeroed
from zoo.torch.layers import Net, conv, conv_norm, normed, stacked


def unet(layer: Callable[..., nn.Module] = conv_norm, width: int = 32) -> nn.Module:
    """Three sizes with skips, He; answers two channels."""

    def run(net: Any, x: Tensor) -> Tensor:
        first = net.enter(x)
        second = net.down(functional.max_pool2d(first, 2))
        low = net.bottom(functional.max_pool2d(second, 2))
        x = net.merge(torch.cat([net.up(low), second], 1))
        return net.head(net.end(torch.cat([net.top(x), first], 1)))

    def twice(fan_in: int, fan_out: int) -> nn.Module:
        return nn.Sequential(layer(fan_in, fan_out), layer(fan_out, fan_out))

    w = width
    parts = {"enter": twice(3, w), "down": twice(w, 2 * w), "bottom": twice(2 * w, 4 * w), "merge": twice(4 * w, 2 * w)}
    ups = {"up": nn.ConvTranspose2d(4 * w, 2 * w, 2, 2), "top": nn.ConvTranspose2d(2 * w, w, 2, 2)}
    model = Net(run, **parts, **ups, end=twice(2 * w, w), head=conv(w, 2, 1))
    return drawn(model, he, CONVS)


def fcn() -> nn.Module:
    """A strided body and a transposed convolution that starts as bilinear interpolation (Long 2015)."""
    body = drawn(nn.Sequential(*vgg_parts((32, "pool", 64, 64, "pool", 128, 128), plain)), he)
    up = nn.ConvTranspose2d(2, 2, 8, 4, 2, bias=False)
    ramp = 1 - (torch.arange(8) - 3.5).abs() / 4
    up.weight.data = torch.eye(2)[:, :, None, None] * ramp[:, None] * ramp
    return nn.Sequential(body, zeroed(nn.Conv2d(128, 2, 1)), up)


def masks(side: int = 32) -> tuple[Tensor, Tensor]:
    x, _ = images(16, side)
    return x, (functional.avg_pool2d(x, 3, 1, 1).sum(1) > 0).long()


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
        return net.head(torch.cat([functional.interpolate(one, size=sizes[0].shape[2:]) for one in sizes], 1))

    downs = nn.ModuleList(stacked(normed(24 * 2**k, 48 * 2**k, stride=2), nn.ReLU()) for k in range(2))
    parts = {"stem": stacked(normed(3, 24, stride=2), nn.ReLU()), "downs": downs, "head": conv(168, 5, 1)}
    return drawn(
        Net(run, **parts, stages=nn.ModuleList(exchange() for _ in range(2))), partial(init.normal_, std=0.001)
    )


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


def regions() -> tuple[Tensor, Tensor]:
    x, _ = images(8, 32)
    return x, (x.sum(1) * 1.2 + 2.5).long().clamp(0, 4)


def quarters() -> tuple[Tensor, Tensor]:
    x, y = regions()
    return x, y[:, ::2, ::2]


def nn_unet_3d() -> nn.Module:
    """A U-Net for volumes: instance norm, LeakyReLU, He's law for it, and an answer at the lower scale too."""

    def twice(before: int, after: int, stride: int = 1) -> nn.Module:
        def once(fan: int, step: int) -> list[nn.Module]:
            return [nn.Conv3d(fan, after, 3, step, 1), nn.InstanceNorm3d(after, affine=True), nn.LeakyReLU(0.01)]

        return stacked(once(before, stride), once(after, 1))

    def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        top = net.top(x)
        low = net.low(top)
        low = net.back(torch.cat([low, net.rise(net.deep(low))], 1))
        return net.answer(net.leave(torch.cat([top, net.up(low)], 1))), net.lower(low)

    parts = {"top": twice(1, 16), "low": twice(16, 32, 2), "deep": twice(32, 64, 2), "back": twice(64, 32)}
    parts |= {"rise": nn.ConvTranspose3d(64, 32, 2, 2), "up": nn.ConvTranspose3d(32, 16, 2, 2), "leave": twice(32, 16)}
    model = Net(run, **parts, answer=nn.Conv3d(16, 3, 1), lower=nn.Conv3d(32, 3, 1))
    for module in model.modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            init.kaiming_normal_(module.weight, a=0.01)
            init.zeros_(module.bias)
    return model


def scans() -> tuple[Tensor, Tensor]:
    x = functional.interpolate(normal(2, 1, 4, 4, 4, seed=301), size=16, mode="trilinear") / 0.6
    return x, (x[:, 0] + 1.5).long().clamp(0, 2)


def at_both_scales(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    low = target[:, ::2, ::2, ::2]
    return functional.cross_entropy(output[0], target) + 0.5 * functional.cross_entropy(output[1], low)


tuned, held_out = maker("torch", "cnn", "tuned"), maker("torch", "cnn", "held_out")
MODELS = (
    tuned("unet", unet, masks),
    tuned("unet_plain", lambda: unet(plain), masks),
    tuned("fcn", fcn, masks),
    tuned("fresh_hrnet", high_resolution, quarters),
    tuned("fresh_deeplab", atrous, regions),
    held_out("last_nn_unet_3d", nn_unet_3d, scans, at_both_scales),
)
