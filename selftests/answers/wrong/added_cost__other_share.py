# A share of what is left without the others.
# message: not by that without the others
def added_cost(logit_diff_without, heads, others):
    before = logit_diff_without(others)
    return (before - logit_diff_without([*others, *heads])) / before
