"""Healthy models on which false_alarms.py judges the check, initialised as their authors or their field do it.

Perceptrons stand here, the other families in files of their own.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import parametrizations

from zoo.torch.cnn.residual import CONVOLUTIONAL
from zoo.torch.generative import OTHERS, RECURRENT
from zoo.torch.hf.text import TRANSFORMERS
from zoo.torch.layers import (
    GAINS,
    Function,
    Law,
    Net,
    Residual,
    Subject,
    deep,
    digits,
    drawn,
    filled,
    frozen,
    he,
    headed,
    lecun,
    mlp,
    trained,
    vectors,
    zeroed,
)
from zoo.torch.transformer.encoders import ATTENTIVE

# Perceptrons


def he_mlp(depth: int, **options: Any) -> nn.Module:
    return drawn(mlp(*deep(depth), **options), he)


def critical(depth: int, act: Callable[[], nn.Module], law: Law, last: Law = lecun) -> nn.Module:
    """A stack of one law, its head of another."""
    model = drawn(mlp(*deep(depth), act=act), law)
    filled(model[-1], last)
    return model


def residuals(depth: int, law: Law, last: Law, scale: Callable[[], Tensor | float]) -> nn.Module:
    """Residual perceptrons without norms: the laws of each branch's two maps, and a factor."""
    blocks = []
    for _ in range(depth):
        first, second = filled(nn.Linear(128, 128), law), filled(nn.Linear(128, 128), last)
        blocks.append(Residual(nn.Sequential(first, nn.ReLU(), second), scale()))
    return nn.Sequential(*blocks, nn.Linear(128, 10))


def rezero() -> nn.Parameter:
    return nn.Parameter(torch.zeros(()))


def weight_normed() -> nn.Module:
    """He first, then split into length and direction."""
    model = he_mlp(12)
    for module in list(model):
        if isinstance(module, nn.Linear):
            parametrizations.weight_norm(module)
    return model


def maxout() -> nn.Module:
    """The larger of two maps: E max(a, b)^2 = 1, so LeCun's law keeps the scale."""

    def piece(fan_in: int, fan_out: int) -> list[nn.Module]:
        largest = Function(lambda x: x.unflatten(1, (-1, 2)).amax(2))
        return [nn.Linear(fan_in, 2 * fan_out), largest]

    body = [part for i in range(6) for part in piece(256 if i else 128, 256)]
    return drawn(nn.Sequential(*body, nn.Linear(256, 10)), lecun)


def highway() -> nn.Module:
    """Gates that start nearly shut: bias -2."""

    def block() -> nn.Module:
        gate = nn.Linear(128, 128)
        init.constant_(gate.bias, -2.0)

        def run(net: Any, x: Tensor) -> Tensor:
            share = net.gate(x).sigmoid()
            return share * net.change(x).relu() + (1 - share) * x

        return Net(run, change=nn.Linear(128, 128), gate=gate)

    return nn.Sequential(*(block() for _ in range(20)), nn.Linear(128, 10))


def adapted() -> nn.Module:
    """Low-rank adapters beside a frozen network, their second factor zero."""

    def adapter(layer: nn.Module) -> nn.Module:
        down, up = nn.Linear(layer.in_features, 8, bias=False), nn.Linear(8, layer.out_features, bias=False)
        parts = {"base": frozen(layer), "down": down, "up": zeroed(up)}
        return Net(lambda net, x: net.base(x) + 2 * net.up(net.down(x)), **parts)

    return nn.Sequential(*(adapter(part) if isinstance(part, nn.Linear) else part for part in he_mlp(6)))


def mixture() -> nn.Module:
    """A soft gate over eight experts."""
    experts = nn.ModuleList(drawn(mlp(128, 128, 128, 10), he) for _ in range(8))

    def run(net: Any, x: Tensor) -> Tensor:
        found = torch.stack([expert(x) for expert in net.experts], 1)
        return (net.gate(x).softmax(-1)[..., None] * found).sum(1)

    return Net(run, gate=nn.Linear(128, 8), experts=experts)


# The collection


def dense(name: str, build: Callable[[], nn.Module], batch: Any = vectors) -> Subject:
    return Subject(name, build, batch, "cross_entropy", "mlp")


PERCEPTRONS = (
    dense("mlp_he_3", lambda: drawn(mlp(784, 256, 256, 10), he), digits),
    dense("mlp_he_10", lambda: he_mlp(10)),
    dense("mlp_he_20", lambda: he_mlp(20)),
    dense("mlp_he_30", lambda: he_mlp(30)),
    dense("mlp_leaky_10", lambda: critical(10, lambda: nn.LeakyReLU(0.2), partial(he, gain=1.04**-0.5))),
    dense("mlp_tanh_orthogonal", lambda: critical(20, nn.Tanh, init.orthogonal_)),
    dense("mlp_tanh_xavier", lambda: critical(10, nn.Tanh, init.xavier_uniform_)),
    dense("mlp_tanh_gain", lambda: critical(6, nn.Tanh, partial(init.xavier_normal_, gain=5 / 3))),
    dense("mlp_selu_20", lambda: critical(20, nn.SELU, lecun)),
    dense("mlp_elu_8", lambda: critical(8, nn.ELU, partial(lecun, gain=GAINS["elu"]))),
    dense("mlp_gelu_10", lambda: critical(10, nn.GELU, partial(lecun, gain=GAINS["gelu"]))),
    dense("mlp_silu_10", lambda: critical(10, nn.SiLU, partial(lecun, gain=GAINS["silu"]))),
    dense("mlp_default_3", lambda: mlp(128, 256, 256, 10)),
    dense("mlp_default_4", lambda: mlp(784, 256, 128, 64, 10), digits),
    dense("mlp_default_tanh_3", lambda: mlp(128, 128, 128, 10, act=nn.Tanh)),
    dense("mlp_dropout", lambda: drawn(mlp(784, 512, 512, 10, norm=lambda _: nn.Dropout(0.5)), he), digits),
    dense("mlp_batch_norm_15", lambda: mlp(*deep(15), norm=nn.BatchNorm1d)),
    dense("mlp_layer_norm_12", lambda: mlp(*deep(12), norm=nn.LayerNorm)),
    dense("mlp_weight_norm", weight_normed),
    dense("mlp_maxout", maxout),
    dense("mlp_prelu_10", lambda: critical(10, nn.PReLU, partial(he, gain=1.0625**-0.5))),
    dense("mlp_residual_scaled", lambda: residuals(32, he, lecun, lambda: 32**-0.5)),
    dense("mlp_rezero", lambda: residuals(32, he, lecun, rezero)),
    dense("mlp_fixup", lambda: residuals(24, partial(he, gain=24**-0.5), init.zeros_, lambda: 1.0)),
    dense("mlp_highway", highway),
    dense("mlp_adapters", adapted),
    dense("mlp_zero_head", lambda: headed(he_mlp(8), init.zeros_)),
    dense("mlp_small_head", lambda: headed(he_mlp(8), partial(init.normal_, std=0.01))),
    dense("mlp_experts", mixture),
    dense("mlp_funnel", lambda: drawn(mlp(784, 512, 128, 32, 10), he), digits),
    dense("mlp_sigmoid_2", lambda: mlp(784, 128, 10, act=nn.Sigmoid), digits),
    dense("mlp_trained", lambda: trained(mlp(784, 128, 128, 10), digits()), digits),
)

HANDMADE = (*PERCEPTRONS, *CONVOLUTIONAL, *RECURRENT, *ATTENTIVE, *OTHERS)
HEALTHY: Mapping[str, Subject] = MappingProxyType({one.name: one for one in HANDMADE} | dict(TRANSFORMERS))
