"""Laws for weights, and changes of a whole model: drawn anew, frozen, trained for some steps."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional, init

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


Law = Callable[[Tensor], object]


def he(weight: Tensor, gain: float = 1.0) -> None:
    """N(0, 2 gain^2 / fan_in)."""
    fan_in, _ = init._calculate_fan_in_and_fan_out(weight)
    init.normal_(weight, std=gain * math.sqrt(2 / fan_in))


def lecun(weight: Tensor, gain: float = 1.0) -> None:
    """N(0, gain^2 / fan_in)."""
    he(weight, gain / math.sqrt(2))


he_out = partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu")


small = partial(init.normal_, std=0.02)


GAINS = {"gelu": 1.534, "silu": 1.677, "elu": 1.245}
"""1 / sqrt(E f(z)^2), z standard normal."""


def drawn(model: nn.Module, law: Law, kinds: tuple[type[nn.Module], ...] = LINEAR) -> nn.Module:
    """The model with weights of these kinds drawn anew and their biases zero."""
    for module in model.modules():
        if isinstance(module, kinds):
            law(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
    return model


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with weight and bias zero."""
    for parameter in layer.parameters():
        init.zeros_(parameter)
    return layer


def filled(layer: nn.Module, law: Law) -> nn.Module:
    """One layer drawn by a law, its bias zero."""
    return drawn(layer, law)


def frozen(model: nn.Module) -> nn.Module:
    """The model with nothing left to train."""
    return model.requires_grad_(False)


def headed(model: nn.Module, law: Law) -> nn.Module:
    """The network with its head drawn anew."""
    filled(model[-1], law)
    return model


def trained(model: nn.Module, batch: tuple[Tensor, Tensor], steps: int = 200) -> nn.Module:
    """The network after some steps on one batch."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, y = batch
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def laid(model: nn.Module, law: Callable[[Tensor], object]) -> nn.Module:
    """Linear maps, convolutions and tables of one law, biases zero."""
    for module in model.modules():
        if isinstance(module, (*LINEAR, nn.Conv3d, nn.Embedding)):
            law(module.weight)
        if isinstance(module, (*LINEAR, nn.Conv3d)) and module.bias is not None:
            init.zeros_(module.bias)
    return model


def bounded(bound: float) -> Callable[[Tensor], Tensor]:
    """Uniform within a bound."""
    return lambda weight: init.uniform_(weight, -bound, bound)


def fan_bounded(weight: Tensor) -> Tensor:
    """Uniform within 1 / sqrt(fan_in)."""
    return bounded(1 / math.sqrt(weight[0].numel()))(weight)


CONVS = (nn.Conv1d, nn.Conv2d)


def drawn_convs(model: nn.Module, law: Law) -> nn.Module:
    """Convolutions anew, the rest as it was."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            filled(module, law)
    return model


leaky_he = partial(init.kaiming_normal_, a=0.1, nonlinearity="leaky_relu")
