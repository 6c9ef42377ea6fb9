"""Models of transformers that read and write text, with the random weights of the library."""

import transformers as tf

from zoo.torch.hf import library, middle, narrow, wide

tuned, held_out = library("tuned"), library("held_out")
MODELS = (
    tuned(
        "hf_gpt2",
        tf.GPT2LMHeadModel,
        tf.GPT2Config,
        wide.causal,
        wide.WORDS | {"n_embd": 256, "n_layer": 8, "n_head": 4, "n_positions": 64},
    ),
    tuned(
        "hf_gpt_neo",
        tf.GPTNeoForCausalLM,
        tf.GPTNeoConfig,
        wide.causal,
        wide.WORDS
        | {"hidden_size": 192, "num_layers": wide.DEPTH, "num_heads": 4, "attention_types": [[["global"], wide.DEPTH]]},
    ),
    tuned("hf_gpt_neox", tf.GPTNeoXForCausalLM, tf.GPTNeoXConfig, wide.causal, wide.ENCODER),
    tuned(
        "hf_gptj",
        tf.GPTJForCausalLM,
        tf.GPTJConfig,
        wide.causal,
        wide.WORDS | {"n_embd": 192, "n_layer": wide.DEPTH, "n_head": 4, "rotary_dim": 16},
    ),
    tuned(
        "hf_opt",
        tf.OPTForCausalLM,
        tf.OPTConfig,
        wide.causal,
        wide.WORDS
        | {"hidden_size": 192, "num_hidden_layers": wide.DEPTH, "ffn_dim": 768, "num_attention_heads": 4}
        | {"word_embed_proj_dim": 192, "max_position_embeddings": 64},
    ),
    tuned(
        "hf_bloom",
        tf.BloomForCausalLM,
        tf.BloomConfig,
        wide.causal,
        wide.WORDS | {"hidden_size": 192, "n_layer": wide.DEPTH, "n_head": 4},
    ),
    tuned(
        "hf_mpt",
        tf.MptForCausalLM,
        tf.MptConfig,
        wide.causal,
        wide.WORDS | {"d_model": 192, "n_heads": 4, "n_layers": wide.DEPTH, "max_seq_len": 64},
    ),
    tuned(
        "hf_falcon",
        tf.FalconForCausalLM,
        tf.FalconConfig,
        wide.causal,
        wide.WORDS | {"hidden_size": 192, "num_hidden_layers": wide.DEPTH, "num_attention_heads": 4},
    ),
    tuned("hf_phi", tf.PhiForCausalLM, tf.PhiConfig, wide.causal, wide.ENCODER),
    tuned("hf_phi3", tf.Phi3ForCausalLM, tf.Phi3Config, wide.causal, wide.DECODER),
    tuned("hf_llama", tf.LlamaForCausalLM, tf.LlamaConfig, wide.causal, wide.DECODER | {"num_hidden_layers": 8}),
    tuned("hf_mistral", tf.MistralForCausalLM, tf.MistralConfig, wide.causal, wide.DECODER),
    tuned("hf_qwen2", tf.Qwen2ForCausalLM, tf.Qwen2Config, wide.causal, wide.DECODER),
    tuned("hf_qwen3", tf.Qwen3ForCausalLM, tf.Qwen3Config, wide.causal, wide.DECODER | {"head_dim": 48}),
    tuned("hf_gemma2", tf.Gemma2ForCausalLM, tf.Gemma2Config, wide.causal, wide.DECODER | {"head_dim": 48}),
    tuned("hf_olmo2", tf.Olmo2ForCausalLM, tf.Olmo2Config, wide.causal, wide.DECODER),
    tuned("hf_stablelm", tf.StableLmForCausalLM, tf.StableLmConfig, wide.causal, wide.DECODER),
    tuned(
        "hf_mixtral",
        tf.MixtralForCausalLM,
        tf.MixtralConfig,
        wide.causal,
        wide.DECODER | {"num_local_experts": 4, "num_hidden_layers": 4, "intermediate_size": 256},
    ),
    tuned(
        "hf_qwen2_moe",
        tf.Qwen2MoeForCausalLM,
        tf.Qwen2MoeConfig,
        wide.causal,
        wide.DECODER | wide.MOE | {"num_hidden_layers": 4},
    ),
    tuned(
        "hf_mamba",
        tf.MambaForCausalLM,
        tf.MambaConfig,
        wide.causal,
        wide.WORDS | {"hidden_size": 128, "state_size": 16, "num_hidden_layers": 4, "time_step_rank": 8},
    ),
    tuned(
        "hf_mamba2",
        tf.Mamba2ForCausalLM,
        tf.Mamba2Config,
        wide.causal,
        wide.WORDS
        | {"hidden_size": 128, "num_heads": 8, "head_dim": 32, "state_size": 16, "n_groups": 1, "chunk_size": 16}
        | {"num_hidden_layers": 4},
    ),
    tuned("hf_bert", tf.BertForMaskedLM, tf.BertConfig, wide.masked, wide.ENCODER),
    tuned("hf_roberta", tf.RobertaForMaskedLM, tf.RobertaConfig, wide.masked, wide.ENCODER),
    tuned("hf_albert", tf.AlbertForMaskedLM, tf.AlbertConfig, wide.masked, wide.ENCODER | {"embedding_size": 64}),
    tuned("hf_electra", tf.ElectraForMaskedLM, tf.ElectraConfig, wide.masked, wide.ENCODER | {"embedding_size": 64}),
    tuned("hf_mpnet", tf.MPNetForMaskedLM, tf.MPNetConfig, wide.masked, wide.ENCODER),
    tuned("hf_convbert", tf.ConvBertForMaskedLM, tf.ConvBertConfig, wide.masked, wide.ENCODER | {"embedding_size": 64}),
    tuned(
        "hf_bert_classifier",
        tf.BertForSequenceClassification,
        tf.BertConfig,
        wide.classified,
        wide.ENCODER | {"num_labels": wide.CLASSES},
    ),
    tuned(
        "hf_distilbert",
        tf.DistilBertForSequenceClassification,
        tf.DistilBertConfig,
        wide.classified,
        wide.WORDS | {"dim": 192, "n_heads": 4, "hidden_dim": 768, "n_layers": wide.DEPTH, "num_labels": wide.CLASSES},
    ),
    tuned(
        "hf_deberta_v2",
        tf.DebertaV2ForSequenceClassification,
        tf.DebertaV2Config,
        wide.classified,
        wide.ENCODER | wide.DEBERTA,
    ),
    tuned("hf_t5", tf.T5ForConditionalGeneration, tf.T5Config, wide.translated, wide.T5),
    tuned(
        "hf_t5_gated",
        tf.T5ForConditionalGeneration,
        tf.T5Config,
        wide.translated,
        wide.T5 | {"feed_forward_proj": "gated-gelu"},
    ),
    tuned("hf_bart", tf.BartForConditionalGeneration, tf.BartConfig, wide.translated, wide.SEQ2SEQ),
    tuned("hf_pegasus", tf.PegasusForConditionalGeneration, tf.PegasusConfig, wide.translated, wide.SEQ2SEQ),
    tuned(
        "hf_xlnet",
        tf.XLNetLMHeadModel,
        tf.XLNetConfig,
        wide.permuted,
        wide.WORDS | wide.SPECIALS | {"d_model": 192, "n_layer": 6, "n_head": 4, "d_inner": 768},
    ),
    tuned("fresh_hf_gemma", tf.GemmaForCausalLM, tf.GemmaConfig, middle.continued, middle.DECODER | {"head_dim": 32}),
    tuned(
        "fresh_hf_gemma3",
        tf.Gemma3ForCausalLM,
        tf.Gemma3TextConfig,
        middle.continued,
        middle.DECODER | {"head_dim": 32},
    ),
    tuned("fresh_hf_olmo", tf.OlmoForCausalLM, tf.OlmoConfig, middle.continued, middle.DECODER),
    tuned("fresh_hf_cohere", tf.CohereForCausalLM, tf.CohereConfig, middle.continued, middle.DECODER),
    tuned(
        "fresh_hf_codegen", tf.CodeGenForCausalLM, tf.CodeGenConfig, middle.continued, middle.OLD | {"rotary_dim": 16}
    ),
    tuned("fresh_hf_gpt_bigcode", tf.GPTBigCodeForCausalLM, tf.GPTBigCodeConfig, middle.continued, middle.OLD),
    tuned("fresh_hf_starcoder2", tf.Starcoder2ForCausalLM, tf.Starcoder2Config, middle.continued, middle.DECODER),
    tuned("fresh_hf_persimmon", tf.PersimmonForCausalLM, tf.PersimmonConfig, middle.continued, middle.ENCODER),
    tuned("fresh_hf_granite", tf.GraniteForCausalLM, tf.GraniteConfig, middle.continued, middle.DECODER),
    tuned("fresh_hf_nemotron", tf.NemotronForCausalLM, tf.NemotronConfig, middle.continued, middle.DECODER),
    tuned("fresh_hf_glm4", tf.Glm4ForCausalLM, tf.Glm4Config, middle.continued, middle.DECODER | {"head_dim": 32}),
    tuned("fresh_hf_olmoe", tf.OlmoeForCausalLM, tf.OlmoeConfig, middle.continued, middle.DECODER | middle.EXPERTS),
    tuned("fresh_hf_diff_llama", tf.DiffLlamaForCausalLM, tf.DiffLlamaConfig, middle.continued, middle.DECODER),
    tuned(
        "fresh_hf_xglm",
        tf.XGLMForCausalLM,
        tf.XGLMConfig,
        middle.continued,
        middle.SPECIALS
        | {"vocab_size": middle.WORDS, "d_model": 128, "ffn_dim": 384, "num_layers": 5, "attention_heads": 4},
    ),
    tuned("fresh_hf_bio_gpt", tf.BioGptForCausalLM, tf.BioGptConfig, middle.continued, middle.ENCODER),
    tuned("fresh_hf_openai_gpt", tf.OpenAIGPTLMHeadModel, tf.OpenAIGPTConfig, middle.simply_continued, middle.OLD),
    tuned("fresh_hf_ctrl", tf.CTRLLMHeadModel, tf.CTRLConfig, middle.simply_continued, middle.OLD | {"dff": 384}),
    tuned(
        "fresh_hf_rwkv",
        tf.RwkvForCausalLM,
        tf.RwkvConfig,
        middle.simply_continued,
        middle.SPECIALS
        | {"vocab_size": middle.WORDS, "context_length": 48, "hidden_size": 128, "num_hidden_layers": 4},
    ),
    tuned(
        "fresh_hf_big_bird",
        tf.BigBirdForMaskedLM,
        tf.BigBirdConfig,
        middle.hidden,
        middle.ENCODER | {"attention_type": "original_full"},
    ),
    tuned(
        "fresh_hf_longformer",
        tf.LongformerForMaskedLM,
        tf.LongformerConfig,
        middle.hidden,
        middle.ENCODER | {"attention_window": 8},
    ),
    tuned(
        "fresh_hf_nystromformer",
        tf.NystromformerForMaskedLM,
        tf.NystromformerConfig,
        middle.hidden,
        middle.ENCODER | {"segment_means_seq_len": 32, "num_landmarks": 8},
    ),
    tuned("fresh_hf_fnet", tf.FNetForMaskedLM, tf.FNetConfig, middle.hidden, middle.ENCODER),
    tuned(
        "fresh_hf_squeeze_bert",
        tf.SqueezeBertForMaskedLM,
        tf.SqueezeBertConfig,
        middle.hidden,
        middle.ENCODER | {"embedding_size": 128},
    ),
    tuned(
        "fresh_hf_mobile_bert",
        tf.MobileBertForMaskedLM,
        tf.MobileBertConfig,
        middle.hidden,
        middle.ENCODER | {"embedding_size": 64, "intra_bottleneck_size": 64, "num_hidden_layers": 8},
    ),
    tuned("fresh_hf_roformer", tf.RoFormerForMaskedLM, tf.RoFormerConfig, middle.hidden, middle.ENCODER),
    tuned("fresh_hf_megatron_bert", tf.MegatronBertForMaskedLM, tf.MegatronBertConfig, middle.hidden, middle.ENCODER),
    tuned(
        "fresh_hf_rem_bert",
        tf.RemBertForMaskedLM,
        tf.RemBertConfig,
        middle.hidden,
        middle.ENCODER | {"input_embedding_size": 64, "output_embedding_size": 96},
    ),
    tuned(
        "fresh_hf_modern_bert",
        tf.ModernBertForMaskedLM,
        tf.ModernBertConfig,
        middle.hidden,
        middle.ENCODER | {"cls_token_id": 1, "sep_token_id": 2},
    ),
    tuned("fresh_hf_mbart", tf.MBartForConditionalGeneration, tf.MBartConfig, middle.translated, middle.PAIR),
    tuned("fresh_hf_marian", tf.MarianMTModel, tf.MarianConfig, middle.translated, middle.PAIR),
    tuned(
        "fresh_hf_blenderbot",
        tf.BlenderbotForConditionalGeneration,
        tf.BlenderbotConfig,
        middle.translated,
        middle.PAIR,
    ),
    tuned(
        "fresh_hf_led",
        tf.LEDForConditionalGeneration,
        tf.LEDConfig,
        middle.translated,
        middle.PAIR
        | {"attention_window": 8, "max_encoder_position_embeddings": 48, "max_decoder_position_embeddings": 48},
    ),
    tuned(
        "fresh_hf_prophet_net",
        tf.ProphetNetForConditionalGeneration,
        tf.ProphetNetConfig,
        middle.translated,
        middle.SPECIALS
        | {"vocab_size": middle.WORDS, "hidden_size": 128, "encoder_ffn_dim": 384, "decoder_ffn_dim": 384, "ngram": 2}
        | {"num_encoder_layers": 3, "num_decoder_layers": 3, "num_encoder_attention_heads": 4}
        | {"num_decoder_attention_heads": 4, "max_position_embeddings": 48, "decoder_start_token_id": 1},
    ),
    tuned(
        "fresh_hf_switch",
        tf.SwitchTransformersForConditionalGeneration,
        tf.SwitchTransformersConfig,
        middle.translated,
        {"vocab_size": middle.WORDS, "d_model": 128, "d_kv": 32, "d_ff": 256, "num_heads": 4, "num_layers": 3}
        | {"num_decoder_layers": 3, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
        | {"decoder_start_token_id": 0},
    ),
    tuned(
        "fresh_hf_funnel",
        tf.FunnelForSequenceClassification,
        tf.FunnelConfig,
        middle.judged,
        middle.SPECIALS
        | {"vocab_size": middle.WORDS, "block_sizes": [2, 2], "d_model": 128, "n_head": 4, "d_head": 32, "d_inner": 384}
        | {"num_labels": middle.CLASSES},
    ),
    tuned(
        "fresh_hf_layout_lm",
        tf.LayoutLMForMaskedLM,
        tf.LayoutLMConfig,
        middle.laid_out,
        middle.ENCODER | {"max_2d_position_embeddings": 512},
    ),
    tuned(
        "fresh_hf_canine",
        tf.CanineForSequenceClassification,
        tf.CanineConfig,
        middle.judged,
        middle.ENCODER
        | {
            "num_hash_buckets": 256,
            "local_transformer_stride": 16,
            "downsampling_rate": 4,
            "num_labels": middle.CLASSES,
        },
    ),
    held_out("last_hf_helium", tf.HeliumForCausalLM, tf.HeliumConfig, middle.continued, narrow.DECODER),
    held_out("last_hf_smol_lm3", tf.SmolLM3ForCausalLM, tf.SmolLM3Config, middle.continued, narrow.DECODER),
    held_out("last_hf_arcee", tf.ArceeForCausalLM, tf.ArceeConfig, middle.continued, narrow.DECODER),
    held_out("last_hf_apertus", tf.ApertusForCausalLM, tf.ApertusConfig, middle.continued, narrow.DECODER),
    held_out(
        "last_hf_lfm2", tf.Lfm2ForCausalLM, tf.Lfm2Config, middle.continued, narrow.DECODER | {"full_attn_idxs": [2, 4]}
    ),
    held_out("last_hf_glm", tf.GlmForCausalLM, tf.GlmConfig, middle.continued, narrow.DECODER),
    held_out("last_hf_exaone4", tf.Exaone4ForCausalLM, tf.Exaone4Config, middle.continued, narrow.DECODER),
    held_out("last_hf_granite_moe", tf.GraniteMoeForCausalLM, tf.GraniteMoeConfig, middle.continued, narrow.FEW),
    held_out("last_hf_gpt_oss", tf.GptOssForCausalLM, tf.GptOssConfig, middle.continued, narrow.FEW),
    held_out("last_hf_seed_oss", tf.SeedOssForCausalLM, tf.SeedOssConfig, middle.continued, narrow.DECODER),
    held_out(
        "last_hf_yoso", tf.YosoForMaskedLM, tf.YosoConfig, middle.hidden, narrow.ENCODER | {"use_expectation": True}
    ),
    held_out("last_hf_i_bert", tf.IBertForMaskedLM, tf.IBertConfig, middle.hidden, narrow.ENCODER),
    held_out(
        "last_hf_esm",
        tf.EsmForMaskedLM,
        tf.EsmConfig,
        middle.hidden,
        narrow.ENCODER | {"mask_token_id": 4, "token_dropout": False},
    ),
    held_out("last_hf_data2vec_text", tf.Data2VecTextForMaskedLM, tf.Data2VecTextConfig, middle.hidden, narrow.ENCODER),
    held_out("last_hf_m2m_100", tf.M2M100ForConditionalGeneration, tf.M2M100Config, middle.translated, narrow.PAIR),
    held_out(
        "last_hf_pegasus_x",
        tf.PegasusXForConditionalGeneration,
        tf.PegasusXConfig,
        middle.translated,
        narrow.PAIR | {"block_size": 8},
    ),
    held_out("last_hf_umt5", tf.UMT5ForConditionalGeneration, tf.UMT5Config, middle.translated, narrow.T5),
)
