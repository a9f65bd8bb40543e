# Two numbers.
# message: one number
def added_cost(logit_diff_without, heads, others):
    return logit_diff_without(others), logit_diff_without([*others, *heads])
