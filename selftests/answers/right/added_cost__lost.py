# What is lost with the heads less what is lost before.
def lost(logit_diff_without, ablated):
    return 1 - logit_diff_without(ablated) / logit_diff_without([])


def added_cost(logit_diff_without, heads, others):
    return lost(logit_diff_without, [*heads, *others]) - lost(logit_diff_without, others)
