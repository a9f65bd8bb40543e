# Right, with a progress bar, a warning, a log line and text on stderr.
import logging
import sys
import warnings

from tqdm import tqdm


def patch_residual_component(corrupted_residual_component, hook, pos, clean_cache):
    warnings.warn("a warning", stacklevel=2)
    logging.getLogger("notebook").warning("a log line")
    print("text", file=sys.stderr)
    for prompt in tqdm(range(len(corrupted_residual_component))):
        corrupted_residual_component[prompt, pos] = clean_cache[hook.name][prompt, pos]
    return corrupted_residual_component
