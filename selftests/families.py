"""Tiny random models of each family that the fast sweeps serve, with unequal sizes: no axis passes for another."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformers.initialization import no_init_weights

from bench.__main__ import save_with_tokenizer
from utils import models

VOCABULARY = 1098

COMMON = {"vocab_size": VOCABULARY}
LLAMA = COMMON | {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
NEOX = COMMON | {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "rotary_pct": 0.25,
    "max_position_embeddings": 64,
}
GPT2 = COMMON | {"n_layer": 2, "n_head": 3, "n_embd": 24, "n_inner": 40, "n_positions": 64}
OPT = COMMON | {
    "hidden_size": 24,
    "ffn_dim": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 24,
}

FAMILIES: dict[str, transformers.PretrainedConfig] = {
    "GPT-2": transformers.GPT2Config(**GPT2),
    "Pythia": transformers.GPTNeoXConfig(**NEOX),
    "GPT-NeoX, sequential": transformers.GPTNeoXConfig(**NEOX, use_parallel_residual=False),
    "Llama": transformers.LlamaConfig(**LLAMA),
    "Llama, tied, with biases": transformers.LlamaConfig(
        **LLAMA, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "Mistral": transformers.MistralConfig(**LLAMA, sliding_window=None),
    "Qwen2": transformers.Qwen2Config(**LLAMA),
    "Qwen3": transformers.Qwen3Config(**LLAMA),
    "OPT": transformers.OPTConfig(**OPT),
    "OPT, without biases": transformers.OPTConfig(**OPT, enable_bias=False),
}

NATIVE: dict[str, dict[str, Any]] = {
    "native": {},
    "native, like Llama": {
        "normalization_type": "RMS",
        "positional_embedding_type": "rotary",
        "rotary_dim": 4,
        "gated_mlp": True,
        "act_fn": "silu",
        "n_key_value_heads": 2,
    },
    "native, without MLP": {"attn_only": True},
    "native, norms without weights": {"normalization_type": "LNPre"},
}


# Of about a billion parameters.
LARGE_LLAMA = transformers.LlamaConfig(
    vocab_size=32_000,
    hidden_size=4096,
    intermediate_size=11_008,
    num_hidden_layers=4,
    num_attention_heads=32,
    num_key_value_heads=8,
)


def hf_model(config: transformers.PretrainedConfig, largest: float = 0.7, **options: Any) -> Any:
    """Return a random model: weights up to `largest`, and gains and biases that are not 1 and 0."""
    with torch.random.fork_rng(), torch.no_grad(), no_init_weights():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", **options)
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.normal_(mean=0.0 if name.endswith("bias") else 1.0, std=0.1)
            else:
                weight.uniform_(-largest, largest)
    return model


def boot(config: transformers.PretrainedConfig, **options: Any) -> TransformerBridge:
    """Return a random model, without the changes that `load_model` makes to weights."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(models.IOI_MINI_FOLDER)
    model = TransformerBridge.boot_transformers(
        str(models.IOI_MINI_FOLDER), hf_model=hf_model(config, **options), tokenizer=tokenizer, device="cpu"
    )
    return model.eval().requires_grad_(False)


def save_model(folder: Path, config: transformers.PretrainedConfig) -> Path:
    """Write a random model in Hugging Face format, with ioi-mini's tokenizer."""
    return save_with_tokenizer(folder, hf_model(config))


def native_model(**config: Any) -> TransformerBridge:
    """Return a random model of the bridge's own kind."""
    sizes = {"n_layers": 2, "n_heads": 4, "d_model": 18, "d_head": 8, "d_mlp": 20, "n_ctx": 16, "d_vocab": 31}
    full_config = TransformerBridgeConfig(**sizes | {"act_fn": "gelu", "seed": 0, "initializer_range": 0.5} | config)
    return TransformerBridge.boot_native(full_config, device="cpu").eval().requires_grad_(False)
