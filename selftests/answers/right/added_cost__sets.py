# Sets of heads.
def added_cost(logit_diff_without, heads, others):
    without_others, without_any = logit_diff_without(set(others)), logit_diff_without({*heads, *others})
    return (without_others - without_any) / logit_diff_without(set())
