# Other names for the arguments.
def run_from_layer(bridge, stream, first_block):
    for number, block in enumerate(bridge.blocks):
        if number >= first_block:
            stream = block(stream)[0]
    normalised = bridge.ln_final(stream)
    return bridge.unembed(normalised)
