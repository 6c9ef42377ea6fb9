"""Models of zoo/torch/held_out.py with one thing broken; they judge the finished check.

Each visibly hurts at step zero: its loss, its signal or its gradients are far from those of its base. Frozen, cut,
shared, copied and equal parts are broken by what they are.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn
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
    within,
    without_norms,
    wrapped,
)
from zoo.torch.breaks.tuned import constant, out_law, sigmoids
from zoo.torch.held_out import LAST_HEALTHY
from zoo.torch.layers import lecun


def broken(base: str, planted: str, change: Change, place: str | None = None, **more: Any) -> Broken:
    """A healthy model after a change; `mark` tells two of a kind apart, `batch` replaces the batch."""
    subject = LAST_HEALTHY[f"last_{base}"]
    name = f"{subject.name}-{planted}" + (f"-{more['mark']}" if "mark" in more else "")
    batch = more.get("batch", subject.batch)
    build = partial(changed, subject, change)
    return Broken(name, build, batch, subject.loss, subject.family, planted, place, subject.name)


def shifted(base: str, factor: float, shift: float) -> Broken:
    """The first input times a factor, plus a shift; the rest as it was."""

    def batch() -> Any:
        first, *others = LAST_HEALTHY[f"last_{base}"].batch()
        return factor * first + shift, *others

    return broken(base, "input", kept, batch=batch, mark="pixels" if factor > 1 else "mean")


FLAT = (
    broken("leaky_he_12", "zeros", hidden(init.zeros_)),
    broken("hf_glm", "zeros", every(init.zeros_)),
    broken("he_uniform_24", "constant", hidden(constant(0.01))),
    broken("cifar_resnet_20", "constant", hidden(constant(0.05))),
)

SCALES = (
    broken("he_uniform_24", "tiny", every(spread(0.01))),
    broken("plain_leaky_14", "tiny", every(spread(0.002))),
    broken("hf_smol_lm3", "huge", every(spread(0.8))),
    broken("flow_matching", "huge", every(spread(1.0))),
    broken("orthogonal_40", "wrong_gain", hidden(times(0.5)), mark="down"),
    broken("plain_leaky_14", "wrong_gain", every(times(2.2)), mark="up"),
    broken("leaky_he_12", "slip", every(slip)),
    broken("selu_10", "slip", every(partial(lecun, gain=2.0)), mark="lecun"),
    broken("he_uniform_24", "default", every(torch_default)),
    broken("plain_leaky_14", "default", every(torch_default)),
    broken("he_uniform_24", "swapped", every(out_law)),
    broken("leaky_he_12", "swapped", at("22.weight", spread(1.0)), "22.weight", mark="head"),
    broken("he_uniform_24", "local_shard", every(half_shard), mark="half"),
    broken("plain_leaky_14", "local_shard", every(shard)),
)

PLACES = (
    broken("plain_leaky_14", "one_layer_up", at("0.6.0.weight", times(50)), "0.6.0.weight"),
    broken("digit_coder", "one_layer_up", at("4.weight", times(50)), "4.weight"),
    broken("he_uniform_24", "one_layer_down", at("24.weight", times(0.0001)), "24.weight"),
    broken("plain_leaky_14", "one_layer_down", at("0.8.0.weight", times(0.0001)), "0.8.0.weight"),
    broken("cifar_resnet_20", "head", at("12.weight", times(40)), "12.weight"),
    broken("hf_i_jepa", "head", at("classifier.weight", times(60)), "classifier.weight"),
    broken("crnn", "nan", at("read.weight_hh_l1", poisoned(NAN)), "read.weight_hh_l1"),
    broken("gcn_ii_16", "nan", at("layers.7.weight", poisoned(INF)), "layers.7.weight"),
    broken("he_uniform_24", "equal_units", at("20.weight", alike), "20.weight", mark="all"),
    broken("plain_leaky_14", "equal_units", at("0.5.0.weight", twins), "0.5.0.weight", mark="half"),
)

WIRING = (
    broken("narrow_decoder_20", "copies", copies("blocks.0", *numbered("blocks.{}", range(1, 20))), "blocks"),
    broken("hf_helium", "copies", copies("model.layers.0", *numbered("model.layers.{}", range(1, 6))), "model.layers"),
    broken("normed_residual_20", "tied", same("1", *numbered("{}", range(2, 21))), "1"),
    broken("leaky_he_12", "tied", same("2", *numbered("{}", range(4, 22, 2))), "2"),
    broken("crnn", "frozen", still("read"), "read"),
    broken(
        "hf_data2vec_text",
        "frozen",
        still("data2vec_text.encoder.layer.2", "data2vec_text.encoder.layer.3"),
        "data2vec_text.encoder.layer.2",
    ),
    broken("plain_leaky_14", "detached", cut("0.7"), "0.7.0"),
    broken("digit_coder", "detached", cut("5"), "4.weight"),
)

RANGES = (
    broken("he_uniform_24", "bias", biased(-3.0), mark="low"),
    broken("orthogonal_40", "bias", biased(6.0), mark="high"),
    broken("orthogonal_40", "saturated", hidden(times(20))),
    broken("lstm_forecast", "saturated", within("body", times(50)), "body"),
    broken("normed_residual_20", "no_residual_scale", without_norms("")),
    broken("narrow_decoder_20", "no_residual_scale", without_norms("blocks")),
    shifted("plain_leaky_14", 60.0, 128.0),
    shifted("selu_10", 1.0, 100.0),
    broken("he_uniform_24", "sigmoid_stack", sigmoids(init.xavier_normal_, nn.ReLU)),
    broken("plain_leaky_14", "sigmoid_stack", sigmoids(lecun, nn.LeakyReLU)),
)

SKIPPED = (
    broken("leaky_he_12", "skipped_init", wrapped, mark="weight_norm"),
    broken("hf_arcee", "skipped_init", emptied(0.0), mark="zeros"),
)

COLLECTION = (*FLAT, *SCALES, *PLACES, *WIRING, *RANGES, *SKIPPED)
LAST_BROKEN: Mapping[str, Broken] = MappingProxyType({one.name: one for one in COLLECTION})
