"""Convolutional networks that learn where pictures lie near each other."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.model import maker
from zoo.torch.batches import digit_images, images, normal
from zoo.torch.laws import frozen
from zoo.torch.layers import Net, Residual, conv, conv_norm, mlp, normed, stacked


def momentum() -> nn.Module:
    """Contrast with keys from a frozen copy of the encoder."""

    def make() -> nn.Module:
        return nn.Sequential(conv_norm(3, 32, stride=2), conv_norm(32, 64, stride=2), nn.Flatten(), nn.Linear(4096, 64))

    def run(net: Any, a: Tensor, b: Tensor) -> Tensor:
        query = functional.normalize(net.query(a), dim=1)
        with torch.no_grad():
            key = functional.normalize(net.key(b), dim=1)
        return query @ key.T / 0.2

    query, key = make(), make()
    key.load_state_dict(query.state_dict())
    return Net(run, query=query, key=frozen(key))


def views() -> tuple[Tensor, Tensor, Tensor]:
    x, _ = images(32)
    return x, x + 0.3 * normal(32, 3, 32, 32, seed=5), torch.arange(32)


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


tuned = maker("torch", "cnn", "tuned")
MODELS = (
    tuned("momentum_encoder", momentum, views),
    tuned("fresh_simclr", contrasted, twins),
    tuned("fresh_barlow_twins", redundant, lambda: (*two_views(), torch.zeros(24)), unlike),
    tuned("fresh_byol", bootstrapped, lambda: (*two_views(), torch.full((24,), 2.0)), near),
    tuned("fresh_triplet", triplets, three, triplet),
)
