# Extends the caller's list.
# message: make a new list
def added_cost(logit_diff_without, heads, others):
    before = logit_diff_without(others)
    others.extend(heads)
    return (before - logit_diff_without(others)) / logit_diff_without([])
