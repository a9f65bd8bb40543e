# Other names for the arguments, in the given order; annotated and checked by jaxtyping-style strings.
from jaxtyping import Float, Int
from torch import Tensor


def ioi_metric(
    x: Float[Tensor, "batch seq d_vocab"],
    answers: Int[Tensor, "batch 2"] = answer_tokens,
    low: float = corrupted_logit_diff,
    high: float = clean_logit_diff,
) -> Float[Tensor, ""]:
    end = x[:, -1].gather(1, answers)
    return ((end[:, 0] - end[:, 1]).mean() - low) / (high - low)
