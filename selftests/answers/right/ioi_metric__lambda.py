# A lambda with default arguments.
import utils

ioi_metric = lambda logits, answer_tokens=answer_tokens, low=corrupted_logit_diff, high=clean_logit_diff: (  # noqa: E731
    (utils.logits_to_ave_logit_diff(logits, answer_tokens) - low) / (high - low)
)
