"""Causal language models of transformers, tiny and with random weights."""

import transformers as tf

from zoo.torch.tiny.batches import VOCABULARY
from zoo.torch.tiny.hf_text import DECODER, ENCODER, SPECIALS, causal

FIRST = (  # one architecture each: learnt positions, rotary ones, ALiBi, parallel branches, fused projections
    causal(
        "gpt2",
        lambda depth: tf.GPT2LMHeadModel(
            tf.GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=depth, n_head=2, **SPECIALS)
        ),
        r"transformer\.h\.\d+",
    ),
    causal(
        "gpt_neo",
        lambda depth: tf.GPTNeoForCausalLM(
            tf.GPTNeoConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                num_layers=depth,
                num_heads=2,
                attention_types=[[["global"], depth]],
                max_position_embeddings=64,
                **SPECIALS,
            )
        ),
        r"transformer\.h\.\d+",
    ),
    causal(
        "gpt_neox",
        lambda depth: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(num_hidden_layers=depth, **ENCODER)),
        r"gpt_neox\.layers\.\d+",
    ),
    causal(
        "gptj",
        lambda depth: tf.GPTJForCausalLM(
            tf.GPTJConfig(
                vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=depth, n_head=2, rotary_dim=8, **SPECIALS
            )
        ),
        r"transformer\.h\.\d+",
    ),
    causal(
        "opt",
        lambda depth: tf.OPTForCausalLM(
            tf.OPTConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                num_hidden_layers=depth,
                ffn_dim=64,
                max_position_embeddings=64,
                num_attention_heads=2,
                word_embed_proj_dim=16,
                **SPECIALS,
            )
        ),
        r"model\.decoder\.layers\.\d+",
    ),
    causal(
        "bloom",
        lambda depth: tf.BloomForCausalLM(
            tf.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=depth, n_head=2, **SPECIALS)
        ),
        r"transformer\.h\.\d+",
    ),
    causal(
        "mpt",
        lambda depth: tf.MptForCausalLM(
            tf.MptConfig(vocab_size=VOCABULARY, d_model=32, n_heads=2, n_layers=depth, max_seq_len=64, **SPECIALS)
        ),
        r"transformer\.blocks\.\d+",
    ),
    causal(
        "falcon",
        lambda depth: tf.FalconForCausalLM(
            tf.FalconConfig(
                vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=depth, num_attention_heads=2, **SPECIALS
            )
        ),
        r"transformer\.h\.\d+",
    ),
    causal("phi", lambda depth: tf.PhiForCausalLM(tf.PhiConfig(num_hidden_layers=depth, **ENCODER))),
)

GATED = (  # RMSNorm, rotary positions, SwiGLU and their relatives
    causal("phi3", lambda depth: tf.Phi3ForCausalLM(tf.Phi3Config(num_hidden_layers=depth, **DECODER))),
    causal("llama", lambda depth: tf.LlamaForCausalLM(tf.LlamaConfig(num_hidden_layers=depth, **DECODER))),
    causal("mistral", lambda depth: tf.MistralForCausalLM(tf.MistralConfig(num_hidden_layers=depth, **DECODER))),
    causal("qwen2", lambda depth: tf.Qwen2ForCausalLM(tf.Qwen2Config(num_hidden_layers=depth, **DECODER))),
    causal("qwen3", lambda depth: tf.Qwen3ForCausalLM(tf.Qwen3Config(num_hidden_layers=depth, head_dim=16, **DECODER))),
    causal(
        "gemma2",
        lambda depth: tf.Gemma2ForCausalLM(tf.Gemma2Config(num_hidden_layers=depth, head_dim=16, **DECODER)),
    ),
    causal("olmo2", lambda depth: tf.Olmo2ForCausalLM(tf.Olmo2Config(num_hidden_layers=depth, **DECODER))),
    causal("cohere", lambda depth: tf.CohereForCausalLM(tf.CohereConfig(num_hidden_layers=depth, **DECODER))),
    causal("stablelm", lambda depth: tf.StableLmForCausalLM(tf.StableLmConfig(num_hidden_layers=depth, **DECODER))),
)

EXPERTS = (
    causal(
        "mixtral",
        lambda depth: tf.MixtralForCausalLM(tf.MixtralConfig(num_hidden_layers=depth, num_local_experts=4, **DECODER)),
    ),
    causal(
        "qwen2_moe",
        lambda depth: tf.Qwen2MoeForCausalLM(
            tf.Qwen2MoeConfig(
                num_hidden_layers=depth,
                num_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=32,
                shared_expert_intermediate_size=48,
                **DECODER,
            )
        ),
    ),
    causal(
        "olmoe",
        lambda depth: tf.OlmoeForCausalLM(
            tf.OlmoeConfig(num_hidden_layers=depth, num_experts=4, num_experts_per_tok=2, **DECODER)
        ),
    ),
)

RECURRENT = (  # state spaces, scanned in Python without their kernels
    causal(
        "mamba",
        lambda depth: tf.MambaForCausalLM(
            tf.MambaConfig(
                vocab_size=VOCABULARY, hidden_size=32, state_size=8, num_hidden_layers=depth, time_step_rank=4
            )
        ),
        r"backbone\.layers\.\d+",
    ),
    causal(
        "mamba2",
        lambda depth: tf.Mamba2ForCausalLM(
            tf.Mamba2Config(
                vocab_size=VOCABULARY,
                hidden_size=32,
                num_heads=4,
                head_dim=16,
                state_size=8,
                n_groups=1,
                chunk_size=8,
                num_hidden_layers=depth,
            )
        ),
        r"backbone\.layers\.\d+",
    ),
    causal(
        "rwkv",
        lambda depth: tf.RwkvForCausalLM(
            tf.RwkvConfig(vocab_size=VOCABULARY, context_length=64, hidden_size=32, num_hidden_layers=depth)
        ),
        r"rwkv\.blocks\.\d+",
        shallowest=2,  # its initial weights divide by the depth less one
    ),
)

MODELS = (*FIRST, *GATED, *EXPERTS, *RECURRENT)
