"""Sizes and batches of models of transformers, 128 wide and five deep."""

from collections.abc import Callable
from typing import Any

import torch

from zoo.torch.batches import ids, images, normal, series, text, uniform

WORDS, CLASSES = 320, 6
SPECIALS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZE = {"hidden_size": 128, "num_attention_heads": 4, "num_hidden_layers": 5, "intermediate_size": 384}
ENCODER = SPECIALS | SIZE | {"vocab_size": WORDS, "max_position_embeddings": 48}
DECODER = ENCODER | {"num_key_value_heads": 2}
OLD = SPECIALS | {"vocab_size": WORDS, "n_embd": 128, "n_layer": 5, "n_head": 4, "n_positions": 48}
PAIR = SPECIALS | {"vocab_size": WORDS, "d_model": 128, "max_position_embeddings": 48, "decoder_start_token_id": 2}
PAIR |= {"encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 384, "decoder_ffn_dim": 384}
PAIR |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
VIEW = SIZE | {"image_size": 32, "patch_size": 4, "num_labels": CLASSES}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 3, "intermediate_size": 192}
SPEECH = {"vocab_size": 24, "conv_dim": (64, 64, 64), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2)}
SPEECH |= SIZE | {"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
SPEECH |= {"apply_spec_augment": False, "layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
TOWER = {"hidden_size": 96, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 4}
CLIP = {
    "text_config": TOWER | SPECIALS | {"vocab_size": WORDS, "max_position_embeddings": 16},
    "vision_config": TOWER | {"image_size": 32, "patch_size": 8},
}
FORECAST = {"prediction_length": 12, "context_length": 36, "lags_sequence": [1, 2], "d_model": 64}
FORECAST |= {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128}
FORECAST |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_time_features": 1, "use_cache": False}
FRAMES = {"image_size": 32, "patch_size": 8, "num_channels": 3, "num_frames": 4, "num_labels": CLASSES}
STAGED = {"num_labels": CLASSES, "image_size": 64}
Batch = dict[str, Any]

# Batches


def ids_of(count: int = 12, length: int = 24) -> torch.Tensor:
    return text(count, length, WORDS - 8)[0] + 5


def continued() -> Batch:
    return {"input_ids": ids_of(), "labels": ids_of(), "use_cache": False}


def simply_continued() -> Batch:
    return {"input_ids": ids_of(), "labels": ids_of()}


def hidden() -> Batch:
    """One token in six hidden."""
    x = ids_of(length=32)
    mask = uniform(12, 32, seed=111) < 1 / 6
    return {"input_ids": x.masked_fill(mask, 4), "labels": x.masked_fill(~mask, -100)}


def judged() -> Batch:
    x = ids_of(length=32)
    return {"input_ids": x, "labels": x[:, 0] % CLASSES}


def laid_out() -> Batch:
    """Hidden words, each in its box of a page."""
    corner = ids(12, 32, 2, high=400, seed=112)
    return hidden() | {"bbox": torch.cat([corner, corner + 60], -1)}


def translated() -> Batch:
    return {"input_ids": ids_of(), "labels": ids_of()[:, :16].flip(1), "use_cache": False}


def pictures(side: int = 32, count: int = 12) -> Callable[[], Batch]:
    return lambda: dict(zip(("pixel_values", "labels"), images(count, side, CLASSES), strict=True))


def unlabelled(side: int = 32) -> Callable[[], Batch]:
    return lambda: {"pixel_values": images(12, side)[0]}


def depths() -> Batch:
    x, _ = images(8, 64)
    return {"pixel_values": x, "labels": x.mean(1).exp()}


def areas() -> Batch:
    x, _ = images(8, 64)
    return {"pixel_values": x, "labels": (x.sum(1) + 3).long().clamp(0, CLASSES - 1)}


def films() -> Batch:
    x, y = images(8, 32, CLASSES)
    return {"pixel_values": torch.stack([x.roll(step, 3) for step in range(4)], 1), "labels": y}


def waves(labels: torch.Tensor) -> Callable[[], Batch]:
    return lambda: {"input_values": series(12, 1600) + 0.1 * normal(12, 1600, seed=113), "labels": labels}


def spectra() -> Batch:
    return {"input_values": normal(12, 64, 16, seed=114), "labels": ids(12, high=CLASSES, seed=115)}


def described() -> Batch:
    return {"input_ids": ids_of(12, 16), "pixel_values": images(12, 32)[0], "return_loss": True}


def captioned() -> Batch:
    x = ids_of(12, 16)
    return {"input_ids": x, "pixel_values": images(12, 32)[0], "labels": x}


def forecast() -> Batch:
    values = series(16, 50)
    feature = (torch.arange(50) / 50).expand(16, -1)[..., None]
    past = {
        "past_values": values[:, :38],
        "past_time_features": feature[:, :38],
        "past_observed_mask": torch.ones(16, 38),
    }
    return past | {"future_values": values[:, 38:], "future_time_features": feature[:, 38:]}


def channels() -> Batch:
    values = torch.stack([series(16, 48), series(16, 48).flip(1)], -1)
    return {"past_values": values[:, :36], "future_values": values[:, 36:]}
