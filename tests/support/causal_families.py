"""Small random causal models of the families that transformers has, with windows that a short text outgrows."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from backbones.core.seed import torch_generator
from backbones.lm import LanguageModel
from zeroshot.testing_models import byte_level

WINDOW = 48  # tokens that a layer of limited attention sees
LIMIT = 512  # tokens of one input
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "head_dim": 16,
    "max_position_embeddings": LIMIT,
}
WINDOWED = {"sliding_window": WINDOW}
MIXED = {**WINDOWED, "layer_types": ["sliding_attention", "full_attention"]}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": LIMIT}
FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}
MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    # limited attention, told by the configuration
    "mistral": ("Mistral", {**SHAPE, **WINDOWED}),
    "ministral": ("Ministral", {**SHAPE, **MIXED}),
    "mixtral": ("Mixtral", {**SHAPE, **WINDOWED, **MOE}),
    "qwen2": ("Qwen2", {**SHAPE, **WINDOWED, "use_sliding_window": True, "max_window_layers": 1}),
    "qwen2_moe": (
        "Qwen2Moe",
        {
            **SHAPE, **WINDOWED, "use_sliding_window": True, "max_window_layers": 0, "num_experts": 4,
            "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
        },
    ),
    "qwen3": ("Qwen3", {**SHAPE, **WINDOWED, "use_sliding_window": True, "max_window_layers": 1}),
    "phi3": ("Phi3", {**SHAPE, **WINDOWED, "pad_token_id": 0}),
    "phimoe": ("Phimoe", {**SHAPE, **WINDOWED, **MOE}),
    "gemma2": ("Gemma2", {**SHAPE, **WINDOWED, "query_pre_attn_scalar": 16, "final_logit_softcapping": 3.0}),
    "gemma3": ("Gemma3", {**SHAPE, **MIXED, "query_pre_attn_scalar": 16}),
    "gemma3n": (
        "Gemma3n",
        {
            **SHAPE, **MIXED, "num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2, "vocab_size_per_layer_input": 512, "hidden_size_per_layer_input": 8,
            "laurel_rank": 4, "activation_sparsity_pattern": [0.0] * 4, "intermediate_size": [64] * 4,
        },
    ),
    "gemma4": ("Gemma4", {**SHAPE, **MIXED, "global_head_dim": 16, "hidden_size_per_layer_input": 0,
                          "num_global_key_value_heads": 1, "vocab_size_per_layer_input": 512}),
    "gpt_oss": ("GptOss", {**SHAPE, **MIXED, **MOE}),
    "starcoder2": ("Starcoder2", {**SHAPE, **WINDOWED}),
    "cohere2": ("Cohere2", {**SHAPE, **MIXED, "logit_scale": 0.5}),
    "llama4": (
        "Llama4",
        {
            **SHAPE, **MOE, "attention_chunk_size": WINDOW, "intermediate_size_mlp": 64, "moe_layers": [],
            "no_rope_layers": [1, 0], "layer_types": ["chunked_attention", "full_attention"],
        },
    ),
    "olmo3": ("Olmo3", {**SHAPE, **MIXED}),
    "exaone4": ("Exaone4", {**SHAPE, **MIXED}),
    "smollm3": ("SmolLM3", {**SHAPE, **WINDOWED, "use_sliding_window": True, "no_rope_layers": [1, 0]}),
    "modernbert-decoder": ("ModernBertDecoder", {**SHAPE, "local_attention": WINDOW, "global_attn_every_n_layers": 2}),
    "vaultgemma": ("VaultGemma", {**SHAPE, **MIXED, "query_pre_attn_scalar": 16}),
    "granite_swa": ("GraniteSWA", {**SHAPE, **WINDOWED}),
    # limited attention, inside the module
    "gpt_neo": (
        "GPTNeo",
        {
            "hidden_size": 32, "num_layers": 2, "num_heads": 2, "max_position_embeddings": LIMIT,
            "intermediate_size": 64, "attention_types": [[["global", "local"], 1]], "window_size": WINDOW,
        },
    ),
    "recurrent_gemma": (
        "RecurrentGemma",
        {
            **SHAPE, "attention_window_size": WINDOW, "lru_width": 32, "num_hidden_layers": 3,
            "block_types": ["recurrent", "recurrent", "attention"], "logits_soft_cap": 3.0,
        },
    ),
    "longrope": (
        "Phi3",
        {
            **SHAPE, "pad_token_id": 0, "original_max_position_embeddings": 2 * WINDOW,
            "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8},
        },
    ),
    # full attention
    "llama": ("Llama", SHAPE),
    "llama-dynamic": ("Llama", {**SHAPE, "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}),
    "gemma": ("Gemma", SHAPE),
    "olmo": ("Olmo", SHAPE),
    "olmo2": ("Olmo2", SHAPE),
    "phi": ("Phi", SHAPE),
    "stablelm": ("StableLm", SHAPE),
    "granite": ("Granite", {**SHAPE, "logits_scaling": 4.0}),
    "granitemoe": ("GraniteMoe", {**SHAPE, **MOE, "logits_scaling": 4.0}),
    "cohere": ("Cohere", {**SHAPE, "logit_scale": 0.25}),
    "nemotron": ("Nemotron", SHAPE),
    "persimmon": ("Persimmon", SHAPE),
    "helium": ("Helium", SHAPE),
    "glm": ("Glm", SHAPE),
    "glm4": ("Glm4", SHAPE),
    "ernie4_5": ("Ernie4_5", SHAPE),
    "seed_oss": ("SeedOss", SHAPE),
    "apertus": ("Apertus", SHAPE),
    "arcee": ("Arcee", SHAPE),
    "bitnet": ("BitNet", SHAPE),
    "diffllama": ("DiffLlama", {**SHAPE, "num_key_value_heads": 2}),
    "nanochat": ("NanoChat", SHAPE),
    "deepseek_v2": (
        "DeepseekV2",
        {
            **SHAPE, "num_key_value_heads": 2, "kv_lora_rank": 8, "q_lora_rank": None, "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8, "v_head_dim": 8, "first_k_dense_replace": 2, "n_routed_experts": 4,
        },
    ),
    "gpt_neox": ("GPTNeoX", SHAPE),
    "gpt2": ("GPT2", OLD),
    "gptj": ("GPTJ", {**OLD, "rotary_dim": 8}),
    "codegen": ("CodeGen", {**OLD, "n_head": 4, "rotary_dim": 8}),
    "gpt_bigcode": ("GPTBigCode", OLD),
    "openai-gpt": ("OpenAIGPT", OLD),
    "ctrl": ("CTRL", {**OLD, "dff": 64}),
    "opt": (
        "OPT",
        {
            "hidden_size": 32, "word_embed_proj_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "ffn_dim": 64, "max_position_embeddings": LIMIT,
        },
    ),
    "biogpt": ("BioGpt", SHAPE),
    "xglm": (
        "XGLM",
        {"d_model": 32, "num_layers": 2, "attention_heads": 2, "ffn_dim": 64, "max_position_embeddings": LIMIT},
    ),
    "bloom": ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2}),
    "falcon": ("Falcon", FALCON),
    "falcon-alibi": ("Falcon", {**FALCON, "alibi": True}),
    "mpt": ("Mpt", {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": LIMIT}),
    "mpt-clip": ("Mpt", {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": LIMIT,
                         "attn_config": {"alibi": True, "clip_qkv": 0.5}}),
    # states instead of attention
    "mamba": ("Mamba", MAMBA),
    "mamba2": ("Mamba2", {**MAMBA, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 16}),
    "falcon_mamba": ("FalconMamba", MAMBA),
    "bamba": ("Bamba", {**SHAPE, **MAMBA2, "attn_layer_indices": [1], "attn_rotary_emb": 8}),
    "falcon_h1": ("FalconH1", {**SHAPE, **MAMBA2, "mamba_d_ssm": 64}),
    "jamba": ("Jamba", {**SHAPE, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False,
                        "num_experts": 2, "mamba_d_state": 8}),
    "rwkv": ("Rwkv", {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "context_length": LIMIT}),
    "lfm2": ("Lfm2", {**SHAPE, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}),
    "qwen3_next": (
        "Qwen3Next",
        {
            **SHAPE, "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 2,
            "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 4,
            "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
        },
    ),
}  # fmt: skip
"""Name -> (prefix of the classes in transformers, settings)."""
HEADS = {"GPT2": "LMHeadModel", "OpenAIGPT": "LMHeadModel", "CTRL": "LMHeadModel"}
CONFIGS = {"Gemma3": "Gemma3TextConfig", "Gemma3n": "Gemma3nTextConfig", "Gemma4": "Gemma4TextConfig",
           "Llama4": "Llama4TextConfig"}  # fmt: skip


def family(name: str, seed: int = 0) -> LanguageModel | None:
    """Return a random model of a family, None where the installed transformers does not have it."""
    prefix, settings = FAMILIES[name]
    kind = getattr(transformers, prefix + HEADS.get(prefix, "ForCausalLM"), None)
    made = getattr(transformers, CONFIGS.get(prefix, f"{prefix}Config"), None)
    if kind is None or made is None:
        return None
    tokenizer = byte_level(LIMIT, ("<|endoftext|>",))
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = made(**{"vocab_size": 512, **ends, **settings})
    with torch.random.fork_rng(devices=[]):  # building draws weights that the next lines replace
        torch.default_generator.manual_seed(seed)
        module = kind(config)
    generator = torch_generator(seed, "small causal model")
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            if parameter.ndim == 2 and key.endswith("weight"):  # else what is far off would hardly be felt
                parameter.normal_(0.0, 0.25, generator=generator)
    return LanguageModel(name, "causal", module.eval().requires_grad_(False), tokenizer, LIMIT)
