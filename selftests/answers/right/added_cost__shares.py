# A difference of two shares.
def added_cost(logit_diff_without, heads, others):
    whole = logit_diff_without([])
    return logit_diff_without(others) / whole - logit_diff_without(others + heads) / whole
