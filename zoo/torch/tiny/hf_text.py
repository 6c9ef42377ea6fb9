"""Text models of transformers, tiny and with random weights."""

from operator import attrgetter
from typing import Any

import transformers as tf

from zoo.model import Arguments, Model
from zoo.torch.tiny.batches import BATCH, CLASSES, LENGTH, VOCABULARY, Build, ids, tokens
from zoo.torch.tiny.rows import tiny

SPECIALS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDTH = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64} | SPECIALS
ENCODER = WIDTH | {"max_position_embeddings": 64}
DECODER = ENCODER | {"num_key_value_heads": 1}
SEQ2SEQ = SPECIALS | {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
}


def text(name: str, build: Build, blocks: str | None, **changes: Any) -> Model:
    """An encoder or a decoder with a head over the vocabulary, unless `changes` say otherwise."""
    usual = {"batch": tokens(), "deep": True, "classes": VOCABULARY, "logits": attrgetter("logits"), "data": "text"}
    return tiny(name=name, build=build, family="hf", blocks=blocks, **(usual | changes))


def causal(name: str, build: Build, blocks: str | None = r"model\.layers\.\d+", **changes: Any) -> Model:
    """A decoder that is run without its cache."""
    return text(name, build, blocks, **({"batch": tokens(use_cache=False)} | changes))


def seq2seq(name: str, build: Build, blocks: str, **changes: Any) -> Model:
    """An encoder and a decoder of the same depth; the blocks are those of the decoder."""
    return text(name, build, blocks, **({"batch": source_and_target} | changes))


def source_and_target() -> Arguments:
    """Token ids for an encoder and for its decoder."""
    return Arguments(
        kwargs={"input_ids": ids(BATCH, LENGTH), "decoder_input_ids": ids(BATCH, 12, seed=3), "use_cache": False}
    )


ENCODERS = (
    text(
        "bert",
        lambda depth: tf.BertForMaskedLM(tf.BertConfig(num_hidden_layers=depth, **ENCODER)),
        r"bert\.encoder\.layer\.\d+",
    ),
    text(
        "bert_classifier",
        lambda depth: tf.BertForSequenceClassification(
            tf.BertConfig(num_hidden_layers=depth, num_labels=CLASSES, **ENCODER)
        ),
        r"bert\.encoder\.layer\.\d+",
        classes=CLASSES,
    ),
    text(
        "roberta",
        lambda depth: tf.RobertaForMaskedLM(tf.RobertaConfig(num_hidden_layers=depth, **ENCODER)),
        r"roberta\.encoder\.layer\.\d+",
    ),
    text(  # one block, used `depth` times
        "albert",
        lambda depth: tf.AlbertForMaskedLM(tf.AlbertConfig(num_hidden_layers=depth, embedding_size=16, **ENCODER)),
        None,
    ),
    text(
        "distilbert",
        lambda depth: tf.DistilBertForSequenceClassification(
            tf.DistilBertConfig(
                vocab_size=VOCABULARY,
                dim=32,
                n_heads=2,
                hidden_dim=64,
                n_layers=depth,
                max_position_embeddings=64,
                num_labels=CLASSES,
            )
        ),
        r"distilbert\.transformer\.layer\.\d+",
        classes=CLASSES,
    ),
    text(
        "electra",
        lambda depth: tf.ElectraForMaskedLM(tf.ElectraConfig(num_hidden_layers=depth, embedding_size=16, **ENCODER)),
        r"electra\.encoder\.layer\.\d+",
    ),
    text(
        "deberta_v2",
        lambda depth: tf.DebertaV2ForSequenceClassification(
            tf.DebertaV2Config(
                num_hidden_layers=depth,
                relative_attention=True,
                pos_att_type=["p2c", "c2p"],
                position_buckets=8,
                num_labels=CLASSES,
                **ENCODER,
            )
        ),
        r"deberta\.encoder\.layer\.\d+",
        classes=CLASSES,
    ),
    text(
        "xlnet",
        lambda depth: tf.XLNetLMHeadModel(
            tf.XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=depth, n_head=2, d_inner=64, **SPECIALS)
        ),
        r"transformer\.layer\.\d+",
        batch=tokens(use_mems=False),
        unused=(  # no segments, and no query of its own stream
            "transformer.mask_emb",
            *(f"transformer.layer.{layer}.rel_attn.{name}" for layer in range(2) for name in ("r_s_bias", "seg_embed")),
        ),
    ),
    text(
        "fnet",
        lambda depth: tf.FNetForMaskedLM(
            tf.FNetConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=depth,
                max_position_embeddings=64,
                **SPECIALS,
            )
        ),
        r"fnet\.encoder\.layer\.\d+",
        unused=("fnet.pooler.dense.weight", "fnet.pooler.dense.bias"),
    ),
    text(
        "convbert",
        lambda depth: tf.ConvBertForMaskedLM(tf.ConvBertConfig(num_hidden_layers=depth, embedding_size=16, **ENCODER)),
        r"convbert\.encoder\.layer\.\d+",
    ),
    text(
        "perceiver",
        lambda depth: tf.PerceiverForMaskedLM(
            tf.PerceiverConfig(
                vocab_size=VOCABULARY,
                d_model=32,
                d_latents=32,
                num_latents=8,
                num_blocks=1,
                num_self_attends_per_block=depth,
                num_self_attention_heads=2,
                num_cross_attention_heads=2,
                qk_channels=32,
                v_channels=32,
                max_position_embeddings=LENGTH,
            )
        ),
        r"perceiver\.encoder\.self_attends\.\d+",
    ),
)

SEQ2SEQS = (
    seq2seq(
        "t5",
        lambda depth: tf.T5ForConditionalGeneration(
            tf.T5Config(
                vocab_size=VOCABULARY,
                d_model=32,
                d_kv=16,
                d_ff=64,
                num_heads=2,
                num_layers=depth,
                decoder_start_token_id=0,
            )
        ),
        r"decoder\.block\.\d+",
    ),
    seq2seq(
        "t5_gated",
        lambda depth: tf.T5ForConditionalGeneration(
            tf.T5Config(
                vocab_size=VOCABULARY,
                d_model=32,
                d_kv=16,
                d_ff=64,
                num_heads=2,
                num_layers=depth,
                feed_forward_proj="gated-gelu",
                decoder_start_token_id=0,
            )
        ),
        r"decoder\.block\.\d+",
    ),
    seq2seq(
        "bart",
        lambda depth: tf.BartForConditionalGeneration(
            tf.BartConfig(encoder_layers=depth, decoder_layers=depth, **SEQ2SEQ)
        ),
        r"model\.decoder\.layers\.\d+",
    ),
    seq2seq(
        "mbart",
        lambda depth: tf.MBartForConditionalGeneration(
            tf.MBartConfig(encoder_layers=depth, decoder_layers=depth, **SEQ2SEQ)
        ),
        r"model\.decoder\.layers\.\d+",
    ),
    seq2seq(
        "pegasus",
        lambda depth: tf.PegasusForConditionalGeneration(
            tf.PegasusConfig(encoder_layers=depth, decoder_layers=depth, **SEQ2SEQ)
        ),
        r"model\.decoder\.layers\.\d+",
    ),
)

MODELS = (*ENCODERS, *SEQ2SEQS)
