"""Models of transformers that see, with the random weights of the library."""

import transformers as tf

from zoo.torch.hf import library, middle, narrow, wide

tuned, held_out = library("tuned"), library("held_out")
MODELS = (
    tuned("hf_vit", tf.ViTForImageClassification, tf.ViTConfig, wide.pictures(), wide.VIT),
    tuned("hf_deit", tf.DeiTForImageClassification, tf.DeiTConfig, wide.pictures(), wide.VIT),
    tuned(
        "hf_beit",
        tf.BeitForImageClassification,
        tf.BeitConfig,
        wide.pictures(),
        wide.VIT
        | {"use_relative_position_bias": True, "out_features": ["stage1"], "segmentation_out_indices": [1] * 4},
    ),
    tuned(
        "hf_dinov2",
        tf.Dinov2ForImageClassification,
        tf.Dinov2Config,
        wide.pictures(),
        wide.PATCHES | {"hidden_size": 192, "num_attention_heads": 4, "num_hidden_layers": wide.DEPTH},
    ),
    tuned("hf_swin", tf.SwinForImageClassification, tf.SwinConfig, wide.pictures(), wide.WINDOWS),
    tuned("hf_swinv2", tf.Swinv2ForImageClassification, tf.Swinv2Config, wide.pictures(), wide.WINDOWS),
    tuned(
        "hf_convnext",
        tf.ConvNextForImageClassification,
        tf.ConvNextConfig,
        wide.pictures(),
        wide.STAGES | {"patch_size": 2},
    ),
    tuned(
        "hf_convnextv2",
        tf.ConvNextV2ForImageClassification,
        tf.ConvNextV2Config,
        wide.pictures(),
        wide.STAGES | {"patch_size": 2},
    ),
    tuned("hf_cvt", tf.CvtForImageClassification, tf.CvtConfig, wide.pictures(), wide.CVT),
    tuned(
        "hf_poolformer",
        tf.PoolFormerForImageClassification,
        tf.PoolFormerConfig,
        wide.pictures(),
        wide.PYRAMID | {"padding": [2, 1]},
    ),
    tuned(
        "hf_pvt",
        tf.PvtForImageClassification,
        tf.PvtConfig,
        wide.pictures(),
        wide.PYRAMID
        | {"image_size": wide.SIDE, "sequence_reduction_ratios": [2, 1], "patch_sizes": [4, 2], "mlp_ratios": [4, 4]}
        | {"num_attention_heads": [1, 2]},
    ),
    tuned(
        "hf_resnet_50",
        tf.ResNetForImageClassification,
        tf.ResNetConfig,
        wide.pictures(64),
        wide.STAGES | {"embedding_size": 32},
    ),
    tuned(
        "hf_resnet_18",
        tf.ResNetForImageClassification,
        tf.ResNetConfig,
        wide.pictures(64),
        wide.STAGES | {"embedding_size": 32, "layer_type": "basic", "depths": [2, 2, 2, 2]},
    ),
    tuned(
        "hf_regnet",
        tf.RegNetForImageClassification,
        tf.RegNetConfig,
        wide.pictures(64),
        wide.STAGES | {"embedding_size": 32, "groups_width": 16},
    ),
    tuned(
        "hf_bit",
        tf.BitForImageClassification,
        tf.BitConfig,
        wide.pictures(64),
        wide.STAGES | {"embedding_size": 32, "num_groups": 8},
    ),
    tuned(
        "hf_mobilenet_v2",
        tf.MobileNetV2ForImageClassification,
        tf.MobileNetV2Config,
        wide.pictures(64),
        {"image_size": 64, "depth_multiplier": 0.5, "num_labels": wide.CLASSES},
    ),
    tuned(
        "hf_efficientnet",
        tf.EfficientNetForImageClassification,
        tf.EfficientNetConfig,
        wide.pictures(64),
        wide.EFFICIENT | {"num_labels": wide.CLASSES},
    ),
    tuned(
        "hf_levit",
        tf.LevitForImageClassification,
        tf.LevitConfig,
        wide.pictures(64),
        {"image_size": 64, "hidden_sizes": [64, 96, 128], "num_attention_heads": [2, 3, 4], "depths": [2, 2, 2]}
        | {"kernel_size": 3, "stride": 2, "padding": 1, "patch_size": 16, "num_labels": wide.CLASSES},
    ),
    tuned(
        "hf_segformer",
        tf.SegformerForSemanticSegmentation,
        tf.SegformerConfig,
        wide.segmented,
        wide.PYRAMID
        | {"sr_ratios": [2, 1], "num_attention_heads": [1, 2], "mlp_ratios": [4, 4], "decoder_hidden_size": 128},
    ),
    tuned(
        "fresh_hf_hiera",
        tf.HieraForImageClassification,
        tf.HieraConfig,
        middle.pictures(64),
        {
            "image_size": [64, 64],
            "embed_dim": 32,
            "depths": [1, 2, 3],
            "num_heads": [1, 2, 4],
            "num_labels": middle.CLASSES,
        }
        | {"query_stride": [2, 2], "masked_unit_size": [4, 4], "num_query_pool": 2, "mlp_ratio": 4.0},
    ),
    tuned(
        "fresh_hf_vit_mae",
        tf.ViTMAEForPreTraining,
        tf.ViTMAEConfig,
        middle.unlabelled(),
        middle.VIEW
        | {"decoder_hidden_size": 64, "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 4}
        | {"decoder_intermediate_size": 192},
    ),
    tuned(
        "fresh_hf_video_mae",
        tf.VideoMAEForVideoClassification,
        tf.VideoMAEConfig,
        middle.films,
        middle.SIZE | middle.FRAMES,
    ),
    tuned(
        "fresh_hf_timesformer",
        tf.TimesformerForVideoClassification,
        tf.TimesformerConfig,
        middle.films,
        middle.SIZE | middle.FRAMES,
    ),
    tuned("fresh_hf_vit_msn", tf.ViTMSNForImageClassification, tf.ViTMSNConfig, middle.pictures(), middle.VIEW),
    tuned(
        "fresh_hf_focal_net",
        tf.FocalNetForImageClassification,
        tf.FocalNetConfig,
        middle.pictures(64),
        middle.STAGED
        | {"embed_dim": 32, "depths": [2, 2, 3], "hidden_sizes": [64, 128, 128], "focal_levels": [2, 2, 2]}
        | {"focal_windows": [3, 3, 3], "out_features": None},
    ),
    tuned(
        "fresh_hf_mobile_vit",
        tf.MobileViTForImageClassification,
        tf.MobileViTConfig,
        middle.pictures(64),
        middle.STAGED | {"hidden_sizes": [48, 64, 80], "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 160]},
    ),
    tuned(
        "fresh_hf_pvt_v2",
        tf.PvtV2ForImageClassification,
        tf.PvtV2Config,
        middle.pictures(64),
        middle.STAGED
        | {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 2, 2, 1], "num_attention_heads": [1, 2, 2, 4]},
    ),
    tuned(
        "fresh_hf_glpn",
        tf.GLPNForDepthEstimation,
        tf.GLPNConfig,
        middle.depths,
        {"hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 2, 1], "num_attention_heads": [1, 2, 2, 4]}
        | {"decoder_hidden_size": 32},
    ),
    tuned(
        "fresh_hf_dpt",
        tf.DPTForSemanticSegmentation,
        tf.DPTConfig,
        middle.areas,
        middle.SIZE
        | {"image_size": 64, "patch_size": 8, "num_labels": middle.CLASSES, "backbone_out_indices": [1, 2, 3, 4]}
        | {"neck_hidden_sizes": [16, 32, 48, 64], "fusion_hidden_size": 32},
    ),
    held_out(
        "last_hf_mobile_vit_v2",
        tf.MobileViTV2ForImageClassification,
        tf.MobileViTV2Config,
        middle.pictures(64),
        narrow.STAGES,
    ),
    held_out(
        "last_hf_swift_former",
        tf.SwiftFormerForImageClassification,
        tf.SwiftFormerConfig,
        middle.pictures(64),
        narrow.STAGES | narrow.SWIFT,
    ),
    held_out(
        "last_hf_mobile_net_v1",
        tf.MobileNetV1ForImageClassification,
        tf.MobileNetV1Config,
        middle.pictures(64),
        narrow.STAGES,
    ),
    held_out("last_hf_i_jepa", tf.IJepaForImageClassification, tf.IJepaConfig, middle.pictures(), narrow.VIEW),
    held_out(
        "last_hf_registers",
        tf.Dinov2WithRegistersForImageClassification,
        tf.Dinov2WithRegistersConfig,
        middle.pictures(),
        narrow.VIEW,
    ),
    held_out(
        "last_hf_vivit",
        tf.VivitForVideoClassification,
        tf.VivitConfig,
        middle.films,
        narrow.SIZE | middle.FRAMES | narrow.TUBES,
    ),
)
