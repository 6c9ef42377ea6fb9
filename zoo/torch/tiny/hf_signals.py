"""Audio, time series and paired modalities from transformers, tiny and with random weights."""

from operator import attrgetter
from typing import Any

import transformers as tf

from zoo.model import Arguments, Model
from zoo.torch.tiny.batches import BATCH, CLASSES, LENGTH, VOCABULARY, Build, features, ids, normal
from zoo.torch.tiny.rows import tiny

SPEECH = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (32, 32, 32),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "apply_spec_augment": False,  # its masks are drawn by numpy, beyond torch.manual_seed
    "layerdrop": 0.0,  # a layer left out by chance has no gradient
}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "projection_dim": 16}
SERIES = 24
HORIZON = 6


def recording_and_tokens() -> Arguments:
    """A spectrogram for an encoder, token ids for its decoder."""
    decoder = ids(BATCH, 12, seed=3)
    return Arguments(
        kwargs={"input_features": normal(BATCH, 16, 2 * SERIES), "decoder_input_ids": decoder, "use_cache": False}
    )


def captions_and_images() -> Arguments:
    """Token ids and pixels, one pair an example; a caption is read off at its closing token."""
    caption = ids(BATCH, LENGTH, high=VOCABULARY - 1)
    caption[:, -1] = VOCABULARY - 1
    return Arguments(kwargs={"input_ids": caption, "pixel_values": normal(BATCH, 3, 32, 32)})


def history_and_future() -> Arguments:
    """A univariate series with its lags, one feature of time, and what the decoder is fed with."""
    past = SERIES + 3
    past_and_future = {
        "past_values": normal(BATCH, past),
        "past_time_features": normal(BATCH, past, 1, seed=2),
        "past_observed_mask": normal(BATCH, past).isfinite().float(),
        "future_values": normal(BATCH, HORIZON, seed=3),
        "future_time_features": normal(BATCH, HORIZON, 1, seed=4),
    }
    return Arguments(kwargs=past_and_future)


def series(depth: int) -> dict[str, Any]:
    """What the two forecasters' configurations share."""
    return {
        "prediction_length": HORIZON,
        "context_length": SERIES,
        "lags_sequence": [1, 2, 3],
        "num_time_features": 1,
        "d_model": 32,
        "encoder_layers": depth,
        "decoder_layers": depth,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
        "use_cache": False,
    }


def speech(name: str, build: Build, blocks: str, **changes: Any) -> Model:
    """A recogniser with a head over the vocabulary at every frame of raw audio."""
    usual = {"batch": features(BATCH, 800), "classes": VOCABULARY, "logits": attrgetter("logits"), "deep": True}
    return tiny(name=name, build=build, family="hf", blocks=blocks, data="audio", **(usual | changes))


AUDIO = (
    speech(
        "whisper",
        lambda depth: tf.WhisperForConditionalGeneration(
            tf.WhisperConfig(
                vocab_size=VOCABULARY,
                num_mel_bins=16,
                d_model=32,
                encoder_layers=depth,
                decoder_layers=depth,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
                max_source_positions=SERIES,
                max_target_positions=32,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=2,
                decoder_start_token_id=1,
            )
        ),
        r"model\.decoder\.layers\.\d+",
        batch=recording_and_tokens,
    ),
    speech(
        "wav2vec2",
        lambda depth: tf.Wav2Vec2ForCTC(tf.Wav2Vec2Config(num_hidden_layers=depth, **SPEECH)),
        r"wav2vec2\.encoder\.layers\.\d+",
        unused=("wav2vec2.masked_spec_embed",),
    ),
    speech(
        "hubert",
        lambda depth: tf.HubertForCTC(tf.HubertConfig(num_hidden_layers=depth, **SPEECH)),
        r"hubert\.encoder\.layers\.\d+",
        unused=("hubert.masked_spec_embed",),
    ),
    speech(
        "wav2vec2_conformer",
        lambda depth: tf.Wav2Vec2ConformerForCTC(tf.Wav2Vec2ConformerConfig(num_hidden_layers=depth, **SPEECH)),
        r"wav2vec2_conformer\.encoder\.layers\.\d+",
        unused=(  # positions are relative by default, yet the convolution for the other kind is made
            "wav2vec2_conformer.masked_spec_embed",
            "wav2vec2_conformer.encoder.pos_conv_embed.conv.bias",
            "wav2vec2_conformer.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
            "wav2vec2_conformer.encoder.pos_conv_embed.conv.parametrizations.weight.original1",
        ),
    ),
)

SERIES_MODELS = (
    tiny(
        family="hf",
        name="time_series_transformer",
        build=lambda depth: tf.TimeSeriesTransformerForPrediction(tf.TimeSeriesTransformerConfig(**series(depth))),
        batch=history_and_future,
        deep=True,
        blocks=r"model\.decoder\.layers\.\d+",
    ),
    tiny(
        family="hf",
        name="informer",
        build=lambda depth: tf.InformerForPrediction(tf.InformerConfig(distil=False, **series(depth))),
        batch=history_and_future,
        deep=True,
        blocks=r"model\.decoder\.layers\.\d+",
    ),
    tiny(
        family="hf",
        name="patchtst",
        build=lambda depth: tf.PatchTSTForClassification(
            tf.PatchTSTConfig(
                num_input_channels=3,
                context_length=SERIES,
                patch_length=4,
                patch_stride=4,
                d_model=32,
                num_attention_heads=2,
                ffn_dim=64,
                num_hidden_layers=depth,
                num_targets=CLASSES,
                use_cls_token=True,
            )
        ),
        batch=features(BATCH, SERIES, 3),
        deep=True,
        classes=CLASSES,
        logits=attrgetter("prediction_logits"),
        blocks=r"model\.encoder\.layers\.\d+",
    ),
)

PAIRED = (
    tiny(  # the logits are the similarities within the batch
        family="hf",
        name="clip",
        build=lambda depth: tf.CLIPModel(
            tf.CLIPConfig(
                text_config=TOWER
                | {
                    "vocab_size": VOCABULARY,
                    "num_hidden_layers": depth,
                    "max_position_embeddings": LENGTH,
                    "pad_token_id": 0,
                    "bos_token_id": 1,
                    "eos_token_id": VOCABULARY - 1,
                },
                vision_config=TOWER | {"num_hidden_layers": depth, "image_size": 32, "patch_size": 8},
                projection_dim=16,
            )
        ),
        batch=captions_and_images,
        deep=True,
        blocks=r"vision_model\.encoder\.layers\.\d+",
        data="image",
    ),
)

MODELS = (*AUDIO, *SERIES_MODELS, *PAIRED)
