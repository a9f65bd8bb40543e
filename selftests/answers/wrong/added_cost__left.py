# The share that is left.
# message: the share that is left
def added_cost(logit_diff_without, heads, others):
    return logit_diff_without([*others, *heads]) / logit_diff_without([])
