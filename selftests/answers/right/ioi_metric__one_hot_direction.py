# A direction over the vocabulary, +1 at the correct and -1 at the incorrect answer, multiplied with einops.
from einops import einsum
from torch.nn.functional import one_hot


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    correct, incorrect = one_hot(answer_tokens, logits.shape[-1]).to(logits.dtype).unbind(1)
    total = einsum(logits[:, -1], correct - incorrect, "batch vocab, batch vocab ->")
    return (total / len(logits) - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
