# Not begun.
# message: added_cost is not implemented yet
def added_cost(logit_diff_without, heads, others):
    raise NotImplementedError
