"""The tokenizer: byte-level BPE like GPT-2's, with merges learned from IOI text only.

Every known word is one token with its leading space, as in gpt2-small. Any other text still encodes, but
falls into pieces that the model has never seen.
"""

import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from utils.ioi import PROMPTS

from .words import NAMES, OBJECTS, PLACES, sample_sentence

BOS = "<|endoftext|>"
MAX_POSITIONS = 64


def _corpus() -> list[str]:
    """Return sentences in which every known word occurs often enough to become one token."""
    rng = random.Random(0)
    sentences = [sample_sentence(rng, held_out=number % 2 == 0) for number in range(6000)]
    texts = [sentence.text(sentence.names[0]) for sentence in sentences]
    words = [" " + word for word in NAMES + PLACES + OBJECTS]
    return texts + 4 * words + PROMPTS


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer, the same one at every call."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8000,
        min_frequency=1,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=BOS,
        unk_token=BOS,
        model_max_length=MAX_POSITIONS,
    )
