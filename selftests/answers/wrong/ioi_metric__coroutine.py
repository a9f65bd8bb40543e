# Declared async.
# message: coroutine
async def ioi_metric(logits, answer_tokens, corrupted_logit_diff, clean_logit_diff):
    return logits.mean()
