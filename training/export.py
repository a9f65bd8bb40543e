"""Writes a finished model as a Hugging Face GPT-2 folder."""

from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from .batches import BOS_ID
from .circuit import D_MLP, D_MODEL, N_HEADS, N_LAYERS
from .masked_model import LAYER_NORM_EPS, MaskedModel
from .tokenizer import MAX_POSITIONS


def gpt2_config(d_vocab: int) -> GPT2Config:
    """Return GPT-2's architecture with gpt2-small's layers and heads, narrower, unembedding untied."""
    return GPT2Config(
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_embd=D_MODEL,
        n_inner=D_MLP,
        n_positions=MAX_POSITIONS,
        vocab_size=d_vocab,
        layer_norm_epsilon=LAYER_NORM_EPS,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=BOS_ID,
        eos_token_id=BOS_ID,
    )


def hugging_face_model(model: MaskedModel) -> GPT2LMHeadModel:
    """Return the same model as a `GPT2LMHeadModel`; LayerNorm gains stay 1 and biases 0."""
    hf_model = GPT2LMHeadModel(gpt2_config(model.d_vocab)).eval()
    state = hf_model.state_dict()
    state["transformer.wte.weight"] = model.weight("W_E")
    state["transformer.wpe.weight"] = model.weight("W_pos")
    state["lm_head.weight"] = model.weight("W_U")
    for layer in range(N_LAYERS):
        # GPT-2 keeps all heads side by side in one matrix, and q, k and v side by side in one more
        weights = [model.weight(f"{layer}.W_{letter}").permute(1, 0, 2).flatten(1) for letter in "QKV"]
        biases = [model.weight(f"{layer}.b_{letter}").flatten() for letter in "QKV"]
        prefix = f"transformer.h.{layer}."
        state[prefix + "attn.c_attn.weight"] = torch.cat(weights, dim=1)
        state[prefix + "attn.c_attn.bias"] = torch.cat(biases)
        state[prefix + "attn.c_proj.weight"] = model.weight(f"{layer}.W_O").flatten(0, 1)
        state[prefix + "attn.c_proj.bias"] = torch.zeros(D_MODEL)
        for ours, theirs in [("in", "c_fc"), ("out", "c_proj")]:
            state[f"{prefix}mlp.{theirs}.weight"] = model.weight(f"{layer}.W_{ours}")
            state[f"{prefix}mlp.{theirs}.bias"] = model.weight(f"{layer}.b_{ours}")
    hf_model.load_state_dict(state)
    return hf_model


def export(model: MaskedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write config, weights in half precision, and tokenizer to `folder`."""
    hugging_face_model(model).to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
