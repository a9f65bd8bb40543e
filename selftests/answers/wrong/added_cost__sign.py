# The sign is flipped.
# message: the sign is flipped
def added_cost(logit_diff_without, heads, others):
    return (logit_diff_without([*others, *heads]) - logit_diff_without(others)) / logit_diff_without([])
