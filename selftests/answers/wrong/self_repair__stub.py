# Not begun.
# message: self_repair is not implemented yet
def self_repair(model, tokens, clean_cache, means, ablated, negative, metric):
    raise NotImplementedError
