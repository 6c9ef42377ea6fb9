"""Models with one thing broken, made from those of zoo/torch/second.py without a look at the rules of the check.

Each hurts. Against its healthy base, in sixty steps on its batch at the best of three rates, it ends at 1.5 times the
loss and more, or it starts or averages at twice that loss, or is no number. Frozen, cut, shared, copied and equal parts
are broken by what they are, even where one batch is still learnt by heart.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.nn import init

from zoo.torch.breaks.changes import (
    INF,
    NAN,
    Broken,
    Change,
    alike,
    at,
    biased,
    changed,
    copies,
    cut,
    emptied,
    every,
    half_shard,
    hidden,
    kept,
    linears,
    numbered,
    poisoned,
    same,
    shard,
    slip,
    spread,
    still,
    times,
    torch_default,
    twins,
    unlearnt,
    within,
    wrapped,
)
from zoo.torch.layers import Law, Residual, he, lecun
from zoo.torch.second import FRESH_HEALTHY


def broken(base: str, planted: str, change: Change, place: str | None = None, **more: Any) -> Broken:
    """A healthy model after a change; `mark` tells two of a kind apart, `batch` replaces the batch."""
    subject = FRESH_HEALTHY[f"fresh_{base}"]
    name = f"{subject.name}-{planted}" + (f"-{more['mark']}" if "mark" in more else "")
    batch = more.get("batch", subject.batch)
    build = partial(changed, subject, change)
    return Broken(name, build, batch, subject.loss, subject.family, planted, place, subject.name)


# Changes


def out_law(weight: Tensor) -> None:
    """He's law over fan_out."""
    init.kaiming_normal_(weight, mode="fan_out")


def constant(value: float) -> Law:
    return partial(init.constant_, val=value)


def sigmoids(law: Law, *kinds: type[nn.Module]) -> Change:
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


def shifted(base: str, factor: float, shift: float = 0.0) -> Broken:
    """The first input times a factor, plus a shift; the rest as it was."""

    def batch() -> Any:
        first, *others = FRESH_HEALTHY[f"fresh_{base}"].batch()
        return factor * first + shift, *others

    return broken(base, "input", kept, batch=batch, mark="pixels" if factor > 1 else "mean")


# The collection

FLAT = (
    broken("leaky_16", "zeros", hidden(init.zeros_)),
    broken("espcn", "zeros", hidden(init.zeros_)),
    broken("hf_codegen", "zeros", every(init.zeros_)),
    broken("softsign_xavier", "constant", every(constant(0.02))),
    broken("shufflenet", "constant", hidden(constant(0.03))),
    broken("qrnn", "constant", within("body", constant(0.02))),
)

SCALES = (
    broken("crelu", "tiny", every(spread(0.01))),
    broken("network_in_network", "tiny", every(spread(0.005))),
    broken("set_transformer", "tiny", every(spread(0.002))),
    broken("delta_orthogonal", "tiny", hidden(spread(0.01))),
    broken("hf_xglm", "huge", every(spread(0.7))),
    broken("espcn", "huge", every(spread(1.0))),
    broken("n_beats", "huge", every(spread(0.5))),
    broken("delta_orthogonal", "wrong_gain", hidden(times(0.5)), mark="down"),
    broken("leaky_16", "wrong_gain", every(times(2.2)), mark="up"),
    broken("set_transformer", "wrong_gain", every(times(5.0)), mark="up"),
    broken("leaky_16", "slip", every(slip)),
    broken("crelu", "slip", every(slip)),
    broken("network_in_network", "slip", every(slip)),
    broken("leaky_16", "default", every(torch_default)),
    broken("delta_orthogonal", "default", every(torch_default)),
    broken("network_in_network", "default", every(torch_default)),
    broken("network_in_network", "swapped", every(out_law)),
    broken("d2rl", "swapped", every(out_law)),
    broken("leaky_16", "local_shard", every(half_shard), mark="half"),
    broken("crelu", "local_shard", every(shard)),
    broken("network_in_network", "local_shard", every(half_shard), mark="half"),
)

PLACES = (
    broken("leaky_16", "one_layer_up", at("14.weight", times(50)), "14.weight"),
    broken("espcn", "one_layer_up", at("2.weight", times(50)), "2.weight"),
    broken("edsr", "one_layer_up", at("1.branch.5.branch.2.weight", times(500)), "1.branch.5.branch.2.weight"),
    broken("n_beats", "one_layer_up", at("blocks.2.4.weight", times(50)), "blocks.2.4.weight"),
    broken("leaky_16", "one_layer_down", at("14.weight", times(0.0001)), "14.weight"),
    broken("delta_orthogonal", "one_layer_down", at("2.20.weight", times(0.0001)), "2.20.weight"),
    broken("set_transformer", "one_layer_down", at("enter.weight", times(0.0001)), "enter.weight"),
    broken("linformer", "head", at("head.weight", times(30)), "head.weight"),
    broken("wide_resnet", "head", at("11.weight", times(30)), "11.weight"),
    broken("hf_timesformer", "head", at("classifier.weight", times(50)), "classifier.weight"),
    broken("gat", "nan", at("2.map.weight", poisoned(NAN)), "2.map.weight"),
    broken("tacotron", "nan", at("writer.weight_ih", poisoned(NAN)), "writer.weight_ih"),
    broken("fno", "nan", at("3.local.weight", poisoned(INF)), "3.local.weight"),
    broken("softplus_3", "equal_units", at("2.weight", alike), "2.weight", mark="all"),
    broken("leaky_16", "equal_units", hidden(alike), mark="everywhere"),
    broken("dgcnn", "equal_units", at("two.body.0.weight", twins), "two.body.0.weight", mark="half"),
    broken(
        "sandwich_norm",
        "equal_units",
        at("blocks.3.1.branch.1.0.0.weight", alike),
        "blocks.3.1.branch.1.0.0.weight",
        mark="all",
    ),
)

WIRING = (
    broken("rope_qk_norm", "copies", copies("blocks.0", *numbered("blocks.{}", range(1, 6))), "blocks"),
    broken("linformer", "copies", copies("blocks.0", *numbered("blocks.{}", range(1, 6))), "blocks"),
    broken("darts_cells", "copies", copies("cells.0", *numbered("cells.{}", range(1, 5))), "cells"),
    broken("sandwich_norm", "tied", same("blocks.0", *numbered("blocks.{}", range(1, 8))), "blocks"),
    broken("resnet_group_norm", "tied", same("1", "2", "3"), "1"),
    broken("leaky_16", "tied", same("2", *numbered("{}", range(4, 30, 2))), "2"),
    broken("repvgg", "frozen", still("4", "5", "6"), "4"),
    broken("hf_gemma", "frozen", still("model.layers.1", "model.layers.2"), "model.layers.1"),
    broken("deep_speech", "frozen", still("body"), "body"),
    broken("darknet", "detached", cut("10"), "9"),
    broken("alibi", "detached", unlearnt("blocks.3"), "blocks.3"),
    broken("deep_speech", "detached", cut("convs.3"), "convs"),
)

RANGES = (
    broken("network_in_network", "bias", biased(-3.0), mark="low"),
    broken("fourier_features", "bias", biased(-4.0), mark="low"),
    broken("hardtanh_xavier", "bias", biased(6.0), mark="high"),
    broken("pinn", "saturated", within("body", times(10))),
    broken("lenet_1998", "saturated", hidden(times(100))),
    broken("chrono_lstm", "saturated", within("body", times(40))),
    broken("edsr", "no_residual_scale", whole_branches(he)),
    broken("rezero_transformer", "no_residual_scale", whole_branches(lecun)),
    shifted("lsuv", 60.0, 128.0),
    shifted("network_in_network", 60.0, 128.0),
    shifted("d2rl", 1.0, 100.0),
    broken("leaky_16", "sigmoid_stack", sigmoids(init.xavier_normal_, nn.LeakyReLU)),
    broken("network_in_network", "sigmoid_stack", sigmoids(lecun, nn.ReLU)),
)

SKIPPED = (
    broken("crelu", "skipped_init", wrapped, mark="weight_norm"),
    broken("hf_olmo", "skipped_init", emptied(0.0), mark="zeros"),
    broken("lsuv", "skipped_init", emptied(1e-30), mark="garbage"),
)

COLLECTION = (*FLAT, *SCALES, *PLACES, *WIRING, *RANGES, *SKIPPED)
FRESH_BROKEN: Mapping[str, Broken] = MappingProxyType({one.name: one for one in COLLECTION})
