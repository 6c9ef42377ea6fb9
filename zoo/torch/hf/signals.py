"""Models of transformers for sound, for series, and for pictures with words, with the random weights of the library."""

import transformers as tf

from zoo.torch.batches import ids
from zoo.torch.hf import library, middle, narrow, wide

tuned, held_out = library("tuned"), library("held_out")
MODELS = (
    tuned(
        "hf_clip",
        tf.CLIPModel,
        tf.CLIPConfig,
        wide.captions,
        {
            "text_config": wide.TOWER
            | wide.WORDS
            | {"max_position_embeddings": 16, "eos_token_id": wide.VOCABULARY - 1},
            "vision_config": wide.TOWER | {"image_size": wide.SIDE, "patch_size": 4},
            "projection_dim": 64,
        },
    ),
    tuned("hf_wav2vec2", tf.Wav2Vec2ForCTC, tf.Wav2Vec2Config, wide.waves(ids(16, 8, high=31) + 1), wide.SPEECH),
    tuned(
        "hf_hubert",
        tf.HubertForSequenceClassification,
        tf.HubertConfig,
        wide.waves(ids(16, high=wide.CLASSES)),
        wide.SPEECH | {"num_labels": wide.CLASSES},
    ),
    tuned(
        "hf_whisper",
        tf.WhisperForConditionalGeneration,
        tf.WhisperConfig,
        wide.spectrogram,
        wide.SEQ2SEQ | {"num_mel_bins": 16, "max_source_positions": 32, "max_target_positions": 32},
    ),
    tuned(
        "hf_time_series",
        tf.TimeSeriesTransformerForPrediction,
        tf.TimeSeriesTransformerConfig,
        wide.history,
        wide.FORECAST,
    ),
    tuned(
        "hf_patchtst",
        tf.PatchTSTForClassification,
        tf.PatchTSTConfig,
        wide.patches,
        {"num_input_channels": 3, "context_length": wide.SERIES, "patch_length": 4, "patch_stride": 4, "d_model": 128}
        | {"num_attention_heads": 4, "ffn_dim": 512, "num_hidden_layers": 4, "num_targets": wide.CLASSES},
    ),
    tuned(
        "fresh_hf_data2vec_audio",
        tf.Data2VecAudioForCTC,
        tf.Data2VecAudioConfig,
        middle.waves(ids(12, 8, high=23, seed=116) + 1),
        middle.SPEECH,
    ),
    tuned(
        "fresh_hf_sew",
        tf.SEWForCTC,
        tf.SEWConfig,
        middle.waves(ids(12, 8, high=23, seed=117) + 1),
        middle.SPEECH | {"squeeze_factor": 2},
    ),
    tuned(
        "fresh_hf_uni_speech",
        tf.UniSpeechForCTC,
        tf.UniSpeechConfig,
        middle.waves(ids(12, 8, high=23, seed=118) + 1),
        middle.SPEECH,
    ),
    tuned(
        "fresh_hf_wav_lm",
        tf.WavLMForSequenceClassification,
        tf.WavLMConfig,
        middle.waves(ids(12, high=middle.CLASSES, seed=119)),
        middle.SPEECH | {"num_labels": middle.CLASSES},
    ),
    tuned(
        "fresh_hf_ast",
        tf.ASTForAudioClassification,
        tf.ASTConfig,
        middle.spectra,
        middle.SIZE
        | {"num_mel_bins": 16, "max_length": 64, "patch_size": 8, "frequency_stride": 4, "time_stride": 4}
        | {"num_labels": middle.CLASSES},
    ),
    tuned("fresh_hf_siglip", tf.SiglipModel, tf.SiglipConfig, middle.described, middle.CLIP),
    tuned(
        "fresh_hf_blip",
        tf.BlipForConditionalGeneration,
        tf.BlipConfig,
        middle.captioned,
        middle.CLIP | {"image_text_hidden_size": 64},
    ),
    tuned("fresh_hf_informer", tf.InformerForPrediction, tf.InformerConfig, middle.forecast, middle.FORECAST),
    tuned("fresh_hf_autoformer", tf.AutoformerForPrediction, tf.AutoformerConfig, middle.forecast, middle.FORECAST),
    tuned(
        "fresh_hf_patch_mixer",
        tf.PatchTSMixerForPrediction,
        tf.PatchTSMixerConfig,
        middle.channels,
        {"context_length": 36, "prediction_length": 12, "patch_length": 6, "patch_stride": 6, "d_model": 48}
        | {"num_input_channels": 2, "num_layers": 4},
    ),
    held_out("last_hf_conformer", tf.Wav2Vec2ConformerForCTC, tf.Wav2Vec2ConformerConfig, narrow.CTC, narrow.SOUND),
    held_out("last_hf_uni_speech_sat", tf.UniSpeechSatForCTC, tf.UniSpeechSatConfig, narrow.CTC, narrow.SOUND),
)
