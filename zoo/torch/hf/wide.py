"""Sizes and batches of models of transformers, 192 wide and six deep."""

from collections.abc import Callable
from typing import Any

import torch

from zoo.torch.batches import ids, images, normal, sentences

VOCABULARY, LENGTH, CLASSES, SIDE = 512, 32, 10, 32
DEPTH = 6
SPECIALS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDTH = {"hidden_size": 192, "num_attention_heads": 4, "num_hidden_layers": DEPTH, "intermediate_size": 768}
ENCODER = SPECIALS | WIDTH | {"vocab_size": VOCABULARY, "max_position_embeddings": 64}
DECODER = ENCODER | {"num_key_value_heads": 2, "intermediate_size": 512}
SEQ2SEQ = SPECIALS | {"vocab_size": VOCABULARY, "d_model": 192, "max_position_embeddings": 64}
SEQ2SEQ |= {"encoder_layers": 4, "decoder_layers": 4, "encoder_ffn_dim": 768, "decoder_ffn_dim": 768}
SEQ2SEQ |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_start_token_id": 2}
T5 = {"vocab_size": VOCABULARY, "d_model": 192, "d_kv": 48, "d_ff": 512, "num_heads": 4, "num_layers": 4}
T5 |= {"decoder_start_token_id": 0}
PATCHES = {"image_size": SIDE, "patch_size": 4, "num_labels": CLASSES}
VIT = PATCHES | WIDTH
STAGES = {"num_labels": CLASSES, "depths": [2, 2, 4, 2], "hidden_sizes": [32, 64, 128, 256]}
WINDOWS = {"image_size": SIDE, "patch_size": 2, "embed_dim": 48, "num_heads": [2, 4], "depths": [2, 4]}
WINDOWS |= {"window_size": 4, "num_labels": CLASSES}
PYRAMID = {"num_encoder_blocks": 2, "depths": [2, 3], "hidden_sizes": [64, 128], "patch_sizes": [7, 3]}
PYRAMID |= {"strides": [4, 2], "num_labels": CLASSES}
SPEECH = {"vocab_size": 32, "conv_dim": (128, 128, 128), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2)}
SPEECH |= WIDTH | {"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
SPEECH |= {"apply_spec_augment": False, "layerdrop": 0.0}
TOWER = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "num_hidden_layers": DEPTH}
SERIES, HORIZON = 48, 12
FORECAST = {"prediction_length": HORIZON, "context_length": SERIES, "lags_sequence": [1, 2, 3], "d_model": 128}
FORECAST |= {"encoder_layers": 4, "decoder_layers": 4, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
FORECAST |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_time_features": 1, "use_cache": False}
CVT = {"patch_sizes": [7, 3], "patch_stride": [4, 2], "patch_padding": [2, 1], "embed_dim": [64, 128]}
CVT |= {"num_heads": [1, 2]}
CVT |= {"depth": [2, 4], "mlp_ratio": [4.0, 4.0], "attention_drop_rate": [0.0, 0.0], "drop_rate": [0.0, 0.0]}
CVT |= {"drop_path_rate": [0.0, 0.1], "qkv_bias": [True, True], "cls_token": [False, True], "num_labels": CLASSES}
CVT |= {"qkv_projection_method": ["dw_bn", "dw_bn"], "kernel_qkv": [3, 3], "padding_kv": [1, 1], "stride_kv": [2, 2]}
CVT |= {"padding_q": [1, 1], "stride_q": [1, 1]}
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "num_labels": CLASSES}
EFFICIENT = {"image_size": 64, "width_coefficient": 0.5, "depth_coefficient": 1.0, "hidden_dim": 640}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 192, "shared_expert_intermediate_size": 256}

WORDS = SPECIALS | {"vocab_size": VOCABULARY}
Batch = dict[str, Any]

# Batches


def causal() -> Batch:
    x, _ = sentences(16, LENGTH, VOCABULARY)
    return {"input_ids": x, "labels": x, "use_cache": False}


def permuted() -> Batch:
    x, y = sentences(16, LENGTH, VOCABULARY)
    return {"input_ids": x, "labels": y.contiguous(), "use_mems": False}


def masked() -> Batch:
    """Seven tokens in fifty hidden: the labels elsewhere are ignored."""
    x, _ = sentences(16, LENGTH, VOCABULARY - 4)
    hidden = normal(16, LENGTH, seed=7) > 1.1
    return {"input_ids": (x + 4).masked_fill(hidden, 3), "labels": (x + 4).masked_fill(~hidden, -100)}


def classified() -> Batch:
    x, _ = sentences(16, LENGTH, VOCABULARY - 4)
    return {"input_ids": x + 4, "labels": x[:, 0] % CLASSES}


def translated() -> Batch:
    source, target = sentences(16, LENGTH, VOCABULARY - 4)
    return {"input_ids": source + 4, "labels": target[:, :24] + 4, "use_cache": False}


def pictures(side: int = SIDE) -> Callable[[], Batch]:
    return lambda: dict(zip(("pixel_values", "labels"), images(16, side, CLASSES), strict=True))


def segmented() -> Batch:
    x, _ = images(8, 64, CLASSES)
    return {"pixel_values": x, "labels": ((x.sum(1) * 1.5 + CLASSES / 2).long()).clamp(0, CLASSES - 1)}


def waves(labels: torch.Tensor) -> Callable[[], Batch]:
    return lambda: {"input_values": normal(16, 1600), "labels": labels}


def spectrogram() -> Batch:
    return {"input_features": normal(16, 16, 64), "labels": ids(16, 16, high=VOCABULARY - 4) + 4, "use_cache": False}


def captions() -> Batch:
    text = ids(16, 16, high=VOCABULARY - 4) + 3
    text[:, -1] = VOCABULARY - 1
    return {"input_ids": text, "pixel_values": images(16)[0], "return_loss": True}


def history() -> Batch:
    """A series of each example's own level and slope, with its lags."""
    time = torch.arange(SERIES + 3 + HORIZON) / 20
    values = normal(16, 1) + normal(16, 1, seed=2) * time + 0.1 * normal(16, len(time), seed=3)
    past, feature = SERIES + 3, time.expand(16, -1)[..., None]
    names = ("past_values", "past_time_features", "past_observed_mask", "future_values", "future_time_features")
    parts = (values[:, :past], feature[:, :past], torch.ones(16, past), values[:, past:], feature[:, past:])
    return dict(zip(names, parts, strict=True))


def patches() -> Batch:
    return {"past_values": normal(16, SERIES, 3), "target_values": ids(16, high=CLASSES)}
