# Counts the layers up instead of slicing the blocks.
def run_from_layer(model, residual, layer):
    for index in range(layer, model.cfg.n_layers):
        (residual, *_) = model.blocks[index](residual)
    return model.unembed(model.ln_final(residual))
