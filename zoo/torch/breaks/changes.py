"""What breaks a model of the zoo: changes of its weights, its wiring or its batch.

A row of `tuned.py` and `held_out.py` names a healthy model, the kind of the break, the change, and the parameter or the
module where it sits.
"""

import copy
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import parametrizations

from zoo.model import Model
from zoo.planting import kept, moved, planted
from zoo.torch.healthy import HEALTHY
from zoo.torch.laws import LINEAR, Law, drawn, he
from zoo.torch.layers import Net, Residual, mlp

Change = Callable[[nn.Module], nn.Module | None]
NAN, INF = math.nan, math.inf


def broken(base: str, kind: str, change: Change, place: str | None = None, **more: Any) -> Model:
    """A healthy model after a change; `mark` tells two of a kind apart, `batch` replaces the batch."""
    model = HEALTHY[base]
    return planted(model, kind, partial(changed, model, change), place, **more)


def changed(model: Model, change: Change) -> nn.Module:
    module = model.build()
    return change(module) or module


def raw(base: str, factor: float, shift: float = 0.0) -> Model:
    """Inputs as nobody should give them."""
    batch = moved(HEALTHY[base], factor, shift)
    return broken(base, "input", kept, batch=batch, mark="pixels" if factor > 1 else "mean")


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
    return lambda model: kept(law(model.get_parameter(path)))


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


def out_law(weight: Tensor) -> None:
    """He's law over fan_out."""
    init.kaiming_normal_(weight, mode="fan_out")


def constant(value: float) -> Law:
    return partial(init.constant_, val=value)


def drawn_sigmoids(law: Law, *kinds: type[nn.Module]) -> Change:
    """Activations of these kinds become sigmoids, maps are drawn by a law."""

    def change(model: nn.Module) -> None:
        for name, module in list(model.named_modules()):
            if isinstance(module, kinds):
                model.set_submodule(name, nn.Sigmoid())
        for layer in linears(model):
            law(layer.weight)

    return change


def whole_branches(law: Law) -> Change:
    """Residual branches count in full, their maps drawn by a law."""

    def change(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, Residual):
                module.scale = nn.Parameter(module.scale.new_ones(())) if isinstance(module.scale, Tensor) else 1.0
        for layer in linears(model):
            law(layer.weight)

    return change
