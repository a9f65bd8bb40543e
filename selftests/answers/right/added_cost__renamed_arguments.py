# Other names for the arguments, and a loop.
def added_cost(measure, new, already):
    ablated = list(already)
    before = measure(ablated)
    for head in new:
        ablated = [*ablated, head]
    return (before - measure(ablated)) / measure(())
