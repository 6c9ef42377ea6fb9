"""Convolutional classifiers with residual connections or dense ones."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import images, photos
from zoo.torch.laws import CONVS, drawn, filled, he, he_out, zeroed
from zoo.torch.layers import Function, Net, Residual, conv, conv_norm, normed, pooled, stacked


def shortcut(fan_in: int, fan_out: int, stride: int) -> nn.Module:
    if fan_in == fan_out and stride == 1:
        return nn.Identity()
    return nn.Sequential(conv(fan_in, fan_out, 1, stride=stride, bias=False), nn.BatchNorm2d(fan_out))


def joined(branch: nn.Module, skip: nn.Module) -> nn.Module:
    return Net(lambda net, x: (net.branch(x) + net.skip(x)).relu(), branch=branch, skip=skip)


def basic(fan_in: int, fan_out: int, stride: int = 1) -> nn.Module:
    branch = (conv_norm(fan_in, fan_out, stride=stride), conv_norm(fan_out, fan_out, act=nn.Identity))
    return joined(nn.Sequential(*branch), shortcut(fan_in, fan_out, stride))


def bottleneck(fan_in: int, fan_out: int, stride: int = 1, groups: int = 1) -> nn.Module:
    inner = fan_out // 4
    middle = conv_norm(inner, inner, stride=stride, groups=groups)
    branch = (conv_norm(fan_in, inner, 1), middle, conv_norm(inner, fan_out, 1, act=nn.Identity))
    return joined(nn.Sequential(*branch), shortcut(fan_in, fan_out, stride))


def resnet(block: Callable[..., nn.Module], widths: tuple[int, ...], counts: tuple[int, ...]) -> nn.Module:
    """As torchvision: He over fan_out for convolutions, torch's own head."""
    parts, fan_in = [conv_norm(3, 32)], 32
    for stage, (width, count) in enumerate(zip(widths, counts, strict=True)):
        for number in range(count):
            parts += [block(fan_in, width, 2 if stage and not number else 1)]
            fan_in = width
    return drawn(pooled(*parts, width=fan_in), he_out, CONVS)


def resnet_zero_gamma() -> nn.Module:
    """The last batch norm of every branch starts at zero."""
    model = resnet(bottleneck, (128, 256, 512), (3, 4, 3))
    for name, module in model.named_modules():
        if name.endswith("branch.2.1"):
            init.zeros_(module.weight)
    return model


def preact(widths: tuple[int, ...] = (32, 64, 128), count: int = 3) -> nn.Module:
    """Norm and ReLU before each convolution; the stream is never cut."""

    def block(fan_in: int, fan_out: int, stride: int) -> nn.Module:
        first = (nn.BatchNorm2d(fan_in), nn.ReLU(), conv(fan_in, fan_out, stride=stride, bias=False))
        branch = nn.Sequential(*first, nn.BatchNorm2d(fan_out), nn.ReLU(), conv(fan_out, fan_out, bias=False))
        skip = nn.Identity() if fan_in == fan_out else conv(fan_in, fan_out, 1, stride=stride, bias=False)
        return Net(lambda net, x: net.branch(x) + net.skip(x), branch=branch, skip=skip)

    parts, fan_in = [conv(3, 32)], 32
    for stage, width in enumerate(widths):
        for number in range(count):
            parts += [block(fan_in, width, 2 if stage and not number else 1)]
            fan_in = width
    return drawn(pooled(*parts, nn.BatchNorm2d(fan_in), nn.ReLU(), width=fan_in), he_out, CONVS)


def squeeze_excite() -> nn.Module:
    def gate(width: int) -> nn.Module:
        narrow, wide = conv(width, width // 8, 1), conv(width // 8, width, 1)
        parts = nn.Sequential(nn.AdaptiveAvgPool2d(1), narrow, nn.ReLU(), wide, nn.Sigmoid())
        return Net(lambda net, x: x * net.gate(x), gate=parts)

    def block() -> nn.Module:
        return joined(nn.Sequential(conv_norm(64, 64), conv_norm(64, 64, act=nn.Identity), gate(64)), nn.Identity())

    return drawn(pooled(conv_norm(3, 64, stride=2), *(block() for _ in range(6)), width=64), he_out, CONVS)


def densenet(growth: int = 24, count: int = 6) -> nn.Module:
    def layer(width: int) -> nn.Module:
        bottle = (nn.BatchNorm2d(width), nn.ReLU(), conv(width, 4 * growth, 1, bias=False))
        wide = (nn.BatchNorm2d(4 * growth), nn.ReLU(), conv(4 * growth, growth, bias=False))
        return Net(lambda net, x: torch.cat([x, net.new(x)], 1), new=nn.Sequential(*bottle, *wide))

    parts, width = [conv(3, 48, bias=False)], 48
    for stage in range(3):
        parts += [layer(width + growth * number) for number in range(count)]
        width += growth * count
        if stage < 2:
            norm = (nn.BatchNorm2d(width), nn.ReLU())
            parts += [*norm, conv(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
            width //= 2
    return drawn(pooled(*parts, nn.BatchNorm2d(width), nn.ReLU(), width=width), init.kaiming_normal_, CONVS)


def resnet_plain() -> nn.Module:
    """Residual convolutions without a norm, each branch ending at zero (Fixup)."""
    depth = 16

    def block() -> nn.Module:
        first = filled(conv(64, 64), partial(he, gain=depth**-0.5))
        return Residual(nn.Sequential(first, nn.ReLU(), zeroed(conv(64, 64))))

    stem = nn.Sequential(filled(conv(3, 64, stride=2), he), nn.ReLU())
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(stem, *(block() for _ in range(depth)), *pool, zeroed(nn.Linear(64, 10)))


class LayerScale(nn.Module):
    """A factor a channel."""

    def __init__(self, width: int, start: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width, 1, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled channels."""
        return x * self.gamma


def convnext(width: int = 96, depth: int = 8) -> nn.Module:
    """Layer scales at 1e-6, weights N(0, 0.02) cut at two."""

    def block() -> nn.Module:
        mixed = (conv(width, width, 7, groups=width), nn.GroupNorm(1, width), conv(width, 4 * width, 1), nn.GELU())
        return Residual(nn.Sequential(*mixed, conv(4 * width, width, 1), LayerScale(width, 1e-6)))

    stem = (nn.Conv2d(3, width, 4, 4), nn.GroupNorm(1, width))
    body = pooled(*stem, *(block() for _ in range(depth)), nn.GroupNorm(1, width), width=width)
    return drawn(body, partial(init.trunc_normal_, std=0.02))


def pre_norm(width: int, act: type[nn.Module] = nn.ReLU) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), act()]


def wide_resnet() -> nn.Module:
    """WRN-16-2: norms first, dropout within, He over fan_out, a zero bias for the head."""

    def block(fan_in: int, fan_out: int, stride: int) -> nn.Module:
        first = [*pre_norm(fan_in), conv(fan_in, fan_out, stride=stride, bias=False)]
        branch = stacked(first, pre_norm(fan_out), nn.Dropout(0.3), conv(fan_out, fan_out, bias=False))
        skip = nn.Identity() if fan_in == fan_out else conv(fan_in, fan_out, 1, stride=stride, bias=False)
        return Net(lambda net, x: net.branch(x) + net.skip(x), branch=branch, skip=skip)

    plan = [(16, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    body = stacked(conv(3, 16, bias=False), [block(*one) for one in plan], pre_norm(128))
    return classified(body)


def classified(body: nn.Sequential) -> nn.Module:
    """The mean over positions and a head, He over fan_out for the convolutions."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            he_out(module.weight)
    model = pooled(*body, width=128, classes=8)
    init.zeros_(model[-1].bias)
    return model


class Standardised(nn.Conv2d):
    """A convolution by its weight with mean zero and variance 1 / fan_in, times a learnt gain (Brock 2021)."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))
        he(self.weight)
        init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        scale = torch.rsqrt(variance * self.weight[0].numel() + 1e-4) * self.gain
        return self._conv_forward(x, (self.weight - mean) * scale, self.bias)


def norm_free() -> nn.Module:
    """NFNet: standardised weights, scaled GELU, branches read x / beta and add 0.2 of themselves, factor zero."""
    act = Function(lambda x: functional.gelu(x) * 1.7015)

    def block(beta: float) -> nn.Module:
        branch = stacked(act, Standardised(64, 32, 1), act, Standardised(32, 32, 3, padding=1), act)
        parts = {"branch": branch.append(Standardised(32, 64, 1)), "factor": nn.Parameter(torch.zeros(()))}
        return Net(lambda net, x: x + 0.2 * net.factor * net.branch(x / beta), **parts)

    blocks = [block(math.sqrt(1 + 0.04 * number)) for number in range(8)]
    model = pooled(Standardised(3, 64, 3, stride=2, padding=1), *blocks, act, width=64, classes=8)
    filled(model[-1], partial(init.normal_, std=0.01))
    return model


def group_normed() -> nn.Module:
    """Residual blocks with group norms, torch's own weights."""

    def block(width: int) -> nn.Module:
        half = [part for _ in range(2) for part in (nn.GroupNorm(8, width), nn.SiLU(), conv(width, width))]
        return Residual(nn.Sequential(*half))

    body = (conv(3, 48, stride=2), *(block(48) for _ in range(3)), conv(48, 96, stride=2), *(block(96) for _ in "abc"))
    return pooled(*body, nn.GroupNorm(8, 96), nn.SiLU(), width=96, classes=8)


def two_scales() -> nn.Module:
    """Res2Net: the channels of a bottleneck in four parts, each read after the one before it."""

    def block() -> nn.Module:
        def run(net: Any, x: Tensor) -> Tensor:
            parts = list(net.enter(x).relu().chunk(4, 1))
            for i, layer in enumerate(net.layers):
                parts[i + 1] = layer(parts[i + 1] + (parts[i] if i else 0)).relu()
            return (x + net.leave(torch.cat(parts, 1))).relu()

        layers = nn.ModuleList(normed(16, 16) for _ in range(3))
        return Net(run, enter=normed(128, 64, 1), layers=layers, leave=normed(64, 128, 1))

    body = (normed(3, 128, stride=2), nn.ReLU(), *(block() for _ in range(5)))
    return classified(nn.Sequential(*body))


def reparametrisable() -> nn.Module:
    """RepVGG: a 3 x 3, a 1 x 1 and a norm side by side, no skip; torch's own weights."""

    def block(fan_in: int, fan_out: int, stride: int) -> nn.Module:
        parts = {"three": normed(fan_in, fan_out, stride=stride), "one": normed(fan_in, fan_out, 1, stride=stride)}
        same = fan_in == fan_out and stride == 1
        parts |= {"same": nn.BatchNorm2d(fan_in)} if same else {}
        return Net(lambda net, x: sum(part(x) for part in net.children()).relu(), **parts)

    plan = [(3, 32, 2), (32, 48, 2), (48, 48, 1), (48, 96, 2), *[(96, 96, 1)] * 5, (96, 192, 2)]
    return pooled(*(block(*one) for one in plan), width=192, classes=8)


class Shortcut(nn.Module):
    """The stream at half the size with zeros for the new channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Every second pixel, padded channels."""
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, x.shape[1] // 2, x.shape[1] // 2))


def cifar_resnet(blocks: int = 3) -> nn.Module:
    """The small ResNet of 20 layers, shortcuts without parameters."""

    def block(before: int, after: int) -> nn.Module:
        branch = stacked(conv_norm(before, after, stride=after // before), conv_norm(after, after, act=nn.Identity))
        skip = Shortcut() if after > before else nn.Identity()
        return Net(lambda net, x: functional.relu(net.skip(x) + net.branch(x)), branch=branch, skip=skip)

    pairs = [(16, 16)] * blocks + [(16, 32)] + [(32, 32)] * (blocks - 1) + [(32, 64)] + [(64, 64)] * (blocks - 1)
    return drawn(pooled(conv_norm(3, 16), *(block(*pair) for pair in pairs), width=64, classes=8), he_out, (nn.Conv2d,))


def conv_mixer(width: int = 96) -> nn.Module:
    """Patches, then depthwise and pointwise convolutions, GELU before batch norm."""

    def after(layer: nn.Module) -> nn.Module:
        return stacked(layer, nn.GELU(), nn.BatchNorm2d(width))

    blocks = [
        stacked(Residual(after(conv(width, width, 7, groups=width))), after(conv(width, width, 1))) for _ in "x" * 6
    ]
    return pooled(after(nn.Conv2d(3, width, 4, 4)), *blocks, width=width, classes=8)


tuned, held_out = maker("torch", "cnn", "tuned"), maker("torch", "cnn", "held_out")
MODELS = (
    tuned("resnet_18", lambda: resnet(basic, (32, 64, 128, 256), (2, 2, 2, 2)), images),
    tuned("resnet_50", lambda: resnet(bottleneck, (128, 256, 512), (3, 4, 6)), images),
    tuned("resnext", lambda: resnet(partial(bottleneck, groups=8), (128, 256), (3, 3)), images),
    tuned("resnet_zero_gamma", resnet_zero_gamma, images),
    tuned("resnet_preact", preact, images),
    tuned("resnet_fixup", resnet_plain, images),
    tuned("squeeze_excite", squeeze_excite, images),
    tuned("densenet", densenet, images),
    tuned("convnext", convnext, images),
    tuned("fresh_wide_resnet", wide_resnet, photos()),
    tuned("fresh_nfnet", norm_free, photos()),
    tuned("fresh_resnet_group_norm", group_normed, photos()),
    tuned("fresh_res2net", two_scales, photos()),
    tuned("fresh_repvgg", reparametrisable, photos()),
    held_out("last_cifar_resnet_20", cifar_resnet, photos()),
    held_out("last_conv_mixer", conv_mixer, photos()),
)
