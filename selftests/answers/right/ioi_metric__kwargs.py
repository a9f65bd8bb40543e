# Takes what is optional as **options and looks the defaults up itself; no gradients inside.
import torch


def ioi_metric(logits, **options):
    answers = options.get("answer_tokens", answer_tokens)
    low = options.get("corrupted_logit_diff", corrupted_logit_diff)
    high = options.get("clean_logit_diff", clean_logit_diff)
    with torch.no_grad():
        end = logits[:, -1].gather(1, answers)
        return ((end[:, 0] - end[:, 1]).mean() - low) / (high - low)
