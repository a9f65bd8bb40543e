# One block, then the rest of the run.
def run_from_layer(model, residual, layer):
    if layer == len(model.blocks):
        return model.unembed(model.ln_final(residual))
    return run_from_layer(model, model.blocks[layer](residual)[0], layer + 1)
