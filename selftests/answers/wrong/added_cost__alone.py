# What they cost alone.
# message: this is what the heads cost alone
def added_cost(logit_diff_without, heads, others):
    return 1 - logit_diff_without(heads) / logit_diff_without([])
