"""Models of transformers for false_alarms.py: small, and with the random weights that the library gives them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import transformers as tf

from zoo.torch.layers import Subject, ids, images, normal, sentences

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


# The collection

Row = tuple[Any, Any, Mapping[str, Any]]
"""The model's class, its configuration's class, and the configuration."""

CAUSAL: Mapping[str, Row] = {
    "gpt2": (tf.GPT2LMHeadModel, tf.GPT2Config, {"n_embd": 256, "n_layer": 8, "n_head": 4, "n_positions": 64}),
    "gpt_neo": (
        tf.GPTNeoForCausalLM,
        tf.GPTNeoConfig,
        {"hidden_size": 192, "num_layers": DEPTH, "num_heads": 4, "attention_types": [[["global"], DEPTH]]},
    ),
    "gpt_neox": (tf.GPTNeoXForCausalLM, tf.GPTNeoXConfig, ENCODER),
    "gptj": (tf.GPTJForCausalLM, tf.GPTJConfig, {"n_embd": 192, "n_layer": DEPTH, "n_head": 4, "rotary_dim": 16}),
    "opt": (
        tf.OPTForCausalLM,
        tf.OPTConfig,
        {"hidden_size": 192, "num_hidden_layers": DEPTH, "ffn_dim": 768, "num_attention_heads": 4}
        | {"word_embed_proj_dim": 192, "max_position_embeddings": 64},
    ),
    "bloom": (tf.BloomForCausalLM, tf.BloomConfig, {"hidden_size": 192, "n_layer": DEPTH, "n_head": 4}),
    "mpt": (tf.MptForCausalLM, tf.MptConfig, {"d_model": 192, "n_heads": 4, "n_layers": DEPTH, "max_seq_len": 64}),
    "falcon": (
        tf.FalconForCausalLM,
        tf.FalconConfig,
        {"hidden_size": 192, "num_hidden_layers": DEPTH, "num_attention_heads": 4},
    ),
    "phi": (tf.PhiForCausalLM, tf.PhiConfig, ENCODER),
    "phi3": (tf.Phi3ForCausalLM, tf.Phi3Config, DECODER),
    "llama": (tf.LlamaForCausalLM, tf.LlamaConfig, DECODER | {"num_hidden_layers": 8}),
    "mistral": (tf.MistralForCausalLM, tf.MistralConfig, DECODER),
    "qwen2": (tf.Qwen2ForCausalLM, tf.Qwen2Config, DECODER),
    "qwen3": (tf.Qwen3ForCausalLM, tf.Qwen3Config, DECODER | {"head_dim": 48}),
    "gemma2": (tf.Gemma2ForCausalLM, tf.Gemma2Config, DECODER | {"head_dim": 48}),
    "olmo2": (tf.Olmo2ForCausalLM, tf.Olmo2Config, DECODER),
    "stablelm": (tf.StableLmForCausalLM, tf.StableLmConfig, DECODER),
    "mixtral": (
        tf.MixtralForCausalLM,
        tf.MixtralConfig,
        DECODER | {"num_local_experts": 4, "num_hidden_layers": 4, "intermediate_size": 256},
    ),
    "qwen2_moe": (tf.Qwen2MoeForCausalLM, tf.Qwen2MoeConfig, DECODER | MOE | {"num_hidden_layers": 4}),
    "mamba": (
        tf.MambaForCausalLM,
        tf.MambaConfig,
        {"hidden_size": 128, "state_size": 16, "num_hidden_layers": 4, "time_step_rank": 8},
    ),
    "mamba2": (
        tf.Mamba2ForCausalLM,
        tf.Mamba2Config,
        {"hidden_size": 128, "num_heads": 8, "head_dim": 32, "state_size": 16, "n_groups": 1, "chunk_size": 16}
        | {"num_hidden_layers": 4},
    ),
}

MASKED: Mapping[str, Row] = {
    "bert": (tf.BertForMaskedLM, tf.BertConfig, ENCODER),
    "roberta": (tf.RobertaForMaskedLM, tf.RobertaConfig, ENCODER),
    "albert": (tf.AlbertForMaskedLM, tf.AlbertConfig, ENCODER | {"embedding_size": 64}),
    "electra": (tf.ElectraForMaskedLM, tf.ElectraConfig, ENCODER | {"embedding_size": 64}),
    "mpnet": (tf.MPNetForMaskedLM, tf.MPNetConfig, ENCODER),
    "convbert": (tf.ConvBertForMaskedLM, tf.ConvBertConfig, ENCODER | {"embedding_size": 64}),
}

CLASSIFIED: Mapping[str, Row] = {
    "bert_classifier": (tf.BertForSequenceClassification, tf.BertConfig, ENCODER | {"num_labels": CLASSES}),
    "distilbert": (
        tf.DistilBertForSequenceClassification,
        tf.DistilBertConfig,
        {"dim": 192, "n_heads": 4, "hidden_dim": 768, "n_layers": DEPTH, "num_labels": CLASSES},
    ),
    "deberta_v2": (tf.DebertaV2ForSequenceClassification, tf.DebertaV2Config, ENCODER | DEBERTA),
}

TRANSLATED: Mapping[str, Row] = {
    "t5": (tf.T5ForConditionalGeneration, tf.T5Config, T5),
    "t5_gated": (tf.T5ForConditionalGeneration, tf.T5Config, T5 | {"feed_forward_proj": "gated-gelu"}),
    "bart": (tf.BartForConditionalGeneration, tf.BartConfig, SEQ2SEQ),
    "pegasus": (tf.PegasusForConditionalGeneration, tf.PegasusConfig, SEQ2SEQ),
}

PICTURES: Mapping[str, Row] = {
    "vit": (tf.ViTForImageClassification, tf.ViTConfig, VIT),
    "deit": (tf.DeiTForImageClassification, tf.DeiTConfig, VIT),
    "beit": (
        tf.BeitForImageClassification,
        tf.BeitConfig,
        VIT | {"use_relative_position_bias": True, "out_features": ["stage1"], "segmentation_out_indices": [1] * 4},
    ),
    "dinov2": (
        tf.Dinov2ForImageClassification,
        tf.Dinov2Config,
        PATCHES | {"hidden_size": 192, "num_attention_heads": 4, "num_hidden_layers": DEPTH},
    ),
    "swin": (tf.SwinForImageClassification, tf.SwinConfig, WINDOWS),
    "swinv2": (tf.Swinv2ForImageClassification, tf.Swinv2Config, WINDOWS),
    "convnext": (tf.ConvNextForImageClassification, tf.ConvNextConfig, STAGES | {"patch_size": 2}),
    "convnextv2": (tf.ConvNextV2ForImageClassification, tf.ConvNextV2Config, STAGES | {"patch_size": 2}),
    "cvt": (tf.CvtForImageClassification, tf.CvtConfig, CVT),
    "poolformer": (
        tf.PoolFormerForImageClassification,
        tf.PoolFormerConfig,
        PYRAMID | {"padding": [2, 1]},
    ),
    "pvt": (
        tf.PvtForImageClassification,
        tf.PvtConfig,
        PYRAMID
        | {"image_size": SIDE, "sequence_reduction_ratios": [2, 1], "patch_sizes": [4, 2], "mlp_ratios": [4, 4]}
        | {"num_attention_heads": [1, 2]},
    ),
}

LARGER: Mapping[str, Row] = {
    "resnet_50": (tf.ResNetForImageClassification, tf.ResNetConfig, STAGES | {"embedding_size": 32}),
    "resnet_18": (
        tf.ResNetForImageClassification,
        tf.ResNetConfig,
        STAGES | {"embedding_size": 32, "layer_type": "basic", "depths": [2, 2, 2, 2]},
    ),
    "regnet": (
        tf.RegNetForImageClassification,
        tf.RegNetConfig,
        STAGES | {"embedding_size": 32, "groups_width": 16},
    ),
    "bit": (tf.BitForImageClassification, tf.BitConfig, STAGES | {"embedding_size": 32, "num_groups": 8}),
    "mobilenet_v2": (
        tf.MobileNetV2ForImageClassification,
        tf.MobileNetV2Config,
        {"image_size": 64, "depth_multiplier": 0.5, "num_labels": CLASSES},
    ),
    "efficientnet": (tf.EfficientNetForImageClassification, tf.EfficientNetConfig, EFFICIENT | {"num_labels": CLASSES}),
    "levit": (
        tf.LevitForImageClassification,
        tf.LevitConfig,
        {"image_size": 64, "hidden_sizes": [64, 96, 128], "num_attention_heads": [2, 3, 4], "depths": [2, 2, 2]}
        | {"kernel_size": 3, "stride": 2, "padding": 1, "patch_size": 16, "num_labels": CLASSES},
    ),
}

OTHERS: Mapping[str, tuple[Row, Callable[[], Batch]]] = {
    "xlnet": (
        (tf.XLNetLMHeadModel, tf.XLNetConfig, SPECIALS | {"d_model": 192, "n_layer": 6, "n_head": 4, "d_inner": 768}),
        permuted,
    ),
    "segformer": (
        (
            tf.SegformerForSemanticSegmentation,
            tf.SegformerConfig,
            PYRAMID
            | {"sr_ratios": [2, 1], "num_attention_heads": [1, 2], "mlp_ratios": [4, 4], "decoder_hidden_size": 128},
        ),
        segmented,
    ),
    "clip": (
        (
            tf.CLIPModel,
            tf.CLIPConfig,
            {
                "text_config": TOWER | WORDS | {"max_position_embeddings": 16, "eos_token_id": VOCABULARY - 1},
                "vision_config": TOWER | {"image_size": SIDE, "patch_size": 4},
                "projection_dim": 64,
            },
        ),
        captions,
    ),
    "wav2vec2": ((tf.Wav2Vec2ForCTC, tf.Wav2Vec2Config, SPEECH), waves(ids(16, 8, high=31) + 1)),
    "hubert": (
        (tf.HubertForSequenceClassification, tf.HubertConfig, SPEECH | {"num_labels": CLASSES}),
        waves(ids(16, high=CLASSES)),
    ),
    "whisper": (
        (
            tf.WhisperForConditionalGeneration,
            tf.WhisperConfig,
            SEQ2SEQ | {"num_mel_bins": 16, "max_source_positions": 32, "max_target_positions": 32},
        ),
        spectrogram,
    ),
    "time_series": ((tf.TimeSeriesTransformerForPrediction, tf.TimeSeriesTransformerConfig, FORECAST), history),
    "patchtst": (
        (
            tf.PatchTSTForClassification,
            tf.PatchTSTConfig,
            {"num_input_channels": 3, "context_length": SERIES, "patch_length": 4, "patch_stride": 4, "d_model": 128}
            | {"num_attention_heads": 4, "ffn_dim": 512, "num_hidden_layers": 4, "num_targets": CLASSES},
        ),
        patches,
    ),
}

READS = frozenset({"xlnet"}) | CAUSAL.keys() | {"distilbert"}
"""Those whose vocabulary and special ids are added here."""

GROUPS: tuple[tuple[Mapping[str, Row], Callable[[], Batch], str], ...] = (
    (CAUSAL, causal, "transformer"),
    (MASKED, masked, "transformer"),
    (CLASSIFIED, classified, "transformer"),
    (TRANSLATED, translated, "transformer"),
    (PICTURES, pictures(), "vision"),
    (LARGER, pictures(64), "vision"),
)


def subject(name: str, row: Row, batch: Callable[[], Batch], family: str) -> Subject:
    model, config, sizes = row
    told = {**WORDS, **sizes} if name in READS else sizes
    return Subject(f"hf_{name}", lambda: model(config(**told)), batch, None, family)


def collection() -> Mapping[str, Subject]:
    """All of them by name."""
    grouped = [subject(name, row, batch, family) for rows, batch, family in GROUPS for name, row in rows.items()]
    others = [subject(name, row, batch, "other") for name, (row, batch) in OTHERS.items()]
    return MappingProxyType({one.name: one for one in (*grouped, *others)})


TRANSFORMERS = collection()
