"""Models with one thing broken, on which false_alarms.py judges whether the check finds it.

Each is one of zoo/torch/mlp.py with a change; `planted` names the kind of the break, and `place` the parameter or the
module where it sits, None where the whole model is concerned.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import parametrizations

from zoo.torch.layers import LINEAR, Law, Net, Residual, Subject, deep, drawn, he, lecun, mlp
from zoo.torch.mlp import HEALTHY

Change = Callable[[nn.Module], nn.Module | None]


@dataclass(frozen=True)
class Broken:
    """A broken model.

    Args:
        name: unique in the collection.
        build: makes the model, drawn from torch's random state.
        batch: as of a `Subject`.
        loss: as of a `Subject`.
        family: that of the model it was made from.
        planted: the kind of the break.
        place: where it sits, None for the whole model.
        base: name of the healthy model it was made from.
    """

    name: str
    build: Callable[[], nn.Module]
    batch: Callable[[], Any]
    loss: str | Callable[[Any, Tensor], Tensor] | None
    family: str
    planted: str
    place: str | None
    base: str


def broken(base: str, planted: str, change: Change, place: str | None = None, **more: Any) -> Broken:
    """A healthy model after a change; `mark` tells two of a kind apart, `batch` replaces the batch."""
    subject = HEALTHY[base]
    name = f"{base}-{planted}" + (f"-{more['mark']}" if "mark" in more else "")
    batch = more.get("batch", subject.batch)
    build = partial(changed, subject, change)
    return Broken(name, build, batch, subject.loss, subject.family, planted, place, base)


def changed(subject: Subject, change: Change) -> nn.Module:
    model = subject.build()
    return change(model) or model


# What a change is made of


def linears(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, LINEAR)]


def hidden(law: Law) -> Change:
    """Every linear map but the head, its weight by a law; biases stay."""
    return lambda model: each(linears(model)[:-1], law)


def every(law: Law) -> Change:
    """Every weight of two or more axes, of any module, tables too."""
    return lambda model: each([m for m in model.modules() if has_map(m)], law)


def has_map(module: nn.Module) -> bool:
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.dim() > 1


def each(modules: Iterable[nn.Module], law: Law) -> None:
    for module in modules:
        law(module.weight)


def biased(value: float) -> Change:
    """Every hidden bias at one value."""

    def change(model: nn.Module) -> None:
        for module in linears(model)[:-1]:
            init.constant_(module.bias, value)

    return change


def at(path: str, law: Law) -> Change:
    """One parameter by a law."""
    return lambda model: void(law(model.get_parameter(path)))


def within(path: str, law: Law) -> Change:
    """Every weight of a part, recurrent ones too."""

    def change(model: nn.Module) -> None:
        for name, parameter in model.get_submodule(path).named_parameters():
            if "weight" in name:
                law(parameter)

    return change


def gates(law: Law) -> Change:
    """The weights of every highway gate."""
    return lambda model: each([m for name, m in model.named_modules() if name.endswith("gate")], law)


def void(_: object) -> None:
    return None


def times(factor: float) -> Law:
    return lambda weight: weight.data.mul_(factor)


def spread(std: float) -> Law:
    return partial(init.normal_, std=std)


def slip(weight: Tensor) -> None:
    """2 / sqrt(fan_in) where sqrt(2 / fan_in) was meant."""
    he(weight, gain=math.sqrt(2))


torch_default = partial(init.kaiming_uniform_, a=math.sqrt(5))
shard = partial(he, gain=math.sqrt(8))


def half_shard(weight: Tensor) -> None:
    """The first half of the rows with the fan of an eighth."""
    weight.data[: len(weight) // 2] *= math.sqrt(8)


def twins(weight: Tensor) -> None:
    """The second half of the rows repeats the first."""
    half = len(weight) // 2
    weight.data[half : 2 * half] = weight.data[:half]


def alike(weight: Tensor) -> None:
    """All rows are the first."""
    weight.data[:] = weight.data[:1].clone()


def poisoned(value: float) -> Law:
    """One row of a value that is no number."""
    return lambda weight: weight.data[1].fill_(value)


def replaced(path: str, make: Callable[[nn.Module], nn.Module]) -> Change:
    return lambda model: model.set_submodule(path, make(model.get_submodule(path)))


class Cut(nn.Module):
    """No gradient comes through."""

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers, cut off."""
        return x.detach()


def cut(path: str) -> Change:
    return replaced(path, lambda module: nn.Sequential(module, Cut()))


def unlearnt(path: str) -> Change:
    """A part computed under no_grad."""

    def run(net: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            return net.inner(x)

    return replaced(path, lambda module: Net(run, inner=module))


def still(*paths: str) -> Change:
    """Parts whose parameters are left out of the training."""

    def change(model: nn.Module) -> None:
        for path in paths:
            model.get_submodule(path).requires_grad_(False)

    return change


def same(first: str, *others: str) -> Change:
    """One module at several places."""

    def change(model: nn.Module) -> None:
        for path in others:
            model.set_submodule(path, model.get_submodule(first))

    return change


def copies(first: str, *others: str) -> Change:
    """Copies of one module, with its very numbers."""

    def change(model: nn.Module) -> None:
        for path in others:
            model.set_submodule(path, copy.deepcopy(model.get_submodule(first)))

    return change


def numbered(pattern: str, numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(pattern.format(number) for number in numbers)


def emptied(value: float) -> Change:
    """Memory that nobody filled: every parameter at one value."""

    def change(model: nn.Module) -> None:
        for parameter in model.parameters():
            init.constant_(parameter, value)

    return change


def instead(build: Callable[[], nn.Module]) -> Change:
    """Another model altogether."""
    return lambda _: build()


def unscaled(depth: int) -> nn.Module:
    """Residual perceptrons, He throughout, with no norm and no factor."""
    blocks = (Residual(drawn(mlp(128, 128, 128), he)) for _ in range(depth))
    return nn.Sequential(*blocks, nn.Linear(128, 10))


def unscaled_branches(model: nn.Module) -> None:
    """He where Fixup has zeros."""
    for module in linears(model):
        he(module.weight)


def without_norms(path: str) -> Change:
    """A transformer's norms taken out, its branches of unit gain."""

    def change(model: nn.Module) -> None:
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.LayerNorm):
                model.set_submodule(name, nn.Identity())
        drawn(model.get_submodule(path), he)

    return change


def wrapped(model: nn.Module) -> None:
    """Weight norm over torch's own weights, then He drawn into `weight`, where it has no effect."""
    for module in linears(model):
        torch_default(module.weight)
        parametrizations.weight_norm(module)
        he(module.weight)


def encoder_of_copies(model: nn.Module) -> None:
    """torch.nn.TransformerEncoder copies the layer that it is given."""
    layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True, norm_first=True)
    model.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)


def sigmoid(*widths: int, law: Law) -> Change:
    return instead(lambda: drawn(mlp(*widths, act=nn.Sigmoid), law))


def sigmoids(model: nn.Module) -> None:
    """Every ReLU becomes a sigmoid."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.ReLU):
            model.set_submodule(name, nn.Sigmoid())


def kept(_: nn.Module) -> None:
    return None


# Batches as nobody should give them


def shifted(base: str, factor: float, shift: float) -> Callable[[], Any]:
    """The first input times a factor, plus a shift; the rest as it was."""

    def batch() -> Any:
        first, *others = HEALTHY[base].batch()
        return factor * first + shift, *others

    return batch


def raw(base: str, factor: float, shift: float = 0.0) -> Broken:
    mark = "pixels" if factor > 1 else "mean"
    return broken(base, "input", kept, batch=shifted(base, factor, shift), mark=mark)


# The collection

NAN, INF = math.nan, math.inf
HIDDEN = numbered("{}", range(2, 18, 2))
"""The hidden maps of mlp_he_10 that have one shape."""

FLAT = (
    broken("mlp_he_10", "zeros", hidden(init.zeros_)),
    broken("resnet_18", "zeros", hidden(init.zeros_)),
    broken("gpt", "zeros", every(init.zeros_)),
    broken("mlp_he_30", "zeros", at("30.weight", init.zeros_), "30.weight", mark="one"),
    broken("vgg_16", "zeros", at("0.7.0.weight", init.zeros_), "0.7.0.weight", mark="one"),
    broken("mlp_he_10", "constant", every(partial(init.constant_, val=0.01))),
    broken("mlp_tanh_xavier", "constant", every(partial(init.constant_, val=0.05))),
    broken("resnet_50", "constant", hidden(partial(init.constant_, val=0.02))),
    broken("vgg_11", "constant", every(partial(init.constant_, val=0.002))),
    broken("lstm_forget", "constant", within("body", partial(init.constant_, val=0.05)), "body"),
)

SCALES = (
    broken("mlp_he_20", "tiny", every(spread(0.01))),
    broken("mlp_tanh_orthogonal", "tiny", every(spread(0.01))),
    broken("vgg_16", "tiny", every(spread(0.01))),
    broken("mlp_selu_20", "tiny", every(spread(0.01))),
    broken("unet_plain", "tiny", every(spread(0.0001))),
    broken("mlp_he_10", "huge", every(spread(1.0))),
    broken("vgg_11", "huge", every(spread(1.0))),
    broken("hf_gpt2", "huge", every(spread(0.5))),
    broken("unet_plain", "huge", every(spread(1.0))),
    broken("hf_llama", "huge", every(spread(1.0))),
    broken("mlp_he_30", "wrong_gain", every(times(1.5)), mark="up"),
    broken("mlp_he_30", "wrong_gain", every(times(0.6)), mark="down"),
    broken("vgg_16", "wrong_gain", every(times(1.5)), mark="up"),
    broken("vgg_16", "wrong_gain", every(times(0.5)), mark="down"),
    broken("mlp_tanh_orthogonal", "wrong_gain", hidden(times(0.3)), mark="down"),
    broken("mlp_tanh_orthogonal", "wrong_gain", hidden(times(10.0)), mark="up"),
    broken("mlp_he_20", "wrong_gain", every(init.xavier_normal_), mark="xavier"),
    broken("mlp_selu_20", "wrong_gain", every(times(2.0)), mark="up"),
    broken("mlp_he_10", "slip", every(slip)),
    broken("mlp_he_20", "slip", every(slip)),
    broken("mlp_leaky_10", "slip", every(slip)),
    broken("vgg_16", "slip", every(slip)),
    broken("mlp_he_20", "default", every(torch_default)),
    broken("mlp_he_30", "default", every(torch_default)),
    broken("vgg_16", "default", every(torch_default)),
    broken("mobilenet_plain", "default", every(torch_default)),
    broken("mlp_funnel", "swapped", every(partial(init.kaiming_normal_, mode="fan_out"))),
    broken("mlp_dropout", "swapped", at("6.weight", spread(math.sqrt(2 / 10))), "6.weight", mark="head"),
    broken("mlp_he_20", "swapped", at("38.weight", spread(math.sqrt(2 / 10))), "38.weight", mark="head"),
    broken("mobilenet_plain", "swapped", every(partial(init.kaiming_normal_, mode="fan_out"))),
    broken("mlp_he_20", "local_shard", every(shard)),
    broken("mlp_he_10", "local_shard", every(half_shard), mark="half"),
    broken("vgg_16", "local_shard", every(shard)),
    broken("mlp_selu_20", "local_shard", every(half_shard), mark="half"),
)

PLACES = (
    broken("mlp_he_10", "one_layer_up", at("8.weight", times(50)), "8.weight"),
    broken("vgg_16", "one_layer_up", at("0.7.0.weight", times(50)), "0.7.0.weight"),
    broken("mlp_he_3", "one_layer_up", at("2.weight", times(50)), "2.weight"),
    broken("unet_plain", "one_layer_up", at("bottom.1.0.weight", times(50)), "bottom.1.0.weight"),
    broken("mlp_residual_scaled", "one_layer_up", at("9.branch.2.weight", times(50)), "9.branch.2.weight"),
    broken("mlp_he_30", "one_layer_down", at("30.weight", times(0.001)), "30.weight"),
    broken("vgg_16", "one_layer_down", at("0.7.0.weight", times(0.001)), "0.7.0.weight"),
    broken("squeezenet", "one_layer_down", at("0.weight", times(0.001)), "0.weight"),
    broken("all_conv", "one_layer_down", at("0.6.weight", times(0.001)), "0.6.weight"),
    broken("mlp_he_10", "head", at("18.weight", times(30)), "18.weight"),
    broken("resnet_18", "head", at("11.weight", times(30)), "11.weight"),
    broken("vit", "head", at("head.weight", times(30)), "head.weight"),
    broken("gpt", "head", at("head.weight", times(30)), "head.weight"),
    broken("gru", "head", at("head.weight", times(30)), "head.weight"),
    broken("mlp_he_10", "nan", at("8.weight", poisoned(NAN)), "8.weight"),
    broken("vgg_11", "nan", at("0.4.0.weight", poisoned(INF)), "0.4.0.weight"),
    broken("gpt", "nan", at("blocks.4.attn.qkv.weight", poisoned(NAN)), "blocks.4.attn.qkv.weight"),
    broken("lstm_forget", "nan", at("body.weight_hh_l0", poisoned(NAN)), "body.weight_hh_l0"),
    broken("mlp_he_10", "equal_units", at("8.weight", alike), "8.weight", mark="all"),
    broken("vgg_11", "equal_units", at("0.4.0.weight", twins), "0.4.0.weight", mark="half"),
    broken("mlp_tanh_orthogonal", "equal_units", hidden(alike), mark="everywhere"),
    broken("resnet_18", "equal_units", at("5.branch.0.0.weight", twins), "5.branch.0.0.weight", mark="half"),
    broken("gpt", "equal_units", at("blocks.5.mlp.0.weight", alike), "blocks.5.mlp.0.weight", mark="all"),
)

WIRING = (
    broken("encoder_pre_norm", "copies", encoder_of_copies, "layers"),
    broken("gpt", "copies", copies("blocks.0", *numbered("blocks.{}", range(1, 12))), "blocks"),
    broken("mlp_he_10", "copies", copies("2", *HIDDEN[1:]), "4"),
    broken("resnet_18", "copies", copies("2", "1"), "2"),
    broken("gpt", "tied", same("blocks.0", *numbered("blocks.{}", range(1, 12))), "blocks"),
    broken("mlp_he_10", "tied", same("2", *HIDDEN[1:]), "2"),
    broken("mixer", "tied", same("blocks.0", *numbered("blocks.{}", range(1, 8))), "blocks"),
    broken("mlp_residual_scaled", "tied", same("0", *numbered("{}", range(1, 32))), "0"),
    broken("mlp_he_10", "frozen", still("4", "6", "8"), "4"),
    broken("vgg_16", "frozen", still("0.7"), "0.7.0"),
    broken("gpt", "frozen", still(*numbered("blocks.{}", range(4, 8))), "blocks.4"),
    broken("unet", "frozen", still("bottom"), "bottom"),
    broken("mlp_he_10", "detached", cut("9"), "8.weight"),
    broken("resnet_18", "detached", cut("5"), "5"),
    broken("gpt", "detached", unlearnt("blocks.6"), "blocks.6"),
    broken("lenet_default", "detached", unlearnt("3"), "3"),
    broken("unet_plain", "detached", cut("merge"), "merge"),
)

RANGES = (
    broken("mlp_he_10", "bias", biased(-3.0), mark="low"),
    broken("vgg_16", "bias", biased(-3.0), mark="low"),
    broken("autoencoder_conv", "bias", biased(-3.0), mark="low"),
    broken("mlp_he_10", "bias", biased(10.0), mark="high"),
    broken("unet_plain", "bias", biased(10.0), mark="high"),
    broken("mlp_tanh_xavier", "saturated", hidden(spread(1.0))),
    broken("mlp_default_4", "saturated", sigmoid(784, 256, 256, 256, 256, 10, law=spread(1.0))),
    broken("mlp_highway", "saturated", gates(times(100))),
    broken("lstm_tagger", "saturated", within("body", times(50)), "body"),
    broken("gru_characters", "saturated", within("body", times(100)), "body"),
    broken("mlp_rezero", "no_residual_scale", instead(partial(unscaled, 64))),
    broken("mlp_residual_scaled", "no_residual_scale", instead(partial(unscaled, 32))),
    broken("resnet_fixup", "no_residual_scale", unscaled_branches),
    broken("vit", "no_residual_scale", without_norms("blocks")),
    raw("lenet_default", 255.0),
    raw("mlp_he_3", 255.0),
    raw("vgg_16", 60.0, 128.0),
    raw("mlp_he_10", 1.0, 100.0),
    raw("mlp_default_3", 1.0, 100.0),
    broken("mlp_he_10", "sigmoid_stack", sigmoid(*deep(10), law=init.xavier_normal_)),
    broken("mlp_default_3", "sigmoid_stack", sigmoid(*deep(16), law=torch_default)),
    broken("vgg_11", "sigmoid_stack", sigmoids),
    broken("autoencoder_conv", "sigmoid_stack", sigmoids),
    broken("mlp_funnel", "sigmoid_stack", sigmoid(784, 256, 256, 256, 128, 64, 32, 10, law=lecun)),
)

SKIPPED = (
    broken("mlp_he_20", "skipped_init", wrapped, mark="weight_norm"),
    broken("vgg_16", "skipped_init", wrapped, mark="weight_norm"),
    broken("hf_llama", "skipped_init", emptied(0.0), mark="zeros"),
    broken("vgg_11", "skipped_init", emptied(1e-30), mark="garbage"),
    broken("mlp_he_10", "skipped_init", emptied(1e30), mark="garbage"),
)

COLLECTION = (*FLAT, *SCALES, *PLACES, *WIRING, *RANGES, *SKIPPED)
BROKEN: Mapping[str, Broken] = MappingProxyType({one.name: one for one in COLLECTION})
