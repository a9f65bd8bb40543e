# In logits.
# message: divide by the logit difference without any ablation
def added_cost(logit_diff_without, heads, others):
    return logit_diff_without(others) - logit_diff_without([*others, *heads])
