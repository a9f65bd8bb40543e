# What all cost together.
# message: this is what all of them cost together
def added_cost(logit_diff_without, heads, others):
    return 1 - logit_diff_without([*heads, *others]) / logit_diff_without([])
