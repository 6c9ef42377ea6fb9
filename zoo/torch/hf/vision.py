"""Models of transformers that no rule of the check was chosen on, with the random weights of the library."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers as tf

from zoo.torch.batches import series, text, uniform
from zoo.torch.layers import Subject, ids, images, normal

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


# The collection

Row = tuple[str, Any, Any, Mapping[str, Any]]
"""A name, the class of the model, that of its configuration, and the configuration."""

CAUSAL: tuple[Row, ...] = (
    ("gemma", tf.GemmaForCausalLM, tf.GemmaConfig, DECODER | {"head_dim": 32}),
    ("gemma3", tf.Gemma3ForCausalLM, tf.Gemma3TextConfig, DECODER | {"head_dim": 32}),
    ("olmo", tf.OlmoForCausalLM, tf.OlmoConfig, DECODER),
    ("cohere", tf.CohereForCausalLM, tf.CohereConfig, DECODER),
    ("codegen", tf.CodeGenForCausalLM, tf.CodeGenConfig, OLD | {"rotary_dim": 16}),
    ("gpt_bigcode", tf.GPTBigCodeForCausalLM, tf.GPTBigCodeConfig, OLD),
    ("starcoder2", tf.Starcoder2ForCausalLM, tf.Starcoder2Config, DECODER),
    ("persimmon", tf.PersimmonForCausalLM, tf.PersimmonConfig, ENCODER),
    ("granite", tf.GraniteForCausalLM, tf.GraniteConfig, DECODER),
    ("nemotron", tf.NemotronForCausalLM, tf.NemotronConfig, DECODER),
    ("glm4", tf.Glm4ForCausalLM, tf.Glm4Config, DECODER | {"head_dim": 32}),
    ("olmoe", tf.OlmoeForCausalLM, tf.OlmoeConfig, DECODER | EXPERTS),
    ("diff_llama", tf.DiffLlamaForCausalLM, tf.DiffLlamaConfig, DECODER),
    (
        "xglm",
        tf.XGLMForCausalLM,
        tf.XGLMConfig,
        SPECIALS | {"vocab_size": WORDS, "d_model": 128, "ffn_dim": 384, "num_layers": 5, "attention_heads": 4},
    ),
    ("bio_gpt", tf.BioGptForCausalLM, tf.BioGptConfig, ENCODER),
)

PLAIN: tuple[Row, ...] = (
    ("openai_gpt", tf.OpenAIGPTLMHeadModel, tf.OpenAIGPTConfig, OLD),
    ("ctrl", tf.CTRLLMHeadModel, tf.CTRLConfig, OLD | {"dff": 384}),
    (
        "rwkv",
        tf.RwkvForCausalLM,
        tf.RwkvConfig,
        SPECIALS | {"vocab_size": WORDS, "context_length": 48, "hidden_size": 128, "num_hidden_layers": 4},
    ),
)

MASKED: tuple[Row, ...] = (
    ("big_bird", tf.BigBirdForMaskedLM, tf.BigBirdConfig, ENCODER | {"attention_type": "original_full"}),
    ("longformer", tf.LongformerForMaskedLM, tf.LongformerConfig, ENCODER | {"attention_window": 8}),
    (
        "nystromformer",
        tf.NystromformerForMaskedLM,
        tf.NystromformerConfig,
        ENCODER | {"segment_means_seq_len": 32, "num_landmarks": 8},
    ),
    ("fnet", tf.FNetForMaskedLM, tf.FNetConfig, ENCODER),
    ("squeeze_bert", tf.SqueezeBertForMaskedLM, tf.SqueezeBertConfig, ENCODER | {"embedding_size": 128}),
    (
        "mobile_bert",
        tf.MobileBertForMaskedLM,
        tf.MobileBertConfig,
        ENCODER | {"embedding_size": 64, "intra_bottleneck_size": 64, "num_hidden_layers": 8},
    ),
    ("roformer", tf.RoFormerForMaskedLM, tf.RoFormerConfig, ENCODER),
    ("megatron_bert", tf.MegatronBertForMaskedLM, tf.MegatronBertConfig, ENCODER),
    (
        "rem_bert",
        tf.RemBertForMaskedLM,
        tf.RemBertConfig,
        ENCODER | {"input_embedding_size": 64, "output_embedding_size": 96},
    ),
    ("modern_bert", tf.ModernBertForMaskedLM, tf.ModernBertConfig, ENCODER | {"cls_token_id": 1, "sep_token_id": 2}),
)

PAIRS: tuple[Row, ...] = (
    ("mbart", tf.MBartForConditionalGeneration, tf.MBartConfig, PAIR),
    ("marian", tf.MarianMTModel, tf.MarianConfig, PAIR),
    ("blenderbot", tf.BlenderbotForConditionalGeneration, tf.BlenderbotConfig, PAIR),
    (
        "led",
        tf.LEDForConditionalGeneration,
        tf.LEDConfig,
        PAIR | {"attention_window": 8, "max_encoder_position_embeddings": 48, "max_decoder_position_embeddings": 48},
    ),
    (
        "prophet_net",
        tf.ProphetNetForConditionalGeneration,
        tf.ProphetNetConfig,
        SPECIALS
        | {"vocab_size": WORDS, "hidden_size": 128, "encoder_ffn_dim": 384, "decoder_ffn_dim": 384, "ngram": 2}
        | {"num_encoder_layers": 3, "num_decoder_layers": 3, "num_encoder_attention_heads": 4}
        | {"num_decoder_attention_heads": 4, "max_position_embeddings": 48, "decoder_start_token_id": 1},
    ),
    (
        "switch",
        tf.SwitchTransformersForConditionalGeneration,
        tf.SwitchTransformersConfig,
        {"vocab_size": WORDS, "d_model": 128, "d_kv": 32, "d_ff": 256, "num_heads": 4, "num_layers": 3}
        | {"num_decoder_layers": 3, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
        | {"decoder_start_token_id": 0},
    ),
)

STAGED = {"num_labels": CLASSES, "image_size": 64}
VISION: tuple[tuple[Row, Callable[[], Batch]], ...] = (
    (
        (
            "hiera",
            tf.HieraForImageClassification,
            tf.HieraConfig,
            {
                "image_size": [64, 64],
                "embed_dim": 32,
                "depths": [1, 2, 3],
                "num_heads": [1, 2, 4],
                "num_labels": CLASSES,
            }
            | {"query_stride": [2, 2], "masked_unit_size": [4, 4], "num_query_pool": 2, "mlp_ratio": 4.0},
        ),
        pictures(64),
    ),
    (
        (
            "vit_mae",
            tf.ViTMAEForPreTraining,
            tf.ViTMAEConfig,
            VIEW
            | {"decoder_hidden_size": 64, "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 4}
            | {"decoder_intermediate_size": 192},
        ),
        unlabelled(),
    ),
    (("video_mae", tf.VideoMAEForVideoClassification, tf.VideoMAEConfig, SIZE | FRAMES), films),
    (("timesformer", tf.TimesformerForVideoClassification, tf.TimesformerConfig, SIZE | FRAMES), films),
    (("vit_msn", tf.ViTMSNForImageClassification, tf.ViTMSNConfig, VIEW), pictures()),
    (
        (
            "focal_net",
            tf.FocalNetForImageClassification,
            tf.FocalNetConfig,
            STAGED
            | {"embed_dim": 32, "depths": [2, 2, 3], "hidden_sizes": [64, 128, 128], "focal_levels": [2, 2, 2]}
            | {"focal_windows": [3, 3, 3], "out_features": None},
        ),
        pictures(64),
    ),
    (
        (
            "mobile_vit",
            tf.MobileViTForImageClassification,
            tf.MobileViTConfig,
            STAGED | {"hidden_sizes": [48, 64, 80], "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 160]},
        ),
        pictures(64),
    ),
    (
        (
            "pvt_v2",
            tf.PvtV2ForImageClassification,
            tf.PvtV2Config,
            STAGED | {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 2, 2, 1], "num_attention_heads": [1, 2, 2, 4]},
        ),
        pictures(64),
    ),
    (
        (
            "glpn",
            tf.GLPNForDepthEstimation,
            tf.GLPNConfig,
            {"hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 2, 1], "num_attention_heads": [1, 2, 2, 4]}
            | {"decoder_hidden_size": 32},
        ),
        depths,
    ),
    (
        (
            "dpt",
            tf.DPTForSemanticSegmentation,
            tf.DPTConfig,
            SIZE
            | {"image_size": 64, "patch_size": 8, "num_labels": CLASSES, "backbone_out_indices": [1, 2, 3, 4]}
            | {"neck_hidden_sizes": [16, 32, 48, 64], "fusion_hidden_size": 32},
        ),
        areas,
    ),
)

SOUND: tuple[tuple[Row, Callable[[], Batch]], ...] = (
    (
        ("data2vec_audio", tf.Data2VecAudioForCTC, tf.Data2VecAudioConfig, SPEECH),
        waves(ids(12, 8, high=23, seed=116) + 1),
    ),
    (("sew", tf.SEWForCTC, tf.SEWConfig, SPEECH | {"squeeze_factor": 2}), waves(ids(12, 8, high=23, seed=117) + 1)),
    (("uni_speech", tf.UniSpeechForCTC, tf.UniSpeechConfig, SPEECH), waves(ids(12, 8, high=23, seed=118) + 1)),
    (
        ("wav_lm", tf.WavLMForSequenceClassification, tf.WavLMConfig, SPEECH | {"num_labels": CLASSES}),
        waves(ids(12, high=CLASSES, seed=119)),
    ),
    (
        (
            "ast",
            tf.ASTForAudioClassification,
            tf.ASTConfig,
            SIZE
            | {"num_mel_bins": 16, "max_length": 64, "patch_size": 8, "frequency_stride": 4, "time_stride": 4}
            | {"num_labels": CLASSES},
        ),
        spectra,
    ),
)

MORE: tuple[tuple[Row, Callable[[], Batch]], ...] = (
    (
        (
            "funnel",
            tf.FunnelForSequenceClassification,
            tf.FunnelConfig,
            SPECIALS
            | {"vocab_size": WORDS, "block_sizes": [2, 2], "d_model": 128, "n_head": 4, "d_head": 32, "d_inner": 384}
            | {"num_labels": CLASSES},
        ),
        judged,
    ),
    (("layout_lm", tf.LayoutLMForMaskedLM, tf.LayoutLMConfig, ENCODER | {"max_2d_position_embeddings": 512}), laid_out),
    (
        (
            "canine",
            tf.CanineForSequenceClassification,
            tf.CanineConfig,
            ENCODER
            | {"num_hash_buckets": 256, "local_transformer_stride": 16, "downsampling_rate": 4, "num_labels": CLASSES},
        ),
        judged,
    ),
    (("siglip", tf.SiglipModel, tf.SiglipConfig, CLIP), described),
    (("blip", tf.BlipForConditionalGeneration, tf.BlipConfig, CLIP | {"image_text_hidden_size": 64}), captioned),
    (("informer", tf.InformerForPrediction, tf.InformerConfig, FORECAST), forecast),
    (("autoformer", tf.AutoformerForPrediction, tf.AutoformerConfig, FORECAST), forecast),
    (
        (
            "patch_mixer",
            tf.PatchTSMixerForPrediction,
            tf.PatchTSMixerConfig,
            {"context_length": 36, "prediction_length": 12, "patch_length": 6, "patch_stride": 6, "d_model": 48}
            | {"num_input_channels": 2, "num_layers": 4},
        ),
        channels,
    ),
)


def made(row: Row, batch: Callable[[], Batch], family: str) -> Subject:
    name, model, config, sizes = row
    return Subject(f"fresh_hf_{name}", lambda: model(config(**sizes)), batch, None, family)


def every(rows: tuple[Row, ...], batch: Callable[[], Batch]) -> tuple[Subject, ...]:
    return tuple(made(row, batch, "transformer") for row in rows)


TEXTS = (*every(CAUSAL, continued), *every(PLAIN, simply_continued), *every(MASKED, hidden), *every(PAIRS, translated))
TRANSFORMERS = (
    *TEXTS,
    *(made(row, batch, "vision") for row, batch in VISION),
    *(made(row, batch, "other") for row, batch in (*SOUND, *MORE)),
)
