"""Hand-made models: what people write by hand, and what a tracer may trip over."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from zoo.model import Model
from zoo.torch.tiny.batches import BATCH, CLASSES, LENGTH, VOCABULARY, Build, features, identity, tokens
from zoo.torch.tiny.layers import (
    Concat,
    Dense,
    Highway,
    Lambda,
    MixerBlock,
    PostNormBlock,
    PreNormBlock,
    Residual,
    RMSNorm,
    Sine,
    SqueezeExcite,
    StackedExperts,
    perceptron,
)
from zoo.torch.tiny.networks import (
    Bag,
    BilinearPair,
    Fourier,
    Functional,
    GatedLinear,
    InPlace,
    LanguageModel,
    LowRank,
    Positive,
    Scaled,
    SharedTwice,
    UNet,
    WithUnused,
)
from zoo.torch.tiny.rows import tiny

nn, Tensor = torch.nn, torch.Tensor
parametrizations = torch.nn.utils.parametrizations

Wrap = Callable[[Any], nn.Module]


def dense(name: str, build: Build, **changes: Any) -> Model:
    """A classifier of vectors of 32 features."""
    usual = {"family": "mlp", "batch": features(2 * BATCH, 32), "classes": CLASSES, "logits": identity}
    return tiny(name=name, build=build, **(usual | changes))


def image(name: str, build: Build, **changes: Any) -> Model:
    """A classifier of images of 16 x 16 pixels."""
    return dense(name, build, **({"family": "cnn", "batch": features(BATCH, 3, 16, 16), "data": "image"} | changes))


def language(name: str, build: Build) -> Model:
    """A language model with a stack of blocks."""
    text = {"family": "transformer", "data": "text", "batch": tokens(), "classes": VOCABULARY}
    return dense(name, build, deep=True, blocks=r"blocks\.\d+", **text)


def channels_last(output: Tensor) -> Tensor:
    """The logits of a segmentation, classes last."""
    return output.movedim(1, -1)


def mlp(*widths: int, norm: Wrap | None = None, wrap: Wrap = identity) -> nn.Module:
    """Linear maps with ReLU between them; `norm` follows and `wrap` changes each hidden one."""
    layers = []
    for fan_in, fan_out in pairwise(widths[:-1]):
        layers += [wrap(nn.Linear(fan_in, fan_out)), *([norm(fan_out)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


def positive(linear: nn.Module) -> nn.Module:
    """The linear map with weights that a parametrization keeps positive."""
    nn.utils.parametrize.register_parametrization(linear, "weight", Positive())
    return linear


def residuals(depth: int, scale: Tensor | None) -> nn.Module:
    """Residual perceptrons with a scale on each branch, on 32 features."""
    blocks = (Residual(perceptron(32, 64), None if scale is None else scale.clone()) for _ in range(depth))
    return nn.Sequential(nn.Sequential(*blocks), nn.Linear(32, CLASSES))


def residual(name: str, scale: Tensor | None) -> Model:
    """A deep stack of residual perceptrons."""
    return dense(name, lambda depth: residuals(depth, scale), deep=True, blocks=r"0\.\d+")


def pooled(*layers: nn.Module, channels: int, axes: tuple[int, ...] = (2, 3)) -> nn.Module:
    """A convolutional body, the mean over positions and a head."""
    return nn.Sequential(nn.Sequential(*layers), Lambda(lambda x: x.mean(axes)), nn.Linear(channels, CLASSES))


def conv(fan_in: int, fan_out: int, kernel: int = 3, **options: Any) -> nn.Module:
    """A 2-D convolution that keeps the size, a batch norm and a ReLU."""
    layer = nn.Conv2d(fan_in, fan_out, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(fan_out), nn.ReLU())


def separable(channels: int) -> nn.Module:
    """A depthwise and a pointwise convolution."""
    return nn.Sequential(conv(channels, channels, groups=channels), conv(channels, channels, 1))


def stacked(channels: int, block: Callable[[], nn.Module]) -> Build:
    """From a depth to a stem, that many blocks, and a head."""
    return lambda depth: pooled(conv(3, channels), *(block() for _ in range(depth)), channels=channels)


def inception() -> nn.Module:
    """Branches of kernels 1, 3 and 5 and a pooling one, back to the 32 channels they started from."""
    pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(32, 8, 1))
    return Concat(conv(32, 8, 1), conv(32, 8, 3), conv(32, 8, 5), pool)


def densenet(depth: int) -> nn.Module:
    """Each block adds 8 channels."""
    channels = 16 + 8 * depth
    return pooled(conv(3, 16), *(Dense(16 + 8 * block, 8) for block in range(depth)), channels=channels)


def mixer(depth: int) -> nn.Module:
    """Patches of 4 x 4, mixer blocks, the mean over patches and a head."""
    enter = nn.Sequential(nn.Conv2d(3, 32, 4, stride=4), nn.Flatten(2), Lambda(lambda x: x.transpose(1, 2)))
    blocks = nn.Sequential(*(MixerBlock(16, 32) for _ in range(depth)))
    return nn.Sequential(enter, blocks, nn.LayerNorm(32), Lambda(lambda x: x.mean(1)), nn.Linear(32, CLASSES))


def generator() -> nn.Module:
    """From a code of 16 numbers to 16 x 16 pixels by transposed convolutions."""
    enter = nn.Sequential(nn.ConvTranspose2d(16, 64, 4, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    up = nn.Sequential(nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
    return nn.Sequential(enter, up, nn.ConvTranspose2d(32, 3, 4, stride=2, padding=1), nn.Tanh())


def siren(depth: int) -> nn.Module:
    """Coordinates to a colour through sines."""
    return nn.Sequential(Sine(2, 32), *(Sine(32, 32) for _ in range(depth)), nn.Linear(32, 3))


def fourier(depth: int) -> nn.Module:
    """Spectral layers along time."""
    layers = (Fourier(32, 5) for _ in range(depth))
    return pooled(nn.Conv1d(8, 32, 1), *layers, channels=32, axes=(2,))


def conv_1d() -> nn.Module:
    """Strided and dilated convolutions along time."""
    dilated = nn.Conv1d(32, 32, 3, padding=2, dilation=2)
    return pooled(nn.Conv1d(8, 32, 5, stride=2), nn.GELU(), dilated, nn.GELU(), channels=32, axes=(2,))


def conv_3d() -> nn.Module:
    """Convolutions in space and time, with a group norm."""
    first, second = nn.Conv3d(3, 16, 3, padding=1), nn.Conv3d(16, 32, 3, stride=2, padding=1)
    return pooled(first, nn.GroupNorm(4, 16), nn.SiLU(), second, nn.SiLU(), channels=32, axes=(2, 3, 4))


def normed_mlp() -> nn.Module:
    """LayerNorm, several activations and dropout."""
    hidden = (nn.Linear(32, 48), nn.LayerNorm(48), nn.Tanh(), nn.Dropout(0.1), nn.Linear(48, 48), nn.LeakyReLU(0.1))
    return nn.Sequential(*hidden, nn.Linear(48, CLASSES))


DENSE = (
    dense("mlp", lambda _: mlp(784, 100, 100, CLASSES), batch=features(2 * BATCH, 784)),
    dense("mlp_deep", lambda depth: mlp(32, *[32] * depth, CLASSES), deep=True),
    dense("mlp_batch_norm", lambda _: mlp(32, 48, 48, CLASSES, norm=nn.BatchNorm1d)),
    dense("mlp_layer_norm", lambda _: normed_mlp()),
    dense("shared_twice", lambda _: SharedTwice()),
    dense("functional", lambda _: Functional()),
    dense("weight_norm", lambda _: mlp(32, 48, 48, CLASSES, wrap=parametrizations.weight_norm)),
    dense("spectral_norm", lambda _: mlp(32, 48, 48, CLASSES, wrap=parametrizations.spectral_norm)),
    dense("positive", lambda _: mlp(32, 48, 48, CLASSES, wrap=positive)),
    residual("residual_mlp", None),
    residual("rezero", torch.zeros(())),
    residual("skip_init", torch.zeros(1)),
    residual("layer_scale", torch.full((32,), 1e-4)),
    dense(
        "highway",
        lambda depth: nn.Sequential(nn.Sequential(*(Highway(32) for _ in range(depth))), nn.Linear(32, CLASSES)),
        deep=True,
        blocks=r"0\.\d+",
    ),
    dense("glu", lambda _: GatedLinear()),
    dense("in_place", lambda _: InPlace()),
    dense("scaled", lambda _: Scaled()),
    dense("low_rank", lambda _: LowRank()),
    dense("bilinear", lambda _: BilinearPair()),
    dense(
        "stacked_experts",
        lambda depth: nn.Sequential(
            nn.Sequential(*(Residual(StackedExperts(4, 32, 48)) for _ in range(depth))), nn.Linear(32, CLASSES)
        ),
        deep=True,
        blocks=r"0\.\d+",
    ),
    dense(
        "with_unused",
        lambda _: WithUnused(),
        unused=("mask_token", "old_head.weight", "old_head.bias"),
    ),
    dense("siren", siren, family="fields", batch=features(2 * BATCH, 2), deep=True, classes=None, logits=None),
)

LANGUAGE = (
    language("swiglu_lm", lambda depth: LanguageModel([PreNormBlock(32) for _ in range(depth)], RMSNorm(32))),
    language("tied_lm", lambda depth: LanguageModel([PreNormBlock(32) for _ in range(depth)], RMSNorm(32), tied=True)),
    language("post_norm_lm", lambda depth: LanguageModel([PostNormBlock(32) for _ in range(depth)], nn.Identity())),
    dense("embedding_bag", lambda _: Bag(), family="tabular", batch=tokens(), data="text"),
)

CONVOLUTIONAL = (
    image("conv_separable", stacked(32, lambda: separable(32))),
    image("conv_grouped", stacked(32, lambda: conv(32, 32, groups=4))),
    image("squeeze_excite", stacked(32, lambda: nn.Sequential(conv(32, 32), SqueezeExcite(32)))),
    image(
        "residual_conv",
        stacked(32, lambda: Residual(nn.Sequential(conv(32, 32), nn.Conv2d(32, 32, 3, padding=1)))),
        deep=True,
        blocks=r"0\.[1-9]\d*",  # after the stem
    ),
    image("inception", stacked(32, inception)),
    image("densenet", densenet),
    image("mixer", mixer, family="transformer", deep=True, blocks=r"1\.\d+"),
    image("unet", lambda _: UNet(), logits=channels_last),
    image(
        "generator",
        lambda _: generator(),
        family="generative",
        batch=features(BATCH, 16, 1, 1),
        classes=None,
        logits=None,
    ),
    dense("fourier", fourier, family="fields", batch=features(BATCH, 8, LENGTH), data="audio"),
    dense("conv_1d", lambda _: conv_1d(), family="cnn", batch=features(BATCH, 8, 40), data="audio"),
    image("conv_3d", lambda _: conv_3d(), batch=features(BATCH, 3, 4, 8, 8)),
)

MODELS = (*DENSE, *LANGUAGE, *CONVOLUTIONAL)
