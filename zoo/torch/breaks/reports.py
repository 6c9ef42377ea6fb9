"""Broken models after public reports of trainings that failed at the start: laws, factors, sums and adapters."""

import math
from dataclasses import replace

from torch import Tensor, nn
from torch.nn import init

from zoo.torch.breaks.changes import NAN, Change, alike, at, broken, each, hidden, linears, spread
from zoo.torch.laws import Law

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)


def one_sided(bound: float) -> Law:
    """Uniform from 0, as where a generator of [0, 1) is scaled."""
    return lambda weight: init.uniform_(weight, 0.0, bound)


def positive(weight: Tensor) -> None:
    """He's numbers without their signs."""
    init.kaiming_normal_(weight, nonlinearity="relu")
    weight.data.abs_()


def around_one(weight: Tensor) -> None:
    """N(1, 0.02), which is the law of factors of norms."""
    init.normal_(weight, 1.0, 0.02)


def area(weight: Tensor) -> None:
    """He's formula with the kernel's area alone in the place of the fan_in."""
    init.normal_(weight, std=math.sqrt(2 / max(math.prod(weight.shape[2:]), 1)))


def norms(law: Law) -> Change:
    """The factors of every norm by a law."""

    def change(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, NORMS) and module.weight is not None:
                law(module.weight)

    return change


def batch_norms(law: Law) -> Change:
    """The factors of every batch norm by a law, as transformers draws them in some models."""
    return lambda model: each([module for module in model.modules() if isinstance(module, nn.BatchNorm2d)], law)


def half_off(value: float) -> Change:
    """Every second hidden bias at a value."""

    def change(model: nn.Module) -> None:
        for module in linears(model)[:-1]:
            module.bias.data[::2] = value

    return change


def before(kind: type[nn.Module], value: float) -> Change:
    """The biases of the maps right before a nonlinearity of a kind."""

    def change(model: nn.Module) -> None:
        for block in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
            for first, second in zip(block, list(block)[1:], strict=False):
                if isinstance(second, kind):
                    init.constant_(first.bias, value)

    return change


def ends_of_adapters(law: Law) -> Change:
    """Every trained map that is 0."""

    def change(model: nn.Module) -> None:
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.dim() > 1 and not parameter.any():
                law(parameter)

    return change


def scalars(value: float) -> Change:
    """Every trained factor of one number."""

    def change(model: nn.Module) -> None:
        for parameter in model.parameters():
            if parameter.numel() == 1:
                init.constant_(parameter, value)

    return change


def state(name: str, value: float) -> Change:
    """One value of every buffer of a name."""

    def change(model: nn.Module) -> None:
        for path, buffer in model.named_buffers():
            if path.endswith(name):
                buffer[0] = value

    return change


_ROWS = (
    broken("mlp_default_3", "mean", hidden(one_sided(0.1)), mark="uniform"),
    broken("mlp_he_10", "mean", hidden(one_sided(0.03)), mark="small"),
    broken("mlp_leaky_10", "mean", hidden(positive), mark="absolute"),
    broken("mlp_tanh_xavier", "mean", hidden(one_sided(0.2)), mark="tanh"),
    broken("vgg_11", "mean", hidden(positive), mark="convolutions"),
    broken("vgg_16_bn", "norm_factor", norms(spread(0.02)), mark="signs"),
    broken("resnet_18", "norm_factor", norms(spread(0.02)), mark="signs"),
    broken("mlp_batch_norm_15", "norm_factor", norms(init.zeros_), mark="zeros"),
    broken("hf_efficientnet", "norm_factor", norms(spread(0.02)), mark="as_constructed"),
    broken("fresh_hf_mobile_vit", "norm_factor", batch_norms(spread(0.02)), mark="as_constructed"),
    broken("mlp_rezero", "factor", scalars(1e3)),
    broken("mlp_rezero", "skipped_init", scalars(7.3e8), mark="garbage"),
    broken("gpt", "drowned", at("positions", spread(2.0)), "positions"),
    broken("vit", "drowned", at("token", spread(100.0)), "token"),
    broken("gpt", "equal_rows", at("tokens.weight", alike), "tokens"),
    broken("squeeze_excite", "shut_gate", before(nn.Sigmoid, -20.0)),
    broken("mlp_adapters", "adapter", ends_of_adapters(spread(0.1))),
    broken("vgg_11", "wrong_fan", hidden(area)),
    broken("vgg_16_bn", "nan", state("running_var", NAN), mark="buffer"),
    broken("mlp_he_10", "bias", half_off(-30.0), mark="half"),
)
MODELS = tuple(replace(model, split="tuned") for model in _ROWS)
"""Written with the rules in sight, whatever model they break."""
