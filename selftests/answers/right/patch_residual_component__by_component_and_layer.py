# Reads component and layer out of the hook point's name, and keeps them in default arguments that nobody passes.
import re


def patch_residual_component(
    corrupted_residual_component, hook, pos, clean_cache, pattern=r"blocks\.(\d+)\.hook_(\w+)"
):
    layer, component = re.fullmatch(pattern, hook.name).groups()
    corrupted_residual_component[:, pos] = clean_cache[component, int(layer)][:, pos]
    return corrupted_residual_component
