# Lets the workbook's own function do it.
# message: it called a function of utils.interventions
import utils


def path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component):
    return utils.path_patch(model, corrupted_tokens, clean_cache, senders, receivers, component)
