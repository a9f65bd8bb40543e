# Adds the prompts up by recursion.
def total(rows, pairs):
    if not len(rows):
        return 0
    return rows[0, pairs[0, 0]] - rows[0, pairs[0, 1]] + total(rows[1:], pairs[1:])


def ioi_metric(
    logits,
    answer_tokens=answer_tokens,
    corrupted_logit_diff=corrupted_logit_diff,
    clean_logit_diff=clean_logit_diff,
):
    logit_diff = total(logits[:, -1], answer_tokens) / len(answer_tokens)
    return (logit_diff - corrupted_logit_diff) / (clean_logit_diff - corrupted_logit_diff)
