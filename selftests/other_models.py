"""Tiny random models of other families than GPT-2's, with a tokenizer of their own, in Hugging Face format."""

from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models

from utils import PROMPTS
from utils.ioi import NAMES

SPLIT_WORDS = ("Sid", "Martin", "apple")
"""Words of the prompts of which the tokenizer has no token: two names, and one that makes two prompts longer."""


def other_tokenizer(bos: str | None = None) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE of 400 tokens or so, which knows most words of the prompts and some other names."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", *([bos] if bos else [])]
    words = [word for prompt in PROMPTS for word in prompt.split(" ")] + NAMES[::9]
    trainer = trainers.BpeTrainer(
        special_tokens=special,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {word}" for word in words if word not in SPLIT_WORDS] + ["When After"], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", bos_token=bos)


def llama(d_vocab: int, n_layers: int = 3, n_heads: int = 4, n_kv_heads: int = 2) -> transformers.PreTrainedModel:
    """RMSNorm, rotary positions, a gated MLP, and fewer key and value heads than query heads."""
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=d_vocab,
            hidden_size=8 * n_heads,
            num_hidden_layers=n_layers,
            num_attention_heads=n_heads,
            num_key_value_heads=n_kv_heads,
            intermediate_size=16 * n_heads,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=0,
            initializer_range=0.2,
        )
    )


def pythia(d_vocab: int, n_layers: int = 3, n_heads: int = 4) -> transformers.PreTrainedModel:
    """Attention and MLP in parallel, and rotary positions on a quarter of each head."""
    return transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(
            vocab_size=d_vocab,
            hidden_size=8 * n_heads,
            num_hidden_layers=n_layers,
            num_attention_heads=n_heads,
            intermediate_size=32 * n_heads,
            max_position_embeddings=64,
            bos_token_id=0,
            eos_token_id=0,
            initializer_range=0.2,
        )
    )


def save_other_model(folder: Path, build: Callable[..., transformers.PreTrainedModel], bos: str | None = None) -> Path:
    """Write a random model and its tokenizer."""
    tokenizer = other_tokenizer(bos)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
