"""Broken models that judge the finished check.

Each visibly hurts at step zero: its loss, its signal or its gradients are far from those of its base. Frozen, cut,
shared, copied and equal parts are broken by what they are.
"""

from functools import partial

from torch import nn
from torch.nn import init

from zoo.planting import numbered
from zoo.torch.breaks.changes import (
    INF,
    NAN,
    alike,
    at,
    biased,
    broken,
    constant,
    copies,
    cut,
    drawn_sigmoids,
    emptied,
    every,
    half_shard,
    hidden,
    out_law,
    poisoned,
    raw,
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
from zoo.torch.laws import lecun

FLAT = (
    broken("last_leaky_he_12", "zeros", hidden(init.zeros_)),
    broken("last_hf_glm", "zeros", every(init.zeros_)),
    broken("last_he_uniform_24", "constant", hidden(constant(0.01))),
    broken("last_cifar_resnet_20", "constant", hidden(constant(0.05))),
)
SCALES = (
    broken("last_he_uniform_24", "tiny", every(spread(0.01))),
    broken("last_plain_leaky_14", "tiny", every(spread(0.002))),
    broken("last_hf_smol_lm3", "huge", every(spread(0.8))),
    broken("last_flow_matching", "huge", every(spread(1.0))),
    broken("last_orthogonal_40", "wrong_gain", hidden(times(0.5)), mark="down"),
    broken("last_plain_leaky_14", "wrong_gain", every(times(2.2)), mark="up"),
    broken("last_leaky_he_12", "slip", every(slip)),
    broken("last_selu_10", "slip", every(partial(lecun, gain=2.0)), mark="lecun"),
    broken("last_he_uniform_24", "default", every(torch_default)),
    broken("last_plain_leaky_14", "default", every(torch_default)),
    broken("last_he_uniform_24", "swapped", every(out_law)),
    broken("last_leaky_he_12", "swapped", at("22.weight", spread(1.0)), "22.weight", mark="head"),
    broken("last_he_uniform_24", "local_shard", every(half_shard), mark="half"),
    broken("last_plain_leaky_14", "local_shard", every(shard)),
)
PLACES = (
    broken("last_plain_leaky_14", "one_layer_up", at("0.6.0.weight", times(50)), "0.6.0.weight"),
    broken("last_digit_coder", "one_layer_up", at("4.weight", times(50)), "4.weight"),
    broken("last_he_uniform_24", "one_layer_down", at("24.weight", times(0.0001)), "24.weight"),
    broken("last_plain_leaky_14", "one_layer_down", at("0.8.0.weight", times(0.0001)), "0.8.0.weight"),
    broken("last_cifar_resnet_20", "head", at("12.weight", times(40)), "12.weight"),
    broken("last_hf_i_jepa", "head", at("classifier.weight", times(60)), "classifier.weight"),
    broken("last_crnn", "nan", at("read.weight_hh_l1", poisoned(NAN)), "read.weight_hh_l1"),
    broken("last_gcn_ii_16", "nan", at("layers.7.weight", poisoned(INF)), "layers.7.weight"),
    broken("last_he_uniform_24", "equal_units", at("20.weight", alike), "20.weight", mark="all"),
    broken("last_plain_leaky_14", "equal_units", at("0.5.0.weight", twins), "0.5.0.weight", mark="half"),
)
WIRING = (
    broken("last_narrow_decoder_20", "copies", copies("blocks.0", *numbered("blocks.{}", range(1, 20))), "blocks"),
    broken(
        "last_hf_helium", "copies", copies("model.layers.0", *numbered("model.layers.{}", range(1, 6))), "model.layers"
    ),
    broken("last_normed_residual_20", "tied", same("1", *numbered("{}", range(2, 21))), "1"),
    broken("last_leaky_he_12", "tied", same("2", *numbered("{}", range(4, 22, 2))), "2"),
    broken("last_crnn", "frozen", still("read"), "read"),
    broken(
        "last_hf_data2vec_text",
        "frozen",
        still("data2vec_text.encoder.layer.2", "data2vec_text.encoder.layer.3"),
        "data2vec_text.encoder.layer.2",
    ),
    broken("last_plain_leaky_14", "detached", cut("0.7"), "0.7.0"),
    broken("last_digit_coder", "detached", cut("5"), "4.weight"),
)
RANGES = (
    broken("last_he_uniform_24", "bias", biased(-3.0), mark="low"),
    broken("last_orthogonal_40", "bias", biased(6.0), mark="high"),
    broken("last_orthogonal_40", "saturated", hidden(times(20))),
    broken("last_lstm_forecast", "saturated", within("body", times(50)), "body"),
    broken("last_normed_residual_20", "no_residual_scale", without_norms("")),
    broken("last_narrow_decoder_20", "no_residual_scale", without_norms("blocks")),
    raw("last_plain_leaky_14", 60.0, 128.0),
    raw("last_selu_10", 1.0, 100.0),
    broken("last_he_uniform_24", "sigmoid_stack", drawn_sigmoids(init.xavier_normal_, nn.ReLU)),
    broken("last_plain_leaky_14", "sigmoid_stack", drawn_sigmoids(lecun, nn.LeakyReLU)),
)
SKIPPED = (
    broken("last_leaky_he_12", "skipped_init", wrapped, mark="weight_norm"),
    broken("last_hf_arcee", "skipped_init", emptied(0.0), mark="zeros"),
)
MODELS = (*FLAT, *SCALES, *PLACES, *WIRING, *RANGES, *SKIPPED)
