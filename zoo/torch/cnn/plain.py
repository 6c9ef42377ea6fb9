"""Convolutional classifiers without residual connections."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import digit_images, images, normal, photos, uniform
from zoo.torch.laws import CONVS, Law, drawn, drawn_convs, filled, frozen, he, he_out, leaky_he, lecun, trained, zeroed
from zoo.torch.layers import Function, Net, conv, conv_norm, pooled, stacked

ELEVEN = (64, "pool", 128, "pool", 128, 128, "pool", 256, 256, "pool", 256, 256)


SIXTEEN = (32, 32, "pool", 64, 64, "pool", 128, 128, 128, "pool", 256, 256, 256, "pool", 256, 256, 256)


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


def small_convnet() -> nn.Module:
    body = (conv_norm(1, 16), nn.MaxPool2d(2), conv_norm(16, 32), nn.MaxPool2d(2))
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(32 * 49, 10))


def fine_tuned() -> nn.Module:
    """A frozen trained trunk and a fresh head."""
    model = frozen(trained(small_convnet(), digit_images(), 60))
    model[-1] = nn.Linear(32 * 49, 10)
    return model


def within() -> nn.Module:
    """Network in network: 5 x 5 and 1 x 1 maps, dropout, no norm (Lin 2014); He over fan_in, head N(0, 0.01)."""
    plan = ((3, 96, 5), (96, 80, 1), (80, 48, 1), "pool", (48, 96, 5), (96, 96, 1), (96, 96, 1), "pool", (96, 96, 3))
    parts: list[nn.Module] = []
    for one in plan:
        parts += [nn.MaxPool2d(3, 2, 1), nn.Dropout(0.5)] if one == "pool" else [conv(*one), nn.ReLU()]
    last = filled(conv(96, 8, 1), partial(init.normal_, std=0.01))
    return nn.Sequential(*drawn(nn.Sequential(*parts), he), last, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def old_lenet() -> nn.Module:
    """LeNet-5 with scaled tanh and mean pools, N(0, 1 / fan_in) (LeCun 1998)."""
    act, pool = Function(lambda x: 1.7159 * torch.tanh(2 * x / 3)), nn.AvgPool2d(2)
    body = stacked(conv(1, 6, 5), act, pool, nn.Conv2d(6, 16, 5), act, pool, nn.Conv2d(16, 120, 5), act, nn.Flatten())
    return drawn(stacked(body, nn.Linear(120, 84), act, nn.Linear(84, 10)), lecun)


def isometric() -> nn.Module:
    """Twenty tanh layers, each an orthogonal map at the centre of its kernel (Xiao 2018)."""
    body = [part for _ in range(20) for part in (conv(64, 64), nn.Tanh())]
    model = stacked(filled(conv(3, 64, stride=2), he), nn.Tanh(), drawn_convs(nn.Sequential(*body), delta))
    return pooled(*model, width=64, classes=8)


def delta(weight: Tensor) -> None:
    """Orthogonal at the centre of the kernel, zero elsewhere."""
    init.zeros_(weight)
    middle = weight.shape[-1] // 2
    weight.data[:, :, middle, middle] = init.orthogonal_(torch.empty(weight.shape[:2]))


def sequential_variance() -> nn.Module:
    """LSUV: orthogonal, then every layer divided by what a first batch shows (Mishkin 2016)."""
    widths = (3, 32, 32, 64, 64, 96, 96)
    body = [p for i, (a, b) in enumerate(pairwise(widths)) for p in (conv(a, b, stride=1 + i % 2), nn.LeakyReLU(0.05))]
    model = drawn(pooled(*body, width=96, classes=8), init.orthogonal_)
    x, _ = images(16)
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight.data /= layer(x).std().detach()
        x = layer(x).detach()
    return model


def capsules() -> nn.Module:
    """Capsules with two rounds of routing (Sabour 2017): convolutions of torch, votes N(0, 0.1)."""

    def squash(x: Tensor) -> Tensor:
        square = (x**2).sum(-1, keepdim=True)
        return square / (1 + square) * x / (square + 1e-8).sqrt()

    def run(net: Any, x: Tensor) -> Tensor:
        x = squash(net.second(net.first(x).relu()).unflatten(1, (8, -1)).flatten(2).transpose(1, 2))
        votes = torch.einsum("bid,iodk->biok", x, net.votes)
        logits = votes.new_zeros(votes.shape[:3])
        for turn in range(3):
            found = squash((logits.softmax(2)[..., None] * votes).sum(1))
            logits = logits + (votes * found[:, None]).sum(-1) if turn < 2 else logits
        return (found**2).sum(-1).add(1e-8).sqrt()

    votes = nn.Parameter(0.1 * torch.randn(8 * 36, 10, 8, 8))
    return Net(run, first=nn.Conv2d(1, 64, 9), second=nn.Conv2d(64, 64, 9, 2), votes=votes)


def margin(output: Tensor, target: Tensor) -> Tensor:
    """The margins of capsules."""
    right = functional.one_hot(target, 10)
    return (right * (0.9 - output).relu() ** 2 + 0.5 * (1 - right) * (output - 0.1).relu() ** 2).sum(1).mean()


def transformed() -> nn.Module:
    """A spatial transformer: the last map of its locator is zero with the identity as bias (Jaderberg 2015)."""

    def run(net: Any, x: Tensor) -> Tensor:
        grid = functional.affine_grid(net.where(x).view(-1, 2, 3), list(x.shape), align_corners=False)
        return net.what(functional.grid_sample(x, grid, align_corners=False))

    def seen(kernel: int) -> list[nn.Module]:
        return [nn.Conv2d(1, 8, kernel), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU()]

    where = stacked(seen(7), nn.Flatten(), nn.Linear(90, 32), nn.ReLU(), zeroed(nn.Linear(32, 6)))
    where[-1].bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])
    what = stacked(seen(5), nn.Flatten(), nn.Linear(160, 50), nn.ReLU(), nn.Dropout(), nn.Linear(50, 10))
    return Net(run, where=where, what=what)


def volumes() -> nn.Module:
    """A plain 3-D network with batch norms, He over fan_out."""
    plan = ((1, 16), (16, 32), (32, 64))
    parts = [p for a, b in plan for p in (nn.Conv3d(a, b, 3, padding=1), nn.BatchNorm3d(b), nn.ReLU(), nn.MaxPool3d(2))]
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(64 * 8, 5))
    for module in model:
        if isinstance(module, nn.Conv3d):
            he_out(module.weight)
    return model


def finished() -> nn.Module:
    """A small convnet trained to the end on its batch."""
    body = (conv(1, 12, 5), nn.ReLU(), nn.MaxPool2d(2), conv(12, 24, 5), nn.ReLU(), nn.MaxPool2d(2))
    return trained(nn.Sequential(*body, nn.Flatten(), nn.Linear(24 * 49, 10)), digit_images(), 150)


def bodies() -> tuple[Tensor, Tensor]:
    scale = 0.5 + uniform(12, 1, 1, 1, 1, seed=38)
    return normal(12, 1, 16, 16, 16) * scale, (scale.flatten() * 5 - 2.5).long()


def plain_convs(depth: int = 14, width: int = 48) -> nn.Module:
    """Convolutions with no norm, LeakyReLU of slope 0.1 and its He law."""
    body = [nn.Sequential(conv(3 if not k else width, width), nn.LeakyReLU(0.1)) for k in range(depth)]
    model = drawn(pooled(nn.Sequential(*body), width=width, classes=8), leaky_he)
    filled(model[-1], lecun)
    return model


def prototypes(output: Tensor, target: Tensor) -> Tensor:
    """Distances to the means of the first half, by class, judge the second half."""
    known, asked = output.chunk(2)
    hot = functional.one_hot(target[: len(known)], 3).float()
    means = hot.t() @ known / hot.sum(0).clamp(min=1)[:, None]
    return functional.cross_entropy(-torch.cdist(asked, means).square() / output.shape[1], target[len(known) :])


def four_convs() -> nn.Module:
    convs = [stacked(conv_norm(a, 64), nn.MaxPool2d(2)) for a in (3, 64, 64, 64)]
    return stacked(*convs, nn.Flatten(), nn.Linear(256, 64))


tuned, held_out = maker("torch", "cnn", "tuned"), maker("torch", "cnn", "held_out")
MODELS = (
    tuned("lenet_default", lenet, digit_images),
    tuned("vgg_11", lambda: vgg(ELEVEN, he_out, partial(init.normal_, std=0.01)), images),
    tuned("vgg_16", lambda: vgg(SIXTEEN, he, he), images),
    tuned("vgg_16_bn", vgg_bn, images),
    tuned("all_conv", all_conv, images),
    tuned("squeezenet", squeezenet, images),
    tuned("inception", inception, images),
    tuned("fine_tuned", fine_tuned, digit_images),
    tuned("fresh_network_in_network", within, photos()),
    tuned("fresh_lenet_1998", old_lenet, digit_images),
    tuned("fresh_delta_orthogonal", isometric, photos()),
    tuned("fresh_lsuv", sequential_variance, photos()),
    tuned("fresh_capsules", capsules, partial(digit_images, 24), margin),
    tuned("fresh_spatial_transformer", transformed, partial(digit_images, 48)),
    tuned("fresh_volumes", volumes, bodies),
    tuned("fresh_finished_convnet", finished, digit_images),
    held_out("last_plain_leaky_14", plain_convs, photos(12, 24)),
    held_out("last_prototypes", four_convs, photos(24, 32, 3), prototypes),
)
