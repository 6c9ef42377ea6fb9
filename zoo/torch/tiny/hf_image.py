"""Image models of transformers, tiny and with random weights."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import transformers as tf
from torch import Tensor, nn

from zoo.model import Arguments, Model
from zoo.torch.tiny.batches import BATCH, CLASSES, Build, features
from zoo.torch.tiny.rows import tiny

SIDE = 32
WIDTH = {"hidden_size": 32, "num_attention_heads": 2}
PATCHES = WIDTH | {"image_size": SIDE, "patch_size": 8, "num_labels": CLASSES}
VIT = PATCHES | {"intermediate_size": 64}


def image(name: str, build: Build, blocks: str | None, **changes: Any) -> Model:
    """An image classifier; a model in stages has one block in the first and `depth` in the second."""
    usual = {"batch": pixels(SIDE), "classes": CLASSES, "logits": attrgetter("logits")}
    return tiny(name=name, build=build, family="hf", blocks=blocks, data="image", **(usual | {"deep": True} | changes))


def fixed(name: str, build: Callable[[], nn.Module], **changes: Any) -> Model:
    """An image classifier whose depth its architecture fixes."""
    return image(name, lambda _: build(), None, **({"deep": False} | changes))


def channels_last(output: Any) -> Tensor:
    """The logits of a segmentation, classes last."""
    return output.logits.movedim(1, -1)


def pixels(side: int) -> Callable[[], Arguments]:
    """Arguments: one batch of square images."""
    return features(BATCH, 3, side, side)


ISOTROPIC = (
    image(
        "vit",
        lambda depth: tf.ViTForImageClassification(tf.ViTConfig(num_hidden_layers=depth, **VIT)),
        r"vit\.layers\.\d+",
    ),
    image(
        "deit",
        lambda depth: tf.DeiTForImageClassification(tf.DeiTConfig(num_hidden_layers=depth, **VIT)),
        r"deit\.layers\.\d+",
    ),
    image(
        "beit",
        lambda depth: tf.BeitForImageClassification(
            tf.BeitConfig(
                num_hidden_layers=depth,
                use_relative_position_bias=True,
                out_features=["stage1"],
                segmentation_out_indices=[1] * 4,
                **VIT,
            )
        ),
        r"beit\.layers\.\d+",
    ),
    image(
        "dinov2",
        lambda depth: tf.Dinov2ForImageClassification(
            tf.Dinov2Config(num_hidden_layers=depth, mlp_ratio=2, use_swiglu_ffn=False, **PATCHES)
        ),
        r"dinov2\.encoder\.layer\.\d+",
        unused=("dinov2.embeddings.mask_token",),
    ),
    image(
        "dinov2_swiglu",
        lambda depth: tf.Dinov2ForImageClassification(
            tf.Dinov2Config(num_hidden_layers=depth, mlp_ratio=2, use_swiglu_ffn=True, **PATCHES)
        ),
        r"dinov2\.encoder\.layer\.\d+",
        unused=("dinov2.embeddings.mask_token",),
    ),
)

WINDOWS = {"image_size": SIDE, "patch_size": 2, "embed_dim": 16, "num_heads": [2, 2], "window_size": 4}

STAGED = (
    image(
        "swin",
        lambda depth: tf.SwinForImageClassification(tf.SwinConfig(depths=[1, depth], num_labels=CLASSES, **WINDOWS)),
        r"swin\.encoder\.layers\.1\.blocks\.\d+",
    ),
    image(
        "swinv2",
        lambda depth: tf.Swinv2ForImageClassification(
            tf.Swinv2Config(depths=[1, depth], num_labels=CLASSES, **WINDOWS)
        ),
        r"swinv2\.encoder\.layers\.1\.blocks\.\d+",
    ),
    image(
        "convnext",
        lambda depth: tf.ConvNextForImageClassification(
            tf.ConvNextConfig(num_stages=2, hidden_sizes=[16, 32], depths=[1, depth], num_labels=CLASSES)
        ),
        r"convnext\.encoder\.stages\.1\.layers\.\d+",
    ),
    image(
        "convnextv2",
        lambda depth: tf.ConvNextV2ForImageClassification(
            tf.ConvNextV2Config(num_stages=2, hidden_sizes=[16, 32], depths=[1, depth], num_labels=CLASSES)
        ),
        r"convnextv2\.encoder\.stages\.1\.layers\.\d+",
    ),
    image(
        "resnet",
        lambda depth: tf.ResNetForImageClassification(
            tf.ResNetConfig(
                embedding_size=16, hidden_sizes=[32, 64], depths=[1, depth], layer_type="basic", num_labels=CLASSES
            )
        ),
        r"resnet\.encoder\.stages\.1\.layers\.\d+",
    ),
    image(
        "resnet_bottleneck",
        lambda depth: tf.ResNetForImageClassification(
            tf.ResNetConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[1, depth], num_labels=CLASSES)
        ),
        r"resnet\.encoder\.stages\.1\.layers\.\d+",
    ),
    image(
        "regnet",
        lambda depth: tf.RegNetForImageClassification(
            tf.RegNetConfig(
                embedding_size=16, hidden_sizes=[32, 64], depths=[1, depth], groups_width=16, num_labels=CLASSES
            )
        ),
        r"regnet\.encoder\.stages\.1\.layers\.\d+",
    ),
    image(
        "bit",  # weight-standardised convolutions, group norms
        lambda depth: tf.BitForImageClassification(
            tf.BitConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[1, depth], num_groups=8, num_labels=CLASSES)
        ),
        r"bit\.encoder\.stages\.1\.layers\.\d+",
    ),
    image(
        "poolformer",
        lambda depth: tf.PoolFormerForImageClassification(
            tf.PoolFormerConfig(
                num_encoder_blocks=2,
                depths=[1, depth],
                hidden_sizes=[16, 32],
                patch_sizes=[7, 3],
                strides=[4, 2],
                padding=[2, 1],
                num_labels=CLASSES,
            )
        ),
        r"poolformer\.encoder\.block\.1\.\d+",
    ),
    image(
        "segformer",
        lambda depth: tf.SegformerForSemanticSegmentation(
            tf.SegformerConfig(
                num_encoder_blocks=2,
                depths=[1, depth],
                sr_ratios=[2, 1],
                hidden_sizes=[16, 32],
                patch_sizes=[7, 3],
                strides=[4, 2],
                num_attention_heads=[1, 2],
                mlp_ratios=[2, 2],
                decoder_hidden_size=32,
                num_labels=CLASSES,
            )
        ),
        r"segformer\.stages\.1\.blocks\.\d+",
        logits=channels_last,
    ),
    image(
        "cvt",
        lambda depth: tf.CvtForImageClassification(
            tf.CvtConfig(
                patch_sizes=[7, 3],
                patch_stride=[4, 2],
                patch_padding=[2, 1],
                embed_dim=[16, 32],
                num_heads=[1, 2],
                depth=[1, depth],
                mlp_ratio=[2.0, 2.0],
                attention_drop_rate=[0.0, 0.0],
                drop_rate=[0.0, 0.0],
                drop_path_rate=[0.0, 0.1],
                qkv_bias=[True, True],
                cls_token=[False, True],
                qkv_projection_method=["dw_bn", "dw_bn"],
                kernel_qkv=[3, 3],
                padding_kv=[1, 1],
                stride_kv=[2, 2],
                padding_q=[1, 1],
                stride_q=[1, 1],
                num_labels=CLASSES,
            )
        ),
        r"cvt\.encoder\.stages\.1\.layers\.\d+",
        shallowest=2,  # it looks up the rate of its dropped paths by the stage, in a list with one entry a block
    ),
)

FIXED = (
    fixed(
        "mobilenet_v2",
        lambda: tf.MobileNetV2ForImageClassification(
            tf.MobileNetV2Config(image_size=2 * SIDE, depth_multiplier=0.25, num_labels=CLASSES)
        ),
        batch=pixels(2 * SIDE),  # 2 x 2 positions at its end
    ),
    fixed(
        "mobilevit",
        lambda: tf.MobileViTForImageClassification(
            tf.MobileViTConfig(
                image_size=4 * SIDE,
                hidden_sizes=[16, 24, 32],
                neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
                num_attention_heads=2,
                num_labels=CLASSES,
            )
        ),
        batch=pixels(4 * SIDE),  # 2 x 2 patches in its last stage: with one, attention has nothing to choose from
    ),
    fixed(
        "efficientnet",
        lambda: tf.EfficientNetForImageClassification(
            tf.EfficientNetConfig(
                image_size=SIDE,
                width_coefficient=0.25,
                depth_coefficient=1.0,
                hidden_dim=320,
                kernel_sizes=[3, 5, 3],
                in_channels=[32, 64, 96],
                out_channels=[64, 96, 128],
                strides=[1, 2, 2],
                num_block_repeats=[1, 2, 2],
                expand_ratios=[1, 4, 4],
                num_labels=CLASSES,
            )
        ),
    ),
)

DETECTORS = (
    image(
        "detr",
        lambda depth: tf.DetrForObjectDetection(
            tf.DetrConfig(
                use_timm_backbone=False,
                use_pretrained_backbone=False,
                backbone=None,
                backbone_config=tf.ResNetConfig(
                    embedding_size=16,
                    hidden_sizes=[16, 32],
                    depths=[1, 1],
                    layer_type="basic",
                    out_features=["stage2"],
                ),
                num_queries=6,
                d_model=32,
                encoder_layers=depth,
                decoder_layers=depth,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
                num_labels=CLASSES - 1,  # and one class for "nothing here"
            )
        ),
        r"model\.decoder\.layers\.\d+",
        batch=pixels(2 * SIDE),  # 8 x 8 positions for the encoder
    ),
)

MODELS = (*ISOTROPIC, *STAGED, *FIXED, *DETECTORS)
