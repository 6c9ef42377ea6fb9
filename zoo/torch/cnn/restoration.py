"""Pictures of pictures: larger, cleaner, rebuilt."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional, init

from zoo.model import maker
from zoo.torch.batches import bright, digit_images, images, normal
from zoo.torch.laws import drawn, he
from zoo.torch.layers import Net, Residual, conv, conv_norm, normed, stacked


def autoencoder() -> nn.Module:
    """Strided convolutions down, transposed ones up, He with the fan that each output pixel really has."""
    down = [part for i, o in ((3, 32), (32, 64), (64, 128)) for part in (nn.Conv2d(i, o, 4, 2, 1), nn.ReLU())]
    up = [nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU()]
    last = nn.ConvTranspose2d(32, 3, 4, 2, 1)
    for layer in (*up[::2], last):
        init.normal_(layer.weight, std=((1 if layer is last else 2) / (layer.in_channels * 4)) ** 0.5)
        init.zeros_(layer.bias)
    return nn.Sequential(drawn(nn.Sequential(*down), he), nn.Sequential(*up, last))


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


def rebuilt() -> tuple[Tensor, Tensor]:
    x, _ = images(16)
    return x, x


def enlarged() -> tuple[Tensor, Tensor]:
    x, _ = images(16)
    return functional.avg_pool2d(x, 2), x


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


def small_and_large() -> tuple[Tensor, Tensor]:
    x = bright(16, 32)
    return functional.avg_pool2d(x, 2), x


def noised() -> tuple[Tensor, Tensor]:
    noise = 0.1 * normal(16, 1, 28, 28, seed=41)
    return digit_images(16)[0] + noise, noise


tuned = maker("torch", "cnn", "tuned")
MODELS = (
    tuned("autoencoder_conv", autoencoder, rebuilt, "mse_loss"),
    tuned("srgan", super_resolution, enlarged, "mse_loss"),
    tuned("fresh_edsr", enhanced, small_and_large, "l1_loss"),
    tuned("fresh_espcn", subpixel, small_and_large, "mse_loss"),
    tuned("fresh_dncnn", denoiser, noised, "mse_loss"),
)
