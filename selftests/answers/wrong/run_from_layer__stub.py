# Not begun.
# message: run_from_layer is not implemented yet
def run_from_layer(model, residual, layer):
    raise NotImplementedError
