"""Convolutional networks for false_alarms.py, each as its authors or its field initialise it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.torch.layers import (
    Law,
    Net,
    Residual,
    Subject,
    conv,
    conv_norm,
    digit_images,
    drawn,
    filled,
    he,
    he_out,
    images,
    labels,
    lecun,
    next_token,
    normal,
    pooled,
    sentences,
    small,
    targets,
    zeroed,
)

CONVS = (nn.Conv1d, nn.Conv2d)
ELEVEN = (64, "pool", 128, "pool", 128, 128, "pool", 256, 256, "pool", 256, 256)
SIXTEEN = (32, 32, "pool", 64, 64, "pool", 128, 128, 128, "pool", 256, 256, 256, "pool", 256, 256, 256)

# Plain stacks


def lenet() -> nn.Module:
    """LeNet with ReLU, as torch's tutorials have it."""
    first = (nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
    last = (nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    return nn.Sequential(*first, nn.Flatten(), *last)


def vgg_parts(plan: tuple[int | str, ...], layer: Callable[[int, int], nn.Module]) -> list[nn.Module]:
    parts: list[nn.Module] = []
    width = 3
    for entry in plan:
        if isinstance(entry, int):
            parts += [layer(width, entry)]
            width = entry
        else:
            parts += [nn.MaxPool2d(2)]
    return parts


def plain(fan_in: int, fan_out: int) -> nn.Module:
    return nn.Sequential(conv(fan_in, fan_out), nn.ReLU())


def vgg(plan: tuple[int | str, ...], law: Law, last: Law) -> nn.Module:
    """Convolutions of one law, perceptron of another; torchvision's are He over fan_out and N(0, 0.01)."""
    body = drawn(nn.Sequential(*vgg_parts(plan, plain)), law)
    head = nn.Sequential(nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(body, nn.Flatten(), drawn(head, last))


def vgg_bn() -> nn.Module:
    return pooled(drawn(nn.Sequential(*vgg_parts(SIXTEEN, conv_norm)), he_out, CONVS), width=256)


def all_conv() -> nn.Module:
    """Strided convolutions in place of pooling, He over fan_in, the mean of the last map is the answer."""
    widths = ((3, 48, 1), (48, 48, 1), (48, 48, 2), (48, 96, 1), (96, 96, 1), (96, 96, 2), (96, 96, 1))
    body = [part for i, o, stride in widths for part in (conv(i, o, stride=stride), nn.LeakyReLU(0.01))]
    last = filled(nn.Conv2d(96, 10, 1), lecun)
    return nn.Sequential(drawn(nn.Sequential(*body), he), last, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def squeezenet() -> nn.Module:
    """Fire modules, as torchvision: He uniform, the last convolution N(0, 0.01)."""

    def fire(fan_in: int, squeeze: int, expand: int) -> nn.Module:
        parts = {"squeeze": conv(fan_in, squeeze, 1), "one": conv(squeeze, expand, 1), "three": conv(squeeze, expand)}

        def run(net: Any, x: Tensor) -> Tensor:
            x = net.squeeze(x).relu()
            return torch.cat([net.one(x), net.three(x)], 1).relu()

        return Net(run, **parts)

    body = [conv(3, 64), nn.ReLU(), nn.MaxPool2d(2), fire(64, 16, 64), fire(128, 16, 64), nn.MaxPool2d(2)]
    body += [fire(128, 32, 128), fire(256, 32, 128), fire(256, 48, 128)]
    drawn(nn.Sequential(*body), partial(init.kaiming_uniform_, nonlinearity="relu"))
    last = filled(nn.Conv2d(256, 10, 1), partial(init.normal_, std=0.01))
    return nn.Sequential(*body, nn.Dropout(0.5), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


# Residual and dense


def shortcut(fan_in: int, fan_out: int, stride: int) -> nn.Module:
    if fan_in == fan_out and stride == 1:
        return nn.Identity()
    return nn.Sequential(conv(fan_in, fan_out, 1, stride=stride, bias=False), nn.BatchNorm2d(fan_out))


def basic(fan_in: int, fan_out: int, stride: int = 1) -> nn.Module:
    branch = (conv_norm(fan_in, fan_out, stride=stride), conv_norm(fan_out, fan_out, act=nn.Identity))
    return joined(nn.Sequential(*branch), shortcut(fan_in, fan_out, stride))


def bottleneck(fan_in: int, fan_out: int, stride: int = 1, groups: int = 1) -> nn.Module:
    inner = fan_out // 4
    middle = conv_norm(inner, inner, stride=stride, groups=groups)
    branch = (conv_norm(fan_in, inner, 1), middle, conv_norm(inner, fan_out, 1, act=nn.Identity))
    return joined(nn.Sequential(*branch), shortcut(fan_in, fan_out, stride))


def joined(branch: nn.Module, skip: nn.Module) -> nn.Module:
    return Net(lambda net, x: (net.branch(x) + net.skip(x)).relu(), branch=branch, skip=skip)


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


def inception() -> nn.Module:
    def block(fan_in: int) -> nn.Module:
        return Net(
            lambda net, x: torch.cat([branch(x) for branch in net.branches], 1),
            branches=nn.ModuleList(
                (
                    conv_norm(fan_in, 32, 1),
                    nn.Sequential(conv_norm(fan_in, 32, 1), conv_norm(32, 64)),
                    nn.Sequential(conv_norm(fan_in, 16, 1), conv_norm(16, 32, 5)),
                    nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_norm(fan_in, 32, 1)),
                )
            ),
        )

    law = partial(init.trunc_normal_, std=0.1, a=-2, b=2)
    return drawn(pooled(conv_norm(3, 64, stride=2), block(64), block(160), nn.MaxPool2d(2), block(160), width=160), law)


def mobilenet() -> nn.Module:
    """Depthwise and pointwise convolutions with batch norms."""

    def pair(fan_in: int, fan_out: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(conv_norm(fan_in, fan_in, groups=fan_in, stride=stride), conv_norm(fan_in, fan_out, 1))

    widths = ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 256, 1))
    return drawn(pooled(conv_norm(3, 32), *(pair(*sizes) for sizes in widths), width=256), he_out, CONVS)


def mobilenet_plain() -> nn.Module:
    """The same without norms, He over fan_in."""
    body: list[nn.Module] = [conv(3, 32), nn.ReLU()]
    for i, o, stride in ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)):
        body += [conv(i, i, groups=i, stride=stride), nn.ReLU(), conv(i, o, 1), nn.ReLU()]
    return drawn(pooled(*body, width=256), he)


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


# Pictures out


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


def autoencoder() -> nn.Module:
    """Strided convolutions down, transposed ones up, He with the fan that each output pixel really has."""
    down = [part for i, o in ((3, 32), (32, 64), (64, 128)) for part in (nn.Conv2d(i, o, 4, 2, 1), nn.ReLU())]
    up = [nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU()]
    last = nn.ConvTranspose2d(32, 3, 4, 2, 1)
    for layer in (*up[::2], last):
        init.normal_(layer.weight, std=((1 if layer is last else 2) / (layer.in_channels * 4)) ** 0.5)
        init.zeros_(layer.bias)
    return nn.Sequential(drawn(nn.Sequential(*down), he), nn.Sequential(*up, last))


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


def super_resolution() -> nn.Module:
    """Residual blocks with PReLU, a long skip and two pixel shuffles."""

    def block() -> nn.Module:
        parts = (conv_norm(64, 64, act=nn.PReLU), conv_norm(64, 64, act=nn.Identity))
        return Residual(nn.Sequential(*parts))

    def run(net: Any, x: Tensor) -> Tensor:
        x = net.enter(x)
        return net.head(net.up(x + net.body(x)))

    body = nn.Sequential(*(block() for _ in range(5)), conv_norm(64, 64, act=nn.Identity))
    up = nn.Sequential(conv(64, 256), nn.PixelShuffle(2), nn.PReLU())
    return Net(run, enter=nn.Sequential(conv(3, 64, 9), nn.PReLU()), body=body, up=up, head=conv(64, 3, 9))


def detector() -> nn.Module:
    """RetinaNet's head: N(0, 0.01) throughout and a bias of -4.6, so that everything starts as background."""
    backbone = resnet(basic, (32, 64), (1, 2))[:-3]
    tower = [part for _ in range(4) for part in (conv(64, 64), nn.ReLU())]
    head = drawn(nn.Sequential(*tower, conv(64, 9)), partial(init.normal_, std=0.01))
    init.constant_(head[-1].bias, -4.6)
    return nn.Sequential(backbone, head)


# Sequences


def wavenet(width: int = 64, depth: int = 10) -> nn.Module:
    """Gated dilated convolutions with residual and skip outputs; answers the next of 256 levels."""

    def block(dilation: int) -> nn.Module:
        def run(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            a, b = net.gated(functional.pad(x, (dilation, 0))).chunk(2, 1)
            mixed = a.tanh() * b.sigmoid()
            return x + net.out(mixed), net.skip(mixed)

        parts = {"out": nn.Conv1d(width, width, 1), "skip": nn.Conv1d(width, 128, 1)}
        return Net(run, gated=nn.Conv1d(width, 2 * width, 2, dilation=dilation), **parts)

    def run(net: Any, ids: Tensor) -> Tensor:
        x, total = net.embed(ids).transpose(1, 2), 0
        for layer in net.blocks:
            x, skip = layer(x)
            total = total + skip
        return net.head(total).transpose(1, 2)

    blocks = nn.ModuleList(block(2 ** (number % 5)) for number in range(depth))
    head = nn.Sequential(nn.ReLU(), nn.Conv1d(128, 128, 1), nn.ReLU(), nn.Conv1d(128, 256, 1))
    return drawn(Net(run, embed=nn.Embedding(256, width), blocks=blocks, head=head), init.xavier_uniform_)


def temporal(width: int = 64, depth: int = 4) -> nn.Module:
    """Residual dilated convolutions over time, torch's own weights; answers one number at every step."""

    def block(fan_in: int, dilation: int) -> nn.Module:
        pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
        first = (pad, nn.Conv1d(fan_in, width, 3, dilation=dilation), nn.ReLU(), nn.Dropout(0.1))
        branch = nn.Sequential(*first, pad, nn.Conv1d(width, width, 3, dilation=dilation), nn.ReLU())
        skip = nn.Identity() if fan_in == width else nn.Conv1d(fan_in, width, 1)
        return joined(branch, skip)

    body = nn.Sequential(block(8, 1), *(block(width, 2**number) for number in range(1, depth)))
    return nn.Sequential(body, nn.Conv1d(width, 1, 1))


# Batches


def masks(side: int = 32) -> tuple[Tensor, Tensor]:
    x, _ = images(16, side)
    return x, (functional.avg_pool2d(x, 3, 1, 1).sum(1) > 0).long()


def boxes() -> tuple[Tensor, Tensor]:
    x, _ = images(16)
    places = functional.avg_pool2d(x, 2).repeat(1, 3, 1, 1)
    return x, (places > 1.9).float()


def judged() -> tuple[Tensor, Tensor]:
    x, _ = images(32)
    return x, labels(x, 2).float()[:, None]


def rebuilt() -> tuple[Tensor, Tensor]:
    x, _ = images(16)
    return x, x


def enlarged() -> tuple[Tensor, Tensor]:
    x, _ = images(16)
    return functional.avg_pool2d(x, 2), x


def painted() -> tuple[Tensor, Tensor]:
    return normal(32, 100, 1, 1), images(32)[0].tanh()


def signals() -> tuple[Tensor, Tensor]:
    x = normal(16, 8, 64)
    return x, targets(x.transpose(1, 2).reshape(-1, 8)).view(16, 64, 1).transpose(1, 2)


def levels() -> tuple[Tensor, Tensor]:
    x, y = sentences(16, 64)
    return x, y.contiguous()


def image(name: str, build: Callable[[], nn.Module], loss: Any = "cross_entropy", batch: Any = images) -> Subject:
    return Subject(name, build, batch, loss, "cnn")


CONVOLUTIONAL = (
    image("lenet_default", lenet, batch=digit_images),
    image("vgg_11", lambda: vgg(ELEVEN, he_out, partial(init.normal_, std=0.01))),
    image("vgg_16", lambda: vgg(SIXTEEN, he, he)),
    image("vgg_16_bn", vgg_bn),
    image("all_conv", all_conv),
    image("squeezenet", squeezenet),
    image("resnet_18", lambda: resnet(basic, (32, 64, 128, 256), (2, 2, 2, 2))),
    image("resnet_50", lambda: resnet(bottleneck, (128, 256, 512), (3, 4, 6))),
    image("resnext", lambda: resnet(partial(bottleneck, groups=8), (128, 256), (3, 3))),
    image("resnet_zero_gamma", resnet_zero_gamma),
    image("resnet_preact", preact),
    image("resnet_fixup", resnet_plain),
    image("squeeze_excite", squeeze_excite),
    image("densenet", densenet),
    image("inception", inception),
    image("mobilenet", mobilenet),
    image("mobilenet_plain", mobilenet_plain),
    image("convnext", convnext),
    image("unet", unet, batch=masks),
    image("unet_plain", lambda: unet(plain), batch=masks),
    image("fcn", fcn, batch=masks),
    image("autoencoder_conv", autoencoder, "mse_loss", rebuilt),
    image("dcgan_generator", generator, "l1_loss", painted),
    image("dcgan_discriminator", discriminator, "binary_cross_entropy_with_logits", judged),
    image("spectral_discriminator", spectral_discriminator, "binary_cross_entropy_with_logits", judged),
    image("srgan", super_resolution, "mse_loss", enlarged),
    image("retinanet", detector, "binary_cross_entropy_with_logits", boxes),
    image("wavenet", wavenet, next_token, levels),
    image("temporal_conv", temporal, "mse_loss", signals),
)
